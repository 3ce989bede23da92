"""Searches of every kind, small: what the tests of the loop and of resuming it share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.rng import stream
from bbtvp.models import Budget, LabelScore, Model, Outcome, Reply, Request
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.prompt.channel import Channel
from bbtvp.prompt.restore import Restore
from bbtvp.runs.records import FILE
from bbtvp.search import Run, optimize
from tests.support import SIDE, Eye, Wrapper, patterns


@final
class Fickle(Wrapper):
    """Sees through noise that is new for each replicate, and the same whenever a request is
    repeated.
    """

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self._seen(request) for request in requests]

    def _seen(self, request: Request) -> Outcome:
        noise = stream(0, "fickle", request.key).integers(-40, 41, request.image.shape)
        image = (request.image.astype(int) + noise).clip(0, 255).astype(np.uint8)
        return self.inner.query([Request(image, request.text, request.labels)])[0]


@final
class Listener(Wrapper):
    """Sees well where the question says to report, and nothing otherwise."""

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        sharp = Eye(gain=400)
        blind = Eye(gain=0)
        return [
            (sharp if "report" in request.text else blind).look(request) for request in requests
        ]


@final
class Torn(Wrapper):
    """Blind, but where it is told to report: then it sees one image well, and is wrong about
    another.
    """

    def __init__(self, good: Pixels, bad: Pixels) -> None:
        super().__init__()
        self.gains = {good.tobytes(): 400.0, bad.tobytes(): -400.0}

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        gains = [
            self.gains.get(r.image.tobytes(), 0.0) if "report" in r.text else 0.0 for r in requests
        ]
        return [Eye(gain=gain).look(request) for gain, request in zip(gains, requests, strict=True)]


@final
class Stubborn(Wrapper):
    """Says the same whatever it is shown."""

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [
            Reply(scores=(LabelScore(-1.0, 1),) * len(request.labels or ())) for request in requests
        ]


RESTORED = PromptSpace((Restore(("autocontrast", "equalize", "median")), Tone(("contrast",))), 64)
"""A space that proposes recipes."""

HIDING = PromptSpace((Placement(), Tone(("contrast",)), Frame()), SIDE)
"""A space whose second stage has nothing to show."""


def far() -> Eye:
    return Eye("eye/far", prejudice="columns")


class Kind(NamedTuple):
    """A kind of search: its source models, made anew for each run, and its options."""

    models: Callable[[], list[Model]]
    options: dict[str, Any]


KINDS: dict[str, Kind] = {
    "gp": Kind(lambda: [Eye()], {"images": 4, "method": "gp"}),
    "patience": Kind(lambda: [Eye()], {"images": 4, "patience": 2}),
    "two sources": Kind(lambda: [Eye(), far()], {"images": 4, "combine": "worst"}),
    "channel": Kind(lambda: [Eye()], {"images": 4, "channel": Channel()}),
    "text, repeats": Kind(lambda: [Fickle()], {"images": 2, "repeats": 2, "reader": "text"}),
    "cma": Kind(lambda: [Eye()], {"images": 4, "method": "cma"}),
    "race": Kind(lambda: [Eye()], {"images": 4, "popsize": 4, "budget": 400, "prompt": RESTORED}),
    "hidden frame": Kind(
        lambda: [Eye()], {"images": 1, "popsize": 16, "budget": 2000, "prompt": HIDING}
    ),
}
BUDGET = 200


def search(
    kind: Kind, wrapped: Callable[[Model], Model] = lambda model: model, out: Path | None = None
) -> Run:
    models = [wrapped(model) for model in kind.models()]
    return optimize(
        patterns(),
        models,
        **{"budget": BUDGET, "prompt": "tone", "seed": 5, "out": out, **kind.options},
    )


def steps(folder: Path) -> dict[str, dict[str, Any]]:
    """The steps of a journal by name."""
    records = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    return {record["id"]: record for record in records if record["record"] == "step"}
