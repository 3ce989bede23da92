// An additive pattern over the whole canvas.

import { Layer } from "./layer.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { bounded, tilesOf, waves } from "./pattern.mjs";

const STEP = 0.5;

export class Overlay extends Layer {
  static kind = "overlay";
  static order = 30;
  static defaults = { basis: "dct", size: 24, amplitude: 32 / 255 };

  constructor(config, theta) {
    super(config, theta);
    this.checkKnown([this.basis], ["pixels", "blocks", "dct"]);
  }

  dimension({ width, height }) {
    if (this.basis === "dct") {
      return 3 * this.size;
    }
    return 3 * (this.basis === "blocks" ? this.size * this.size : width * height);
  }

  painter(z, geometry) {
    const levels = this.#levels(bounded(z), geometry);
    return (canvas) => {
      addClipped(canvas, levels);
    };
  }

  /** What is added to each value, in whole levels. */
  #levels(z, geometry) {
    const largest = 255 * this.amplitude;
    const level = (value) => roundHalfEven(Math.tanh(value) * largest);
    if (this.basis === "dct") {
      const scaled = z.map((value) => (STEP / Math.sqrt(this.size)) * value);
      return Int16Array.from(waves(scaled, this.size, 1, geometry), level);
    }
    const values = Int16Array.from(z, (value) => level(STEP * value));
    return this.basis === "blocks" ? spread(values, this.size, geometry) : values;
  }
}

/** Add whole levels to a canvas, clipped to 0..255. */
export function addClipped(canvas, levels) {
  const { data } = canvas;
  for (let at = 0; at < data.length; at += 1) {
    data[at] = Math.min(Math.max(data[at] + levels[at], 0), 255);
  }
}

/** Every pixel shows its tile. */
function spread(tiles, count, { width, height }) {
  const [rows, columns] = [tilesOf(count, height), tilesOf(count, width)];
  const levels = new Int16Array(3 * width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const from = 3 * (rows[y] * count + columns[x]);
      levels.set(tiles.subarray(from, from + 3), 3 * (y * width + x));
    }
  }
  return levels;
}
