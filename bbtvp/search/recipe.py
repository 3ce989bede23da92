"""A search in words, from a run's record or a file of jobs, so that it can be made again."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, final

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import JournalError, UsageError
from bbtvp.core.origin import Origin
from bbtvp.models import Model, load_model
from bbtvp.runs.record import FILE, read_record
from bbtvp.search.config import SearchConfig
from bbtvp.search.events import Watch, silent
from bbtvp.search.optimize import Run, optimize
from bbtvp.search.setup import Setup, set_up
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.tasks import Metric, Task
from bbtvp.tasks.registry import load_task

_T = TypeVar("_T")

_STARTS_PROGRAM = re.compile(r"(ray/)*exec/")
"""Specs of models that are programs; the word after it is a command line."""


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
    """Tasks, models and surrogates, each loaded once, however many searches use it.

    metric: the metric in code that the user names again, which takes the place of the name that a
    file holds, for no file may run code. Safe to use from many threads.
    """

    def __init__(self, metric: str | Metric | None = None) -> None:
        self._metric = metric
        self._loaded: dict[str, Any] = {}
        self._lock = threading.Lock()

    def task(self, origin: Origin) -> Task:
        return self._once("task", origin, self._task)

    def model(self, origin: Origin) -> Model:
        """Raises UsageError for a program: a file that is loaded must not be able to run one."""
        if _STARTS_PROGRAM.match(origin.spec):
            raise UsageError(
                f"{origin.spec}: no program is started because a file names it; ask it by "
                "bbtvp optimize --model, or make it a plug-in (docs/models.md)"
            )
        return self._once("model", origin, load_model)

    def surrogate(self, origin: Origin) -> Surrogate:
        return self._once("surrogate", origin, load_surrogate)

    @property
    def models(self) -> list[Model]:
        """Those that are loaded now."""
        return [found for found in list(self._loaded.values()) if isinstance(found, Model)]

    def release(self, model: Origin) -> None:
        """Let go of a model that nobody needs any more, so that the next one has room."""
        with self._lock:
            self._loaded.pop(_key("model", model), None)

    def _task(self, spec: str, **options: Any) -> Task:
        if self._metric is not None:
            options = {**options, "metric": self._metric}
        return load_task(spec, **options)

    def _once(self, kind: str, origin: Origin, load: Callable[..., _T]) -> _T:
        key = _key(kind, origin)
        with self._lock:  # one at a time: the lazy imports of transformers are not safe in threads
            if key not in self._loaded:
                self._loaded[key] = load(origin.spec, **origin.options)
            found: _T = self._loaded[key]
        return found


@final
@dataclass(frozen=True)
class Recipe:
    """A search in words: its options, and where the task, the models and the surrogate come from.

    `config.surrogate` is None or a spec; `surrogate` says how it is loaded.
    """

    task: Origin
    models: tuple[Origin, ...]
    config: SearchConfig
    surrogate: Origin | None = None

    @classmethod
    def of_run(cls, folder: Path) -> Recipe:
        """From the record of a run.

        Raises JournalError if it was called with what no record can name, or with an option that
        this version does not have.
        """
        record = read_record(folder)
        task = _origin(record["task"], "spec")
        surrogate = record["surrogate"]
        models = [_origin(model, "origin") for model in record["models"]]
        helper = None if surrogate is None else _origin(surrogate, "spec")
        nameless = [*(["task"] if task is None else []), *(["model"] if None in models else [])]
        nameless += ["surrogate"] if surrogate is not None and helper is None else []
        if task is None or nameless:
            raise JournalError(
                f"{folder / FILE}: the {nameless[0]} was made in Python, "
                "and only that program can make it again"
            )
        try:
            config = SearchConfig.of({**record["arguments"], "surrogate": helper and helper.spec})
        except UsageError as error:
            raise JournalError(f"{folder / FILE}: {error}") from error
        return cls(task, tuple(m for m in models if m is not None), config, helper)

    def search(
        self, *, out: Path | str | None, loader: Loads | None = None, watch: Watch = silent
    ) -> Run:
        """Call `optimize`, with `out` as its run folder. Raises what it raises."""
        task, models, config = self._load(loader or Loader())
        return optimize(task, models, config=config, out=out, watch=watch)

    def set_up(self, loader: Loads) -> tuple[Task, list[Model], Setup]:
        """What it would search, settled and checked as before a search; asks nothing."""
        task, models, config = self._load(loader)
        return task, models, set_up(task, models, config)

    def _load(self, loader: Loads) -> tuple[Task, list[Model], SearchConfig]:
        config = self.config
        if self.surrogate is not None:
            config = replace(config, surrogate=loader.surrogate(self.surrogate))
        return loader.task(self.task), [loader.model(origin) for origin in self.models], config


def _key(kind: str, origin: Origin) -> str:
    return canonical_json([kind, origin.spec, dict(origin.options)])


def _origin(found: Mapping[str, Any], name: str) -> Origin | None:
    return None if found[name] is None else Origin(found[name], found["options"])
