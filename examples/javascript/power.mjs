// Powers that are right to the last bit.

/** base ** exponent for a base from 0 to 1. */
export function power(base, exponent) {
  return base ** exponent;
}
