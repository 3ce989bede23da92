"""One job: a search, and a proof if one is wanted, with the names and defaults of `bbtvp optimize`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Literal, final

from pydantic import BaseModel, ConfigDict, Field

from bbtvp.core.origin import Origin
from bbtvp.prompt.channel import Channel
from bbtvp.search import Allocation
from bbtvp.search.recipe import Recipe

Value = bool | int | float | str
_LONGEST = 120
"""Characters of a folder's name."""


@final
class SearchJob(BaseModel):
    """What a file of jobs may say of one. Names, meanings and defaults are those of `bbtvp optimize
    --help`.

    model: the source, or a list of several searched together. options: of all its models, as -M;
    own: of single models, by spec. verify: models to prove the prompt on, beside the sources; true
    for the sources alone. also: other tasks to prove it on. train: at most so many training images.
    usd: cap on the money of search and proofs together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    task: str
    question: str | None = None
    train: int | None = Field(None, ge=1)
    model: str | tuple[str, ...]
    options: Mapping[str, Value] = Field(default_factory=dict)
    own: Mapping[str, Mapping[str, Value]] = Field(default_factory=dict)
    combine: Literal["mean", "worst"] = "mean"
    surrogate: str | None = None
    fca: float = Field(0.0, ge=0)
    tse: float = Field(0.0, ge=0)
    warm: bool = False
    prime: int = Field(0, ge=0)
    prompt: str = "default"
    canvas: int | None = Field(None, ge=8, le=2048)
    method: str = "auto"
    queries: int = Field(1000, ge=1)
    usd: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0)
    images: int = Field(8, ge=1)
    repeats: int = Field(1, ge=1)
    patience: int = Field(0, ge=0)
    channel: bool = False
    reader: Literal["auto", "logprob", "label", "text"] = "auto"
    seed: int = 0
    verify: bool | tuple[str, ...] = False
    also: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The sources."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @property
    def proved_on(self) -> tuple[str, ...]:
        """Models that the prompt is to be verified on: the sources, and those named; none without a
        proof.
        """
        others = self.verify if isinstance(self.verify, tuple) else ()
        return tuple(dict.fromkeys((*self.models, *others))) if self.verify else ()

    @cached_property
    def folder(self) -> str:
        """The name of its run folder."""
        plain = re.sub(r"[^\w.+=-]+", "_", self.name).strip("._") or "job"
        if len(plain) <= _LONGEST:
            return plain
        return f"{plain[: _LONGEST - 9]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    def origin(self, model: str) -> Origin:
        """Where one of its models comes from."""
        return Origin.of(model, {**self.own.get(model, {}), **self.options})

    @property
    def recipe(self) -> Recipe:
        """The search. Raises UsageError for an allocation that cannot be."""
        how = Allocation(self.images, self.patience, self.repeats)
        asked = {"question": self.question, "train": self.train}
        arguments = {
            "budget": self.queries,
            "usd": self.usd,
            "seconds": None if self.minutes is None else 60 * self.minutes,
            "allocation": asdict(how),
            "channel": asdict(Channel()) if self.channel else None,
            **self.model_dump(include=set(_AS_THEY_ARE)),
        }
        return Recipe(
            Origin(self.task, {key: value for key, value in asked.items() if value is not None}),
            tuple(map(self.origin, self.models)),
            Origin(self.surrogate) if self.surrogate else None,
            arguments,
        )


_AS_THEY_ARE = (
    "prompt",
    "canvas",
    "method",
    "fca",
    "tse",
    "warm",
    "prime",
    "combine",
    "reader",
    "seed",
)
"""Arguments of `optimize` with the same name and meaning."""
