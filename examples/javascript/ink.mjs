// Lines, dots and labels as ink: where it lies, how dense it is, and which patch gives its colour.

import { drawn } from "./glyphs.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { boxOf } from "./picture.mjs";
import { BOX, resized } from "./resize.mjs";

const TILE = 512;
const PATCHES = 32;
const LUMA = [77, 150, 29];

/** Coverage of a canvas; each inked pixel has the colour of a patch: its own, or its label's. */
export class Ink {
  constructor({ width, height }) {
    this.width = width;
    this.height = height;
    this.cover = new Uint8Array(width * height);
    this.owners = null;
  }

  /** Fill a rectangle; edges beyond the canvas are cut off. */
  fill(left, top, right, bottom, cover) {
    for (let y = top; y < Math.min(bottom, this.height); y += 1) {
      const end = Math.min(right, this.width);
      if (left < end) {
        this.cover.fill(cover, y * this.width + left, y * this.width + end);
      }
    }
  }

  /** Over the canvas. colours: one [red, green, blue], or one level for each patch. */
  blend(canvas, colours) {
    const { data } = canvas;
    for (let at = 0; at < this.cover.length; at += 1) {
      const cover = this.cover[at];
      if (cover === 0) {
        continue;
      }
      const colour = Array.isArray(colours) ? colours : new Array(3).fill(colours[this.#patch(at)]);
      for (let channel = 0; channel < 3; channel += 1) {
        const mixed = data[3 * at + channel] * (255 - cover) + colour[channel] * cover + 128;
        data[3 * at + channel] = (mixed + (mixed >> 8)) >> 8;
      }
    }
  }

  #patch(at) {
    if (this.owners !== null) {
      return this.owners[at];
    }
    const counts = patchCounts(this);
    const row = Math.floor((Math.floor(at / this.width) * counts.height) / this.height);
    return row * counts.width + Math.floor(((at % this.width) * counts.width) / this.width);
  }
}

/** One level for each patch: black where its mean luma is 128 or more, white where it is darker. */
export function patches(canvas) {
  const counts = patchCounts(canvas);
  const { data } = resized(canvas, counts.width, counts.height, BOX);
  return Uint8Array.from({ length: data.length / 3 }, (_, at) => {
    const [red, green, blue] = data.subarray(3 * at, 3 * at + 3);
    return (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]) >> 8 >= 128 ? 0 : 255;
  });
}

function patchCounts({ width, height }) {
  return { width: Math.min(PATCHES, width), height: Math.min(PATCHES, height) };
}

/** [first, end) of a line `thick` pixels wide at `at`, moved off the edge of a tile. */
export function strip(start, size, at, thick) {
  let first = Math.floor(at - thick / 2 + 0.5);
  const edge = Math.floor((first + thick - 1) / TILE) * TILE;
  if (first < edge) {
    first = edge - thick >= start ? edge - thick : edge;
  }
  first = Math.min(Math.max(first, start), Math.max(start, start + size - thick));
  return [first, Math.min(first + thick, start + size)];
}

/** Lines across (rows) and down (columns) the box. */
export function lines(canvas, box, rows, columns, cover) {
  const ink = new Ink(canvas);
  for (const [first, end] of rows) {
    ink.fill(box.left, first, box.right, end, cover);
  }
  for (const [first, end] of columns) {
    ink.fill(first, box.top, end, box.bottom, cover);
  }
  return ink;
}

/** Discs that fill the squares given as pixel ranges [columns, rows]. */
export function dots(canvas, centres, cover) {
  const ink = new Ink(canvas);
  for (const [[left, right], [top, bottom]] of centres) {
    const [width, height] = [right - left, bottom - top];
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const far = Math.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2);
        const share = Math.min(Math.max(Math.min(width, height) / 2 + 0.5 - far, 0), 1);
        ink.cover[(top + y) * ink.width + left + x] = roundHalfEven(share * cover);
      }
    }
  }
  return ink;
}

/** Texts, each {text, cap, x, y} centred on (x, y) and kept within a box. */
export function labels(canvas, placed, within) {
  const ink = new Ink(canvas);
  ink.owners = new Int32Array(ink.cover.length);
  const counts = patchCounts(canvas);
  for (const label of placed) {
    const shape = drawn(label.text, label.cap);
    const box = landed(shape, label, within);
    const column = patchAt(label.x, canvas.width, counts.width);
    const owner = patchAt(label.y, canvas.height, counts.height) * counts.width + column;
    for (let y = box.top; y < box.bottom; y += 1) {
      for (let x = box.left; x < box.right; x += 1) {
        const at = y * ink.width + x;
        const cover = shape.data[3 * ((y - box.top) * shape.width + x - box.left)];
        ink.cover[at] = Math.max(ink.cover[at], cover);
        ink.owners[at] = owner;
      }
    }
  }
  return ink;
}

function patchAt(at, side, count) {
  return Math.floor((Math.min(Math.max(Math.trunc(at), 0), side - 1) * count) / side);
}

/** Where a label lies, kept within the box. */
function landed({ width, height }, label, within) {
  const left = Math.min(
    Math.max(Math.floor(label.x - width / 2 + 0.5), within.left),
    Math.max(within.left, within.right - width),
  );
  const top = Math.min(
    Math.max(Math.floor(label.y - height / 2 + 0.5), within.top),
    Math.max(within.top, within.bottom - height),
  );
  const right = Math.min(left + width, within.right);
  return boxOf(left, top, right, Math.min(top + height, within.bottom));
}
