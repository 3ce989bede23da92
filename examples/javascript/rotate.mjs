// A picture turned around its middle, equal to Pillow's bicubic `rotate` to the bit.

import { Picture } from "./picture.mjs";
import { cosine, sine } from "./trigonometry.mjs";

/** Turned counter-clockwise by -45 to 45 degrees; what comes in has one colour. */
export function rotated(picture, degrees, colour) {
  if (degrees === 0) {
    return picture;
  }
  const { width, height } = picture;
  const turn = -((degrees < 0 ? degrees + 360 : degrees) * (Math.PI / 180));
  const [across, along] = [cosine(turn), sine(turn)].map((value) => Number(value.toFixed(15)));
  const [middleX, middleY] = [width / 2, height / 2];
  const startX = across * -middleX + along * -middleY + middleX;
  const startY = -along * -middleX + across * -middleY + middleY;
  const made = new Picture(width, height);
  made.fill(0, 0, width, height, colour);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const fromX = across * (x + 0.5) + along * (y + 0.5) + startX;
      const fromY = -along * (x + 0.5) + across * (y + 0.5) + startY;
      if (fromX >= 0 && fromX < width && fromY >= 0 && fromY < height) {
        made.data.set(sampled(picture, fromX - 0.5, fromY - 0.5), 3 * (y * width + x));
      }
    }
  }
  return made;
}

/** The colour between 4 x 4 pixels; those beyond the edges are as at them. */
function sampled({ width, height, data }, x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [shareX, shareY] = [x - left, y - top];
  const columns = [-1, 0, 1, 2].map((step) => 3 * Math.min(Math.max(left + step, 0), width - 1));
  const rows = [-1, 0, 1, 2].map(
    (step) => 3 * width * Math.min(Math.max(top + step, 0), height - 1),
  );
  return [0, 1, 2].map((channel) => {
    const lines = rows.map((row) =>
      cubic(
        columns.map((at) => data[row + at + channel]),
        shareX,
      ),
    );
    return Math.min(Math.max(cubic(lines, shareY), 0), 255);
  });
}

/** A cubic through the second and the third of four values, in the order of Pillow's operations. */
function cubic([a, b, c, d], share) {
  return b + share * (-a + c + share * (2 * (a - b) + c - d + share * (-a + b - c + d)));
}
