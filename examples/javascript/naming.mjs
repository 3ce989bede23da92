// What the parts of a picture are called.

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const SETS = { digits: "123456789", letters: LETTERS, symbols: "#$@&%+*=" };

/** The names along the top, of columns, and along the left, of rows. */
export function axes({ layout, divisions, anchors }) {
  const names = [...SETS[anchors].slice(0, divisions)];
  if (layout === "rows") {
    return [[], names];
  }
  if (layout === "columns") {
    return [names, []];
  }
  const other = SETS[anchors === "digits" ? "letters" : "digits"];
  return [[...other.slice(0, divisions)], names];
}

/** The name of each part, row by row from the top left. */
export function parts({ layout, divisions, anchors }) {
  const names = [...SETS[anchors].slice(0, divisions)];
  if (layout === "rows" || layout === "columns") {
    return names;
  }
  if (anchors === "digits") {
    return Array.from({ length: divisions * divisions }, (_, at) => String(at + 1));
  }
  return names.flatMap((row) =>
    Array.from({ length: divisions }, (_, column) => `${row}${column + 1}`),
  );
}
