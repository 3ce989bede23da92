// Marks over the picture: rows, columns, a grid or dots, and the characters that name their parts.

import { PromptError } from "./errors.mjs";
import { NO_INSETS } from "./geometry.mjs";
import { drawn, fitting, loadGlyphs } from "./glyphs.mjs";
import { dots, labels, lines, patches, strip } from "./ink.mjs";
import { Layer } from "./layer.mjs";
import * as naming from "./naming.mjs";
import { largest, roundHalfEven, soft } from "./numbers.mjs";

const GROUPS = [
  ["layout", ["none", "rows", "columns", "grid", "dots"], 0],
  ["anchors", ["none", "digits", "letters", "symbols"], 6],
  ["place", ["margin", "cell", "corners"], 10],
  ["ink", ["luminance", "red", "black"], 13],
];
const DIVISIONS = 5;
const ALPHA = 16;
const LABEL_HEIGHT = 17;
const MARGIN = 18;
const DIMENSION = 19;
const COLOURS = { red: [255, 0, 0], black: [0, 0, 0] };
const WHITE = [255, 255, 255];
const [LOW, HIGH] = [1 / 40, 1 / 14];
const THIN = 1 / 250;
const DOT = 1 / 120;
const LEAST_CAP = 6;
const LEAST_DOT = 3;
const MOST_MARGIN = 4;

export class Marks extends Layer {
  static kind = "marks";
  static order = 50;
  static defaults = { phase: 0 };

  async load() {
    await loadGlyphs();
  }

  dimension() {
    return DIMENSION;
  }

  insets(z, geometry) {
    const margin = marginOf(this.#look(z), geometry.side);
    return { ...NO_INSETS, left: margin, top: margin };
  }

  painter(z, geometry) {
    const look = this.#look(z);
    if (look.layout === "none") {
      return null;
    }
    const margin = marginOf(look, geometry.side);
    return (canvas, box) => {
      canvas.fill(0, 0, margin, canvas.height, WHITE);
      canvas.fill(0, 0, canvas.width, margin, WHITE);
      const colours = look.ink === "luminance" ? patches(canvas) : COLOURS[look.ink];
      for (const ink of drawnMarks(look, this.phase, geometry, box, margin)) {
        ink.blend(canvas, colours);
      }
    };
  }

  /** What z stands for. Lengths are shares of the canvas' shorter side. */
  #look(z) {
    const look = {};
    for (const [name, options, first] of GROUPS) {
      look[name] = options[largest(z, first, options.length)];
      this.#agrees(this.theta[name] === look[name]);
    }
    const reach = Math.log(HIGH / LOW) / 2;
    const height = Math.sqrt(LOW * HIGH) * Math.exp(soft(z[LABEL_HEIGHT], 0.3, reach));
    look.divisions = this.theta.divisions;
    this.#agrees(Math.abs(look.divisions - 5 - soft(z[DIVISIONS], 1.5, 3.49)) < 0.5 + 1e-9);
    look.alpha = this.parameter("alpha", 0.6 + soft(z[ALPHA], 0.25, 0.4));
    look.labelHeight = this.parameter("label_height", height);
    look.margin = this.parameter("margin", 0.06 + soft(z[MARGIN], 0.04, 0.06));
    return look;
  }

  #agrees(holds) {
    if (!holds) {
      throw new PromptError("theta of marks is not what z gives; get the bundle again");
    }
  }
}

/** Width of the white strips in pixels; 0 without names in them. */
function marginOf(look, side) {
  if (look.layout === "none" || look.anchors === "none" || look.place !== "margin") {
    return 0;
  }
  const cap = capOf(look, side);
  const sizes = naming
    .axes(look)
    .flat()
    .flatMap((name) => {
      const { width, height } = drawn(name, cap);
      return [width, height];
    });
  const needed = Math.max(...sizes) + 2 * padOf(cap);
  const wanted = Math.max(roundHalfEven(look.margin * side), needed);
  return Math.min(wanted, Math.floor(side / MOST_MARGIN));
}

function capOf(look, side) {
  return Math.max(LEAST_CAP, roundHalfEven(look.labelHeight * side));
}

function padOf(cap) {
  return Math.max(1, roundHalfEven(cap / 4));
}

/** The lines or dots, and the labels, for a picture in this box. */
function drawnMarks(look, phase, geometry, box, margin) {
  const { side, canvas } = geometry;
  const cells = new Cells(look, phase, side, box);
  const cover = roundHalfEven(255 * look.alpha);
  const within =
    look.place === "margin" ? { left: 0, top: 0, right: canvas.width, bottom: canvas.height } : box;
  const placed = placedLabels(look, cells, capOf(look, side), margin);
  const marks =
    look.layout === "dots"
      ? dots(canvas, cells.centres(), cover)
      : lines(canvas, box, cells.cuts(1), cells.cuts(0), cover);
  return [marks, labels(canvas, placed, within)];
}

