// How a picture lies in its frame: turned upright, and without an even margin.

import { greyOf } from "./luma.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { Picture } from "./picture.mjs";
import { BICUBIC, reduced, resized } from "./resize.mjs";
import { rotated } from "./rotate.mjs";

const SIDE = 256;
const CLEAR = 0.3;
const LEAST = 0.25;
const TRIM_LIMIT = 1.6;
const TRIM_MARGIN = 0.08;
const TRIM_CONTRAST = 0.25;

/** The median colour of all four edges, so that corners count twice; halves are cut off. */
export function edgeColour({ width, height, data }) {
  return [0, 1, 2].map((channel) => {
    const at = (x, y) => data[3 * (y * width + x) + channel];
    const levels = [];
    for (let x = 0; x < width; x += 1) {
      levels.push(at(x, 0), at(x, height - 1));
    }
    for (let y = 0; y < height; y += 1) {
      levels.push(at(0, y), at(width - 1, y));
    }
    levels.sort((one, other) => one - other);
    const middle = levels.length / 2;
    return Math.floor((levels[middle - 1] + levels[middle]) / 2);
  });
}

/** Turned by at most 45 degrees, so that most of its edges are level or plumb. */
export function upright(picture) {
  const factor = Math.ceil(Math.max(picture.width, picture.height) / SIDE);
  const grey = new Picture(picture.width, picture.height);
  greyOf(picture).forEach((level, at) => grey.data.fill(level, 3 * at, 3 * at + 3));
  const luma = reduced(grey, factor);
  if (Math.min(luma.width, luma.height) < 2) {
    return picture;
  }
  const { real, imaginary, power } = fourfoldMean(luma);
  if (Math.hypot(real, imaginary) <= CLEAR * power) {
    return picture;
  }
  const degrees = tenths((Math.atan2(imaginary, real) * (180 / Math.PI)) / 4);
  return rotated(picture, degrees, edgeColour(picture));
}

/** The sum of |g|^2 e^(4i theta) over the gradients g of luma, and that of |g|^2. */
function fourfoldMean({ width, height, data }) {
  const at = (x, y) => data[3 * (y * width + x)];
  const slope = (place, side, value) => {
    const [low, high] = [Math.max(place - 1, 0), Math.min(place + 1, side - 1)];
    return (value(high) - value(low)) / (high - low);
  };
  const sums = { real: 0, imaginary: 0, power: 0 };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const right = slope(x, width, (place) => at(place, y));
      const down = slope(y, height, (place) => at(x, place));
      const level = right ** 2 - down ** 2;
      const cross = 2 * right * down;
      const power = right ** 2 + down ** 2;
      const weight = 1 / Math.max(power, LEAST);
      sums.real += (level ** 2 - cross ** 2) * weight;
      sums.imaginary += 2 * level * cross * weight;
      sums.power += power;
    }
  }
  return sums;
}

/** Rounded to one decimal, as Python's `round`. */
function tenths(value) {
  return Number.isInteger(4 * value) ? roundHalfEven(10 * value) / 10 : Number(value.toFixed(1));
}

/** The part that differs from the edge's colour, in the picture's own shape. */
export function trimmed(picture) {
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

/** How far each pixel is from the colour of the picture's edge. */
function distances(picture) {
  const colour = edgeColour(picture);
  const { data } = picture;
  return Int16Array.from({ length: data.length / 3 }, (_, at) =>
    Math.max(...colour.map((level, channel) => Math.abs(data[3 * at + channel] - level))),
  );
}

/** The 99th percentile, interpolated in the order of numpy's operations. */
function percentile99(values) {
  const sorted = values.slice().sort();
  const place = (sorted.length - 1) * 0.99;
  const [low, high] = sorted.subarray(Math.floor(place));
  if (high === undefined) {
    return low;
  }
  const share = place - Math.floor(place);
  return share >= 0.5 ? high - (high - low) * (1 - share) : low + (high - low) * share;
}

/** [first, end) of the columns and of the rows that hold a marked value; all where none is. */
function spansOf(values, width, isMarked) {
  const height = values.length / width;
  const [columns, rows] = [new Uint8Array(width), new Uint8Array(height)];
  values.forEach((value, at) => {
    if (isMarked(value)) {
      columns[at % width] = 1;
      rows[Math.floor(at / width)] = 1;
    }
  });
  const span = (marks) =>
    marks.includes(1) ? [marks.indexOf(1), marks.lastIndexOf(1) + 1] : [0, marks.length];
  return [span(columns), span(rows)];
}
