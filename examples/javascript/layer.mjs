// What a layer is: a number of variables, and a map from its slice of z to something done.

import { PromptError } from "./errors.mjs";
import { NO_INSETS } from "./geometry.mjs";

/** Relative difference of two computations of one parameter: other libraries, the same formula. */
const ROUNDING = 1e-9;

export class Layer {
  /** Its name in bundles; layers are drawn, and lie in z, by rising order. */
  static kind;
  static order;
  /** The fields of its configuration, with their defaults. */
  static defaults = {};

  /** config: as in the manifest. theta: the parameters that Python computed from z. */
  constructor(config, theta) {
    const { kind, ...values } = config;
    for (const name of Object.keys(values)) {
      if (!(name in this.constructor.defaults)) {
        throw new PromptError(`layer '${kind}': unknown field ${name}; get newer JavaScript files`);
      }
    }
    Object.assign(this, this.constructor.defaults, values);
    this.theta = theta;
  }

  /** How many variables it has. */
  dimension(geometry) {
    return 0;
  }

  /** The room that it needs beside the picture. */
  insets(z, geometry) {
    return NO_INSETS;
  }

  /** A function of a canvas and of the box of the picture on it; null if it draws nothing. */
  painter(z, geometry) {
    return null;
  }

  /** Pictures that go before the prompted one, each {picture, text}. */
  context(z) {
    return [];
  }

  /** What stands around the question; "" for most layers. */
  sentence(z, layers) {
    return "";
  }

  /** Raise PromptError for an option of a newer version. */
  checkKnown(chosen, known) {
    for (const name of chosen) {
      if (!known.includes(name)) {
        const { kind } = this.constructor;
        throw new PromptError(
          `layer '${kind}': '${name}' is not known here; get newer JavaScript files`,
        );
      }
    }
  }

  /** A parameter of theta. Python computed it from z with its own tanh and exp, whose last bits
   * decide pixels; here it is checked against z but for these bits. */
  parameter(name, expected) {
    const value = this.theta[name];
    const near = Math.abs(value - expected) <= ROUNDING * Math.max(1, Math.abs(expected));
    if (typeof value !== "number" || !near) {
      const kind = this.constructor.kind;
      throw new PromptError(
        `theta of ${kind} is not what z gives; get the bundle from its author again`,
      );
    }
    return value;
  }
}
