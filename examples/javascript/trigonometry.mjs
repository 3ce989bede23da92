// Sine and cosine rounded to the nearest float64, which Math.sin and Math.cos are not always.

const BITS = 160n;
const TERMS = 60n;

export function sine(x) {
  return series(x, 1n);
}

export function cosine(x) {
  return series(x, 0n);
}

/** The Taylor series that begins with x ** first, in whole numbers of 160 bits; |x| up to 20. */
function series(x, first) {
  const angle = scaled(x);
  const square = (angle * angle) >> BITS;
  let term = first === 0n ? 1n << BITS : angle;
  let sum = term;
  for (let power = first + 2n; power < 2n * TERMS; power += 2n) {
    term = -((term * square) >> BITS) / (power * (power - 1n));
    sum += term;
  }
  return Number(sum) / 2 ** Number(BITS);
}

/** x * 2 ** BITS: exact, but for what lies below that many bits. */
function scaled(x) {
  const high = Math.trunc(x * 2 ** 50);
  const rest = x - high / 2 ** 50; // exact
  return (BigInt(high) << (BITS - 50n)) + (BigInt(Math.trunc(rest * 2 ** 110)) << (BITS - 110n));
}
