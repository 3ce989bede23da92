// numpy's named random streams: normal numbers of PCG64, seeded by a digest.

import { digest } from "./digest.mjs";

const WORD = (1n << 64n) - 1n;
const LONG = (1n << 128n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const LAYERS = 256;
/** Where the tail of the ziggurat begins, and the area of each of its layers. */
const TAIL = 3.6541528853610088;
const AREA = 0.0049286732339746545;

/** A function that gives normal numbers: equal names give equal numbers everywhere. */
export async function normalStream(...names) {
  const encoder = new TextEncoder();
  const key = await digest(...names.map((name) => encoder.encode(String(name))));
  const next = pcg64(BigInt(`0x${key.slice(0, 32)}`));
  return () => normal(next);
}

/** PCG XSL RR 128/64: a function that gives 64-bit numbers. O'Neill, "PCG", 2014. */
function pcg64(seed) {
  const words = seedWords(seed, 8);
  const [high, low, incrementHigh, incrementLow] = [0, 2, 4, 6].map(
    (at) => words[at] | (words[at + 1] << 32n),
  );
  const increment = ((((incrementHigh << 64n) | incrementLow) << 1n) | 1n) & LONG;
  const step = (state) => (state * MULTIPLIER + increment) & LONG;
  let state = step((increment + ((high << 64n) | low)) & LONG);
  return () => {
    state = step(state);
    const turn = state >> 122n;
    const mixed = ((state >> 64n) ^ state) & WORD;
    return ((mixed >> turn) | (mixed << (-turn & 63n))) & WORD;
  };
}

/** numpy's SeedSequence: 32-bit words from an integer. After O'Neill's `seed_seq_fe`. */
function seedWords(seed, count) {
  const entropy = [];
  for (let rest = seed; rest > 0n || entropy.length === 0; rest >>= 32n) {
    entropy.push(Number(rest & 0xffffffffn));
  }
  let hash = 0x43b0d7e5;
  const hashed = (value) => {
    const mixed = value ^ hash;
    hash = Math.imul(hash, 0x931e8875);
    const product = Math.imul(mixed, hash);
    return product ^ (product >>> 16);
  };
  const pool = [0, 1, 2, 3].map((at) => hashed(entropy[at] ?? 0));
  const mix = (one, other) => {
    const mixed = Math.imul(one, 0xca01f9dd) - Math.imul(other, 0x4973f715);
    return mixed ^ (mixed >>> 16);
  };
  for (let from = 0; from < 4; from += 1) {
    for (let to = 0; to < 4; to += 1) {
      if (from !== to) {
        pool[to] = mix(pool[to], hashed(pool[from]));
      }
    }
  }
  let state = 0x8b51f9dd;
  return Array.from({ length: count }, (_, at) => {
    const mixed = pool[at % 4] ^ state;
    state = Math.imul(state, 0x58f38ded);
    const product = Math.imul(mixed, state);
    return BigInt((product ^ (product >>> 16)) >>> 0);
  });
}

/** One normal number by the ziggurat of Marsaglia and Tsang, 2000. */
function normal(next) {
  const uniform = () => Number(next() >> 11n) / 2 ** 53;
  for (;;) {
    const bits = next();
    const layer = Number(bits & 0xffn);
    const whole = Number((bits >> 9n) & 0xfffffffffffffn);
    const sign = (bits >> 8n) & 1n ? -1 : 1;
    const x = sign * whole * WIDTHS[layer];
    if (whole < INNER[layer]) {
      return x;
    }
    if (layer === 0) {
      return tail(uniform, (whole / 2 ** 8) & 1 ? -1 : 1);
    }
    if (
      (HEIGHTS[layer - 1] - HEIGHTS[layer]) * uniform() + HEIGHTS[layer] <
      Math.exp(-0.5 * x * x)
    ) {
      return x;
    }
  }
}

function tail(uniform, sign) {
  for (;;) {
    const x = -Math.log1p(-uniform()) / TAIL;
    const y = -Math.log1p(-uniform());
    if (y + y > x * x) {
      return sign * (TAIL + x);
    }
  }
}

const WIDTHS = new Float64Array(LAYERS);
const HEIGHTS = new Float64Array(LAYERS);
const INNER = new Float64Array(LAYERS);
buildTables();

function buildTables() {
  const height = (x) => Math.exp(-0.5 * x * x);
  const scale = 2 ** 52;
  const base = AREA / height(TAIL);
  WIDTHS[0] = base / scale;
  HEIGHTS[0] = 1;
  INNER[0] = (TAIL / base) * scale;
  let x = TAIL;
  for (let layer = LAYERS - 1; layer > 0; layer -= 1) {
    WIDTHS[layer] = x / scale;
    HEIGHTS[layer] = height(x);
    const inner = layer > 1 ? Math.sqrt(-2 * Math.log(AREA / x + height(x))) : 0;
    INNER[layer] = (inner / x) * scale;
    x = inner;
  }
}
