"""Two runs side by side: how they were called, what they found, what it cost, what was proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

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
)
from bbtvp.jobs.proofs import Answers, KeptProof, identity_of, proofs_in, read_json
from bbtvp.jobs.result import RESULT
from bbtvp.prompt import Prompt
from bbtvp.runs.record import read_record
from bbtvp.runs.recording import Recording
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.runs.tally import Tally, ValidationMeans
from bbtvp.search.optimize import BUNDLE
from bbtvp.search.recipe import Loader
from bbtvp.stats import paired_gain
from bbtvp.tasks import Task

SCHEMA = "bbtvp.comparison/1"
_ROW = ("role", "n", "zero_shot", "empty_frame", "prompted", "gain", "gain_ci95", "failed")
"""What is shown of a row of a proof."""


@final
@dataclass(frozen=True)
class Shown:
    """One run as it lies in its folder.

    prompt: None if the run is not finished. proof: of the prompt, that on the task of the search if
    there is one. seconds: of the last process that worked on it, None where it left no result.
    """

    folder: Path
    record: Mapping[str, Any]
    recording: Recording
    tally: Tally
    prompt: Prompt | None
    proof: KeptProof | None
    seconds: float | None

    @classmethod
    def read(cls, folder: Path) -> Shown:
        """From a run folder; asks and loads nothing. JournalError if it is none, or damaged."""
        record = read_record(folder)
        recording = Recording.read(folder)
        tally = Tally(folder / JOURNAL)
        tally.update()
        bundle = folder / BUNDLE
        prompt = Prompt.load(bundle) if bundle.exists() else None
        proofs = proofs_in(folder, prompt, record["task"]["digest"]) if prompt else []
        seconds = read_json(folder / RESULT).get("seconds")
        return cls(folder, record, recording, tally, prompt, proofs[0] if proofs else None, seconds)

    @property
    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """Of the proof, by model."""
        return self.proof.rows if self.proof else {}

    @property
    def verdict(self) -> str | None:
        """Of the proof, in a word."""
        return self.proof.document["verdict"]["word"] if self.proof else None

    @property
    def called(self) -> dict[str, Any]:
        """How the run was called, by names such as "seed" and "allocation.images"."""
        models = self.record["models"]
        task = self.record["task"]
        helper = self.record["surrogate"]
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
            "surrogate": None if helper is None else helper["spec"],
            **_flat(self.record["arguments"]),
        }

    @property
    def theta(self) -> dict[str, float | str]:
        """The prompt's parameters by "layer.name"."""
        return _flat(self.prompt.theta) if self.prompt else {}


class Paired(NamedTuple):
    """Both prompts on the same `n` test images and one model: shares of right answers, and second −
    first.

    gain_ci95: paired bootstrap interval. mcnemar_p: exact, two-sided.
    """

    model: str
    n: int
    first: float
    second: float
    gain: float
    gain_ci95: tuple[float, float]
    mcnemar_p: float


