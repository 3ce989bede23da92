"""Compare two runs: how they were called, what they found, their cost and their proofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import DataError
from bbtvp.jobs.differences import (
    AnswerDifferences,
    Pairs,
    StepDifference,
    answers,
    differing,
    environments,
    first_step,
    side_by_side,
)
from bbtvp.jobs.replies import RecordedReplies, task_of
from bbtvp.runs.folder import RunFolder
from bbtvp.runs.record import flattened
from bbtvp.runs.tally import ValidationMeans
from bbtvp.search.recipe import Loader
from bbtvp.stats import PairedGain, paired_gain
from bbtvp.tasks import Task

SCHEMA = "bbtvp.comparison/1"
_ROW = ("role", "n", "zero_shot", "empty_frame", "prompted", "gain", "gain_ci95", "failed")
"""What is shown of a row of a proof."""


@final
@dataclass(frozen=True)
class Comparison:
    """Two runs; pairs are of the first and the second.

    paired: for each model, from the first prompt to the second on the same test images. unpaired:
    why no paired comparison was made, "" if one was.
    """

    runs: tuple[RunFolder, RunFolder]
    configuration: Pairs
    environment: Pairs
    step: StepDifference | None
    answers: AnswerDifferences
    paired: Mapping[str, PairedGain]
    unpaired: str

    @property
    def identical(self) -> bool | None:
        """Whether the prompts are the same to the bit; None if one is missing."""
        first, second = (run.prompt for run in self.runs)
        return None if first is None or second is None else first.digest == second.digest

    @property
    def theta(self) -> Pairs:
        """All parameters of both prompts."""
        return side_by_side(*map(_theta, self.runs))

    @property
    def validated(self) -> dict[str, tuple[ValidationMeans | None, ValidationMeans | None]]:
        """What was validated, by name."""
        first, second = self.runs
        return side_by_side(first.tally.validated, second.tally.validated)

    @property
    def spent(self) -> dict[str, tuple[Any, Any]]:
        """Image queries by phase, failed ones among them, dollars, and seconds where known."""
        first, second = self.runs
        phases = {**first.tally.spent, **second.tally.spent}
        return {
            **{phase: (first.tally.spent[phase], second.tally.spent[phase]) for phase in phases},
            "failed": (first.tally.failed, second.tally.failed),
            "usd": (round(first.tally.usd, 6), round(second.tally.usd, 6)),
            "seconds": (first.seconds, second.seconds),
        }

    @property
    def proofs(self) -> dict[str, tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
        """Rows of the proofs by model."""
        rows = side_by_side(*map(_rows, self.runs))
        return {model: (_part(first), _part(second)) for model, (first, second) in rows.items()}

    @property
    def verdicts(self) -> tuple[str | None, str | None]:
        """The verdicts of the proofs, each in a word; None where there is no proof."""
        first, second = self.runs
        return _verdict(first), _verdict(second)

    def as_json(self) -> dict[str, Any]:
        """A `bbtvp.comparison/1` document."""
        digests = [run.prompt.digest if run.prompt else None for run in self.runs]
        return {
            "schema": SCHEMA,
            "runs": [str(run.path) for run in self.runs],
            "configuration": self.configuration,
            "environment": self.environment,
            "prompt": {"identical": self.identical, "digests": digests, "parameters": self.theta},
            "validation": {
                name: [None if one is None else one.as_json() for one in pair]
                for name, pair in self.validated.items()
            },
            "spent": self.spent,
            "verification": self.proofs,
            "verdicts": list(self.verdicts),
            "paired": [
                {"model": model, **gain.as_json("first", "second")}
                for model, gain in self.paired.items()
            ],
            "unpaired": self.unpaired or None,
            "journals": {
                "first_step_that_differs": None if self.step is None else self.step._asdict(),
                "answers": self.answers._asdict(),
            },
        }


def compare(first: Path, second: Path, loader: Loader | None = None) -> Comparison:
    """Compare two run folders.

    No model is loaded or asked. The task is loaded for a paired comparison of two proofs. Raises
    JournalError for a folder that is no run, or damaged, and BundleError for a damaged prompt.
    """
    one = RunFolder(first).load()
    other = RunFolder(second).load()
    paired, why = _paired(one, other, loader or Loader())
    return Comparison(
        (one, other),
        differing(_called(one), _called(other)),
        environments(one.record["environments"][-1], other.record["environments"][-1]),
        first_step(one.recording, other.recording),
        answers(one.recording, other.recording),
        paired,
        why,
    )


def _paired(
    first: RunFolder, second: RunFolder, loader: Loader
) -> tuple[dict[str, PairedGain], str]:
    """The comparison by model, or why there is none."""
    models = [model for model in _rows(first) if model in _rows(second)]
    if not models or first.proof is None or second.proof is None:
        return {}, "the runs were not both verified on one model"
    if first.proof.task != second.proof.task:
        return {}, "they were verified on different tasks"
    try:
        task = task_of(first.proof, loader)
    except DataError as error:
        return {}, str(error)
    found = {}
    for model in models:
        right = _right(task, first, model), _right(task, second, model)
        if np.isfinite(right).all(axis=0).any():
            found[model] = paired_gain(*right)
    if not found:
        return {}, "the journals of the proofs do not hold the answers to these images"
    return found, ""


def _right(task: Task, run: RunFolder, model: str) -> Vector:
    """(n,) 1 where the prompted answer to a test image was right, else 0; NaN without an answer."""
    if run.prompt is None or run.proof is None:
        return np.full(len(task.test), np.nan)
    replies = RecordedReplies(run.proof.recording, task, run.identity_of(model))
    readings = [replies.reading(sample, run.prompt) for sample in task.test]
    return np.array([float("nan") if reading is None else reading.correct for reading in readings])


def _part(row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if row is None else {name: row.get(name) for name in _ROW}


def _called(run: RunFolder) -> dict[str, Any]:
    """How the run was called, by names such as "seed" and "allocation.images"."""
    record = run.record
    models = record["models"]
    task = record["task"]
    surrogate = record["surrogate"]
    return {
        "task": task["spec"] or task["name"],
        "task digest": task["digest"],
        **{f"task.{name}": value for name, value in task["options"].items()},
        "models": ", ".join(model["spec"] for model in models),
        "model revisions": ", ".join(model["revision"] for model in models),
        **{
            f"{model['spec']}.{name}": value
            for model in models
            for name, value in model["options"].items()
        },
        "surrogate": None if surrogate is None else surrogate["spec"],
        **flattened(record["arguments"]),
    }


def _theta(run: RunFolder) -> dict[str, float | str]:
    """The parameters of the prompt by "layer.name"; none if the run is not finished."""
    return flattened(run.prompt.theta) if run.prompt else {}


def _rows(run: RunFolder) -> Mapping[str, Mapping[str, Any]]:
    """The rows of the proof by model."""
    return run.proof.rows if run.proof else {}


def _verdict(run: RunFolder) -> str | None:
    """The verdict of the proof in a word."""
    return run.proof.document["verdict"]["word"] if run.proof else None
