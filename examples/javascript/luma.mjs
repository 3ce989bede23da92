// Brightness and colour differences, with the tables of Pillow's conversions.

import { Picture } from "./picture.mjs";

/** The brightness of each pixel, as Pillow's mode L. */
export function greyOf({ data }) {
  const grey = new Uint8Array(data.length / 3);
  for (let at = 0, from = 0; at < grey.length; at += 1, from += 3) {
    grey[at] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
  }
  return grey;
}

/** How often each of the 256 levels occurs. */
export function histogramOf(levels) {
  const counts = new Array(256).fill(0);
  for (const level of levels) {
    counts[level] += 1;
  }
  return counts;
}

/** A picture with its JPEG luma changed by a function from levels to a table of 256. */
export function relit(picture, tableOf) {
  const { luma, blue, red } = planesOf(picture);
  const table = tableOf(luma);
  const relitLuma = luma.map((level) => table[level]);
  return pictureOf({ luma: relitLuma, blue, red }, picture.width, picture.height);
}

/** The picture of JPEG luma and chroma, as Pillow converts it. */
export function pictureOf({ luma, blue, red }, width, height) {
  const made = new Picture(width, height);
  for (let at = 0, to = 0; at < luma.length; at += 1, to += 3) {
    const level = luma[at];
    made.data[to] = clipped(level + (RED_OF_RED[red[at]] >> BITS));
    made.data[to + 1] = clipped(
      level + ((GREEN_OF_BLUE[blue[at]] + GREEN_OF_RED[red[at]]) >> BITS),
    );
    made.data[to + 2] = clipped(level + (BLUE_OF_BLUE[blue[at]] >> BITS));
  }
  return made;
}

/** JPEG luma and chroma of each pixel, as Pillow converts it. */
export function planesOf({ data }) {
  const count = data.length / 3;
  const [luma, blue, red] = [0, 1, 2].map(() => new Uint8Array(count));
  for (let at = 0, from = 0; at < count; at += 1, from += 3) {
    const [r, g, b] = [data[from], data[from + 1], data[from + 2]];
    luma[at] = (LUMA[0][r] + LUMA[1][g] + LUMA[2][b]) >> BITS;
    blue[at] = ((BLUE[0][r] + BLUE[1][g] + BLUE[2][b]) >> BITS) + 128;
    red[at] = ((RED[0][r] + RED[1][g] + RED[2][b]) >> BITS) + 128;
  }
  return { luma, blue, red };
}

const BITS = 6;

function table(factor, zero = 0) {
  const entry = (_, level) => Math.trunc((level - zero) * factor * 2 ** BITS + 0.5);
  return Int16Array.from({ length: 256 }, entry);
}

const LUMA = [0.299, 0.587, 0.114].map((factor) => table(factor));
const BLUE = [-0.16874, -0.33126, 0.5].map((factor) => table(factor));
const RED = [0.5, -0.41869, -0.08131].map((factor) => table(factor));
const RED_OF_RED = table(1.402, 128);
const GREEN_OF_BLUE = table(-0.34414, 128);
const GREEN_OF_RED = table(-0.71414, 128);
const BLUE_OF_BLUE = table(1.772, 128);

function clipped(level) {
  return Math.min(Math.max(level, 0), 255);
}
