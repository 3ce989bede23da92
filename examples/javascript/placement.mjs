// Where the picture lies on the canvas, and how large.

import { PromptError } from "./errors.mjs";
import { centred, fit, fitted } from "./geometry.mjs";
import { Layer } from "./layer.mjs";
import { largest, roundHalfEven, soft } from "./numbers.mjs";
import { boxOf } from "./picture.mjs";
import { BICUBIC, BILINEAR, reduced, resized, wholeOf } from "./resize.mjs";

const ZOOM_STEP = 0.25;
const ZOOM_LIMIT = 0.5;
/** exp(0.5) and its roots: zooms for which a reduced copy is kept. */
const LARGEST_ZOOM = 1.6487212707001282;
const LEVELS = [1.1331484530668263, 1.2840254166877414, LARGEST_ZOOM];
const SMALLEST_ZOOM = 0.6065306597126334;
const VARIABLES = ["zoom", "x", "y", "size", "crop", "shrink", "enlarge"];
const OFFSET_STEP = 0.5;
const CROP_STEP = 0.1;
const CROP_LIMIT = 0.25;
const SIZES = [
  ["1", 1],
  ["1/2", 1 / 2],
  ["1/3", 1 / 3],
  ["1/4", 1 / 4],
  ["2", 2],
  ["3", 3],
];
/** Variables that choose the size that is sent, and from what. */
const SENT = { size: SIZES, enlarge: SIZES.filter(([name]) => name === "1" || name === "2") };

export class Placement extends Layer {
  static kind = "placement";
  static order = 0;
  static defaults = { inside: 1, search: [], reduce: false };

  constructor(config, theta) {
    super(config, theta);
    this.checkKnown(this.search, VARIABLES);
    if (Object.keys(SENT).every((name) => this.search.includes(name))) {
      throw new PromptError("size and enlarge both choose the size that is sent");
    }
  }

  dimension() {
    return count(this.search);
  }

  geometry(canvas, shape) {
    const inside = {
      width: Math.max(1, roundHalfEven(canvas.width * this.inside)),
      height: Math.max(1, roundHalfEven(canvas.height * this.inside)),
    };
    const covered = {
      width: this.#covered(canvas.width, inside.width),
      height: this.#covered(canvas.height, inside.height),
    };
    return {
      ...canvas,
      canvas,
      inside,
      covered,
      fixed: this.search.length === 0,
      shared: shape === "square" && !this.#sent(),
      ownShape: shape === "picture",
      side: Math.min(canvas.width, canvas.height),
      box: centred(inside, canvas),
    };
  }

  /** zoom, x, y and the multiple of the usual size. */
  view(z) {
    const at = (name) => (this.search.includes(name) ? z[this.#placeOf(name)] : 0);
    const crop = 1 - soft(Math.max(at("crop"), 0), CROP_STEP, CROP_LIMIT);
    let logarithm = soft(at("zoom"), ZOOM_STEP, ZOOM_LIMIT);
    logarithm -= soft(Math.max(at("shrink"), 0), ZOOM_STEP, ZOOM_LIMIT);
    return {
      zoom: this.parameter("zoom", Math.exp(logarithm) / crop),
      x: this.parameter("x", soft(at("x"), OFFSET_STEP, 1)),
      y: this.parameter("y", soft(at("y"), OFFSET_STEP, 1)),
      size: this.#size(z),
    };
  }

  /** Sizes of copies of the picture, small to large, as large as any zoom shows them.
   *
   * With `reduce`: by which factor it is reduced, and to how many pixels, the last in part. */
  sizes(picture, geometry) {
    const sizes = this.#wholeSizes(picture, geometry);
    return this.reduce ? sizes.map((size) => reducedSize(picture, size)) : sizes;
  }

  #wholeSizes(picture, geometry) {
    if (this.search.includes("zoom") || this.search.includes("crop")) {
      return this.#sides(picture, geometry).map((side) => fit(picture, side));
    }
    const longer = Math.max(geometry.inside.width, geometry.inside.height);
    return [geometry.ownShape ? geometry.inside : fit(picture, longer)];
  }

  #sides(picture, geometry) {
    const most = this.#largestZoom();
    const zooms = [1, ...LEVELS.filter((zoom) => zoom < most), most];
    const longest = Math.max(picture.width, picture.height);
    const longer = Math.max(geometry.inside.width, geometry.inside.height);
    const wanted = zooms.map((zoom) => Math.min(longest, Math.ceil(longer * zoom)));
    return [...new Set(wanted)].sort((one, other) => one - other);
  }

