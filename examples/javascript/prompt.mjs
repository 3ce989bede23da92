// A visual prompt from a .vprompt bundle, applied to pictures: the same bytes as Python's.

import { readBundle } from "./bundle.mjs";
import { PromptError } from "./errors.mjs";
import { BACKGROUND, Canvases, NO_INSETS, joinedInsets } from "./geometry.mjs";
import { Identity } from "./identity.mjs";
import { layerOf } from "./layers.mjs";
import { Picture } from "./picture.mjs";
import { Placement, place } from "./placement.mjs";
import { decodeAlphaPng } from "./png.mjs";

const PLACE = "{question}";

/** The prompt of the bytes (Uint8Array) of a .vprompt file. PromptError if it is not intact. */
export async function loadPrompt(bytes) {
  const { manifest, z, files } = await readBundle(bytes);
  const layers = [];
  for (const config of manifest.layers) {
    const layer = layerOf(config, manifest.theta[config.kind] ?? {});
    await layer.load?.(files);
    layers.push(layer);
  }
  const frame = layers.find((layer) => layer.constructor.kind === "frame");
  if (frame !== undefined && files.has("frame.png")) {
    frame.picture = opaque(await decodeAlphaPng(files.get("frame.png")));
  }
  return new Prompt(manifest, layers, z);
}

export class Prompt {
  #layers;
  #placement;
  #canvases;
  #view;
  #drawn = new Map();

  constructor(manifest, layers, z) {
    const byKind = new Map(layers.map((layer) => [layer.constructor.kind, layer]));
    if (byKind.size < layers.length) {
      throw new PromptError("two layers of one kind; get the bundle from its author again");
    }
    this.keepsPicture = byKind.has(Identity.kind);
    if (!this.keepsPicture && !byKind.has(Placement.kind)) {
      throw new PromptError("the bundle has no placement; get it from its author again");
    }
    this.#placement = byKind.get(Placement.kind) ?? new Placement({ kind: "placement" }, {});
    this.#canvases = new Canvases(this.#placement, manifest.canvas, manifest.shape ?? "square");
    this.#layers = this.#parts([...byKind.values()], z);
    if (!this.keepsPicture) {
      this.#view = this.#placement.view(this.#layers.get(Placement.kind).z);
    }
  }

  /** The prompted Picture of a picture, {width, height, data}: 3 bytes per pixel. */
  apply({ width, height, data }) {
    if (data.length !== 3 * width * height || data.length === 0) {
      throw new PromptError("data must hold 3 bytes for each pixel: red, green and blue");
    }
    const picture = new Picture(width, height, data);
    if (this.keepsPicture) {
      return new Picture(width, height, data.slice());
    }
    const geometry = this.#canvases.geometry(picture, this.#view.size);
    const { insets, paints } = this.#on(geometry);
    const canvas = new Picture(geometry.width, geometry.height);
    canvas.data.fill(BACKGROUND);
    const sizes = this.#placement.sizes(picture, geometry);
    const box = place(picture, sizes, this.#view, geometry, canvas, insets);
    for (const paint of paints) {
      paint(canvas, box);
    }
    return canvas;
  }

  /** The question with the prompt's words around it, if it has any. */
  ask(question) {
    const said = [...this.#layers.values()].map(({ layer, z }) => layer.sentence(z, this.#layers));
    return said
      .reverse()
      .reduce((asked, text) => (text ? putAround(text, asked) : asked), question);
  }

  /** The pictures that go before the prompted one, each {picture, text}; none for most prompts. */
  context() {
    return [...this.#layers.values()].flatMap(({ layer, z }) => layer.context(z));
  }

  /** Each layer with its slice of z, by kind, in the order in which they are drawn. */
  #parts(layers, z) {
    const geometry = this.#canvases.nominal;
    const parts = new Map();
    let at = 0;
    for (const layer of layers.sort(byOrder)) {
      const end = at + layer.dimension(geometry);
      parts.set(layer.constructor.kind, { layer, z: z.subarray(at, end) });
      at = end;
    }
    if (at !== z.length) {
      throw new PromptError(`z has ${z.length} values for ${at} variables; get the bundle again`);
    }
    return parts;
  }

  /** What is drawn on a canvas of this geometry; the last one is kept. */
  #on(geometry) {
    const key = `${geometry.width} x ${geometry.height}`;
    if (!this.#drawn.has(key)) {
      this.#drawn.clear();
      this.#drawn.set(key, this.#made(geometry));
    }
    return this.#drawn.get(key);
  }

  #made(geometry) {
    let insets = NO_INSETS;
    const paints = [];
    for (const { layer, z } of this.#layers.values()) {
      insets = joinedInsets(insets, layer.insets(z, geometry));
      paints.push(layer.painter(z, geometry));
    }
    return { insets, paints: paints.filter((paint) => paint !== null) };
  }
}

function byOrder({ constructor: one }, { constructor: other }) {
  return one.order - other.order || (one.kind < other.kind ? -1 : 1);
}

function putAround(text, question) {
  const at = text.indexOf(PLACE);
  if (at < 0) {
    return `${text} ${question}`;
  }
  return text.slice(0, at) + question + text.slice(at + PLACE.length);
}

/** Red, green and blue of a picture with alpha, which is left out. */
function opaque({ width, height, data }) {
  const picture = new Picture(width, height);
  for (let from = 0, at = 0; at < picture.data.length; from += 4, at += 3) {
    picture.data.set(data.subarray(from, from + 3), at);
  }
  return picture;
}
