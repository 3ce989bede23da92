// SHA-256 as bundles use it.

/** Hex of the parts; the length of each goes before it, as 8 bytes. */
export async function digest(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + 8 + part.length, 0));
  let at = 0;
  for (const part of parts) {
    new DataView(whole.buffer).setBigUint64(at, BigInt(part.length), true);
    whole.set(part, at + 8);
    at += 8 + part.length;
  }
  return sha256(whole);
}

async function sha256(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
