// Restoration that follows the picture; what needs OpenCV is refused.

import { wideBlur } from "./blur.mjs";
import { chromaEvened } from "./chroma.mjs";
import { PromptError } from "./errors.mjs";
import { refocused } from "./focus.mjs";
import { Layer } from "./layer.mjs";
import { locallyStretched } from "./local.mjs";
import { greyOf, histogramOf, relit } from "./luma.mjs";
import { medianFiltered } from "./median.mjs";
import { deblurred } from "./motion.mjs";
import { largest } from "./numbers.mjs";
import { Picture } from "./picture.mjs";
import { trimmed, unsqueezed, upright } from "./pose.mjs";
import { destriped } from "./stripes.mjs";
import { mapped } from "./tone.mjs";

const { fround } = Math;
const CUT_SHARE = 100;
const LIGHT_SHARE = 1 / 8;
const CAST_LIMIT = 4;
const IDENTITY = Array.from({ length: 256 }, (_, level) => level);
const POSE = { deskew: upright, trim: trimmed, unsqueeze: unsqueezed };
const STRIPES = { destripe: destriped };
const NOISE = {
  median: (picture) => medianFiltered(picture, 3),
  "wide-median": (picture) => medianFiltered(picture, 5),
  chroma: chromaEvened,
  smooth: needsOpenCv,
};
const BLUR = { deblur: deblurred, refocus: refocused };
const LIGHT = {
  autocontrast,
  equalize: (picture) => relit(picture, equalizing),
  "white-balance": whiteBalance,
  flatten,
  "local-stretch": locallyStretched,
  clahe: needsOpenCv,
};
const GROUPS = [POSE, STRIPES, NOISE, BLUR, LIGHT];

export class Restore extends Layer {
  static kind = "restore";
  static order = 5;
  static defaults = { operations: [] };

  constructor(config, theta) {
    super(config, theta);
    this.checkKnown(this.operations, Object.keys(Object.assign({}, ...GROUPS)));
  }

  dimension() {
    return this.#groups().reduce((sum, { names }) => sum + names.length, 0);
  }

  painter(z) {
    const used = this.#chosen(z);
    if (used.includes(needsOpenCv)) {
      throw new PromptError("this prompt's restoration needs OpenCV; apply it with Python");
    }
    return (canvas, box) => {
      const picture = used.reduce((now, operation) => operation(now), canvas.cut(box));
      canvas.paste(picture, box.left, box.top);
    };
  }

  /** The names of each group that has any, "none" first, and what they do. */
  #groups() {
    const groups = GROUPS.map((known) => ({
      known,
      names: ["none", ...this.operations.filter((name) => name in known)],
    }));
    return groups.filter(({ names }) => names.length > 1);
  }

  #chosen(z) {
    let first = 0;
    const used = [];
    for (const { known, names } of this.#groups()) {
      const name = names[largest(z, first, names.length)];
      if (name !== "none") {
        used.push(known[name]);
      }
      first += names.length;
    }
    return used;
  }
}

function needsOpenCv() {}

/** Brightness stretched over the whole range, one percent of the pixels clipped at each end. */
function autocontrast(picture) {
  const counts = histogramOf(greyOf(picture));
  const cut = Math.floor(picture.data.length / 3 / CUT_SHARE);
  dropped(counts, cut, 0, 1);
  dropped(counts, cut, 255, -1);
  const low = counts.findIndex((count) => count > 0);
  const high = counts.findLastIndex((count) => count > 0);
  if (high <= low) {
    return picture;
  }
  const scale = 255 / (high - low);
  const offset = -low * scale;
  const table = IDENTITY.map((level) =>
    Math.min(Math.max(Math.trunc(level * scale + offset), 0), 255),
  );
  return mapped(picture, table);
}

/** Take so many pixels out of a histogram, beginning at one end. */
function dropped(counts, cut, start, step) {
  let left = cut;
  for (let level = start; level >= 0 && level < 256 && left > 0; level += step) {
    const taken = Math.min(left, counts[level]);
    counts[level] -= taken;
    left -= taken;
  }
}

/** The table that flattens the histogram of these levels. */
function equalizing(levels) {
  const counts = histogramOf(levels);
  const used = counts.filter((count) => count > 0);
  const step = used.length > 1 ? Math.floor((levels.length - used.at(-1)) / 255) : 0;
  if (step === 0) {
    return IDENTITY;
  }
  let sum = Math.floor(step / 2);
  return counts.map((count) => {
    const level = Math.floor(sum / step);
    sum += count;
    return Math.min(level, 255);
  });
}

/** Grey world: the mean of each channel becomes the mean of all. In float32, as numpy adds. */
function whiteBalance(picture) {
  const { data } = picture;
  const sums = new Float32Array(3);
  for (let at = 0; at < data.length; at += 1) {
    sums[at % 3] += data[at];
  }
  const count = data.length / 3;
  const means = Array.from(sums, (sum) => Math.max(fround(sum / count), 1));
  const mean = fround(fround(fround(means[0] + means[1]) + means[2]) / 3);
  const gains = means.map((each) =>
    Math.min(Math.max(fround(mean / each), 1 / CAST_LIMIT), CAST_LIMIT),
  );
  return scaled(picture, (at) => gains[at % 3]);
}

/** Divided by its own light, a wide blur, and brought back to its mean. */
function flatten(picture) {
  const wide = wideBlur(picture, Math.max(picture.width, picture.height) * LIGHT_SHARE);
  const light = Float32Array.from(greyOf(wide), (level) => Math.max(level, 1));
  const mean = fround(pairwiseSum(light) / light.length);
  const gains = light.map((level) => mean / level);
  return scaled(picture, (at) => gains[Math.floor(at / 3)]);
}

/** Each value times a gain, in float32, rounded. */
function scaled(picture, gainAt) {
  const made = new Picture(picture.width, picture.height);
  for (let at = 0; at < made.data.length; at += 1) {
    const value = fround(picture.data[at] * gainAt(at));
    made.data[at] = fround(Math.min(Math.max(value, 0), 255) + 0.5);
  }
  return made;
}

/** The sum of float32 values in numpy's order: of halves, and of eight sums within 128. */
function pairwiseSum(values) {
  const { length } = values;
  if (length > 128) {
    const half = Math.floor(length / 2);
    const cut = half - (half % 8);
    return fround(pairwiseSum(values.subarray(0, cut)) + pairwiseSum(values.subarray(cut)));
  }
  const whole = length < 8 ? 0 : length - (length % 8);
  const sums = new Float32Array(8);
  for (let at = 0; at < whole; at += 1) {
    sums[at % 8] += values[at];
  }
  const [a, b, c, d, e, f, g, h] = sums;
  const left = fround(fround(a + b) + fround(c + d));
  let sum = fround(left + fround(fround(e + f) + fround(g + h)));
  for (let at = whole; at < length; at += 1) {
    sum = fround(sum + values[at]);
  }
  return sum;
}
