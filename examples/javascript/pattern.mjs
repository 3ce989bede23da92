// Bases for patterns over the canvas: low frequencies, and tiles.

import { centred } from "./geometry.mjs";

const LARGEST_Z = 1e6;

/** z within bounds that keep sums finite. */
export function bounded(z) {
  return z.map((value) => Math.min(Math.max(value, -LARGEST_Z), LARGEST_Z));
}

/** The `size` lowest (vertical, horizontal) frequencies, by their sum; of equal sums the more
 * isotropic first. */
function lowest(size) {
  const reach = Math.ceil(Math.sqrt(2 * size)) + 1;
  const pairs = [];
  for (let u = 0; u < reach; u += 1) {
    for (let v = 0; v < reach; v += 1) {
      pairs.push([u, v]);
    }
  }
  const rank = ([u, v]) => [u + v, Math.max(u, v), u];
  const compare = (one, other) => {
    const [left, right] = [rank(one), rank(other)];
    const at = left.findIndex((value, place) => value !== right[place]);
    return at < 0 ? 0 : left[at] - right[at];
  };
  return pairs.sort(compare).slice(0, size);
}

/** Sums of the basis functions times `scale`: (height, width, 3) float64. */
export function waves(z, size, scale, { width, height }) {
  const frequencies = lowest(size);
  const count = Math.max(...frequencies.flat()) + 1;
  const table = new Float64Array(3 * count * count);
  frequencies.forEach(([u, v], at) => {
    for (let channel = 0; channel < 3; channel += 1) {
      table[(channel * count + u) * count + v] = z[3 * at + channel];
    }
  });
  const [down, across] = [cosines(height, count), cosines(width, count)];
  const sums = new Float64Array(3 * width * height);
  const row = new Float64Array(count);
  for (let y = 0; y < height; y += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      for (let v = 0; v < count; v += 1) {
        row[v] = 0;
        for (let u = 0; u < count; u += 1) {
          row[v] += down[y * count + u] * table[(channel * count + u) * count + v];
        }
      }
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let v = 0; v < count; v += 1) {
          sum += row[v] * across[x * count + v];
        }
        sums[3 * (y * width + x) + channel] = scale * sum;
      }
    }
  }
  return sums;
}

/** (side, count): the first functions of the DCT-II, of unit mean square. */
function cosines(side, count) {
  const found = new Float64Array(side * count);
  for (let at = 0; at < side; at += 1) {
    for (let frequency = 0; frequency < count; frequency += 1) {
      const phase = (Math.PI * (at + 0.5) * frequency) / side;
      found[at * count + frequency] = frequency === 0 ? 1 : Math.cos(phase) * Math.SQRT2;
    }
  }
  return found;
}

/** The pixels of the canvas around the picture, of which a frame can be seen. */
export function borderCount({ covered, width, height }) {
  return width * height - covered.width * covered.height;
}

/** How many of count x count tiles have a pixel that a frame can show. */
export function tilesInUse(count, geometry) {
  const hidden = centred(geometry.covered, geometry.canvas);
  const within = (at, side, first, end) =>
    edge(at, count, side) >= first && edge(at + 1, count, side) <= end;
  let used = 0;
  for (let row = 0; row < count; row += 1) {
    for (let column = 0; column < count; column += 1) {
      const covered =
        within(row, geometry.height, hidden.top, hidden.bottom) &&
        within(column, geometry.width, hidden.left, hidden.right);
      used += covered ? 0 : 1;
    }
  }
  return used;
}

/** For each pixel of a side, the tile that it lies in. */
export function tilesOf(count, side) {
  const found = new Int32Array(side);
  for (let tile = 0; tile < count; tile += 1) {
    found.fill(tile, edge(tile, count, side), edge(tile + 1, count, side));
  }
  return found;
}

function edge(tile, count, side) {
  return Math.floor((tile * side) / count);
}
