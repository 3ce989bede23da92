// A known blur divided out of a picture, on a small copy of it.

import { Picture } from "./picture.mjs";
import { edgeColour } from "./pose.mjs";
import { BILINEAR, reduced, resized } from "./resize.mjs";

const { fround } = Math;
const SIDE = 128;
const ITERATIONS = 20;
const FLOOR = 1;

/** Of at most 128 pixels a side. */
export function smallCopy(picture) {
  return reduced(picture, factorOf(picture));
}

/** The picture without a blur: a mean over the first of these steps, then over the second, ... */
export function sharpened(picture, small, spread) {
  const light = edgeColour(small).map((level) => level > 127);
  const blurred = Float32Array.from(
    small.data,
    (level, at) => (light[at % 3] ? 255 - level : level) + FLOOR,
  );
  const sharp = richardsonLucy({ ...small, data: blurred }, spread);
  const halves = new Picture(small.width, small.height);
  for (let at = 0; at < sharp.length; at += 1) {
    const gained = fround(sharp[at] - blurred[at]);
    const half = fround(fround((light[at % 3] ? -gained : gained) / 2) + 128);
    halves.data[at] = fround(Math.min(Math.max(half, 0), 255) + 0.5);
  }
  const { width, height } = picture;
  const factor = factorOf(picture);
  const edges = { left: 0, top: 0, right: width / factor, bottom: height / factor };
  return withHalves(picture, resized(halves, width, height, BILINEAR, edges));
}

function factorOf({ width, height }) {
  return Math.ceil(Math.max(width, height) / SIDE);
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

function richardsonLucy(blurred, spread) {
  const sharp = { ...blurred, data: blurred.data.slice() };
  for (let round = 0; round < ITERATIONS; round += 1) {
    const data = blurredBy(sharp, spread).map((value, at) => blurred.data[at] / value);
    blurredBy({ ...blurred, data }, spread).forEach((value, at) => (sharp.data[at] *= value));
  }
  return sharp.data;
}

function blurredBy(values, spread) {
  return spread.reduce((data, steps) => meanOver({ ...values, data }, steps), values.data);
}

/** Of the values at these steps, added one after another in float32; beyond the edges as at them. */
function meanOver({ width, height, data }, steps) {
  const total = new Float32Array(data.length);
  for (const [down, right] of steps) {
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
  return total.map((sum) => sum / steps.length);
}
