// Colour evened among neighbours of equal brightness, as JPEG and noise of colour ask for.

import { planesOf, pictureOf } from "./luma.mjs";
import { Picture } from "./picture.mjs";
import { BILINEAR, reduced, resized } from "./resize.mjs";

const SIDE = 128;
const REACH = 4;
const UNLIKE = 0.15;
const LEAST_UNLIKE = 4;

/** Chroma averaged over neighbours, weighted by how alike their luma is; luma is kept. */
export function chromaEvened(picture) {
  const { width, height } = picture;
  const factor = Math.ceil(Math.max(width, height) / SIDE);
  const planes = planesOf(picture);
  const whole = new Picture(width, height);
  for (let at = 0; at < planes.luma.length; at += 1) {
    whole.data.set([planes.luma[at], planes.blue[at], planes.red[at]], 3 * at);
  }
  const change = changeOf(reduced(whole, factor));
  const edges = { left: 0, top: 0, right: width / factor, bottom: height / factor };
  const wide = resized(change, width, height, BILINEAR, edges).data;
  const { luma } = planes;
  const mended = (plane, channel) => plane.map((level, at) => added(level, wide[3 * at + channel]));
  return pictureOf({ luma, blue: mended(planes.blue, 1), red: mended(planes.red, 2) }, width, height);
}

/** A level with a change, 128 for none. */
function added(level, change) {
  return Math.min(Math.max(level + change - 128, 0), 255);
}

/** What a picture of luma and chroma gains, 128 for nothing. */
function changeOf({ width, height, data }) {
  const limit = limitOf(data);
  const made = new Picture(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const to = 3 * (y * width + x);
      let [weights, blue, red] = [0, 0, 0];
      for (let down = -REACH; down <= REACH; down += 1) {
        const row = width * Math.min(Math.max(y + down, 0), height - 1);
        for (let right = -REACH; right <= REACH; right += 1) {
          const from = 3 * (row + Math.min(Math.max(x + right, 0), width - 1));
          const weight = Math.max(limit - Math.abs(data[from] - data[to]), 0);
          weights += weight;
          blue += weight * data[from + 1];
          red += weight * data[from + 2];
        }
      }
      const changes = [blue, red].map((sum, channel) => {
        const mean = Math.floor((2 * sum + weights) / (2 * weights));
        return Math.min(Math.max(mean - data[to + 1 + channel] + 128, 0), 255);
      });
      made.data.set([128, ...changes], to);
    }
  }
  return made;
}

/** Levels from which two pixels are unlike. */
function limitOf(data) {
  const levels = data.filter((_, at) => at % 3 === 0).sort();
  const cut = Math.floor(levels.length / 100);
  const spread = levels.at(-1 - cut) - levels[cut];
  return Math.max(LEAST_UNLIKE, Math.floor(UNLIKE * spread));
}
