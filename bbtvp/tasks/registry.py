"""From a task spec, as written on the command line, to a task.

A spec is a path, `prefix/name` or `<data set>:<folder>`.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.origin import Origin
from bbtvp.core.plugins import Registry
from bbtvp.tasks.loaders import TABLES, is_table, load
from bbtvp.tasks.splits import arrange
from bbtvp.tasks.task import Task

TASKS = Registry(
    "bbtvp.tasks", "task source", expected="a function (name, **options) that gives a Task"
)
"""Called as `loader(name, **options)` for the spec "prefix/name"."""

DATASETS = Registry(
    "bbtvp.datasets", "data set", expected="a function (folder, **options) that gives a Task"
)
"""Called as `loader(folder, **options)` for the spec "<data set>:<folder>"."""


def as_task(given: Task | str | Path) -> Task:
    """The task that is given, or loaded from its spec or path."""
    return given if isinstance(given, Task) else load_task(given)


_EVERY = ("train", "metric", "max_tokens")
"""Options of `load_task` that every loader has."""


def load_task(spec: str | Path, **options: Any) -> Task:
    """The task that `spec` names; a `Path` is always a folder or a table. "~" is the home folder.

    `options` (question, labels, seed, limit, …) go to the loader.

    For every loader: train, keep at most so many training images, each answer in its proportion;
    metric, how replies are scored, as for `Task`; max_tokens, the longest reply that is needed.

    A path that exists, or ends in .csv or .jsonl, or begins with "." or "/", is read by `load`.
    Otherwise the first "/" or ":" splits the spec into a plug-in's name and what it is called with:
    "zoo/digits", "pope:/data/coco".

    Raises UsageError with the nearest names for an unknown spec, and whatever the loader raises.
    """
    spec = _spelled(spec)
    own = {name: value for name, value in options.items() if name in _EVERY and value is not None}
    loaded = _loaded(spec, {name: options[name] for name in options if name not in _EVERY})
    task = loaded
    if "train" in own:
        task = _with_fewer(task, own.pop("train"))
    if own:
        task = replace(task, **own)
    object.__setattr__(task, "loading", loaded.loading)
    object.__setattr__(task, "origin", Origin.of(spec, options))  # frozen for all others
    return task


def _spelled(spec: str | Path) -> str:
    """The spec as text. A path that could be taken for a plug-in's name begins with "./"."""
    if not isinstance(spec, str | Path):
        raise UsageError(
            f"a task of type {type(spec).__name__}; give a path, a spec such as zoo/digits, "
            "or a bbtvp.Task"
        )
    text = os.path.expanduser(spec)
    if isinstance(spec, Path) and not spec.is_absolute() and not os.path.exists(text):
        return os.path.join(".", text)
    return text


def _with_fewer(task: Task, train: int) -> Task:
    """A smaller set of training images is a part of every larger one."""
    if train < 1:
        raise UsageError(f"train={train} leaves nothing to search on; give at least 1")
    kept = arrange(task.train, seed=0, stratify=task.labels is not None)[:train]
    return task if len(kept) == len(task.train) else replace(task, train=kept)


def _loaded(spec: str, options: Mapping[str, Any]) -> Task:
    if os.path.exists(spec) or spec.startswith((".", "/")) or is_table(spec):
        return load(spec, **options)
    match = re.fullmatch(r"([^/:]+)([/:])(.+)", spec, re.DOTALL)
    if match is None:
        known = [f"{name}/" for name in TASKS.names()]
        known += [f"{name}:" for name in DATASETS.names()]
        raise UsageError(f"{unknown('task', spec, known)}; or give a folder, or a {TABLES} file")
    name, separator, rest = match.groups()
    registry = TASKS if separator == "/" else DATASETS
    loader = registry.load(name)
    try:
        inspect.signature(loader, follow_wrapped=False).bind(rest, **options)
    except TypeError as error:
        raise UsageError(f"the {registry.kind} {name!r} cannot be called so: {error}") from error
    found = loader(rest, **options)
    if not isinstance(found, Task):
        raise UsageError(
            f"the {registry.kind} {name!r} returned {type(found).__name__}, not a Task; mend the "
            "plug-in"
        )
    return found
