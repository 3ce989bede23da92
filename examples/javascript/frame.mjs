// The pixels around the picture.

import { PromptError } from "./errors.mjs";
import { Layer } from "./layer.mjs";
import { borderCount, bounded, tilesInUse, waves } from "./pattern.mjs";
import { Picture } from "./picture.mjs";

export class Frame extends Layer {
  static kind = "frame";
  static order = 20;
  static defaults = { basis: "dct", size: 24, init: 0.5, amplitude: 1.5 };

  constructor(config, theta) {
    super(config, theta);
    this.checkKnown([this.basis], ["pixels", "blocks", "dct", "color"]);
  }

  dimension(geometry) {
    if (this.basis === "color") {
      return 3;
    }
    if (this.basis === "dct") {
      return 3 * this.size;
    }
    return 3 * (this.basis === "blocks" ? tilesInUse(this.size, geometry) : borderCount(geometry));
  }

  painter(z, geometry) {
    const field = this.#field(z, geometry);
    return (canvas, box) => {
      canvas.around(box, (left, top, right, bottom) => {
        if (left < right && top < bottom) {
          canvas.paste(field.cut({ left, top, right, bottom }), left, top);
        }
      });
    };
  }

  /** What the frame shows: the bundle's own picture, where all images have that canvas. */
  #field(z, geometry) {
    const { picture } = this;
    if (geometry.shared && picture) {
      if (picture.width !== geometry.width || picture.height !== geometry.height) {
        throw new PromptError("frame.png has not the size of the canvas; get the bundle again");
      }
      return picture;
    }
    const field = new Picture(geometry.width, geometry.height);
    field.data.set(this.#levels(bounded(z), geometry));
    return field;
  }

  #levels(z, geometry) {
    const count = 3 * geometry.width * geometry.height;
    const initial = Math.floor(this.init * 255 + 0.5);
    if (z.every((value) => value === 0)) {
      return new Uint8Array(count).fill(initial);
    }
    const start = Math.min(Math.max(initial, 0.25), 254.75) / 255;
    const offset = Math.log(start / (1 - start));
    const level = (logit) => Math.tanh((logit + offset) * 0.5) * 127.5 + 128;
    if (this.basis === "color") {
      const colour = z.map((value) => level(this.amplitude * value));
      return Uint8Array.from({ length: count }, (_, at) => colour[at % 3]);
    }
    const logits = waves(z, this.size, this.amplitude / Math.sqrt(this.size), geometry);
    return Uint8Array.from(logits, level);
  }
}
