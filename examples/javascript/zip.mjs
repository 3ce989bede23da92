// The files of a .vprompt archive, which stores them without compression.

import { PromptError } from "./errors.mjs";

const END_LENGTH = 22;
const END_MARK = 0x06054b50;
const ENTRY_LENGTH = 46;
const ENTRY_MARK = 0x02014b50;
const LOCAL_LENGTH = 30;
const LOCAL_MARK = 0x04034b50;
const STORED = 0;

/** A Map of name to Uint8Array, views into the archive. */
export function unzip(archive) {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.byteLength);
  try {
    return entriesOf(archive, view);
  } catch (error) {
    if (error instanceof RangeError) {
      throw new PromptError("not a bundle, or damaged; get it from its author again");
    }
    throw error;
  }
}

function entriesOf(archive, view) {
  const end = archive.length - END_LENGTH;
  check(view.getUint32(end, true) === END_MARK);
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const files = new Map();
  for (let number = 0; number < count; number += 1) {
    check(view.getUint32(at, true) === ENTRY_MARK);
    const method = view.getUint16(at + 10, true);
    const size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    const extraLength = view.getUint16(at + 30, true);
    const commentLength = view.getUint16(at + 32, true);
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(
      archive.subarray(at + ENTRY_LENGTH, at + ENTRY_LENGTH + nameLength),
    );
    check(method === STORED && !files.has(name) && view.getUint32(local, true) === LOCAL_MARK);
    const start =
      local + LOCAL_LENGTH + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    check(start + size <= end);
    files.set(name, archive.subarray(start, start + size));
    at += ENTRY_LENGTH + nameLength + extraLength + commentLength;
  }
  return files;
}

function check(holds) {
  if (!holds) {
    throw new PromptError("the archive is not as bbtvp wrote it; get it from its author again");
  }
}
