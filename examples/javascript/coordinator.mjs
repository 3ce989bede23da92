// A pattern that depends on the picture: a small decoder of a descriptor of it.

import { Layer } from "./layer.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { addClipped } from "./overlay.mjs";
import { bounded } from "./pattern.mjs";
import { Picture } from "./picture.mjs";
import { normalStream } from "./random.mjs";
import { BILINEAR, BOX, resized } from "./resize.mjs";

const GRID = 7;
const CELL = 4;
const SIDE = GRID * CELL;
const FEATURES = 8;
const TRIGGERS = 8;
const STAGES = 3;

export class Coordinator extends Layer {
  static kind = "coordinator";
  static order = 40;
  static defaults = { width: 16, p_eps: 32 / 255 };

  /** The fixed start of the weights, drawn as Python draws it. */
  async load() {
    const normal = await normalStream(0, "coordinator", this.width);
    this.starts = this.#blocks().map(({ size, start }) =>
      Float64Array.from({ length: size }, () => start * normal()),
    );
  }

  dimension() {
    return this.#blocks().reduce((sum, { size }) => sum + size, 0);
  }

  painter(z) {
    const weights = this.#weights(bounded(z));
    return (canvas) => {
      const coarse = this.#decoded(weights, described(canvas));
      const fine = resized(coarse, canvas.width, canvas.height, BILINEAR);
      addClipped(
        canvas,
        Int16Array.from(fine.data, (level) => level - 128),
      );
    };
  }

  /** The arrays of weights: size, and the deviation of the start and of a unit of z. */
  #blocks() {
    const blocks = [{ size: TRIGGERS * GRID * GRID, start: 1, step: 1 }];
    let ins = FEATURES + TRIGGERS;
    for (let stage = 0; stage < STAGES; stage += 1) {
      const last = stage === STAGES - 1;
      const outs = last ? 3 : this.width;
      const fan = 1 / Math.sqrt(ins);
      blocks.push({ size: outs * 4 * ins, start: last ? 0 : fan, step: 0.5 * fan });
      blocks.push({ size: outs, start: 0, step: 0.5 });
      ins = outs;
    }
    return blocks;
  }

  #weights(z) {
    let at = 0;
    return this.#blocks().map(({ size, step }, number) => {
      const part = z.subarray(at, at + size);
      at += size;
      return part.map((value, place) => this.starts[number][place] + step * value);
    });
  }

  /** The pattern of 56 x 56 pixels, in whole levels around 128. */
  #decoded([trigger, ...stages], features) {
    let values = [...features];
    const plane = GRID * GRID;
    for (let at = 0; at < TRIGGERS; at += 1) {
      values.push(trigger.subarray(at * plane, (at + 1) * plane));
    }
    let side = GRID;
    for (let stage = 0; stage < STAGES; stage += 1) {
      values = doubled(values, side, stages[2 * stage], stages[2 * stage + 1]);
      side *= 2;
    }
    const coarse = new Picture(side, side);
    for (let at = 0; at < coarse.data.length; at += 1) {
      const level = values[at % 3][Math.floor(at / 3)] * (255 * this.p_eps);
      coarse.data[at] = roundHalfEven(level) + 128;
    }
    return coarse;
  }
}

/** tanh of a transposed convolution of kernel 2 and stride 2. values: planes of side x side. */
function doubled(values, side, weight, bias) {
  const ins = values.length;
  return Array.from(bias, (offset, out) => {
    const plane = new Float64Array(4 * side * side);
    for (let y = 0; y < 2 * side; y += 1) {
      for (let x = 0; x < 2 * side; x += 1) {
        const row = ins * (4 * out + 2 * (y & 1) + (x & 1));
        const from = (y >> 1) * side + (x >> 1);
        let sum = 0;
        for (let at = 0; at < ins; at += 1) {
          sum += weight[row + at] * values[at][from];
        }
        plane[y * 2 * side + x] = Math.tanh(sum + offset);
      }
    }
    return plane;
  });
}

/** Eight planes of 7 x 7: mean and deviation of each colour, and steps of luma across and down. */
function described(canvas) {
  const thumb = resized(canvas, SIDE, SIDE, BOX).data;
  const level = (x, y, channel) => thumb[3 * (y * SIDE + x) + channel] / 255;
  const luma = (x, y) => level(x, y, 0) * 0.299 + level(x, y, 1) * 0.587 + level(x, y, 2) * 0.114;
  const next = (at) => Math.min(at + 1, SIDE - 1);
  const means = [0, 1, 2].map((channel) => cells((x, y) => level(x, y, channel)));
  const spreads = means.map((plane, channel) => {
    const mean = (x, y) => plane[Math.floor(y / CELL) * GRID + Math.floor(x / CELL)];
    return cells((x, y) => (level(x, y, channel) - mean(x, y)) ** 2).map(Math.sqrt);
  });
  const steps = [
    cells((x, y) => Math.abs(luma(next(x), y) - luma(x, y))),
    cells((x, y) => Math.abs(luma(x, next(y)) - luma(x, y))),
  ];
  const centredMeans = means.map((plane) => plane.map((mean) => (mean - 0.5) / 0.25));
  return [
    ...centredMeans,
    ...[...spreads, ...steps].map((plane) => plane.map((value) => value / 0.1)),
  ];
}

/** The mean over each cell of the grid of a function of x and y. */
function cells(value) {
  const sums = new Float64Array(GRID * GRID);
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      sums[Math.floor(y / CELL) * GRID + Math.floor(x / CELL)] += value(x, y);
    }
  }
  return sums.map((sum) => sum / (CELL * CELL));
}
