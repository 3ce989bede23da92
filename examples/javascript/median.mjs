// Median filters: of the pixels around each pixel, the middle one. Beyond its edges a picture goes
// on as at them.

import { Picture } from "./picture.mjs";

/** The median of `size` x `size` neighbours, by a histogram that moves along each line. */
export function medianFiltered(picture, size) {
  const { width, height, data } = picture;
  const made = new Picture(width, height);
  const reach = size >> 1;
  const middle = (size * size) >> 1;
  const counts = new Int32Array(256);
  const rows = new Int32Array(size);
  for (let y = 0; y < height; y += 1) {
    for (let row = 0; row < size; row += 1) {
      rows[row] = 3 * width * Math.min(Math.max(y + row - reach, 0), height - 1);
    }
    for (let channel = 0; channel < 3; channel += 1) {
      const column = (x) => 3 * Math.min(Math.max(x, 0), width - 1) + channel;
      counts.fill(0);
      for (let x = -reach; x < reach; x += 1) {
        rows.forEach((row) => (counts[data[row + column(x)]] += 1));
      }
      let level = 0;
      let below = 0;
      const move = (x, step) => {
        const at = column(x);
        for (let row = 0; row < size; row += 1) {
          const value = data[rows[row] + at];
          counts[value] += step;
          below += value < level ? step : 0;
        }
      };
      for (let x = 0; x < width; x += 1) {
        move(x + reach, 1);
        while (below > middle) {
          level -= 1;
          below -= counts[level];
        }
        while (below + counts[level] <= middle) {
          below += counts[level];
          level += 1;
        }
        made.data[3 * (y * width + x) + channel] = level;
        move(x - reach, -1);
      }
    }
  }
  return made;
}
