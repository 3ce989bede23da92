// Stripes across a whole picture, taken off. All in whole numbers.

import { wideBlur } from "./blur.mjs";
import { greyOf } from "./luma.mjs";
import { Picture } from "./picture.mjs";
import { reduced } from "./resize.mjs";

const SIDE = 128;
const SOFT = 1;
const BITS = 12;
const STEP = 5;
const PARTS = 4;

/** Each line along the stripes brought to one level, by what its median lacks. */
export function destriped(picture) {
  let factor = 1;
  while (factor * SIDE < Math.max(picture.width, picture.height)) {
    factor *= 2;
  }
  const small = reduced(picture, factor);
  const { width, height } = small;
  const luma = { width, height, levels: greyOf(wideBlur(small, SOFT)) };
  const degrees = direction(luma);
  if (!striped(luma, degrees)) {
    return picture;
  }
  const { lines, first, count } = linesOf(luma, degrees);
  const changes = changesOf(small.data, lines, count);
  return shifted(picture, factor, degrees, first, changes);
}

/** Cosine and sine in units of 2^-12. */
function sines(degrees) {
  const angle = (degrees * Math.PI) / 180;
  return [Math.cos(angle), Math.sin(angle)].map((value) => Math.round(value * 2 ** BITS));
}

/** The line of each pixel from the first one on, that one's own number, and how many there are. */
function linesOf({ width, height }, degrees) {
  const [across, down] = sines(degrees);
  const lines = new Int32Array(width * height);
  let [first, last] = [Infinity, -Infinity];
  for (let at = 0; at < lines.length; at += 1) {
    const place = (at % width) * across + Math.floor(at / width) * down;
    lines[at] = place >> BITS;
    first = Math.min(first, lines[at]);
    last = Math.max(last, lines[at]);
  }
  return { lines: lines.map((line) => line - first), first, count: last - first + 1 };
}

/** Degrees of the direction along which the means of lines differ most. */
function direction(luma) {
  const best = widest(luma, 0, 180, STEP);
  return widest(luma, best - STEP + 1, best + STEP, 1);
}

function widest(luma, start, stop, step) {
  let [found, most] = [start, -1];
  for (let degrees = start; degrees < stop; degrees += step) {
    const explained = spread(luma, degrees);
    if (explained > most) {
      [found, most] = [degrees, explained];
    }
  }
  return found;
}

/** The sum of squares that the means of lines explain, each line's rounded down. */
function spread(luma, degrees) {
  const { lines, count } = linesOf(luma, degrees);
  const counts = new Float64Array(count);
  const sums = new Float64Array(count);
  lines.forEach((line, at) => {
    counts[line] += 1;
    sums[line] += luma.levels[at];
  });
  return sums.reduce((all, sum, line) => all + Math.floor(sum ** 2 / Math.max(counts[line], 1)), 0);
}

/** Whether the medians of lines at one end tell the levels at the other end. */
function striped(luma, degrees) {
  const { lines, count } = linesOf(luma, degrees);
  const along = linesOf(luma, degrees + 90);
  const part = along.lines.map((place) => Math.floor((place * PARTS) / along.count));
  const sums = { left: 0, total: 0 };
  for (const [told, known] of [
    [0, PARTS - 1],
    [PARTS - 1, 0],
  ]) {
    const { medians, totals } = mediansOf(luma.levels, (at) => part[at] === known, lines, count);
    const isShared = (at) => part[at] === told && totals[lines[at]] > 0;
    const whole = mediansOf(luma.levels, isShared, new Int32Array(lines.length), 1).medians[0];
    lines.forEach((line, at) => {
      if (isShared(at)) {
        sums.left += Math.abs(luma.levels[at] - medians[line]);
        sums.total += Math.abs(luma.levels[at] - whole);
      }
    });
  }
  return sums.left * 4 < sums.total * 3;
}

/** The lower median level of each line, 0 without pixels, and how many pixels it has. */
function mediansOf(levels, isTaken, lines, count) {
  const histograms = new Int32Array(count * 256);
  const totals = new Int32Array(count);
  lines.forEach((line, at) => {
    if (isTaken(at)) {
      histograms[line * 256 + levels[at]] += 1;
      totals[line] += 1;
    }
  });
  const medians = totals.map((total, line) =>
    levelAt(histograms.subarray(line * 256, line * 256 + 256), total / 2),
  );
  return { medians, totals };
}

/** The first level up to which at least so many are counted. */
function levelAt(histogram, wanted) {
  let sum = 0;
  return histogram.findIndex((number) => {
    sum += number;
    return sum >= wanted;
  });
}

/** By channel, what each line lacks to the level that most lines reach. */
function changesOf(data, lines, count) {
  return [0, 1, 2].map((channel) => {
    const levels = lines.map((_, at) => data[3 * at + channel]);
    const { medians, totals } = mediansOf(levels, () => true, lines, count);
    const histogram = new Int32Array(256);
    medians.forEach((median, line) => (histogram[median] += totals[line]));
    const target = levelAt(histogram, (lines.length * 3) / 4);
    return medians.map((median) => target - median);
  });
}

/** The picture with the change of its line added to each pixel. */
function shifted(picture, factor, degrees, first, changes) {
  const [across, down] = sines(degrees);
  const { width, height, data } = picture;
  const made = new Picture(width, height);
  const last = changes[0].length - 1;
  for (let at = 0; at < width * height; at += 1) {
    const x = 2 * (at % width) + 1 - factor;
    const y = 2 * Math.floor(at / width) + 1 - factor;
    const place = Math.floor((x * across + y * down) / (2 * factor * 2 ** BITS));
    const line = Math.min(Math.max(place - first, 0), last);
    for (let channel = 0; channel < 3; channel += 1) {
      const value = data[3 * at + channel] + changes[channel][line];
      made.data[3 * at + channel] = Math.min(Math.max(value, 0), 255);
    }
  }
  return made;
}
