"""The sentence that goes with the question: half of what marks can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import unknown
from bbtvp.prompt.layer import Geometry, Group, Layer, LayerPart, chosen
from bbtvp.prompt.marks import naming
from bbtvp.prompt.marks.legend import Legend
from bbtvp.prompt.marks.marks import Marks
from bbtvp.prompt.marks.starts import STARTS

WORDINGS = ("none", "structure", "scan", "report")

_CONCLUDE = "then add up or compare the reports and conclude with one answer."
_LEGEND = "The strip at the bottom is a legend, not part of the scene."


@final
@dataclass(frozen=True)
class Guidance(Layer):
    """One of four fixed wordings, put before the question and parted from it by a space.

    - none: the question as it is; this is z = 0;
    - structure: says what the marks of the same prompt are and how their parts are called;
    - scan: that, and to go through the parts in their order;
    - report: that, and to report each part, then to conclude: a partition that is not summed up can
      do harm.

    The wording names what `Marks` draws and nothing else. Where nothing is drawn, "structure" says
    nothing, and "scan" and "report" speak of parts in general. Four variables in z, of which the
    largest chooses. The answer to "report" is long: a reader that cuts it short, or takes the
    likeliest label at once, does not see its conclusion.

    A sentence alone moves answers, so a gain is never reported without the arm that has the
    sentence and not the marks: `PromptSpace.arms`.
    """

    kind: ClassVar[str] = "guidance"
    order: ClassVar[int] = 70
    speaks: ClassVar[bool] = True

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return tuple(f"wording_{name}" for name in WORDINGS)

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        return ((0, len(WORDINGS)),)

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        return {"wording": self.wording(z)}

    def wording(self, z: Vector) -> str:
        """The name of the wording that z stands for."""
        return chosen(WORDINGS, z.tolist())

    def start(self, wording: str) -> Vector:
        """A z of this wording. UsageError for one that is not known."""
        if wording not in WORDINGS:
            raise unknown("wording", wording, WORDINGS)
        return np.array([float(name == wording) for name in WORDINGS])

    def starts(self, layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
        """Those of `STARTS`; none without Marks."""
        marks = layers.get(Marks.kind)
        if not isinstance(marks, Marks):
            return []
        return [
            {
                self.kind: self.start(start.wording),
                Marks.kind: marks.start(start.divisions, **start.choices),
            }
            for start in STARTS
        ]

    def sentence(self, z: Vector, parts: Mapping[str, LayerPart]) -> str:
        """What goes before the question, for the marks and the legend among `parts`."""
        wording = self.wording(z)
        if wording == "none":
            return ""
        marks = _named(parts)
        structure = naming.structure(marks) if marks else ""
        said = [structure, _LEGEND if _has_legend(parts) else ""]
        if wording != "structure":
            said.append(_particular(wording, marks) if marks and structure else _general(wording))
        return " ".join(filter(None, said))


def _named(parts: Mapping[str, LayerPart]) -> naming.Named | None:
    """What the sentence may name of the marks; None without that layer."""
    part = parts.get(Marks.kind)
    if part is None or not isinstance(part.layer, Marks):
        return None
    return part.layer.look(part.z).named


def _has_legend(parts: Mapping[str, LayerPart]) -> bool:
    part = parts.get(Legend.kind)
    return part is not None and isinstance(part.layer, Legend) and part.layer.shown(part.z)


def _particular(wording: str, marks: naming.Named) -> str:
    one = naming.noun(marks)
    if wording == "scan":
        return f"Go through each {one} in turn, {naming.order(marks)}."
    return f"First report what each {one} shows, {naming.order(marks)}, {_CONCLUDE}"


def _general(wording: str) -> str:
    where = "from top to bottom and from left to right"
    if wording == "scan":
        return f"Go through the image part by part, {where}."
    return f"First report what each part of the image shows, {where}, {_CONCLUDE}"
