// Pictures of 8-bit red, green and blue, and rectangles in them.

/** data: 3 bytes per pixel, row by row from the top left. */
export class Picture {
  constructor(width, height, data = new Uint8Array(3 * width * height)) {
    this.width = width;
    this.height = height;
    this.data = data;
  }

  /** A copy of the pixels within a box. */
  cut(box) {
    const part = new Picture(box.right - box.left, box.bottom - box.top);
    const length = 3 * part.width;
    for (let y = 0; y < part.height; y += 1) {
      const start = 3 * ((box.top + y) * this.width + box.left);
      part.data.set(this.data.subarray(start, start + length), y * length);
    }
    return part;
  }

  /** Put another picture over this one. */
  paste(part, left, top) {
    const length = 3 * part.width;
    for (let y = 0; y < part.height; y += 1) {
      const row = part.data.subarray(y * length, (y + 1) * length);
      this.data.set(row, 3 * ((top + y) * this.width + left));
    }
  }

  /** Fill the pixels within these edges with one colour; edges beyond the picture are cut off. */
  fill(left, top, right, bottom, [red, green, blue]) {
    const end = Math.min(right, this.width);
    for (let y = top; y < Math.min(bottom, this.height); y += 1) {
      for (let at = 3 * (y * this.width + left); at < 3 * (y * this.width + end); at += 3) {
        this.data[at] = red;
        this.data[at + 1] = green;
        this.data[at + 2] = blue;
      }
    }
  }

  /** Call paint(left, top, right, bottom) for the four strips around a box. */
  around(box, paint) {
    paint(0, 0, this.width, box.top);
    paint(0, box.bottom, this.width, this.height);
    paint(0, box.top, box.left, box.bottom);
    paint(box.right, box.top, this.width, box.bottom);
  }
}

/** left and top are inside, right and bottom just outside. */
export function boxOf(left, top, right, bottom) {
  return { left, top, right, bottom };
}
