// PNG files to pictures and back. Decoded here and not by the platform: a canvas multiplies colours
// by their alpha, and follows colour profiles, which changes bytes.

import { PromptError } from "./errors.mjs";
import { Picture } from "./picture.mjs";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const MOST_PIXELS = 64_000_000;
const GREY = 0;
const RGB = 2;
const INDEXED = 3;
const GREY_ALPHA = 4;
const RGB_ALPHA = 6;
const SAMPLES = { [GREY]: 1, [RGB]: 3, [INDEXED]: 1, [GREY_ALPHA]: 2, [RGB_ALPHA]: 4 };
/** First column and row, and the steps, of each pass of an interlaced file. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** A Picture of the bytes of a PNG file; what is transparent is laid on white. */
export async function decodePng(bytes) {
  const { header, palette, alphas, data } = chunksOf(bytes);
  const samples = await samplesOf(header, data);
  return coloured(header, samples, palette, alphas);
}

/** {width, height, data}: red, green, blue and alpha of each pixel, as they are in the file. */
export async function decodeAlphaPng(bytes) {
  const { header, data } = chunksOf(bytes);
  if (header.type !== RGB_ALPHA || header.depth !== 8) {
    throw new PromptError("a picture is not RGBA of 8 bits; get the bundle from its author again");
  }
  return { width: header.width, height: header.height, data: await samplesOf(header, data) };
}

/** The bytes of a PNG file of a Picture. */
export async function encodePng({ width, height, data }) {
  const lines = new Uint8Array(height * (1 + 3 * width));
  for (let y = 0; y < height; y += 1) {
    lines.set(data.subarray(3 * y * width, 3 * (y + 1) * width), y * (1 + 3 * width) + 1);
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, RGB, 0, 0, 0], 8);
  const packed = await through(new CompressionStream("deflate"), lines);
  const chunks = [
    ["IHDR", header],
    ["IDAT", packed],
    ["IEND", new Uint8Array(0)],
  ];
  return joined([Uint8Array.from(SIGNATURE), ...chunks.map(([kind, body]) => chunk(kind, body))]);
}

// -- reading --------------------------------------------------------------------------------
function chunksOf(bytes) {
  if (!SIGNATURE.every((value, at) => bytes[at] === value)) {
    throw new PromptError("not a PNG file; save the picture as PNG");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { header: null, palette: null, alphas: null, data: [] };
  let at = SIGNATURE.length;
  while (at + 12 <= bytes.length) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    take(found, kind, body);
    if (kind === "IEND") {
      break;
    }
    at += 12 + length;
  }
  if (found.header === null || found.data.length === 0) {
    throw damaged();
  }
  return found;
}

function take(found, kind, body) {
  if (kind === "IHDR") {
    found.header = headerOf(body);
  } else if (kind === "PLTE") {
    found.palette = body;
  } else if (kind === "tRNS") {
    found.alphas = body;
  } else if (kind === "IDAT") {
    found.data.push(body);
  } else if (kind === "eXIf") {
    throw new PromptError("the PNG file has Exif data, which may turn it; save it without");
  }
}

function headerOf(body) {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, type, , , interlaced] = body.subarray(8);
  if (!(type in SAMPLES) || ![1, 2, 4, 8, 16].includes(depth) || !width || !height) {
    throw damaged();
  }
  if (width * height > MOST_PIXELS) {
    throw new PromptError(
      `${width} x ${height} px are over 64 megapixels; shrink the picture first`,
    );
  }
  return { width, height, depth, type, interlaced: interlaced === 1 };
}

/** Every sample as 8 bits, in the order of the pixels. Of 16 bits the upper 8 are kept. */
async function samplesOf(header, data) {
  const { width, height, interlaced, type } = header;
  const count = SAMPLES[type];
  const raw = await through(new DecompressionStream("deflate"), joined(data)).catch(() => {
    throw damaged();
  });
  const samples = new Uint8Array(width * height * count);
  let at = 0;
  for (const [left, top, across, down] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
    const size = {
      ...header,
      width: Math.ceil((width - left) / across),
      height: Math.ceil((height - top) / down),
    };
    if (size.width < 1 || size.height < 1) {
      continue;
    }
    const lines = unfiltered(raw, at, size);
    at = lines.end;
    for (let y = 0; y < size.height; y += 1) {
      for (let x = 0; x < size.width; x += 1) {
        const target = count * ((top + y * down) * width + left + x * across);
        for (let sample = 0; sample < count; sample += 1) {
          samples[target + sample] = lines.sample(y, x * count + sample);
        }
      }
    }
  }
  return samples;
}

