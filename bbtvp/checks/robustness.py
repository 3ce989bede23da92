"""Does the gain survive a corrupted image? Accuracy with and without the prompt, by corruption.

There are two orders, which answer different questions:

- `channel`: the image that is SENT is corrupted, with the prompt on it, and the bare image alike.
  This is what vendors, networks and screens do. The prompt itself suffers.
- `input`: the camera's image is corrupted, then the prompt is put on it. This is bad weather or a
  bad lens. The prompt arrives whole, as a product would send it.

Without the prompt both orders send the same image, which is asked about once.

>>> found = robustness(prompt, "zoo/shapes-dark", ["zoo/llava"], families=("blur",), limit=100)
>>> print(found.models[0].mean_gain, found.models[0].harmed())
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack, final

import numpy as np

from bbtvp.checks.corruptions import FAMILIES, Corruption, choose, find
from bbtvp.checks.paired import ask_both
from bbtvp.checks.result import CheckResult
from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.models import AnyModel, Model, as_models
from bbtvp.prompt import Prompt
from bbtvp.stats import PairedGain, bootstrap_mean, holm
from bbtvp.tasks import Sample, Task
from bbtvp.verify.inputs import AnyPrompt, AnyTask, open_prompt
from bbtvp.verify.session import CheckOptions, CheckSession, held_out

SCHEMA = "bbtvp.robustness/1"
SEVERITIES = (1, 2, 3, 4, 5)
Where: TypeAlias = Literal["channel", "input"]


@final
@dataclass(frozen=True)
class CorruptionGain:
    """What the prompt changes under one corruption at one severity.

    level: the severity in words. paired: from zero-shot to prompted, on the images that were
    answered both times. holm_p: McNemar's exact p, adjusted for all corruptions of the call.
    """

    corruption: str
    family: str
    severity: int
    level: str
    paired: PairedGain
    holm_p: float
    failed: int

    def as_json(self) -> dict[str, Any]:
        """The cell of a `bbtvp.robustness/1` document."""
        return {
            "corruption": self.corruption,
            "family": self.family,
            "severity": self.severity,
            "level": self.level,
            **self.paired.as_json("zero_shot", "prompted"),
            "holm_p": self.holm_p,
            "failed": self.failed,
        }


@final
@dataclass(frozen=True)
class CellTried:
    """One corruption was tried at one severity: the `done`-th of `cells` on this model.

    gain: None if no image was answered without the prompt and with it.
    """

    model: str
    done: int
    cells: int
    corruption: str
    severity: int
    gain: CorruptionGain | None


@final
@dataclass(frozen=True)
class ModelRobustness:
    """One model: the clean images, every corruption at every severity (a cell), and their means.

    Means are over severities, then over corruptions, so that each corruption counts once. mean_gain
    is the mean over images of an image's mean change, with its bootstrap interval. relative_*: mean
    accuracy under corruption / clean accuracy (rPC of Michaelis et al., 2019). mce: the mean
    corruption error of the prompt in units of the errors of zero-shot, which takes the place of
    AlexNet in the mCE of Hendrycks and Dietterich (2019); below 1 the prompt is better. gain_kept:
    mean_gain / the clean gain. These are None where the denominator is 0; gain_kept also where the
    clean gain is negative. unanswered: cells of which no image was answered with and without the
    prompt; no figure includes them.
    """

    model: str
    clean: CorruptionGain
    cells: tuple[CorruptionGain, ...]
    mean_zero_shot: float
    mean_prompted: float
    mean_gain: float
    mean_gain_ci95: tuple[float, float]
    relative_zero_shot: float | None
    relative_prompted: float | None
    mce: float | None
    gain_kept: float | None
    unanswered: tuple[str, ...] = ()

    def harmed(self, level: float = 0.05) -> tuple[CorruptionGain, ...]:
        """Cells in which the prompt loses, with a Holm-adjusted p below `level`."""
        return tuple(c for c in self.cells if c.paired.gain < 0 and c.holm_p < level)

    def helped(self, level: float = 0.05) -> tuple[CorruptionGain, ...]:
        """Cells in which the prompt gains, with a Holm-adjusted p below `level`."""
        return tuple(c for c in self.cells if c.paired.gain > 0 and c.holm_p < level)

    def as_json(self) -> dict[str, Any]:
        """The model of a `bbtvp.robustness/1` document."""
        return {
            **vars(self),
            "clean": self.clean.as_json(),
            "cells": [cell.as_json() for cell in self.cells],
        }


@final
@dataclass(frozen=True, kw_only=True)
class Robustness(CheckResult):
    """The result of `robustness`, models in the order given."""

    where: Where
    models: tuple[ModelRobustness, ...]

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.robustness/1` document."""
        return self.document(
            SCHEMA,
            where=self.where,
            models=[model.as_json() for model in self.models],
        )


