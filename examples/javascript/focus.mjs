// Blur that is alike in all directions, as out of focus: read from the picture, and undone.

import { sharpened, smallCopy } from "./deconvolution.mjs";
import { greyOf } from "./luma.mjs";
import { roundHalfEven } from "./numbers.mjs";

const LEAST = 1.2;
const MOST = 8;
const STEEPEST = 200;
const ENDS = 100;

/** Sharpened in all directions, where even the steepest edges of the picture are soft. */
export function refocused(picture) {
  const small = smallCopy(picture);
  const deviation = deviationOf(greyOf(small), small.width, small.height);
  if (deviation < LEAST) {
    return picture;
  }
  const side = Math.sqrt(6 * Math.min(deviation, MOST) ** 2 + 1);
  const reach = roundHalfEven((side - 1) / 2);
  const steps = Array.from({ length: 2 * reach + 1 }, (_, at) => at - reach);
  const column = steps.map((step) => [step, 0]);
  const row = steps.map((step) => [0, step]);
  return sharpened(picture, small, [column, row, column, row]);
}

/** Pixels; 0 for what is too small or even to tell. */
function deviationOf(luma, width, height) {
  if (Math.min(width, height) < 3) {
    return 0;
  }
  const squares = [];
  for (let y = 1; y < height - 1; y += 1) {
    for (let x = 1; x < width - 1; x += 1) {
      const at = y * width + x;
      const right = luma[at + 1] - luma[at - 1];
      const down = luma[at + width] - luma[at - width];
      squares.push(right ** 2 + down ** 2);
    }
  }
  squares.sort((one, other) => one - other);
  const steepest = Math.sqrt(squares.at(-1 - Math.floor(squares.length / STEEPEST))) / 2;
  const levels = luma.slice().sort();
  const cut = Math.floor(levels.length / ENDS);
  const contrast = levels.at(-1 - cut) - levels[cut];
  return steepest > 0 ? contrast / (steepest * Math.sqrt(2 * Math.PI)) : 0;
}
