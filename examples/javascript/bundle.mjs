// A .vprompt archive, its digests checked: what the manifest says, z, and the other files.

import { digest } from "./digest.mjs";
import { PromptError } from "./errors.mjs";
import { canonical, parseJson, plain } from "./json.mjs";
import { unzip } from "./zip.mjs";

const SCHEMAS = ["bbtvp.prompt/1", "bbtvp.prompt/2"];
const MANIFEST = "manifest.json";
const Z = "z.npy";
const SIGNATURE = "signature.json";
const MOST_BYTES = 1 << 30;

/** {manifest, z, files} of the bytes of a .vprompt file. PromptError for any other file. */
export async function readBundle(bytes) {
  if (bytes.length > MOST_BYTES) {
    throw new PromptError("the bundle is over 1 GiB; get it from its author again");
  }
  const files = unzip(bytes);
  if (!files.has(MANIFEST)) {
    throw new PromptError(`not a bundle, ${MANIFEST} is missing; give the file that bbtvp wrote`);
  }
  const manifest = await checkedManifest(files.get(MANIFEST));
  files.delete(MANIFEST);
  files.delete(SIGNATURE); // over the manifest's digest, and checked by who knows its key
  await checkFiles(files, manifest.files);
  return { manifest, z: zOf(manifest, files), files };
}

async function checkedManifest(bytes) {
  const tree = parseJson(decoded(bytes));
  const manifest = plain(tree);
  if (!SCHEMAS.includes(manifest.schema)) {
    throw new PromptError(
      `schema '${manifest.schema}' is not one of ${SCHEMAS.join(", ")}; get newer JavaScript files`,
    );
  }
  tree.delete("digest");
  if ((await digest(new TextEncoder().encode(canonical(tree)))) !== manifest.digest) {
    throw new PromptError(
      `${MANIFEST} was altered: it does not match its own digest; get the bundle again`,
    );
  }
  return manifest;
}

function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PromptError(`${MANIFEST} is not UTF-8; get the bundle from its author again`);
  }
}

async function checkFiles(files, digests) {
  for (const name of new Set([...files.keys(), ...Object.keys(digests)])) {
    const found = files.has(name) ? await digest(files.get(name)) : null;
    if (found !== digests[name]) {
      throw new PromptError(
        `${name} is missing, altered or not listed in ${MANIFEST}; get the bundle again`,
      );
    }
  }
}

/** z as a Float64Array. */
function zOf(manifest, files) {
  if ((manifest.z === null) !== files.has(Z)) {
    throw new PromptError(`z must stand in ${MANIFEST} or in ${Z}; get the bundle again`);
  }
  const z = manifest.z === null ? rowOf(files.get(Z)) : Float64Array.from(manifest.z);
  if (!z.every(Number.isFinite)) {
    throw new PromptError("z holds values that are not finite; get the bundle again");
  }
  return z;
}

/** The numbers of a .npy file of version 1.0 that holds one row of float64. */
function rowOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 10 + view.getUint16(8, true);
  const header = String.fromCharCode(...bytes.subarray(0, start));
  const count = (bytes.length - start) / 8;
  const expected = `'descr': '<f8', 'fortran_order': False, 'shape': (${count},)`;
  if (!header.startsWith("\x93NUMPY\x01\x00") || !header.includes(expected)) {
    throw new PromptError(`${Z} is not one row of float64; get the bundle again`);
  }
  return Float64Array.from({ length: count }, (_, at) => view.getFloat64(start + 8 * at, true));
}