/** The parts of a box. Axis 0 runs across, axis 1 down; an axis without division has one part. */
class Cells {
  constructor(look, phase, side, box) {
    this.thick = Math.max(1, roundHalfEven(side * THIN));
    this.dot = Math.max(LEAST_DOT, roundHalfEven(side * DOT));
    this.starts = [box.left, box.top];
    this.sizes = [box.right - box.left, box.bottom - box.top];
    this.counts = ["rows", "columns"].map((alone) => (look.layout === alone ? 1 : look.divisions));
    this.phase = phase;
  }

  /** The pixels of each line between two parts. */
  cuts(axis) {
    return this.#strips(axis, this.counts[axis] - 1, 1, this.thick);
  }

  /** The pixels of each dot. */
  middles(axis) {
    return this.#strips(axis, this.counts[axis], 0.5, this.dot);
  }

  centres() {
    return this.middles(1).flatMap((y) => this.middles(0).map((x) => [x, y]));
  }

  /** First and last coordinate of each part, clear of the lines. */
  spans(axis) {
    const cuts = this.cuts(axis);
    const firsts = [this.starts[axis], ...cuts.map(([, end]) => end)];
    const ends = [...cuts.map(([first]) => first), this.starts[axis] + this.sizes[axis]];
    return firsts.map((first, at) => [first, ends[at]]);
  }

  /** Of each dot's part, what lies beyond the dot. */
  spansBeyondDots(axis) {
    const last = this.starts[axis] + this.sizes[axis];
    const half = this.sizes[axis] / this.counts[axis] / 2;
    return this.middles(axis).map(([, end]) => [end, Math.min(end - this.dot / 2 + half, last)]);
  }

  #strips(axis, count, offset, thick) {
    const [start, size] = [this.starts[axis], this.sizes[axis]];
    return Array.from({ length: count }, (_, part) => {
      const at = start + ((part + offset + this.phase) * size) / this.counts[axis];
      return strip(start, size, at, thick);
    });
  }
}

/** The labels, all of one size: the largest, up to `cap`, at which each fits into its part. */
function placedLabels(look, cells, cap, margin) {
  if (look.anchors === "none") {
    return [];
  }
  if (look.place === "margin") {
    return labelsInMargin(look, cells, cap, margin);
  }
  const dotted = look.layout === "dots" && look.place === "cell";
  const [across, down] = [0, 1].map((axis) =>
    dotted ? cells.spansBeyondDots(axis) : cells.spans(axis),
  );
  const share = look.place === "corners" ? 0.36 : 0.85;
  const [width, height] = [across, down].map((spans) => Math.trunc(share * narrowest(spans)));
  const texts = naming.parts(look);
  const common = Math.min(...texts.map((text) => fitting(text, cap, width, height)));
  return texts.flatMap((text, at) => {
    const column = across[at % across.length];
    const row = down[Math.floor(at / across.length)];
    return labelsOfPart(look, text, common, column, row, dotted);
  });
}

function narrowest(spans) {
  return Math.min(...spans.map(([first, end]) => end - first));
}

function labelsOfPart(look, text, cap, column, row, dotted) {
  const size = drawn(text, cap);
  const pad = padOf(cap);
  if (dotted) {
    return [{ text, cap, x: column[0] + size.width / 2, y: row[0] + size.height / 2 }];
  }
  const [left, right] = [column[0] + pad + size.width / 2, column[1] - pad - size.width / 2];
  const [top, bottom] = [row[0] + pad + size.height / 2, row[1] - pad - size.height / 2];
  if (look.place === "corners") {
    return [top, bottom].flatMap((y) => [left, right].map((x) => ({ text, cap, x, y })));
  }
  const x = look.layout === "rows" ? left : (column[0] + column[1]) / 2;
  const y = look.layout === "columns" ? top : (row[0] + row[1]) / 2;
  return [{ text, cap, x, y }];
}

/** Names of columns in the strip at the top, of rows in the strip on the left. */
function labelsInMargin(look, cells, wanted, margin) {
  const room = Math.max(1, margin - 2);
  const [columns, rows] = naming.axes(look);
  let [across, down] = [cells.spans(0), cells.spans(1)];
  const [narrow, low] = [across, down].map((spans) => Math.trunc(0.85 * narrowest(spans)));
  const cap = Math.min(
    ...columns.map((name) => fitting(name, wanted, narrow, room)),
    ...rows.map((name) => fitting(name, wanted, room, low)),
  );
  if (look.layout === "dots") {
    [across, down] = [cells.middles(0), cells.middles(1)];
  }
  const middle = (spans, at) => (spans[at][0] + spans[at][1]) / 2;
  const count = (names, spans) => names.slice(0, spans.length);
  return [
    ...count(columns, across).map((text, at) => ({
      text,
      cap,
      x: middle(across, at),
      y: margin / 2,
    })),
    ...count(rows, down).map((text, at) => ({ text, cap, x: margin / 2, y: middle(down, at) })),
  ];
}
