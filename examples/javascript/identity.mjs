// The picture goes as it is, of whatever size.

import { Layer } from "./layer.mjs";

export class Identity extends Layer {
  static kind = "identity";
  static order = 0;
}