def planned(
    task: Task,
    corruptions: Sequence[Corruption],
    severities: Sequence[int],
    limit: int | None,
    models: int = 1,
) -> int:
    """The most image queries that `robustness` sends, without retries.

    Two for each image and model, clean and in each corruption at each severity.
    """
    cells = sum(len(kind.severities(severities)) for kind in corruptions)
    return models * 2 * len(held_out(task, limit)) * (1 + cells)


def chosen(
    prompt: Prompt, families: Sequence[str], names: Sequence[str] = ()
) -> tuple[Corruption, ...]:
    """The corruptions of `families` and those that are named, each once.

    UsageError for an unknown name, or if there are none.
    """
    kinds = {
        kind.name: kind for kind in (*choose(families, prompt.space.canvas), *map(find, names))
    }
    if not kinds:
        raise UsageError(f"no corruption is chosen; name families: {', '.join(FAMILIES)}")
    return tuple(kinds.values())


def robustness(
    prompt: AnyPrompt,
    task: AnyTask,
    models: AnyModel | Sequence[AnyModel],
    *,
    families: Sequence[str] = FAMILIES,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    where: Where = "channel",
    limit: int | None = 100,
    **options: Unpack[CheckOptions],
) -> Robustness:
    """Accuracy with and without the prompt on corrupted test images, on each model.

    corruptions: names, in place of `families`. limit: the first so many test images, None for all.
    options: see `CheckOptions`; in one `out` folder, a later call with more corruptions or models
    asks only what is new. The event "corrupting" tells the most image queries before the first.

    Raises UsageError for unknown names or no model, ModelError if a model answers no clean image,
    and BudgetReached at the cap of `usd` dollars.
    """
    models = as_models(models)
    if not models:
        raise UsageError("name at least one model to ask")
    if where not in ("channel", "input"):
        raise unknown("place of the corruption", where, ("channel", "input"))
    opened = open_prompt(prompt)
    prompt = opened.prompt
    task = opened.task(task)
    kinds = chosen(prompt, families if corruptions is None else (), corruptions or ())
    for severity in severities:
        if severity not in SEVERITIES:
            raise UsageError(f"there is no severity {severity}; give some of 1 to 5")
    cells = [_Cell(kind, severity) for kind in kinds for severity in kind.severities(severities)]
    with CheckSession("robustness", prompt, task, **options) as session:
        most = planned(task, kinds, severities, limit, len(models))
        session.announce(most)
        asking = _Asking(session, held_out(task, limit), where)
        found = [asking.robustness_of(session.model(given), cells) for given in models]
        cost = session.cost
    result = Robustness(
        task=task.name, prompt=prompt.digest, where=where, models=_adjusted(found), cost=cost
    )
    session.save(result.as_json())
    return result


class _Cell(NamedTuple):
    """A corruption at one severity."""

    kind: Corruption
    severity: int

    @property
    def name(self) -> str:
        return f"{self.kind.name} {self.severity}"

    def row(self, paired: PairedGain, failed: int) -> CorruptionGain:
        kind = self.kind
        level = kind.levels[self.severity - 1]
        p = paired.p
        return CorruptionGain(
            kind.name, kind.family, self.severity, level, paired, holm_p=p, failed=failed
        )


