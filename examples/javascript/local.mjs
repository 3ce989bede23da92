// Contrast of each part of a picture brought to the whole range of levels.

import { wideBlur } from "./blur.mjs";
import { Picture } from "./picture.mjs";
import { BILINEAR, reduced, resized } from "./resize.mjs";

const { fround } = Math;
const SIDE = 64;
const REACH = 1 / 8;
const SOFT = 1 / 16;
const LEAST = 48;

/** Black where the darkest channel about a pixel is, white where the lightest is. */
export function locallyStretched(picture) {
  const { width, height } = picture;
  const factor = Math.ceil(Math.max(width, height) / SIDE);
  const small = reduced(picture, factor);
  const side = Math.max(small.width, small.height);
  const soft = wideBlur(endsOf(small, Math.max(1, Math.floor(side * REACH))), side * SOFT);
  const edges = { left: 0, top: 0, right: width / factor, bottom: height / factor };
  return stretched(picture, resized(soft, width, height, BILINEAR, edges));
}

/** The darkest and the lightest channel within a square about each pixel, as red and green. */
function endsOf(picture, reach) {
  const { width, height, data } = picture;
  const ends = new Picture(width, height);
  for (let at = 0; at < data.length; at += 3) {
    const [red, green, blue] = data.subarray(at, at + 3);
    ends.data[at] = Math.min(red, green, blue);
    ends.data[at + 1] = Math.max(red, green, blue);
  }
  const across = widened(ends, reach, 0);
  return widened(across, 0, reach);
}

/** The least red and the largest green at most so many pixels beside or above each pixel. */
function widened(ends, reachX, reachY) {
  const { width, height } = ends;
  const made = new Picture(width, height);
  const near = (place, reach, side) => [
    Math.max(place - reach, 0),
    Math.min(place + reach, side - 1),
  ];
  for (let y = 0; y < height; y += 1) {
    const [top, bottom] = near(y, reachY, height);
    for (let x = 0; x < width; x += 1) {
      const [left, right] = near(x, reachX, width);
      let [low, high] = [255, 0];
      for (let row = top; row <= bottom; row += 1) {
        for (let column = left; column <= right; column += 1) {
          const at = 3 * (row * width + column);
          low = Math.min(low, ends.data[at]);
          high = Math.max(high, ends.data[at + 1]);
        }
      }
      made.data.set([low, high, 0], 3 * (y * width + x));
    }
  }
  return made;
}

/** Each value from its black to its white, in float32, rounded. */
function stretched(picture, ends) {
  const made = new Picture(picture.width, picture.height);
  for (let at = 0; at < made.data.length; at += 1) {
    const pixel = at - (at % 3);
    const darkest = ends.data[pixel];
    const between = ends.data[pixel + 1] - darkest;
    const black = fround(darkest - fround((darkest * Math.max(LEAST - between, 0)) / 255));
    const gain = fround(255 / Math.max(between, LEAST));
    const value = fround(fround(picture.data[at] - black) * gain);
    made.data[at] = fround(Math.min(Math.max(value, 0), 255) + 0.5);
  }
  return made;
}
