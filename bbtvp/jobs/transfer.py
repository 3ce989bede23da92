"""From a folder of jobs with proofs to its transfer matrix: source × target × task, and which pairs
harm.

A figure is a mean over tasks and seeds of gains on held-out images. Its interval resamples those
(task, seed) cells, which is what a reader would replace; of a single (task, seed) it is the mean of
the intervals over its test images.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.errors import UsageError
from bbtvp.jobs.run import JOBS
from bbtvp.runs.folder import RESULT
from bbtvp.stats import bootstrap_mean, holm

SCHEMA = "bbtvp.transfer/1"
ALPHA = 0.05
_NOT_A_METHOD = (
    "name",
    "task",
    "question",
    "model",
    "options",
    "own",
    "seed",
    "verify",
    "also",
    "usd",
    "minutes",
    "train",
)
"""Keys of a job that do not say by which method its prompt was found."""


@final
class Cell(NamedTuple):
    """One proof on one target. Shares and gains are 0..1.

    method: what tells its search from the others in the folder. sources: the models that were
    asked. trained, task: where the prompt was searched, and where it was proved. train: training
    images, None for all.
    """

    method: str
    sources: tuple[str, ...]
    target: str
    trained: str
    task: str
    train: int | None
    seed: int
    zero_shot: float
    gain: float
    interval: tuple[float, float]
    p: float
    n: int

    @property
    def source(self) -> str:
        """The sources in one word."""
        return "+".join(self.sources)

    @property
    def carried(self) -> bool:
        """Whether the target was never asked in the search."""
        return self.target not in self.sources


@final
class Figure(NamedTuple):
    """A mean gain, its 95 % interval, and the number of cells in it."""

    gain: float
    low: float
    high: float
    cells: int


def read_cells(folder: Path) -> list[Cell]:
    """The proofs of the jobs in a folder that are done. UsageError if there are none."""
    try:
        jobs = json.loads((folder / JOBS).read_text("utf-8"))["jobs"]
    except (OSError, ValueError, LookupError) as error:
        raise UsageError(f"{folder} is no folder of jobs: name the --out of bbtvp run") from error
    methods = _methods(jobs)
    cells: list[Cell] = []
    for job, method in zip(jobs, methods, strict=True):
        path = folder / job["folder"] / RESULT
        if path.is_file():
            cells += _cells(job, method, json.loads(path.read_text("utf-8")))
    if not cells:
        raise UsageError(
            f"{folder} holds no proof: give its jobs verify = true, or a list of models"
        )
    return cells


def _cells(job: Mapping[str, Any], method: str, document: Mapping[str, Any]) -> list[Cell]:
    sources = tuple([job["model"]] if isinstance(job["model"], str) else job["model"])
    proofs = [
        (document["task"], document["models"]),
        *((o["task"], o["models"]) for o in document.get("also", ())),
    ]
    return [
        Cell(
            method,
            sources,
            row["model"],
            document["task"],
            task,
            job.get("train"),
            job["seed"],
            row["zero_shot"],
            row["gain"],
            tuple(row["gain_ci95"]),
            row["mcnemar_p"],
            row["n"],
        )
        for task, rows in proofs
        for row in rows
    ]


def _methods(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each job's method: its prompt, and all else in which the jobs differ."""
    keys = (
        [key for key in jobs[0] if key not in (*_NOT_A_METHOD, "folder", "prompt")] if jobs else []
    )
    differing = [key for key in keys if len({json.dumps(job.get(key)) for job in jobs}) > 1]
    return [
        ", ".join([job["prompt"], *(f"{key}={job[key]}" for key in differing if job[key])])
        for job in jobs
    ]


def figure(cells: Sequence[Cell]) -> Figure:
    """The mean of the cells' gains; each (task, seed) counts the same."""
    by_place: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for cell in cells:
        by_place[cell.trained, cell.task, cell.seed].append(cell.gain)
    if (
        len(by_place) == 1
    ):  # nothing to resample; the cells share their images, so their errors may be one
        low, high = np.mean([cell.interval for cell in cells], axis=0).tolist()
        return Figure(float(np.mean([cell.gain for cell in cells])), low, high, len(cells))
    found = bootstrap_mean(np.array([np.mean(gains) for gains in by_place.values()]))
    return Figure(found.mean, found.lo, found.hi, len(cells))


def matrix(cells: Iterable[Cell]) -> dict[tuple[str, str], Figure]:
    """(source, target) → figure, in the order of their appearance; proofs on the search's own task
    alone.
    """
    found: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in _fullest(cells):
        if cell.task == cell.trained:
            found[cell.source, cell.target].append(cell)
    return {pair: figure(of_pair) for pair, of_pair in found.items()}


def across(cells: Iterable[Cell]) -> dict[tuple[str, str], Figure]:
    """(task of the search, task of the proof) → figure, where prompts were tried on other tasks
    too.
    """
    found: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in _fullest(cells):
        found[cell.trained, cell.task].append(cell)
    return (
        {pair: figure(of_pair) for pair, of_pair in found.items()}
        if len({t for _, t in found}) > 1
        else {}
    )


def _fullest(cells: Iterable[Cell]) -> list[Cell]:
    """Those of the most training images: fewer are another question, that of `by_size`."""
    kept = list(cells)
    most = max((cell.train or np.inf for cell in kept), default=np.inf)
    return [cell for cell in kept if (cell.train or np.inf) == most]


def harmed(cells: Sequence[Cell]) -> list[Cell]:
    """Cells whose target is significantly below its own zero-shot (McNemar, Holm over all cells),
    worst first.
    """
    adjusted = holm([cell.p for cell in cells])
    found = [cell for cell, p in zip(cells, adjusted, strict=True) if cell.gain < 0 and p < ALPHA]
    return sorted(found, key=lambda cell: cell.gain)


def by_size(cells: Iterable[Cell]) -> dict[tuple[str, int | None], tuple[Figure, Figure | None]]:
    """(method, training images) → gain on the sources, and on models that were not asked (None
    without such).
    """
    own: dict[tuple[str, int | None], list[Cell]] = defaultdict(list)
    carried: dict[tuple[str, int | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.task == cell.trained:
            (carried if cell.carried else own)[cell.method, cell.train].append(cell)
    order = sorted(own, key=lambda key: (key[0], key[1] is None, key[1] or 0))
    return {
        key: (figure(own[key]), figure(carried[key]) if key in carried else None) for key in order
    }


def document(cells: Sequence[Cell]) -> dict[str, Any]:
    """The `bbtvp.transfer/1` document."""
    methods = list(dict.fromkeys(cell.method for cell in cells))
    return {
        "schema": SCHEMA,
        "cells": [cell._asdict() for cell in cells],
        "matrix": [
            {"method": method, "source": source, "target": target, **found._asdict()}
            for method in methods
            for (source, target), found in matrix(c for c in cells if c.method == method).items()
        ],
        "across_tasks": [
            {"method": method, "trained": trained, "task": task, **found._asdict()}
            for method in methods
            for (trained, task), found in across(c for c in cells if c.method == method).items()
        ],
        "by_size": [
            {
                "method": method,
                "train": train,
                "source": own._asdict(),
                "others": carried and carried._asdict(),
            }
            for (method, train), (own, carried) in by_size(cells).items()
        ],
        "harmed": [cell._asdict() for cell in harmed(cells)],
    }
