// Contrast, brightness, gamma, saturation, clarity and sharpness of the placed picture.

import { wideBlur } from "./blur.mjs";
import { Layer } from "./layer.mjs";
import { fusedMultiplyAdd32, soft } from "./numbers.mjs";
import { Picture } from "./picture.mjs";

const { fround } = Math;
const LUMA = [0.299, 0.587, 0.114].map(fround);
const CLARITY_RADIUS = 1 / 32;
const TAPS = 4;
const MARGIN = TAPS / 2;
/** Step, limit, and whether the value is the exponential of the bounded variable. */
const RANGES = {
  brightness: [0.15, 0.5, false],
  contrast: [0.6, 3, true],
  gamma: [0.4, 2, true],
  saturation: [0.6, 3, true],
  sharpness: [0.6, 2, true],
  clarity: [0.6, 2, true],
};

export class Tone extends Layer {
  static kind = "tone";
  static order = 10;
  static defaults = { variables: ["brightness", "contrast", "gamma"] };

  constructor(config, theta) {
    super(config, theta);
    this.checkKnown(this.variables, Object.keys(RANGES));
  }

  dimension() {
    return this.variables.length;
  }

  painter(z, geometry) {
    const values = this.#values(z);
    const radius = geometry.side * CLARITY_RADIUS;
    return (canvas, box) => {
      const picture = clarified(canvas.cut(box), values.clarity, radius);
      const curve = curveOf(values, picture);
      if (values.saturation === 1 && values.sharpness === 1) {
        const table = curve.map((level) => Math.trunc(level + 0.5));
        canvas.paste(mapped(picture, table), box.left, box.top);
        return;
      }
      const margin = values.sharpness === 1 ? 0 : MARGIN;
      const toned = saturated(lookedUp(framed(picture, margin), curve), values.saturation);
      canvas.paste(finished(picture, toned, values.sharpness), box.left, box.top);
    };
  }

  #values(z) {
    const values = {
      brightness: 0,
      contrast: 1,
      gamma: 1,
      saturation: 1,
      sharpness: 1,
      clarity: 1,
    };
    this.variables.forEach((name, at) => {
      const [step, limit, exponential] = RANGES[name];
      const bounded = soft(z[at], step, limit);
      values[name] = this.parameter(name, exponential ? Math.exp(bounded) : bounded);
    });
    return values;
  }
}

/** The 256 levels after contrast, brightness and gamma, 0 to 255, as float64. */
function curveOf({ contrast, brightness, gamma }, picture) {
  let sum = 0;
  for (const level of picture.data) {
    sum += level;
  }
  const mean = sum / picture.data.length / 255;
  return Array.from({ length: 256 }, (_, level) => {
    const value = mean + contrast * (level / 255 - mean) + brightness;
    return Math.min(Math.max(value, 0), 1) ** gamma * 255;
  });
}

/** Each level replaced by that of a table of 256. */
export function mapped(picture, table) {
  const made = new Picture(picture.width, picture.height);
  for (let at = 0; at < made.data.length; at += 1) {
    made.data[at] = table[picture.data[at]];
  }
  return made;
}

// -- floats --------------------------------------------------------------------------------
/** The picture with so many more pixels on each side, all like the outermost. */
function framed(picture, margin) {
  const made = new Picture(picture.width + 2 * margin, picture.height + 2 * margin);
  for (let y = 0; y < made.height; y += 1) {
    const row = Math.min(Math.max(y - margin, 0), picture.height - 1);
    for (let x = 0; x < made.width; x += 1) {
      const column = Math.min(Math.max(x - margin, 0), picture.width - 1);
      const from = 3 * (row * picture.width + column);
      made.data.set(picture.data.subarray(from, from + 3), 3 * (y * made.width + x));
    }
  }
  return made;
}

function lookedUp(picture, curve) {
  const table = Float32Array.from(curve);
  const data = new Float32Array(picture.data.length);
  for (let at = 0; at < data.length; at += 1) {
    data[at] = table[picture.data[at]];
  }
  return { width: picture.width, height: picture.height, data };
}

/** luma + gain * (v - luma), as numpy's matmul makes it: fused, unless there is one pixel. */
function saturated(floats, gain) {
  if (gain === 1) {
    return floats;
  }
  const rest = fround(1 - gain);
  const matrix = LUMA.map((luma, row) =>
    [0, 1, 2].map((column) =>
      fround(fround(fround(gain) * (row === column ? 1 : 0)) + fround(rest * luma)),
    ),
  );
  const { data } = floats;
  const add = data.length === 3 ? multiplyAdd32 : fusedMultiplyAdd32;
  for (let at = 0; at < data.length; at += 3) {
    const [red, green, blue] = data.subarray(at, at + 3);
    for (let channel = 0; channel < 3; channel += 1) {
      const first = fround(red * matrix[0][channel]);
      const second = add(green, matrix[1][channel], first);
      data[at + channel] = add(blue, matrix[2][channel], second);
    }
  }
  return floats;
}

function multiplyAdd32(a, b, c) {
  return fround(fround(a * b) + c);
}

/** Sharpened, clipped and rounded, without the margin. */
function finished(picture, toned, gain) {
  const line = 3 * toned.width;
  const sharp = gain === 1 ? toned.data : sharpened(toned.data, line, gain);
  const made = new Picture(picture.width, picture.height);
  for (let y = 0; y < made.height; y += 1) {
    for (let at = 0; at < 3 * made.width; at += 1) {
      const value = Math.min(Math.max(sharp[y * line + at], 0), 255);
      made.data[3 * y * made.width + at] = fround(value + 0.5);
    }
  }
  return made;
}

/** blur + gain * (v - blur) of every pixel but the margin; the first one comes first. */
function sharpened(floats, line, gain) {
  let blurred = floats;
  for (const shift of [line, line, line, line, 3, 3, 3, 3]) {
    const sums = new Float32Array(blurred.length - shift);
    for (let at = 0; at < sums.length; at += 1) {
      sums[at] = blurred[at] + blurred[at + shift];
    }
    blurred = sums;
  }
  const [share, factor] = [fround((1 - gain) * 4 ** -TAPS), fround(gain)];
  const start = MARGIN * (line + 3);
  return blurred.map((sum, at) => fround(floats[start + at] * factor) + fround(sum * share));
}

/** Against a wide blur, in whole levels. */
function clarified(picture, gain, radius) {
  if (gain === 1) {
    return picture;
  }
  const wide = wideBlur(picture, radius).data;
  const made = new Picture(picture.width, picture.height);
  const factor = fround(gain);
  for (let at = 0; at < made.data.length; at += 1) {
    const value = fround(fround((picture.data[at] - wide[at]) * factor) + wide[at]);
    made.data[at] = fround(Math.min(Math.max(value, 0), 255) + 0.5);
  }
  return made;
}
