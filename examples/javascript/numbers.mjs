// Arithmetic that JavaScript lacks, equal to Python's and numpy's to the bit.

/** To the nearest whole number; halves go to the even one, as Python's `round`. */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) {
    return rest < 0.5 ? low : low + 1;
  }
  return low % 2 === 0 ? low : low + 1;
}

/** a * b + c of float32 numbers, rounded once to float32: a fused multiply-add. */
export function fusedMultiplyAdd32(a, b, c) {
  const product = a * b; // exact: 24 bits times 24 bits fit into 53
  const sum = product + c;
  const rounded = Math.fround(sum);
  const other = sum + (sum - rounded);
  if (rounded === sum || Math.fround(other) !== other) {
    return rounded;
  }
  // The sum lies in the middle of two float32 numbers: what its own rounding lost decides.
  const back = sum - product;
  const lost = product - (sum - back) + (c - back);
  if (lost === 0) {
    return rounded;
  }
  return lost > 0 ? Math.max(rounded, other) : Math.min(rounded, other);
}

/** A smooth bound: `step` per unit of z around 0, within -limit..limit. */
export function soft(z, step, limit) {
  return limit * Math.tanh((step * z) / limit);
}

/** The place of the largest value among values[first..first + count), the first of equal ones. */
export function largest(values, first, count) {
  let best = 0;
  for (let at = 1; at < count; at += 1) {
    if (values[first + at] > values[first + best]) {
      best = at;
    }
  }
  return best;
}
