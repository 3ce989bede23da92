// All layers that can be drawn here, by kind.

import { PromptError } from "./errors.mjs";
import { Coordinator } from "./coordinator.mjs";
import { Exemplars } from "./exemplars.mjs";
import { Frame } from "./frame.mjs";
import { Guidance } from "./guidance.mjs";
import { Identity } from "./identity.mjs";
import { Legend } from "./legend.mjs";
import { Margin } from "./margin.mjs";
import { Marks } from "./marks.mjs";
import { Overlay } from "./overlay.mjs";
import { Placement } from "./placement.mjs";
import { Restore } from "./restore.mjs";
import { Tone } from "./tone.mjs";

const KNOWN = [
  ...[Placement, Restore, Tone, Margin, Frame, Overlay],
  ...[Coordinator, Marks, Legend, Exemplars, Guidance, Identity],
];
const LAYERS = new Map(KNOWN.map((layer) => [layer.kind, layer]));

/** The layer that a configuration of the manifest describes. */
export function layerOf(config, theta) {
  const found = LAYERS.get(config.kind);
  if (found === undefined) {
    throw new PromptError(`layer '${config.kind}' is not known here; get newer JavaScript files`);
  }
  return new found(config, theta);
}