@final
@dataclass(frozen=True)
class Comparison:
    """Two runs; pairs are of the first and the second. unpaired: why no paired comparison was made,
    "" if one was.
    """

    runs: tuple[Shown, Shown]
    configuration: Pairs
    environment: Pairs
    step: StepDifference | None
    answers: AnswerDifferences
    paired: tuple[Paired, ...]
    unpaired: str

    @property
    def identical(self) -> bool | None:
        """Whether the prompts are the same to the bit; None if one is missing."""
        first, second = (run.prompt for run in self.runs)
        return None if first is None or second is None else first.digest == second.digest

    @property
    def theta(self) -> Pairs:
        """All parameters of both prompts."""
        first, second = (run.theta for run in self.runs)
        return {
            name: (first.get(name), second.get(name))
            for name in [*first, *(n for n in second if n not in first)]
        }

    @property
    def validated(self) -> dict[str, tuple[ValidationMeans | None, ValidationMeans | None]]:
        """What was validated, by name."""
        first, second = (run.tally.validated for run in self.runs)
        return {
            name: (first.get(name), second.get(name))
            for name in [*first, *(n for n in second if n not in first)]
        }

    @property
    def spent(self) -> dict[str, tuple[Any, Any]]:
        """Image queries by phase, failed ones among them, dollars, and seconds where known."""
        first, second = self.runs
        phases = [
            *first.tally.spent,
            *(p for p in second.tally.spent if p not in first.tally.spent),
        ]
        return {
            **{phase: (first.tally.spent[phase], second.tally.spent[phase]) for phase in phases},
            "failed": (first.tally.failed, second.tally.failed),
            "usd": (round(first.tally.usd, 6), round(second.tally.usd, 6)),
            "seconds": (first.seconds, second.seconds),
        }

    @property
    def proofs(self) -> dict[str, tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]]:
        """Rows of the proofs by model."""
        first, second = (run.rows for run in self.runs)
        return {
            model: (_part(first.get(model)), _part(second.get(model)))
            for model in [*first, *(m for m in second if m not in first)]
        }

    def as_json(self) -> dict[str, Any]:
        """A `bbtvp.comparison/1` document."""
        digests = [run.prompt.digest if run.prompt else None for run in self.runs]
        return {
            "schema": SCHEMA,
            "runs": [str(run.folder) for run in self.runs],
            "configuration": self.configuration,
            "environment": self.environment,
            "prompt": {"identical": self.identical, "digests": digests, "parameters": self.theta},
            "validation": {
                name: [None if one is None else one.as_json() for one in pair]
                for name, pair in self.validated.items()
            },
            "spent": self.spent,
            "verification": self.proofs,
            "verdicts": [run.verdict for run in self.runs],
            "paired": [row._asdict() for row in self.paired],
            "unpaired": self.unpaired or None,
            "journals": {
                "first_step_that_differs": None if self.step is None else self.step._asdict(),
                "answers": self.answers._asdict(),
            },
        }


def compare(first: Path, second: Path, loader: Loader | None = None) -> Comparison:
    """Compare two run folders. No model is loaded or asked; the task is, for a paired comparison of
    two proofs.

    Raises JournalError for a folder that is no run, or damaged, and BundleError for a damaged
    prompt.
    """
    one = Shown.read(first)
    other = Shown.read(second)
    paired, why = _paired(one, other, loader or Loader())
    return Comparison(
        (one, other),
        differing(one.called, other.called),
        environments(one.record["environments"][-1], other.record["environments"][-1]),
        first_step(one.recording, other.recording),
        answers(one.recording, other.recording),
        tuple(paired),
        why,
    )


def _paired(first: Shown, second: Shown, loader: Loader) -> tuple[list[Paired], str]:
    """The comparison by model, or why there is none."""
    models = [model for model in first.rows if model in second.rows]
    if not models or first.proof is None or second.proof is None:
        return [], "the runs were not both verified on one model"
    if first.proof.task != second.proof.task:
        return [], "they were verified on different tasks"
    try:
        task = first.proof.load_task(loader)
    except DataError as error:
        return [], str(error)
    rows = []
    for model in models:
        right = _right(task, first, model), _right(task, second, model)
        if np.isfinite(right).all(axis=0).any():
            gain = paired_gain(*right)
            rows.append(
                Paired(model, gain.n, gain.before, gain.after, gain.gain, gain.ci, gain.mcnemar_p)
            )
    return (
        rows,
        "" if rows else "the journals of the proofs do not hold the answers to these images",
    )


def _right(task: Task, run: Shown, model: str) -> Vector:
    """(n,) whether the prompted answer to each test image was right; NaN where the journal has
    none.
    """
    if run.prompt is None or run.proof is None:
        return np.full(len(task.test), np.nan)
    answers = Answers(run.proof, task, run.prompt, identity_of(run.record, model))
    readings = [answers.prompted(sample) for sample in task.test]
    return np.array([float("nan") if reading is None else reading.correct for reading in readings])


def _part(row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if row is None else {name: row.get(name) for name in _ROW}


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        found |= (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {prefix + name: value}
        )
    return found
