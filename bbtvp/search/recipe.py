"""A search in words: all that `optimize` is called with, from a run's record or a file of jobs, to
be made again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, final

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import JournalError
from bbtvp.core.origin import Origin
from bbtvp.models import Model, load_model
from bbtvp.prompt import PromptSpace
from bbtvp.prompt.bundle import layer_of
from bbtvp.prompt.channel import Channel
from bbtvp.runs.record import FILE, read_record
from bbtvp.runs.removed import removed_option, without_removed
from bbtvp.search.allocation import Allocation
from bbtvp.search.loop import Watch, silent
from bbtvp.search.optimize import Run, Setup, optimize, set_up
from bbtvp.search.surrogacy import Surrogacy
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task

_T = TypeVar("_T")
_SURROGATE = ("fca", "tse", "matched", "warm", "prime")
_NOT_PLANNED = ("usd", "seconds", "combine", "channel")
"""Arguments of `optimize` that change no plan."""


class Loads(Protocol):
    """What gives a search its task, models and surrogate."""

    def task(self, origin: Origin) -> Task:
        """The task of this origin."""

    def model(self, origin: Origin) -> Model:
        """The model of this origin."""

    def surrogate(self, origin: Origin) -> Surrogate:
        """The surrogate of this origin."""


@final
class Loader(Loads):
    """Tasks, models and surrogates, each loaded once, however many searches use it. Safe to use
    from many threads.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}
        self._lock = threading.Lock()

    def task(self, origin: Origin) -> Task:
        return self._once("task", origin, load_task)

    def model(self, origin: Origin) -> Model:
        return self._once("model", origin, load_model)

    def surrogate(self, origin: Origin) -> Surrogate:
        return self._once("surrogate", origin, load_surrogate)

    @property
    def models(self) -> list[Model]:
        """Those that are loaded now."""
        return [found for found in list(self._loaded.values()) if isinstance(found, Model)]

    def release(self, model: Origin) -> None:
        """Let go of a model that nobody needs any more: a large one would keep the next from the
        device.
        """
        with self._lock:
            self._loaded.pop(_key("model", model), None)

    def _once(self, kind: str, origin: Origin, load: Callable[..., _T]) -> _T:
        key = _key(kind, origin)
        with self._lock:  # one at a time: transformers' lazy imports do not like company
            if key not in self._loaded:
                self._loaded[key] = load(origin.spec, **origin.options)
            found: _T = self._loaded[key]
        return found


@final
@dataclass(frozen=True)
class Recipe:
    """Arguments of `optimize` by name, JSON alone; what is loaded, by its origin."""

    task: Origin
    models: tuple[Origin, ...]
    surrogate: Origin | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_run(cls, folder: Path) -> Recipe:
        """From the record of a run. JournalError if it was called with what no record can name."""
        record = read_record(folder)
        task = _origin(record["task"], "spec")
        surrogate = record["surrogate"]
        models = [_origin(model, "origin") for model in record["models"]]
        helper = None if surrogate is None else _origin(surrogate, "spec")
        nameless = [*(["task"] if task is None else []), *(["model"] if None in models else [])]
        nameless += ["surrogate"] if surrogate is not None and helper is None else []
        if task is None or nameless:
            raise JournalError(
                f"{folder / FILE}: the {nameless[0]} was made in Python, and only that program can make it again"
            )
        arguments = dict(record["arguments"])
        named = arguments.get("allocation") or {}
        if (said := removed_option({**arguments, **named})) is not None:
            raise JournalError(f"{folder / FILE}: {said}")
        if named:
            arguments["allocation"] = without_removed(named)
        return cls(
            task,
            tuple(m for m in models if m is not None),
            helper,
            without_removed(arguments),
        )

    def search(
        self, *, out: Path | str | None, loader: Loads | None = None, watch: Watch = silent
    ) -> Run:
        """Call `optimize`, with `out` as its run folder. Raises what it raises."""
        task, models, surrogate = self._load(loader or Loader())
        return optimize(
            task, models, surrogate=surrogate, out=out, watch=watch, **_restored(self.arguments)
        )

    def set_up(self, loader: Loads) -> tuple[Task, list[Model], Setup]:
        """What it would search, settled and checked as before a search; asks nothing."""
        task, models, surrogate = self._load(loader)
        arguments = _restored(self.arguments)
        parts = {name: arguments.pop(name) for name in _SURROGATE if name in arguments}
        for name in _NOT_PLANNED:
            arguments.pop(name, None)
        return (
            task,
            models,
            set_up(task, models, surrogacy=Surrogacy(surrogate, **parts), **arguments),
        )

    def _load(self, loader: Loads) -> tuple[Task, list[Model], Surrogate | None]:
        helper = None if self.surrogate is None else loader.surrogate(self.surrogate)
        return loader.task(self.task), [loader.model(origin) for origin in self.models], helper


def _key(kind: str, origin: Origin) -> str:
    return canonical_json([kind, origin.spec, dict(origin.options)])


def _origin(found: Mapping[str, Any], name: str) -> Origin | None:
    return None if found[name] is None else Origin(found[name], found["options"])


def _restored(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as `optimize` takes them."""
    found = dict(arguments)
    space, how, channel = (found.get(name) for name in ("prompt", "allocation", "channel"))
    if isinstance(space, Mapping):
        found["prompt"] = PromptSpace(tuple(map(layer_of, space["layers"])), space["canvas"])
    if isinstance(how, Mapping):
        found["allocation"] = Allocation(**how)
    if isinstance(channel, Mapping):
        quality = channel["jpeg"]
        found["channel"] = Channel(
            **{**channel, "jpeg": None if quality is None else tuple(quality)}
        )
    return found
