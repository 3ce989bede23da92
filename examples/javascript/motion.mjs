// Blur along a straight line, as of a moving camera: read from the picture, and undone.

import { sharpened, smallCopy } from "./deconvolution.mjs";
import { greyOf } from "./luma.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { cosine, sine } from "./trigonometry.mjs";

const ONE_WAY = 0.4;
const FINE = 8;
const SHORTEST = 2;

/** Sharpened along the direction of a motion, where the picture shows one. */
export function deblurred(picture) {
  const small = smallCopy(picture);
  const line = lineOf(greyOf(small), small.width, small.height);
  return line.length === 0 ? picture : sharpened(picture, small, [line]);
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
