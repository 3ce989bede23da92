// Blur along a straight line, as of a moving camera: read from the picture, and undone.

import { greyOf } from "./luma.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { Picture } from "./picture.mjs";
import { edgeColour } from "./pose.mjs";
import { BILINEAR, reduced, resized } from "./resize.mjs";
import { cosine, sine } from "./trigonometry.mjs";

const { fround } = Math;
const SIDE = 128;
const ONE_WAY = 0.4;
const FINE = 8;
const SHORTEST = 2;
const ITERATIONS = 20;
const FLOOR = 1;

/** Sharpened along the direction of a motion, where the picture shows one. */
export function deblurred(picture) {
  const { width, height } = picture;
  const factor = Math.ceil(Math.max(width, height) / SIDE);
  const small = reduced(picture, factor);
  const line = lineOf(greyOf(small), small.width, small.height);
  if (line.length === 0) {
    return picture;
  }
  const light = edgeColour(small).map((level) => level > 127);
  const blurred = Float32Array.from(
    small.data,
    (level, at) => (light[at % 3] ? 255 - level : level) + FLOOR,
  );
  const sharp = richardsonLucy({ ...small, data: blurred }, line);
  const halves = new Picture(small.width, small.height);
  for (let at = 0; at < sharp.length; at += 1) {
    const gained = fround(sharp[at] - blurred[at]);
    const half = fround(fround((light[at % 3] ? -gained : gained) / 2) + 128);
    halves.data[at] = fround(Math.min(Math.max(half, 0), 255) + 0.5);
  }
  const edges = { left: 0, top: 0, right: width / factor, bottom: height / factor };
  return withHalves(picture, resized(halves, width, height, BILINEAR, edges));
}

/** The picture with a change of twice these levels, 128 for none. */
function withHalves({ width, height, data }, change) {
  const made = new Picture(width, height);
  for (let at = 0; at < data.length; at += 1) {
    const once = Math.min(Math.max(data[at] + change.data[at] - 128, 0), 255);
    made.data[at] = Math.min(Math.max(once + change.data[at] - 128, 0), 255);
  }
  return made;
}

/** The steps, [down, right], from the middle of a motion to each of its pixels; [] for none. */
function lineOf(luma, width, height) {
  if (Math.min(width, height) < 2 * SHORTEST + 2) {
    return [];
  }
  const inner = { width: width - 2, height: height - 2 };
  const slopes = slopesOf(luma, width, height);
  const sums = { right: 0, down: 0, cross: 0 };
  for (const [right, down] of slopes) {
    sums.right += right ** 2;
    sums.down += down ** 2;
    sums.cross += 2 * right * down;
  }
  const level = sums.right - sums.down;
  const power = sums.right + sums.down;
  const spread = Math.hypot(level, sums.cross);
  if (power - spread >= ONE_WAY * (power + spread)) {
    return [];
  }
  const degrees = roundHalfEven((Math.atan2(sums.cross, level) * (180 / Math.PI)) / 2 + 90);
  const turn = degrees * (Math.PI / 180);
  const [across, along] = [cosine(turn), sine(turn)].map((value) => Number(value.toFixed(15)));
  const ahead = slopes.map(([right, down]) =>
    roundHalfEven(FINE * (right * across + down * along)),
  );
  const stepOf = (place) => [roundHalfEven(place * along), roundHalfEven(place * across)];
  const length = lengthOf(ahead, inner, stepOf, Math.floor(Math.min(width, height) / 2));
  return Array.from({ length }, (_, place) => stepOf(place - (length - 1) / 2));
}

/** Differences of the neighbours of each inner pixel, [right, down]. */
function slopesOf(luma, width, height) {
  const slopes = [];
  for (let y = 1; y < height - 1; y += 1) {
    for (let x = 1; x < width - 1; x += 1) {
      const at = y * width + x;
      slopes.push([luma[at + 1] - luma[at - 1], luma[at + width] - luma[at - width]]);
    }
  }
  return slopes;
}

/** The step at which the slopes are most unlike themselves; the first of equal ones. */
function lengthOf(slopes, { width, height }, stepOf, end) {
  let [best, least] = [SHORTEST, Infinity];
  for (let lag = SHORTEST; lag < end; lag += 1) {
    const [down, right] = stepOf(lag);
    let likeness = 0;
    for (let y = Math.max(0, -down); y < height - Math.max(0, down); y += 1) {
      for (let x = Math.max(0, -right); x < width - Math.max(0, right); x += 1) {
        likeness += slopes[y * width + x] * slopes[(y + down) * width + x + right];
      }
    }
    if (likeness < least) {
      [best, least] = [lag, likeness];
    }
  }
  return best;
}

function richardsonLucy(blurred, line) {
  const sharp = { ...blurred, data: blurred.data.slice() };
  for (let round = 0; round < ITERATIONS; round += 1) {
    const data = meanAlong(sharp, line).map((value, at) => blurred.data[at] / value);
    meanAlong({ ...blurred, data }, line).forEach((value, at) => (sharp.data[at] *= value));
  }
  return sharp.data;
}

/** Of the values at these steps, added one after another in float32; beyond the edges as at them. */
function meanAlong({ width, height, data }, line) {
  const total = new Float32Array(data.length);
  for (const [down, right] of line) {
    for (let y = 0; y < height; y += 1) {
      const row = width * Math.min(Math.max(y + down, 0), height - 1);
      for (let x = 0; x < width; x += 1) {
        const from = 3 * (row + Math.min(Math.max(x + right, 0), width - 1));
        const to = 3 * (y * width + x);
        total[to] += data[from];
        total[to + 1] += data[from + 1];
        total[to + 2] += data[from + 2];
      }
    }
  }
  return total.map((sum) => sum / line.length);
}