/** The lines of one pass without their filters, and a reader of their samples. */
function unfiltered(raw, start, { width, height, depth, type }) {
  const bits = depth * SAMPLES[type];
  const length = Math.ceil((width * bits) / 8);
  const step = Math.max(1, bits >> 3);
  const end = start + height * (length + 1);
  if (end > raw.length) {
    throw damaged();
  }
  const lines = new Uint8Array(height * length);
  for (let y = 0; y < height; y += 1) {
    const from = start + y * (length + 1);
    const filter = predictor(raw[from]);
    for (let x = 0; x < length; x += 1) {
      const at = y * length + x;
      const left = x >= step ? lines[at - step] : 0;
      const above = y > 0 ? lines[at - length] : 0;
      const corner = x >= step && y > 0 ? lines[at - length - step] : 0;
      lines[at] = raw[from + 1 + x] + filter(left, above, corner);
    }
  }
  const sample = (y, at) => {
    if (depth >= 8) {
      return lines[y * length + at * (depth >> 3)];
    }
    const shift = 8 - depth - ((at * depth) & 7);
    return (lines[y * length + ((at * depth) >> 3)] >> shift) & ((1 << depth) - 1);
  };
  return { end, sample };
}

function predictor(filter) {
  const found = [
    () => 0,
    (left) => left,
    (left, above) => above,
    (left, above) => (left + above) >> 1,
    paeth,
  ][filter];
  return found ?? fail();
}

function paeth(left, above, corner) {
  const estimate = left + above - corner;
  const [a, b, c] = [left, above, corner].map((value) => Math.abs(estimate - value));
  if (a <= b && a <= c) {
    return left;
  }
  return b <= c ? above : corner;
}

// -- colours --------------------------------------------------------------------------------
function coloured({ width, height, depth, type }, samples, palette, alphas) {
  if (alphas !== null && depth === 16) {
    throw new PromptError("a PNG file of 16 bits with one clear colour; save it with 8 bits");
  }
  const picture = new Picture(width, height);
  const colour = colourOf(type, depth, palette, alphas);
  const count = SAMPLES[type];
  for (let at = 0, from = 0; at < picture.data.length; at += 3, from += count) {
    const [red, green, blue, alpha] = colour(samples, from);
    picture.data[at] = onWhite(red, alpha);
    picture.data[at + 1] = onWhite(green, alpha);
    picture.data[at + 2] = onWhite(blue, alpha);
  }
  return picture;
}

/** A function from a place among the samples to red, green, blue and alpha. */
function colourOf(type, depth, palette, alphas) {
  if (type === INDEXED) {
    if (palette === null) {
      throw damaged();
    }
    return (samples, at) => {
      const index = samples[at];
      return [...palette.subarray(3 * index, 3 * index + 3), alphas?.[index] ?? 255];
    };
  }
  if (type === GREY) {
    const scale = depth < 8 ? 255 / ((1 << depth) - 1) : 1;
    const clear = alphas === null ? -1 : alphas[1]; // Pillow compares it with the scaled level
    return (samples, at) => {
      const level = samples[at] * scale;
      return [level, level, level, level === clear ? 0 : 255];
    };
  }
  if (type === GREY_ALPHA) {
    return (samples, at) => [samples[at], samples[at], samples[at], samples[at + 1]];
  }
  if (type === RGB_ALPHA) {
    return (samples, at) => samples.subarray(at, at + 4);
  }
  return (samples, at) => {
    const clear =
      alphas !== null &&
      [0, 1, 2].every((channel) => samples[at + channel] === alphas[2 * channel + 1]);
    return [samples[at], samples[at + 1], samples[at + 2], clear ? 0 : 255];
  };
}

/** A level laid on white, in the fixed point of Pillow's alpha_composite: 7 bits more, rounded. */
function onWhite(level, alpha) {
  if (alpha === 255) {
    return level;
  }
  const share = alpha << 7;
  const mixed = level * share + 255 * (255 * 128 - share) + (128 << 7);
  return (((mixed >>> 8) + mixed) >>> 8) >>> 7;
}

// -- writing --------------------------------------------------------------------------------
function chunk(kind, body) {
  const made = new Uint8Array(12 + body.length);
  const view = new DataView(made.buffer);
  view.setUint32(0, body.length);
  made.set(new TextEncoder().encode(kind), 4);
  made.set(body, 8);
  view.setUint32(8 + body.length, crc32(made.subarray(4, 8 + body.length)));
  return made;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
  }
  return ~crc >>> 0;
}

async function through(transform, bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(transform);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function fail() {
  throw damaged();
}

function damaged() {
  return new PromptError("a PNG file cannot be decoded; save it again");
}
