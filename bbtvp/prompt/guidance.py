"""The words that go with the question."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.prompt.layer import Geometry, Group, Layer, LayerPart, chosen
from bbtvp.prompt.marks import naming
from bbtvp.prompt.marks.legend import Legend
from bbtvp.prompt.marks.marks import Marks
from bbtvp.prompt.marks.starts import STARTS
from bbtvp.prompt.wordings import Wording, bundled

NONE = "none"
"""The wording that leaves the question as it is."""

WORDINGS = (NONE, "structure", "scan", "report")
"""Wordings that are made from what `Marks` draws."""

MOST = 64
"""The most wordings of one layer: each is a variable of the search."""

_REPLY_TOKENS = MappingProxyType({"scan": 128, "report": 192})
"""What an answer needs that goes through up to eight parts before it concludes."""

_LIKE_A_NAME = re.compile(r"[a-z]+(-[a-z]+)*")
"""A slip in a name would else be put before every question."""

_CONCLUDE = "then add up or compare the reports and conclude with one answer."
_LEGEND = "The strip at the bottom is a legend, not part of the scene."


@final
@dataclass(frozen=True)
class Guidance(Layer):
    """One of several wordings, put around the question, which stays as it is.

    wordings: names of `WORDINGS` and of bundled forms (see `bbtvp.prompt.wordings`), texts, and
    `Wording` objects; a bundle keeps their texts. "none" is the first one, given or not. Those of
    `WORDINGS` are put before the question and parted from it by a space:

    - none: the question as it is; this is z = 0;
    - structure: says what the marks of the same prompt are and how their parts are called;
    - scan: that, and to go through the parts in their order;
    - report: that, and to report each part, then to conclude: a partition that is not summed up can
      do harm.

    They name what `Marks` draws and nothing else. Where nothing is drawn, "structure" says nothing,
    and "scan" and "report" speak of parts in general. A wording with a text of its own comes after
    what "structure" says. One variable in z for each wording, of which the largest chooses.

    Some answers are long (`reply_tokens`): a reader that cuts them short, or takes the likeliest
    label at once, does not see their conclusion.

    Words alone move answers, so a gain is never reported without the arm that has the words and not
    the picture: `PromptSpace.arms`. UsageError for a wording that cannot be, for two of one name or
    text, and for more than `MOST`.
    """

    wordings: tuple[str | Wording, ...] = WORDINGS

    kind: ClassVar[str] = "guidance"
    order: ClassVar[int] = 70
    speaks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        settled: dict[str, str | Wording] = {NONE: NONE}
        for given in self.wordings:
            wording = _settled(given, settled)
            name = _name(wording)
            if name in settled and name != NONE:
                raise UsageError(f"two wordings are called {name!r}; rename one of them")
            settled[name] = wording
        _check_texts(settled)
        object.__setattr__(self, "wordings", tuple(settled.values()))  # frozen for all others

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return tuple(f"wording_{name}" for name in self._names)

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        return ((0, len(self.wordings)),)

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        return {"wording": self.wording(z)}

    def config(self) -> dict[str, Any]:
        """As of any layer; the wordings only where they are not `WORDINGS`, as in older bundles."""
        if self.wordings == WORDINGS:
            return {"kind": self.kind}
        kept = [each if isinstance(each, str) else asdict(each) for each in self.wordings]
        return {"kind": self.kind, "wordings": kept}

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(map(_name, self.wordings))

    def wording(self, z: Vector) -> str:
        """The name of the wording that z stands for."""
        return chosen(self._names, z.tolist())

    def reply_tokens(self, z: Vector) -> int:
        name = self.wording(z)
        found = self._text(name)
        return _REPLY_TOKENS.get(name, 0) if found is None else found.reply_tokens

    def start(self, wording: str) -> Vector:
        """A z of the wording of this name. UsageError for one that is not known."""
        if wording not in self._names:
            raise unknown("wording", wording, self._names)
        return np.array([float(name == wording) for name in self._names])

    def starts(self, layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
        """Those of `STARTS`, with Marks; then one for each wording with a text of its own."""
        alone = [
            {self.kind: self.start(each.name)}
            for each in self.wordings
            if isinstance(each, Wording)
        ]
        marks = layers.get(Marks.kind)
        if not isinstance(marks, Marks):
            return alone
        marked = [
            {
                self.kind: self.start(start.wording),
                Marks.kind: marks.start(start.divisions, **start.choices),
            }
            for start in STARTS
            if start.wording in self._names
        ]
        return marked + alone

    def sentence(self, z: Vector, parts: Mapping[str, LayerPart]) -> str:
        """What goes around the question, for the marks and the legend among `parts`."""
        wording = self.wording(z)
        if wording == NONE:
            return ""
        marks = _named(parts)
        structure = naming.structure(marks) if marks else ""
        said = [structure, _LEGEND if _has_legend(parts) else ""]
        text = self._text(wording)
        if text is not None:
            said.append(text.text)
        elif wording != "structure":
            said.append(_particular(wording, marks) if marks and structure else _general(wording))
        return " ".join(filter(None, said))

    def _text(self, name: str) -> Wording | None:
        """The wording of this name, if it has a text of its own."""
        texts = (each for each in self.wordings if isinstance(each, Wording))
        return next((each for each in texts if each.name == name), None)


def _name(wording: str | Wording) -> str:
    return wording if isinstance(wording, str) else wording.name


def _settled(given: str | Wording, taken: Mapping[str, object]) -> str | Wording:
    """A name of `WORDINGS`, or the wording that a name or a text stands for."""
    if isinstance(given, Wording) or given in WORDINGS:
        return given
    if given in bundled():
        return bundled()[given]
    if _LIKE_A_NAME.fullmatch(given):
        raise unknown("wording", given, (*WORDINGS, *bundled()))
    return Wording.of_text(given, (*taken, *WORDINGS, *bundled()))


def _check_texts(wordings: Mapping[str, str | Wording]) -> None:
    """UsageError for two wordings that say the same, a name that is taken, and for too many."""
    if len(wordings) > MOST:
        raise UsageError(f"{len(wordings)} wordings are too many to search; give at most {MOST}")
    seen: dict[str, str] = {}
    for name, each in wordings.items():
        if isinstance(each, str):
            continue
        if name in WORDINGS:
            raise UsageError(f"a wording of your own cannot be called {name!r}; rename it")
        text = " ".join(each.around("{question}").split())
        if text in seen:
            raise UsageError(f"the wordings {seen[text]!r} and {name!r} are equal; remove one")
        seen[text] = name


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
