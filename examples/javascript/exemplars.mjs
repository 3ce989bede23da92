// Examples that go with every picture: pictures of the task with their answers.

import { digest } from "./digest.mjs";
import { PromptError } from "./errors.mjs";
import { NO_INSETS } from "./geometry.mjs";
import { fitting, loadGlyphs } from "./glyphs.mjs";
import { labels } from "./ink.mjs";
import { Layer } from "./layer.mjs";
import { largest, roundHalfEven } from "./numbers.mjs";
import { Picture } from "./picture.mjs";
import { decodePng } from "./png.mjs";
import { LANCZOS, resized } from "./resize.mjs";

const STRIP = 1 / 4;
const LEAST_CAP = 5;
const CAPTION = 1 / 5;
const GAP = 2;
const BLACK = [0, 0, 0];

export class Exemplars extends Layer {
  static kind = "exemplars";
  static order = 65;
  static defaults = { exemplars: [], sets: [], form: "images", place: "right" };

  constructor(config, theta) {
    super(config, theta);
    this.checkKnown([this.form, this.place], ["images", "strip", "right", "below"]);
  }

  /** Decode the pictures that the bundle holds, and compare them with their digests. */
  async load(files) {
    await loadGlyphs();
    this.pictures = new Map();
    for (const { picture: mark } of this.exemplars) {
      const bytes = files.get(`exemplar-${mark}.png`);
      if (bytes !== undefined) {
        const picture = await decodePng(bytes);
        const shape = new TextEncoder().encode(`(${picture.height}, ${picture.width}, 3)`);
        if (!(await digest(shape, picture.data)).startsWith(mark)) {
          throw new PromptError(`exemplar-${mark}.png is not the picture that the exemplar names`);
        }
        this.pictures.set(mark, picture);
      }
    }
  }

  dimension() {
    return 1 + this.sets.length;
  }

  context(z) {
    if (this.form === "strip") {
      return [];
    }
    return this.#chosen(z).map((one) => ({ picture: this.#picture(one), text: one.text }));
  }

  insets(z, geometry) {
    if (this.form !== "strip" || this.#chosen(z).length === 0) {
      return NO_INSETS;
    }
    const strip = this.#strip(geometry);
    const room = this.place === "right" ? { right: strip.width } : { bottom: strip.height };
    return { ...NO_INSETS, ...room };
  }

  painter(z, geometry) {
    const found = this.form === "strip" ? this.#chosen(z) : [];
    if (found.length === 0) {
      return null;
    }
    const strip = this.#drawn(found, geometry);
    return (canvas) =>
      canvas.paste(strip, canvas.width - strip.width, canvas.height - strip.height);
  }

  #chosen(z) {
    const number = largest(z, 0, 1 + this.sets.length);
    return number === 0 ? [] : this.sets[number - 1].map((place) => this.exemplars[place]);
  }

  #picture({ picture }) {
    const found = this.pictures.get(picture);
    if (found === undefined) {
      throw new PromptError(`exemplar-${picture}.png is missing; get the bundle again`);
    }
    return found;
  }

  #strip({ width, height }) {
    if (this.place === "right") {
      return { width: roundHalfEven(width * STRIP), height };
    }
    return { width, height: roundHalfEven(height * STRIP) };
  }

  /** How the strip is divided: the size of a cell, the side of its picture, its letters' height. */
  #cell(count, geometry) {
    const strip = this.#strip(geometry);
    const right = this.place === "right";
    const width = right ? strip.width : Math.floor(strip.width / count);
    const height = right ? Math.floor(strip.height / count) : strip.height;
    const cap = Math.max(LEAST_CAP, roundHalfEven((height * CAPTION) / 2));
    return { width, height, cap, thumb: Math.min(width - 2 * GAP, height - 2 * cap - 2 * GAP) };
  }

  /** The strip: black captions below the pictures, on white. */
  #drawn(found, geometry) {
    const { width, height } = this.#strip(geometry);
    const cell = this.#cell(found.length, geometry);
    const canvas = new Picture(width, height);
    canvas.data.fill(255);
    const texts = found.map((exemplar, number) => {
      const [left, top] =
        this.place === "right" ? [0, number * cell.height] : [number * cell.width, 0];
      const small = shrunk(this.#picture(exemplar), cell.thumb);
      canvas.paste(small, left + Math.floor((cell.width - small.width) / 2), top + GAP);
      return captionOf(exemplar.caption, cell, left, top + GAP + small.height);
    });
    labels(canvas, texts, { left: 0, top: 0, right: width, bottom: height }).blend(canvas, BLACK);
    return canvas;
  }
}

function captionOf(text, cell, left, below) {
  const cap = fitting(text, cell.cap, cell.width - GAP, 2 * cell.cap);
  return { text, cap, x: left + cell.width / 2, y: below + cell.cap };
}

/** The picture with no side over `side`; a smaller one as it is. */
function shrunk(picture, side) {
  const scale = side / Math.max(picture.width, picture.height);
  if (scale >= 1) {
    return picture;
  }
  const [width, height] = [picture.width, picture.height].map((size) =>
    Math.max(1, roundHalfEven(size * scale)),
  );
  return resized(picture, width, height, LANCZOS);
}
