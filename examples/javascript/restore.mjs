// Restoration that follows the picture; what needs OpenCV is refused.

import { wideBlur } from "./blur.mjs";
import { PromptError } from "./errors.mjs";
import { Layer } from "./layer.mjs";
import { greyOf, histogramOf, relit } from "./luma.mjs";
import { edgeMedian } from "./margin.mjs";
import { medianFiltered } from "./median.mjs";
import { largest } from "./numbers.mjs";
import { Picture } from "./picture.mjs";
import { BICUBIC, resized } from "./resize.mjs";
import { mapped } from "./tone.mjs";

const { fround } = Math;
const CUT_SHARE = 100;
const LIGHT_SHARE = 1 / 8;
const CAST_LIMIT = 4;
const TRIM_LIMIT = 1.6;
const TRIM_MARGIN = 0.08;
const TRIM_CONTRAST = 0.25;
const IDENTITY = Array.from({ length: 256 }, (_, level) => level);
const EXTENT = { trim };
const NOISE = {
  median: (picture) => medianFiltered(picture, 3),
  "wide-median": (picture) => medianFiltered(picture, 5),
  smooth: needsOpenCv,
};
const LIGHT = {
  autocontrast,
  equalize: (picture) => relit(picture, equalizing),
  "white-balance": whiteBalance,
  flatten,
  clahe: needsOpenCv,
};

export class Restore extends Layer {
  static kind = "restore";
  static order = 5;
  static defaults = { operations: [] };

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
    const groups = [EXTENT, NOISE, LIGHT].map((known) => ({
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

/** The part that differs from the edge's colour, in the picture's own shape. */
function trim(picture) {
  const { width, height } = picture;
  const away = distances(picture);
  const limit = TRIM_CONTRAST * Math.max(percentile99(away), 1);
  const [columns, rows] = spansOf(away, width, (distance) => distance > limit);
  const shareOf = ([start, stop], side) => (stop - start) / side + 2 * TRIM_MARGIN;
  const share = Math.max(1 / TRIM_LIMIT, shareOf(columns, width), shareOf(rows, height));
  if (share >= 1) {
    return picture;
  }
  const first = ([start, stop], side) =>
    Math.min(Math.max((start + stop) / 2 - (share * side) / 2, 0), side * (1 - share));
  const [left, top] = [first(columns, width), first(rows, height)];
  const edges = { left, top, right: left + share * width, bottom: top + share * height };
  return resized(picture, width, height, BICUBIC, edges);
}

/** How far each pixel is from the median colour of the picture's edge. */
function distances(picture) {
  const colour = [0, 1, 2].map((channel) => edgeMedian(picture, channel));
  const { data } = picture;
  return Float32Array.from({ length: data.length / 3 }, (_, at) =>
    Math.max(...colour.map((level, channel) => Math.abs(data[3 * at + channel] - level))),
  );
}

/** The 99th percentile, interpolated in float32 as numpy does. */
function percentile99(values) {
  const sorted = values.slice().sort();
  const place = fround(fround(sorted.length - 1) * fround(0.99));
  if (place >= sorted.length - 1) {
    return sorted.at(-1);
  }
  const [low, high] = sorted.subarray(Math.floor(place));
  const share = fround(place - Math.floor(place));
  const step = fround(high - low);
  if (share >= 0.5) {
    return fround(high - fround(step * fround(1 - share)));
  }
  return fround(low + fround(step * share));
}

/** [first, end) of the columns and of the rows that hold a marked value; all where none is. */
function spansOf(values, width, isMarked) {
  const [columns, rows] = [[], []];
  values.forEach((value, at) => {
    if (isMarked(value)) {
      columns.push(at % width);
      rows.push(Math.floor(at / width));
    }
  });
  const span = (places, side) =>
    places.length === 0
      ? [0, side]
      : [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b)) + 1];
  return [span(columns, width), span(rows, values.length / width)];
}

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
  const table = IDENTITY.map((level) => Math.min(Math.max(Math.trunc(level * scale + offset), 0), 255));
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
  const gains = means.map((each) => Math.min(Math.max(fround(mean / each), 1 / CAST_LIMIT), CAST_LIMIT));
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

/** The sum of float32 values in the order in which numpy adds: halves, and eight sums within 128. */
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