  #largestZoom() {
    const zoom = this.search.includes("zoom") ? LARGEST_ZOOM : 1;
    return this.search.includes("crop") ? zoom / (1 - CROP_LIMIT) : zoom;
  }

  #placeOf(name) {
    return count(this.search.slice(0, this.search.indexOf(name)));
  }

  /** The variable that chooses the size that is sent, if any does. */
  #sent() {
    return this.search.find((name) => name in SENT);
  }

  #size(z) {
    const variable = this.#sent();
    if (!variable) {
      return 1;
    }
    const sizes = SENT[variable];
    const [name, size] = sizes[largest(z, this.#placeOf(variable), sizes.length)];
    if (this.theta.size !== name) {
      throw new PromptError("theta of placement is not what z gives; get the bundle again");
    }
    return size;
  }

  /** The side that a picture hides wherever its variables move it. */
  #covered(canvas, inside) {
    let smallest = inside;
    for (const name of ["zoom", "shrink"]) {
      if (this.search.includes(name)) {
        smallest = Math.trunc(smallest * SMALLEST_ZOOM) - 2;
      }
    }
    if (this.search.includes("x") || this.search.includes("y")) {
      smallest = 2 * smallest - canvas;
    }
    return Math.max(0, smallest);
  }
}

function reducedSize({ width, height }, size) {
  const times = Math.floor(Math.max(width, height) / Math.max(size.width, size.height));
  const factor = Math.max(1, Math.min(width, height, times));
  return { width: width / factor, height: height / factor, factor };
}

/** Places in z of these variables. */
function count(search) {
  return search.reduce((sum, name) => sum + (SENT[name]?.length ?? 1), 0);
}

/** Draw a picture on the canvas as the view says, within the insets; returns where it lies.
 *
 * It is taken from a copy of one of these sizes: the smallest that is large enough. */
export function place(picture, sizes, view, geometry, canvas, insets) {
  const across = freeAxis(insets.left, insets.right, geometry.width, geometry.inside.width);
  const down = freeAxis(insets.top, insets.bottom, geometry.height, geometry.inside.height);
  const inside = fitted(geometry.canvas, across.inside, down.inside);
  const longest = Math.max(inside.width, inside.height) * view.zoom;
  const isLarge = ({ width, height }) => Math.max(width, height) >= longest;
  const size = sizes.find(isLarge) ?? sizes.at(-1);
  const full = geometry.ownShape
    ? fitted(geometry.canvas, inside.width * view.zoom, inside.height * view.zoom)
    : fit(size, longest);
  const columns = axis(full.width, size.width, view.x, across, inside.width);
  const rows = axis(full.height, size.height, view.y, down, inside.height);
  const edges = { left: columns.low, top: rows.low, right: columns.high, bottom: rows.high };
  const kind = sizes.length > 1 ? BILINEAR : BICUBIC;
  const copy = size.factor
    ? reduced(picture, size.factor)
    : placed(picture, size, wholeOf(picture), BICUBIC);
  const shown = placed(copy, { width: columns.size, height: rows.size }, edges, kind);
  canvas.paste(shown, columns.start, rows.start);
  return boxOf(columns.start, rows.start, columns.start + columns.size, rows.start + rows.size);
}

/** One axis of the canvas within its insets. */
function freeAxis(before, after, canvas, inside) {
  if (!before && !after) {
    return { start: 0, size: canvas, inside };
  }
  const size = Math.max(1, canvas - before - after);
  return { start: before, size, inside: Math.max(1, roundHalfEven((inside * size) / canvas)) };
}

/** `size` canvas pixels from `start` show the source pixels low..high. */
function axis(full, source, offset, free, inside) {
  const size = Math.min(full, inside);
  const share = (1 + offset) / 2;
  let low = 0;
  let high = source;
  if (size < full) {
    low = ((full - size) * share * source) / full;
    high = Math.min(low + (size * source) / full, high);
  }
  return { start: free.start + Math.trunc((free.size - size) * share), size, low, high };
}

function placed(picture, { width, height }, edges, filter) {
  const whole =
    edges.left === 0 &&
    edges.top === 0 &&
    edges.right === picture.width &&
    edges.bottom === picture.height;
  const unchanged = whole && width === picture.width && height === picture.height;
  return unchanged ? picture : resized(picture, width, height, filter, edges);
}
