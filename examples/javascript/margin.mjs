// A margin in the picture's own colour: the median of its edge.

import { Layer } from "./layer.mjs";

export class Margin extends Layer {
  static kind = "margin";
  static order = 15;

  painter() {
    return (canvas, box) => {
      const picture = canvas.cut(box);
      if (picture.width === canvas.width && picture.height === canvas.height) {
        return;
      }
      const colour = [0, 1, 2].map((channel) => Math.floor(edgeMedian(picture, channel)));
      canvas.around(box, (...edges) => canvas.fill(...edges, colour));
    };
  }
}

/** Of all four edges, so that corners count twice: the mean of the two middle levels. */
export function edgeMedian({ width, height, data }, channel) {
  const at = (x, y) => data[3 * (y * width + x) + channel];
  const levels = [];
  for (let x = 0; x < width; x += 1) {
    levels.push(at(x, 0), at(x, height - 1));
  }
  for (let y = 0; y < height; y += 1) {
    levels.push(at(0, y), at(width - 1, y));
  }
  levels.sort((one, other) => one - other);
  const middle = levels.length / 2;
  return (levels[middle - 1] + levels[middle]) / 2;
}
