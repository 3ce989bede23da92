// Sizes, rectangles, and the canvas that each picture gets.

import { roundHalfEven } from "./numbers.mjs";
import { boxOf } from "./picture.mjs";

export const NO_INSETS = { left: 0, top: 0, right: 0, bottom: 0 };
/** Level of canvas pixels that neither the picture nor a frame covers. */
export const BACKGROUND = 128;

/** Room for both; strips on one side share it. */
export function joinedInsets(one, other) {
  return {
    left: Math.max(one.left, other.left),
    top: Math.max(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

/** The largest copy of a size within a square. In whole pixels, at least one each. */
export function fit({ width, height }, side) {
  return scaled(width, height, side / Math.max(width, height));
}

/** The largest copy of a rectangle within another one. */
export function fitted(shape, width, height) {
  return scaled(shape.width, shape.height, Math.min(width / shape.width, height / shape.height));
}

function scaled(width, height, scale) {
  return {
    width: Math.max(1, roundHalfEven(width * scale)),
    height: Math.max(1, roundHalfEven(height * scale)),
  };
}

/** Where a rectangle lies in the middle of another one. */
export function centred(inner, outer) {
  const left = Math.floor((outer.width - inner.width) / 2);
  const top = Math.floor((outer.height - inner.height) / 2);
  return boxOf(left, top, left + inner.width, top + inner.height);
}

/** Which canvas each picture gets. side: of the square, or the most of any picture's. */
export class Canvases {
  constructor(placement, side, shape) {
    this.placement = placement;
    this.side = side;
    this.shape = shape;
  }

  /** What layers draw on for a picture that is sent at a multiple of the usual size. */
  geometry(picture, size = 1) {
    const own = this.shape === "picture";
    const longer = Math.max(picture.width, picture.height);
    const usual = own ? Math.min(this.side, longer) : this.side;
    const side = Math.min(this.side, Math.max(1, roundHalfEven(usual * size)));
    const canvas = own ? fit(picture, side) : { width: side, height: side };
    return this.placement.geometry(canvas, this.shape);
  }

  /** The canvas of a large square picture, to which layers are bound. */
  get nominal() {
    return this.geometry({ width: this.side, height: this.side });
  }
}
