// The words that go around the question.

import { PromptError } from "./errors.mjs";
import { Layer } from "./layer.mjs";
import { largest } from "./numbers.mjs";

export class Guidance extends Layer {
  static kind = "guidance";
  static order = 70;
  static defaults = { wordings: ["none", "structure", "scan", "report"] };

  dimension() {
    return this.wordings.length;
  }

  /** As it stands in the bundle, for the wording that z chooses. */
  sentence(z) {
    const chosen = this.wordings[largest(z, 0, this.wordings.length)];
    const name = typeof chosen === "string" ? chosen : chosen.name;
    if (this.theta.wording !== name || typeof this.theta.sentence !== "string") {
      throw new PromptError("theta of guidance is not what z gives; get the bundle again");
    }
    return this.theta.sentence;
  }
}
