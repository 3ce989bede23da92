// Pillow's Gaussian blur, three box blurs with a fractional edge, and a wide one at little cost.

import { Picture } from "./picture.mjs";
import { BILINEAR, reduced, resized } from "./resize.mjs";

const { fround } = Math;
const PASSES = 3;
const FINEST = 1.5;

/** A Gaussian blur of `radius` pixels, its standard deviation; a wide one on a reduced picture. */
export function wideBlur(picture, radius) {
  const factor = Math.floor(radius / FINEST);
  if (factor < 2) {
    return gaussianBlur(picture, radius);
  }
  const small = gaussianBlur(reduced(picture, factor), radius / factor);
  const edges = { left: 0, top: 0, right: picture.width / factor, bottom: picture.height / factor };
  return resized(small, picture.width, picture.height, BILINEAR, edges);
}

function gaussianBlur(picture, radius) {
  const box = boxRadius(fround(radius));
  if (box === 0) {
    return picture;
  }
  const across = blurredLines(picture, box);
  return transposed(blurredLines(transposed(across), box));
}

/** The radius of a box blur that, made three times, stands for a Gaussian; in float32. */
function boxRadius(radius) {
  const variance = fround(fround(radius * radius) / PASSES);
  const length = fround(Math.sqrt(12 * variance + 1));
  const whole = fround(Math.floor((length - 1) / 2));
  const inner = fround(fround(whole * fround(whole + 1)) - fround(3 * variance));
  const above = fround(fround(fround(2 * whole) + 1) * inner);
  const outer = fround(variance - fround(fround(whole + 1) * fround(whole + 1)));
  return fround(whole + fround(above / fround(6 * outer)));
}

function blurredLines(picture, floatRadius) {
  const radius = Math.trunc(floatRadius);
  const full = Math.trunc(fround(2 ** 24 / fround(fround(floatRadius * 2) + 1)));
  const edge = Math.floor((2 ** 24 - (radius * 2 + 1) * full) / 2);
  let now = picture;
  for (let pass = 0; pass < PASSES; pass += 1) {
    const made = new Picture(now.width, now.height);
    for (let at = 0; at < 3 * now.height; at += 1) {
      const start = Math.floor(at / 3) * 3 * now.width + (at % 3);
      blurLine(now.data, made.data, start, now.width, radius, full, edge);
    }
    now = made;
  }
  return now;
}

/** One channel of one line: whole weights within the radius, and a share of the two beyond it. */
function blurLine(source, target, start, width, radius, full, edge) {
  const at = (x) => source[start + 3 * Math.min(Math.max(x, 0), width - 1)];
  let sum = 0;
  for (let x = -radius - 1; x < radius; x += 1) {
    sum += at(x);
  }
  for (let x = 0; x < width; x += 1) {
    sum += at(x + radius) - at(x - radius - 1);
    const mixed = sum * full + (at(x - radius - 1) + at(x + radius + 1)) * edge;
    target[start + 3 * x] = (mixed + 2 ** 23) / 2 ** 24;
  }
}

function transposed(picture) {
  const made = new Picture(picture.height, picture.width);
  for (let y = 0; y < picture.height; y += 1) {
    for (let x = 0; x < picture.width; x += 1) {
      const from = 3 * (y * picture.width + x);
      made.data.set(picture.data.subarray(from, from + 3), 3 * (x * picture.height + y));
    }
  }
  return made;
}
