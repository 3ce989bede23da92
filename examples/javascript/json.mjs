// JSON whose numbers keep their spelling: a manifest's digest is over the text that Python wrote.

import { PromptError } from "./errors.mjs";

const SPACE = /[ \n\r\t]*/y;
const TOKEN =
  /([{}[\],:])|("(?:[^"\\\u0000-\u001f]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(true|false|null)/y;
const DEEPEST = 64;

/** A number as it is spelled in the text. */
class Numeral {
  constructor(text) {
    this.text = text;
  }
}

/** Objects become Maps, numbers keep their spelling; see `plain` and `canonical`. */
export function parseJson(text) {
  const reader = new Reader(tokensOf(text));
  const value = reader.value(0);
  if (!reader.atEnd()) {
    throw notJson();
  }
  return value;
}

/** What JSON.parse would give; objects have no prototype. */
export function plain(node) {
  if (node instanceof Numeral) {
    return Number(node.text);
  }
  if (Array.isArray(node)) {
    return node.map(plain);
  }
  if (node instanceof Map) {
    const found = Object.create(null);
    for (const [key, value] of node) {
      found[key] = plain(value);
    }
    return found;
  }
  return node;
}

/** One spelling per value: keys sorted by code point, no spaces. */
export function canonical(node) {
  if (node instanceof Numeral) {
    return node.text;
  }
  if (Array.isArray(node)) {
    return `[${node.map(canonical).join(",")}]`;
  }
  if (node instanceof Map) {
    const keys = [...node.keys()].sort(byCodePoint);
    return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(node.get(key))}`).join(",")}}`;
  }
  return JSON.stringify(node);
}

function byCodePoint(one, other) {
  const [left, right] = [Array.from(one), Array.from(other)];
  for (let at = 0; at < Math.min(left.length, right.length); at += 1) {
    const difference = left[at].codePointAt(0) - right[at].codePointAt(0);
    if (difference !== 0) {
      return difference;
    }
  }
  return left.length - right.length;
}

function tokensOf(text) {
  const tokens = [];
  let at = afterSpace(text, 0);
  while (at < text.length) {
    TOKEN.lastIndex = at;
    const [, mark, string, number, word] = TOKEN.exec(text) ?? fail();
    tokens.push({ mark, string, number, word });
    at = afterSpace(text, TOKEN.lastIndex);
  }
  return tokens;
}

function afterSpace(text, at) {
  SPACE.lastIndex = at;
  SPACE.exec(text);
  return SPACE.lastIndex;
}

class Reader {
  constructor(tokens) {
    this.tokens = tokens;
    this.at = 0;
  }

  atEnd() {
    return this.at === this.tokens.length;
  }

  /** Whether the next token is this mark; then it is behind us. */
  took(mark) {
    const here = !this.atEnd() && this.tokens[this.at].mark === mark;
    this.at += here ? 1 : 0;
    return here;
  }

  expect(mark) {
    if (!this.took(mark)) {
      throw notJson();
    }
  }

  value(depth) {
    if (depth > DEEPEST) {
      throw notJson();
    }
    if (this.took("{")) {
      return this.object(depth + 1);
    }
    if (this.took("[")) {
      return this.array(depth + 1);
    }
    return this.scalar();
  }

  scalar() {
    const { string, number, word } = this.tokens[this.at] ?? fail();
    this.at += 1;
    if (number !== undefined) {
      return new Numeral(number);
    }
    try {
      return JSON.parse(string ?? word);
    } catch {
      throw notJson();
    }
  }

  object(depth) {
    const found = new Map();
    if (this.took("}")) {
      return found;
    }
    do {
      const key = this.scalar();
      if (typeof key !== "string" || found.has(key)) {
        throw notJson();
      }
      this.expect(":");
      found.set(key, this.value(depth));
    } while (this.took(","));
    this.expect("}");
    return found;
  }

  array(depth) {
    const found = [];
    if (this.took("]")) {
      return found;
    }
    do {
      found.push(this.value(depth));
    } while (this.took(","));
    this.expect("]");
    return found;
  }
}

function fail() {
  throw notJson();
}

function notJson() {
  return new PromptError("manifest.json is not JSON; get the bundle from its author again");
}
