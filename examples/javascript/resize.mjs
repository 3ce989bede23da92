// Resampling and reduction in whole numbers, equal to Pillow's to the bit.

import { Picture } from "./picture.mjs";
import { sine } from "./trigonometry.mjs";

const BITS = 22;
/** Each filter: how far it reaches at scale 1, and its weight at a distance. */
export const BOX = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
export const BILINEAR = { support: 1, weight: (x) => Math.max(1 - Math.abs(x), 0) };
export const BICUBIC = { support: 2, weight: cubic };
export const LANCZOS = {
  support: 3,
  weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0),
};

/** The part of a picture within `edges`, {left, top, right, bottom} in pixels, at another size. */
export function resized(picture, width, height, filter, edges = wholeOf(picture)) {
  const across = (now) => resizedAcross(now, width, filter, edges.left, edges.right);
  const down = (now) => resizedDown(now, height, filter, edges.top, edges.bottom);
  // Pillow 13 begins with what shrinks much more; the order decides how levels are rounded.
  const lost = picture.height - height;
  const tall = lost > 0 && lost > 2 * (picture.width - width);
  return tall ? across(down(picture)) : down(across(picture));
}

function resizedAcross(picture, width, filter, left, right) {
  if (width === picture.width && left === 0 && right === width) {
    return picture;
  }
  const made = new Picture(width, picture.height);
  const weights = weightsOf(picture.width, left, right, width, filter);
  const from = { pixel: 3, line: 3 * picture.width };
  resample(
    weights,
    picture.data,
    made.data,
    picture.height,
    from,
    { pixel: 3, line: 3 * width },
    3,
  );
  return made;
}

function resizedDown(picture, height, filter, top, bottom) {
  if (height === picture.height && top === 0 && bottom === height) {
    return picture;
  }
  const made = new Picture(picture.width, height);
  const weights = weightsOf(picture.height, top, bottom, height, filter);
  const line = 3 * picture.width;
  resample(
    weights,
    picture.data,
    made.data,
    line,
    { pixel: line, line: 1 },
    { pixel: line, line: 1 },
    1,
  );
  return made;
}

/** The edges of the whole picture. */
export function wholeOf({ width, height }) {
  return { left: 0, top: 0, right: width, bottom: height };
}

/** Means of `factor` x `factor` pixels; the last row and column take what is left. */
export function reduced(picture, factor) {
  const small = new Picture(Math.ceil(picture.width / factor), Math.ceil(picture.height / factor));
  for (let y = 0; y < small.height; y += 1) {
    const rows = Math.min(factor, picture.height - y * factor);
    for (let x = 0; x < small.width; x += 1) {
      const columns = Math.min(factor, picture.width - x * factor);
      const start = 3 * (y * factor * picture.width + x * factor);
      const mean = meanOf(picture, start, rows, columns);
      small.data.set(mean, 3 * (y * small.width + x));
    }
  }
  return small;
}

function meanOf(picture, start, rows, columns) {
  const count = rows * columns;
  const multiplier = Math.floor(Math.fround(2 ** 32 / (256 * count)));
  const sums = [count >> 1, count >> 1, count >> 1];
  for (let row = 0; row < rows; row += 1) {
    const from = start + 3 * row * picture.width;
    for (let at = from; at < from + 3 * columns; at += 3) {
      sums[0] += picture.data[at];
      sums[1] += picture.data[at + 1];
      sums[2] += picture.data[at + 2];
    }
  }
  return sums.map((sum) => Math.floor((sum * multiplier) / 2 ** 24));
}

// -- weights --------------------------------------------------------------------------------
/** For each pixel of the result: its first source pixel, and the weights in 22-bit fixed point. */
function weightsOf(sourceSize, lowEdge, highEdge, size, filter) {
  const [low, high] = [Math.fround(lowEdge), Math.fround(highEdge)];
  const scale = Math.fround(high - low) / size;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  const inverse = 1 / stretch;
  const found = [];
  for (let at = 0; at < size; at += 1) {
    const centre = low + (at + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), sourceSize);
    const weights = [];
    let sum = 0;
    for (let place = first; place < end; place += 1) {
      const weight = filter.weight((place - centre + 0.5) * inverse);
      weights.push(weight);
      sum += weight;
    }
    found.push({
      first,
      weights: Int32Array.from(weights, (weight) => fixed(sum ? weight / sum : weight)),
    });
  }
  return found;
}

function fixed(weight) {
  return Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5));
}

/** One axis. from, to: how far apart pixels of this axis lie, and lines across it. */
function resample(weights, source, target, lines, from, to, channels) {
  for (let line = 0; line < lines; line += 1) {
    for (let at = 0; at < weights.length; at += 1) {
      const { first, weights: shares } = weights[at];
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = 1 << (BITS - 1);
        let place = line * from.line + first * from.pixel + channel;
        for (let share = 0; share < shares.length; share += 1) {
          sum += source[place] * shares[share];
          place += from.pixel;
        }
        const level = sum >> BITS;
        target[line * to.line + at * to.pixel + channel] =
          level < 0 ? 0 : level > 255 ? 255 : level;
      }
    }
  }
}

/** Keys' cubic with a = -0.5, in the order of Pillow's operations. */
function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) {
    return (1.5 * x - 2.5) * x * x + 1;
  }
  if (x < 2) {
    return (((x - 5) * x + 8) * x - 4) * -0.5;
  }
  return 0;
}

function sinc(x) {
  return x === 0 ? 1 : sine(x * Math.PI) / (x * Math.PI);
}
