"""One job of a jobs file: a search, and a proof if one is wanted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field, InstanceOf

from bbtvp.core.errors import unknown
from bbtvp.core.origin import Origin
from bbtvp.runs.upgrade import REMOVED
from bbtvp.search.config import OLD_NAMES, SearchConfig, options
from bbtvp.search.recipe import Recipe

OptionValue = bool | int | float | str
_LONGEST = 120
"""Characters of a folder's name."""


@final
class SearchJob(BaseModel):
    """What a file of jobs may say of one.

    model: the source, or a list of several searched together. options: of all its models, as -M;
    own: of single models, by spec. labels: as --labels, "a,b,c" or "none". metric, max_tokens: as
    --metric, by name, and --max-tokens. search: the options of
    `bbtvp optimize`, which a file names beside the other keys. verify: models to prove the prompt
    on, beside the sources; true for the sources alone. also: other tasks to prove it on. train: at
    most so many training images. The cap on money, `search.usd`, is one for search and proofs
    together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    task: str
    question: str | None = None
    labels: str | None = None
    train: int | None = Field(None, ge=1)
    metric: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    model: str | tuple[str, ...]
    options: Mapping[str, OptionValue] = Field(default_factory=dict)
    own: Mapping[str, Mapping[str, OptionValue]] = Field(default_factory=dict)
    search: InstanceOf[SearchConfig] = Field(default_factory=SearchConfig)
    verify: bool | tuple[str, ...] = False
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> SearchJob:
        """From a row of a file, which names the options of the search beside the other keys.

        Raises UsageError for an option that cannot be, pydantic's ValidationError for another key.
        """
        for key in row:
            if key not in {*KEYS, *OLD_NAMES, *REMOVED}:
                raise unknown("key", key, KEYS)
        own = {key: value for key, value in row.items() if key in OWN_KEYS}
        rest = {key: value for key, value in row.items() if key not in OWN_KEYS}
        return cls(**own, search=SearchConfig.of(rest))

    def described(self) -> dict[str, Any]:
        """A row from which `of` makes the job again, JSON-able."""
        own: dict[str, Any] = self.model_dump(mode="json", exclude={"search"})
        return {**own, **self.search.as_record(), "surrogate": self.search.surrogate}

    @property
    def models(self) -> tuple[str, ...]:
        """The sources."""
        return (self.model,) if isinstance(self.model, str) else self.model

    @property
    def proved_on(self) -> tuple[str, ...]:
        """Models that the prompt is to be verified on: the sources, and those named.

        There are none without a proof.
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
        """The spec and the options of one of its models."""
        return Origin.of(model, {**self.own.get(model, {}), **self.options})

    @property
    def recipe(self) -> Recipe:
        """The search."""
        asked = {
            name: getattr(self, name)
            for name in ("question", "labels", "train", "metric", "max_tokens")
        }
        surrogate = self.search.surrogate
        return Recipe(
            Origin(self.task, {key: value for key, value in asked.items() if value is not None}),
            tuple(map(self.origin, self.models)),
            self.search,
            Origin(surrogate) if isinstance(surrogate, str) else None,
        )


OWN_KEYS = frozenset(SearchJob.model_fields) - {"search"}
"""Keys of a job that are no options of the search."""

KEYS = OWN_KEYS | {option.name for option in options()}
"""All keys of a job."""
