// Names in a white strip below the picture.

import { NO_INSETS } from "./geometry.mjs";
import { drawn, loadGlyphs } from "./glyphs.mjs";
import { labels } from "./ink.mjs";
import { Layer } from "./layer.mjs";
import { largest, roundHalfEven } from "./numbers.mjs";

const LEAST_CAP = 6;
const PITCH = 1.9;
const BETWEEN = 1.4;
const MOST_STRIP = 1 / 3;
const BLACK = [0, 0, 0];
const WHITE = [255, 255, 255];

export class Legend extends Layer {
  static kind = "legend";
  static order = 60;
  static defaults = { entries: [], height: 1 / 24 };

  async load() {
    await loadGlyphs();
  }

  dimension() {
    return 2;
  }

  insets(z, geometry) {
    return { ...NO_INSETS, bottom: isShown(z) ? this.#laidOut(geometry).strip : 0 };
  }

  painter(z, geometry) {
    if (!isShown(z)) {
      return null;
    }
    const { width, height } = geometry;
    const { placed, strip } = this.#laidOut(geometry);
    const top = height - strip;
    const ink = labels(geometry.canvas, placed, { left: 0, top, right: width, bottom: height });
    return (canvas) => {
      canvas.fill(0, top, width, height, WHITE);
      ink.blend(canvas, BLACK);
    };
  }

  /** The labels and the height of their strip; all smaller where a picture is narrow. */
  #laidOut({ width, height, side }) {
    for (let cap = Math.max(LEAST_CAP, roundHalfEven(this.height * side)); cap > 0; cap -= 1) {
      const rows = this.#wrapped(cap, width);
      const pitch = roundHalfEven(PITCH * cap);
      const strip = pitch * rows.length;
      const widest = Math.max(...this.entries.map((entry) => drawn(entry, cap).width));
      if (widest > width - roundHalfEven(BETWEEN * cap) || strip > height * MOST_STRIP) {
        continue;
      }
      const y = (row) => height - strip + (row + 0.5) * pitch;
      const placed = rows.flatMap((row, at) =>
        row.map(({ text, x }) => ({ text, cap, x, y: y(at) })),
      );
      return { placed, strip };
    }
    return { placed: [], strip: 0 };
  }

  /** The entries of each line, with the middle of each. */
  #wrapped(cap, side) {
    const gap = roundHalfEven(BETWEEN * cap);
    const rows = [[]];
    let at = gap / 2;
    for (const text of this.entries) {
      const { width } = drawn(text, cap);
      if (at + width > side - gap / 2) {
        rows.push([]);
        at = gap / 2;
      }
      rows.at(-1).push({ text, x: at + width / 2 });
      at += width + gap;
    }
    return rows;
  }
}

function isShown(z) {
  return largest(z, 0, 2) === 1;
}
