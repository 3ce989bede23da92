"""What a search ends with, in words: its gain on validation, what it cost, and the next step."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.models import Model
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.journal import Journal
from bbtvp.search.validation import Arm
from bbtvp.stats import bootstrap_mean, is_right_or_wrong
from bbtvp.tasks import Task

_FLAGS = frozenset({"question", "labels", "definitions", "metric", "max_tokens"})
"""Options of a task that the command line has."""


@final
class ValidationGain(NamedTuple):
    """What the best prompt changed on the n validation images that were answered without it too.

    before, after: mean scores, 0 to 1. gain: their difference; low, high: its 95 % bootstrap
    interval. graded: some scores lie between 0 and 1; else the means are shares of right answers.
    The prompt was chosen on these images, so the gain is a little too good: see `bbtvp.verify`.
    """

    n: int
    before: float
    after: float
    gain: float
    low: float
    high: float
    graded: bool = False

    def __str__(self) -> str:
        unit = "of the score" if self.graded else "right"
        return (
            f"{100 * self.before:.1f} -> {100 * self.after:.1f} % {unit}, gain "
            f"{100 * self.gain:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}] "
            f"on {self.n} images"
        )


def validation_gain(journal: Journal, arms: Sequence[Arm]) -> ValidationGain | None:
    """The gain of the arm that was kept last, or else of the first that was tried.

    None if no arm was tried, or no image was answered with and without it.
    """
    tried = [arm for arm in arms[1:] if arm.kept][-1:] or list(arms[1:2])
    if not tried:
        return None
    steps = [journal.step(f"validation/{arm.name}") for arm in (arms[0], tried[0])]
    before, after = (np.array(step["correct"] if step else [], np.float64) for step in steps)
    both = np.isfinite(before) & np.isfinite(after)
    if not both.any():
        return None
    found = bootstrap_mean((after - before)[both])
    return ValidationGain(
        int(both.sum()),
        float(before[both].mean()),
        float(after[both].mean()),
        found.mean,
        found.lo,
        found.hi,
        not is_right_or_wrong(before[both], after[both]),
    )


def advice_without_gain(gain: ValidationGain | None, folder: Path | None) -> str:
    """What to try after a search without a gain. Where no reply was right, it is the reading."""
    if gain is None or gain.before > 0 or gain.after > 0:
        return "try another preset, or more queries"
    show = "" if folder is None else f": {shlex.join(['bbtvp', 'replies', str(folder)])}"
    return f"no reply was right, so see first what the model says and how it is read{show}"


def describe_cost(queries: Mapping[str, int], *, failed: int, refused: int, usd: float) -> str:
    """Image queries by phase, those without an answer, and US dollars where there are any."""
    parts = [f"{count:,} {phase}" for phase, count in queries.items() if count]
    parts += [f"{failed:,} of them failed"] if failed else []
    parts += [f"{refused:,} of these refused"] if refused else []
    paid = f", ${usd:.4f}" if usd else ""
    return f"{sum(queries.values()):,} image queries ({', '.join(parts) or 'none'}){paid}"


def next_command(task: Task, models: Sequence[Model], folder: Path | None) -> str:
    """The command that proves the prompt in this run folder; in Python where only that can."""
    where = "" if folder is None else f', out="{folder}"'
    in_python = f"bbtvp.verify(run.prompt, run.task, run.models{where})"
    origins = [model.origin for model in models]
    loaded = task.origin
    if folder is None or loaded is None or not loaded.options.keys() <= _FLAGS:
        return in_python
    known = [origin for origin in origins if origin is not None]
    if len(known) < len(origins) or any(o.options != known[0].options for o in known):
        return in_python
    words = ["bbtvp", "verify", str(folder / BUNDLE), "--task", loaded.spec]
    for name, value in loaded.options.items():
        if name == "definitions":  # the bundle holds the words that they gave
            continue
        words += [f"--{name.replace('_', '-')}", _flag_value(value)]
    for origin in known:
        words += ["--model", origin.spec]
    for name, value in known[0].options.items():
        words += ["-M", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join([*words, "--out", str(folder)])


def _flag_value(value: Any) -> str:
    """A value as a flag takes it; of labels, all of them."""
    return "|".join(value) or "none" if isinstance(value, list) else str(value)
