// Characters from the bundled atlas: the same pixels everywhere, without any font.

import { ATLAS } from "./atlas.mjs";
import { PromptError } from "./errors.mjs";
import { roundHalfEven } from "./numbers.mjs";
import { Picture } from "./picture.mjs";
import { decodePng } from "./png.mjs";
import { BICUBIC, resized } from "./resize.mjs";

const CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$@&%+*=-_.:/()";
const CAP = 48;
const WIDTH = 80;
const HEIGHT = 12 + CAP + 16;
const COLUMNS = 16;
const GAP = 7;
const SPACE = 18;

let cells = null;
const lines = new Map();
const texts = new Map();

/** Decode the atlas; to be awaited before anything is drawn. */
export async function loadGlyphs() {
  if (cells === null) {
    const bytes = Uint8Array.from(atob(ATLAS.replace(/\s/g, "")), (char) => char.charCodeAt(0));
    cells = cellsOf(await decodePng(bytes));
  }
}

/** A line of text whose capital letters are `cap` pixels high: a Picture whose red is coverage. */
export function drawn(text, cap) {
  const key = `${cap} ${text}`;
  if (!texts.has(key)) {
    const line = lineOf(text);
    const [width, height] = [line.width, line.height].map((size) =>
      Math.max(1, roundHalfEven((size * cap) / CAP)),
    );
    texts.set(key, resized(line, width, height, BICUBIC));
  }
  return texts.get(key);
}

/** The largest height of capital letters at which a text fits a box: at most `cap`, at least 1. */
export function fitting(text, cap, width, height) {
  const line = lineOf(text);
  const scale = Math.min(cap / CAP, (height + 0.49) / line.height, (width + 0.49) / line.width);
  return Math.max(1, Math.trunc(scale * CAP + 1e-9));
}

/** Each character's cell, cut to the columns that hold ink. */
function cellsOf(sheet) {
  const found = new Map();
  [...CHARACTERS].forEach((character, at) => {
    const left = (at % COLUMNS) * WIDTH;
    const top = Math.floor(at / COLUMNS) * HEIGHT;
    const cell = sheet.cut({ left, top, right: left + WIDTH, bottom: top + HEIGHT });
    const { left: first, right } = inkOf(cell);
    found.set(character, cell.cut({ left: first, top: 0, right, bottom: HEIGHT }));
  });
  return found;
}

/** The text at the size of the atlas, without empty rows and columns around it. */
function lineOf(text) {
  if (!lines.has(text)) {
    const parts = [...text].map((character) => (character === " " ? null : cellOf(character)));
    const width = parts.reduce((sum, part) => sum + (part === null ? SPACE : GAP + part.width), 0);
    const line = new Picture(width, HEIGHT);
    let at = 0;
    for (const part of parts) {
      if (part !== null) {
        line.paste(part, at + GAP, 0);
      }
      at += part === null ? SPACE : GAP + part.width;
    }
    lines.set(text, line.cut(inkOf(line)));
  }
  return lines.get(text);
}

function cellOf(character) {
  const found = cells.get(character);
  if (found === undefined) {
    throw new PromptError(`'${character}' cannot be drawn; get the bundle from its author again`);
  }
  return found;
}

/** The box of the pixels that are not black. */
function inkOf({ width, height, data }) {
  const box = { left: width, top: height, right: 0, bottom: 0 };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (data[3 * (y * width + x)] > 0) {
        box.left = Math.min(box.left, x);
        box.right = Math.max(box.right, x + 1);
        box.top = Math.min(box.top, y);
        box.bottom = Math.max(box.bottom, y + 1);
      }
    }
  }
  return box;
}
