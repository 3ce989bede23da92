// A margin in the picture's own colour: the median of its edge.

import { Layer } from "./layer.mjs";
import { edgeColour } from "./pose.mjs";

export class Margin extends Layer {
  static kind = "margin";
  static order = 15;

  painter() {
    return (canvas, box) => {
      const picture = canvas.cut(box);
      if (picture.width < canvas.width || picture.height < canvas.height) {
        const colour = edgeColour(picture);
        canvas.around(box, (...edges) => canvas.fill(...edges, colour));
      }
    };
  }
}
