"""The transfer matrix of verified jobs: source × target × task, and which pairs harm.

A `MeanGain` is a mean over tasks and seeds of gains on held-out images. Its interval resamples
those (task, seed) cells. Of a single (task, seed) it is the mean of the intervals over its test
images.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

import numpy as np

from bbtvp.core.errors import UsageError
from bbtvp.jobs.run import JOBS
from bbtvp.runs.folder import RESULT
from bbtvp.stats import PairedGain, bootstrap_mean, holm

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
    "metric",
    "max_tokens",
)
"""Keys of a job that do not say by which method its prompt was found."""


_K = TypeVar("_K")


@final
class TransferCell(NamedTuple):
    """One proof on one target. Shares and gains are 0..1.

    method: a name for how the prompt was searched. sources: the models that the search asked.
    trained: the task of the search. task: the task of the proof. train: training images, None for
    all. paired: from zero-shot to prompted, on the test images.
    """

    method: str
    sources: tuple[str, ...]
    target: str
    trained: str
    task: str
    train: int | None
    seed: int
    paired: PairedGain

    @property
    def source(self) -> str:
        """The names of the sources, joined."""
        return "+".join(self.sources)

    @property
    def carried(self) -> bool:
        """Whether the search never asked the target."""
        return self.target not in self.sources

    def as_json(self) -> dict[str, Any]:
        """The cell of a `bbtvp.transfer/1` document."""
        found = self._asdict()
        paired = found.pop("paired")
        return found | {
            "zero_shot": paired.before,
            "gain": paired.gain,
            "interval": paired.ci,
            "p": paired.p,
            "n": paired.n,
        }


@final
class MeanGain(NamedTuple):
    """A mean gain, its 95 % interval, and the number of cells in it."""

    gain: float
    low: float
    high: float
    cells: int


def read_cells(folder: Path) -> list[TransferCell]:
    """The proofs of the finished jobs in a folder. UsageError if there are none."""
    try:
        jobs = json.loads((folder / JOBS).read_text("utf-8"))["jobs"]
    except (OSError, ValueError, LookupError) as error:
        raise UsageError(f"{folder} is no folder of jobs: name the --out of bbtvp run") from error
    cells: list[TransferCell] = []
    for job, method in zip(jobs, _methods(jobs), strict=True):
        path = folder / job["folder"] / RESULT
        if path.is_file():
            cells += _cells(job, method, json.loads(path.read_text("utf-8")))
    if not cells:
        raise UsageError(
            f"{folder} holds no proof: give its jobs verify = true, or a list of models"
        )
    return cells


def _cells(
    job: Mapping[str, Any], method: str, document: Mapping[str, Any]
) -> Iterator[TransferCell]:
    sources = tuple([job["model"]] if isinstance(job["model"], str) else job["model"])
    for proof in (document, *document.get("also", ())):
        for row in proof["models"]:
            yield TransferCell(
                method=method,
                sources=sources,
                target=row["model"],
                trained=document["task"],
                task=proof["task"],
                train=job.get("train"),
                seed=job["seed"],
                paired=PairedGain.from_json(row, "zero_shot", "prompted"),
            )


def _methods(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each job's method: its prompt, and every other key in which the jobs differ."""
    if not jobs:
        return []
    keys = [key for key in jobs[0] if key not in (*_NOT_A_METHOD, "folder", "prompt")]
    differing = [key for key in keys if len({json.dumps(job.get(key)) for job in jobs}) > 1]
    names = []
    for job in jobs:
        words = [f"{key}={job[key]}" for key in differing if job[key]]
        names.append(", ".join([job["prompt"], *words]))
    return names


def mean_gain(cells: Sequence[TransferCell]) -> MeanGain:
    """The mean of the cells' gains; each (task, seed) counts the same."""
    by_place: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for cell in cells:
        by_place[cell.trained, cell.task, cell.seed].append(cell.paired.gain)
    if len(by_place) == 1:
        # Nothing can be resampled. The cells share their images, so their errors may be the same.
        low, high = np.mean([cell.paired.ci for cell in cells], axis=0).tolist()
        return MeanGain(float(np.mean([cell.paired.gain for cell in cells])), low, high, len(cells))
    found = bootstrap_mean(np.array([np.mean(gains) for gains in by_place.values()]))
    return MeanGain(found.mean, found.lo, found.hi, len(cells))


def _mean_gains(groups: Mapping[_K, Sequence[TransferCell]]) -> dict[_K, MeanGain]:
    return {key: mean_gain(cells) for key, cells in groups.items()}


def matrix(cells: Iterable[TransferCell]) -> dict[tuple[str, str], MeanGain]:
    """(source, target) → mean gain, in the order of their appearance.

    Only proofs on the task of the search count.
    """
    groups: dict[tuple[str, str], list[TransferCell]] = defaultdict(list)
    for cell in _most_images(cells):
        if cell.task == cell.trained:
            groups[cell.source, cell.target].append(cell)
    return _mean_gains(groups)


def across(cells: Iterable[TransferCell]) -> dict[tuple[str, str], MeanGain]:
    """(task of the search, task of the proof) → mean gain; empty if there is only one task."""
    groups: dict[tuple[str, str], list[TransferCell]] = defaultdict(list)
    for cell in _most_images(cells):
        groups[cell.trained, cell.task].append(cell)
    proved = {task for _, task in groups}
    return _mean_gains(groups) if len(proved) > 1 else {}


def _most_images(cells: Iterable[TransferCell]) -> list[TransferCell]:
    """The cells of the most training images. `by_size` shows the others."""
    kept = list(cells)
    most = max((cell.train or np.inf for cell in kept), default=np.inf)
    return [cell for cell in kept if (cell.train or np.inf) == most]


def harmed(cells: Sequence[TransferCell]) -> list[TransferCell]:
    """Cells whose target is significantly below its own zero-shot, worst first.

    McNemar's test at 5 %, with Holm's correction over all cells.
    """
    adjusted = holm([cell.paired.p for cell in cells])
    found = [
        cell for cell, p in zip(cells, adjusted, strict=True) if cell.paired.gain < 0 and p < ALPHA
    ]
    return sorted(found, key=lambda cell: cell.paired.gain)


def by_size(
    cells: Iterable[TransferCell],
) -> dict[tuple[str, int | None], tuple[MeanGain, MeanGain | None]]:
    """(method, training images) → mean gain on the sources, and on the other models.

    The second is None where no other model was tried.
    """
    own: dict[tuple[str, int | None], list[TransferCell]] = defaultdict(list)
    carried: dict[tuple[str, int | None], list[TransferCell]] = defaultdict(list)
    for cell in cells:
        if cell.task == cell.trained:
            group = carried if cell.carried else own
            group[cell.method, cell.train].append(cell)
    order = sorted(own, key=lambda key: (key[0], key[1] is None, key[1] or 0))
    others = _mean_gains(carried)
    return {key: (mean_gain(own[key]), others.get(key)) for key in order}


def document(cells: Sequence[TransferCell]) -> dict[str, Any]:
    """The `bbtvp.transfer/1` document."""
    methods = list(dict.fromkeys(cell.method for cell in cells))
    return {
        "schema": SCHEMA,
        "cells": [cell.as_json() for cell in cells],
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
        "harmed": [cell.as_json() for cell in harmed(cells)],
    }