@final
class _Asking(NamedTuple):
    """What is asked of each model."""

    session: CheckSession
    samples: tuple[Sample, ...]
    where: Where

    def robustness_of(self, model: Model, cells: Sequence[_Cell]) -> ModelRobustness:
        """One model in all cells. ModelError if it answers no clean or no corrupted image."""
        spec = model.spec
        paired, failed, _ = self._gain(model, None)
        if paired is None:
            raise ModelError(
                f"{spec} answered no clean image with and without the prompt; "
                "nothing can be said about it"
            )
        clean = CorruptionGain("clean", "", 0, "", paired, holm_p=paired.p, failed=failed)
        rows: list[CorruptionGain] = []
        changes: list[Vector] = []
        unanswered = []
        for number, cell in enumerate(cells, start=1):
            paired, failed, change = self._gain(model, cell)
            row = None if paired is None else cell.row(paired, failed)
            if row is None:
                unanswered.append(cell.name)
            else:
                rows.append(row)
                changes.append(change)
            self.session.watch(
                CellTried(
                    spec,
                    number,
                    len(cells),
                    corruption=cell.kind.name,
                    severity=cell.severity,
                    gain=row,
                )
            )
        if not rows:
            raise ModelError(
                f"{spec} answered no corrupted image with and without the prompt; ask again"
            )
        found = _summary(spec, clean, rows, np.stack(changes), self.session.seed)
        return replace(found, unanswered=tuple(unanswered))

    def _gain(self, model: Model, cell: _Cell | None) -> tuple[PairedGain | None, int, Vector]:
        """The gain (None if no image was answered twice), failed queries, and (n,) changes."""
        task = self.session.task
        found = ask_both(self.session, model, task, self.samples, self._images(cell))
        return found.gain(self.session.seed), found.failed, found.change

    def _images(self, cell: _Cell | None) -> Iterator[tuple[Pixels, Pixels]]:
        """For each sample what is sent without the prompt, and with it."""
        render = self.session.prompt.render
        for sample in self.samples:
            pixels = sample.pixels()
            bare = self._corrupted(cell, sample, pixels)
            if self.where == "input":
                yield bare, render(bare)
            else:
                yield bare, self._corrupted(cell, sample, render(pixels))

    def _corrupted(self, cell: _Cell | None, sample: Sample, pixels: Pixels) -> Pixels:
        if cell is None:
            return pixels
        return cell.kind(pixels, cell.severity, seed=self.session.seed, sample=sample.id)


def _summary(
    spec: str, clean: CorruptionGain, cells: Sequence[CorruptionGain], changes: Matrix, seed: int
) -> ModelRobustness:
    """changes: (cells, n) what the prompt changed, NaN where it is not known."""
    names = [cell.corruption for cell in cells]
    of_name = [
        [i for i, other in enumerate(names) if other == name] for name in dict.fromkeys(names)
    ]
    zero_shot = np.array([cell.paired.before for cell in cells])
    prompted = np.array([cell.paired.after for cell in cells])
    before = float(np.mean([zero_shot[rows].mean() for rows in of_name]))
    after = float(np.mean([prompted[rows].mean() for rows in of_name]))
    # An image that lacks the answers of one corruption counts by the others.
    per_image = _known_mean(np.stack([_known_mean(changes[rows]) for rows in of_name]))
    mean = bootstrap_mean(per_image, seed=seed)
    errors = [(sum(1 - prompted[rows]), sum(1 - zero_shot[rows])) for rows in of_name]
    ratios = [ours / bare for ours, bare in errors if bare > 0]
    base = clean.paired
    return ModelRobustness(
        spec,
        clean,
        tuple(cells),
        mean_zero_shot=before,
        mean_prompted=after,
        mean_gain=mean.mean,
        mean_gain_ci95=(mean.lo, mean.hi),
        relative_zero_shot=before / base.before if base.before else None,
        relative_prompted=after / base.after if base.after else None,
        mce=float(np.mean(ratios)) if ratios else None,
        gain_kept=mean.mean / base.gain if base.gain > 0 else None,
    )


def _known_mean(rows: Matrix) -> Vector:
    """(n,) the mean of each column of (k, n) over what is known; NaN where nothing is."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def _adjusted(models: Sequence[ModelRobustness]) -> tuple[ModelRobustness, ...]:
    """Holm over all cells of all models."""
    p = [cell.paired.p for model in models for cell in model.cells]
    adjusted = iter(holm(p).tolist())
    return tuple(
        replace(model, cells=tuple(replace(cell, holm_p=next(adjusted)) for cell in model.cells))
        for model in models
    )
