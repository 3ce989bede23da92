// How a picture lies in its frame: upright, not foreshortened, and without an even margin.

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
const SQUEEZE_STEP = 1 / 16;
const FEWEST_STEPS = 2;
const MOST_STEPS = 16;
const CLEAR_SLOPE = 1 / 8;
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
  const luma = smallLuma(picture);
  if (luma === undefined) {
    return picture;
  }
  const { real, imaginary, power } = fourfoldMean(luma);
  if (Math.hypot(real, imaginary) <= CLEAR * power) {
    return picture;
  }
  const degrees = tenths((Math.atan2(imaginary, real) * (180 / Math.PI)) / 4);
  return rotated(picture, degrees, edgeColour(picture));
}

/** Luma of a small copy; undefined where it is a line. */
function smallLuma(picture) {
  const factor = Math.ceil(Math.max(picture.width, picture.height) / SIDE);
  const grey = new Picture(picture.width, picture.height);
  greyOf(picture).forEach((level, at) => grey.data.fill(level, 3 * at, 3 * at + 3));
  const luma = reduced(grey, factor);
  return Math.min(luma.width, luma.height) < 2 ? undefined : luma;
}

/** Call `use` with the slopes of luma, to the right and down, at each pixel. */
function eachSlope({ width, height, data }, use) {
  const at = (x, y) => data[3 * (y * width + x)];
  const slope = (place, side, value) => {
    const [low, high] = [Math.max(place - 1, 0), Math.min(place + 1, side - 1)];
    return (value(high) - value(low)) / (high - low);
  };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const right = slope(x, width, (place) => at(place, y));
      const down = slope(y, height, (place) => at(x, place));
      use(right, down);
    }
  }
}

/** The sum of |g|^2 e^(4i theta) over the gradients g of luma, and that of |g|^2. */
function fourfoldMean(luma) {
  const sums = { real: 0, imaginary: 0, power: 0 };
  eachSlope(luma, (right, down) => {
    const level = right ** 2 - down ** 2;
    const cross = 2 * right * down;
    const power = right ** 2 + down ** 2;
    const weight = 1 / Math.max(power, LEAST);
    sums.real += (level ** 2 - cross ** 2) * weight;
    sums.imaginary += 2 * level * cross * weight;
    sums.power += power;
  });
  return sums;
}

/** Rounded to one decimal, as Python's `round`. */
function tenths(value) {
  return Number.isInteger(4 * value) ? roundHalfEven(10 * value) / 10 : Number(value.toFixed(1));
}

/** The part that differs from the edge's colour, in the picture's own shape. */
export function trimmed(picture) {
  const { width, height } = picture;
  const [columns, rows] = contentOf(picture);
  const across = marginedShare(columns, width);
  const along = marginedShare(rows, height);
  const share = Math.max(1 / TRIM_LIMIT, across, along);
  if (share >= 1) {
    return picture;
  }
  return resizedPart(picture, shown(columns, width, share), shown(rows, height, share));
}

/** Stretched along the axis on which the picture is foreshortened, by 1.125 to 2. */
export function unsqueezed(picture) {
  const luma = smallLuma(picture);
  const ratio = luma === undefined ? 1 : foreshortening(luma);
  if (ratio === 1) {
    return picture;
  }
  const { width, height } = picture;
  const [columns, rows] = contentOf(picture);
  const across = Math.min(1, marginedShare(columns, width));
  const along = Math.min(1, marginedShare(rows, height));
  const share = Math.max(across, along * ratio, Math.sqrt(ratio) / TRIM_LIMIT);
  const [partX, partY] = [shown(columns, width, share), shown(rows, height, share / ratio)];
  const whole = new Picture(width, height);
  whole.fill(0, 0, width, height, edgeColour(picture));
  const [left, top] = [(width - partX.size) / 2, (height - partY.size) / 2].map(Math.floor);
  whole.paste(resizedPart(picture, partX, partY), left, top);
  return whole;
}

/** How much the picture must be stretched downwards, over how much to the right. */
function foreshortening(luma) {
  const slopes = [];
  eachSlope(luma, (right, down) => slopes.push([down ** 2, right ** 2]));
  const steepest = slopes.reduce((most, [down, right]) => Math.max(most, down + right), 0);
  const clear = slopes.filter(([down, right]) => down + right > CLEAR_SLOPE ** 2 * steepest);
  return stretchOf(clear) / stretchOf(clear.map(([down, right]) => [right, down]));
}

/** How much the axis of the first squared slopes must be stretched; 1 where it is the longer. */
function stretchOf(slopes) {
  let steps = 0;
  while (steps < MOST_STEPS) {
    const stretch = (1 + (steps + 0.5) * SQUEEZE_STEP) ** 2;
    const contours = slopes.reduce((sum, [along, across]) => {
      const flatter = along / stretch;
      return sum + (flatter - across) / Math.sqrt(flatter + across);
    }, 0);
    if (contours <= 0) {
      break;
    }
    steps += 1;
  }
  return steps < FEWEST_STEPS ? 1 : 1 + steps * SQUEEZE_STEP;
}

function marginedShare([start, stop], side) {
  return (stop - start) / side + 2 * TRIM_MARGIN;
}

/** A share of a side around its content; all of it, in fewer pixels, where it is above 1. */
function shown([first, last], side, share) {
  if (share > 1) {
    return { start: 0, stop: side, size: Math.max(1, roundHalfEven(side / share)) };
  }
  const start = Math.min(Math.max((first + last) / 2 - (share * side) / 2, 0), side * (1 - share));
  return { start, stop: start + share * side, size: side };
}

function resizedPart(picture, columns, rows) {
  const edges = { left: columns.start, top: rows.start, right: columns.stop, bottom: rows.stop };
  return resized(picture, columns.size, rows.size, BICUBIC, edges);
}

/** Spans of the columns and of the rows that differ from the edge's colour. */
function contentOf(picture) {
  const away = distances(picture);
  const limit = TRIM_CONTRAST * Math.max(percentile99(away), 1);
  return spansOf(away, picture.width, (distance) => distance > limit);
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
