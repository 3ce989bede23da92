"""Does the gain hold where the picture is spoilt on its way? Accuracy with and without the prompt,
by corruption.

Two orders, and they answer different questions:

- `channel`: the image that is SENT is corrupted, after the prompt was put on it, and the bare image likewise: what
  vendors, networks and screens do to it. The prompt itself suffers.
- `input`: the camera's image is corrupted, then the prompt is put on it: bad weather, a bad lens. The prompt arrives
  whole, as a product would send it.

Without the prompt both are the same image, and it is asked about once.

>>> found = robustness(prompt, "zoo/shapes-dark", ["zoo/llava"], families=("blur", "channel"), limit=100)
>>> print(found.models[0].mean_gain, found.models[0].harmed())
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.checks.corruptions import FAMILIES, Corruption, choose, find
from bbtvp.core.arrays import Matrix, Pixels
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.core.files import atomic_write_json
from bbtvp.models import MeteredModel, Model
from bbtvp.prompt import Prompt
from bbtvp.search import Reader, choose_reader
from bbtvp.search.loop import Watch, silent
from bbtvp.stats import bootstrap_mean, holm, paired_gain
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.registry import load_task
from bbtvp.verify.asking import BATCH, Arm, Desk, ask, check_folder, held_out

SCHEMA = "bbtvp.robustness/1"
SEVERITIES = (1, 2, 3, 4, 5)
Where: TypeAlias = Literal["channel", "input"]


@final
@dataclass(frozen=True)
class Cell:
    """One corruption at one severity; shares are of the `n` images that were answered with and
    without the prompt.

    gain: prompted − zero_shot, with its paired bootstrap interval. holm_p: McNemar's exact p,
    adjusted for all cells of the call. level: what the severity is, in words.
    """

    corruption: str
    family: str
    severity: int
    level: str
    n: int
    zero_shot: float
    prompted: float
    gain: float
    gain_ci95: tuple[float, float]
    mcnemar_p: float
    holm_p: float
    failed: int


@final
@dataclass(frozen=True)
class ModelRobustness:
    """One model: the clean images, every cell, and what they come to.

    Means are over severities, then over corruptions, so that each corruption counts once. mean_gain
    is the mean over images of an image's mean change, with its bootstrap interval. relative: mean
    accuracy under corruption / clean accuracy (Michaelis et al., 2019, rPC). mce: mean corruption
    error of the prompt, in errors of zero-shot (Hendrycks and Dietterich's mCE with zero-shot in
    AlexNet's place; below 1 the prompt is better). gain_kept: mean_gain / the clean gain. None
    where a denominator is 0 (for gain_kept, not above 0). unanswered: cells that no image was
    answered in with and without the prompt; they are in no figure.
    """

    model: str
    clean: Cell
    cells: tuple[Cell, ...]
    mean_zero_shot: float
    mean_prompted: float
    mean_gain: float
    mean_gain_ci95: tuple[float, float]
    relative_zero_shot: float | None
    relative_prompted: float | None
    mce: float | None
    gain_kept: float | None
    unanswered: tuple[str, ...] = ()

    def harmed(self, level: float = 0.05) -> tuple[Cell, ...]:
        """Cells where the prompt loses, and would in less than `level` of all worlds by chance
        (Holm).
        """
        return tuple(cell for cell in self.cells if cell.gain < 0 and cell.holm_p < level)

    def helped(self, level: float = 0.05) -> tuple[Cell, ...]:
        """Cells where it gains, likewise."""
        return tuple(cell for cell in self.cells if cell.gain > 0 and cell.holm_p < level)


@final
@dataclass(frozen=True)
class Robustness:
    """Models in the order given. `queries`, `failed`, `refused` (of the failed) and `usd`: all runs
    of the journal.
    """

    task: str
    prompt: str
    where: Where
    models: tuple[ModelRobustness, ...]
    queries: int
    failed: int
    refused: int
    usd: float

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.robustness/1` document."""
        return {"schema": SCHEMA, **asdict(self)}


def planned(
    task: Task,
    corruptions: Sequence[Corruption],
    severities: Sequence[int],
    limit: int | None,
    models: int = 1,
) -> int:
    """The most image queries that `robustness` sends, without retries: two for each image, cell and
    model.
    """
    cells = sum(len(kind.severities(severities)) for kind in corruptions)
    return models * 2 * len(held_out(task, limit)) * (1 + cells)


def chosen(
    prompt: Prompt, families: Sequence[str], names: Sequence[str] = ()
) -> tuple[Corruption, ...]:
    """The corruptions of `families` and those named, each once. UsageError for an unknown name, or
    for none.
    """
    kinds = {
        kind.name: kind for kind in (*choose(families, prompt.space.canvas), *map(find, names))
    }
    if not kinds:
        raise UsageError(f"no corruption is chosen; name families: {', '.join(FAMILIES)}")
    return tuple(kinds.values())


def robustness(
    prompt: Prompt,
    task: Task | str,
    models: Sequence[Model | str],
    *,
    families: Sequence[str] = FAMILIES,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    where: Where = "channel",
    limit: int | None = 100,
    reader: str = "auto",
    normalise: str = "mean",
    usd: float | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch = silent,
) -> Robustness:
    """Accuracy with and without the prompt on corrupted test images, on each model.

    corruptions: names, in place of `families`. limit: so many test images, the first ones, None for
    all. out: a run folder whose `robustness/` part makes the call resumable, and is widened by a
    call with more cells or models. The event "corrupting" tells the most image queries before the
    first. Raises UsageError for unknown names or no model, ModelError if a model answers no clean
    image, BudgetReached at the cap of `usd` dollars.
    """
    if not models:
        raise UsageError("name at least one model to ask")
    if where not in ("channel", "input"):
        raise unknown("place of the corruption", where, ("channel", "input"))
    task = load_task(task) if isinstance(task, str) else task
    kinds = chosen(prompt, families if corruptions is None else (), corruptions or ())
    for severity in severities:
        if severity not in SEVERITIES:
            raise UsageError(f"there is no severity {severity}; give some of 1 to 5")
    cells = [(kind, severity) for kind in kinds for severity in kind.severities(severities)]
    samples = held_out(task, limit)
    config = {"check": "robustness", "task": task.digest, "prompt": prompt.digest, "reader": reader}
    folder = check_folder(out, "robustness", prompt, task)
    found = []
    with Desk({**config, "normalise": normalise}, folder, usd=usd, watch=watch) as desk:
        most = planned(task, kinds, severities, limit, len(models))
        watch(
            "corrupting",
            {"queries": most, "cells": len(cells), "models": len(models), "resumed": desk.before},
        )
        for given in models:
            metered = desk.metered(given, "robustness")
            asking = _Asking(
                prompt,
                task,
                samples,
                metered,
                choose_reader(reader, metered, task, normalise=normalise),
                where,
                seed,
            )
            found.append(_one(asking, cells, watch))
        spent = desk.spent
    result = Robustness(task.name, prompt.digest, where, _adjusted(found), *spent)
    if folder is not None:
        atomic_write_json(folder / "robustness.json", result.as_json())
    return result


class _Asking(NamedTuple):
    prompt: Prompt
    task: Task
    samples: tuple[Sample, ...]
    metered: MeteredModel
    reader: Reader
    where: Where
    seed: int

    def arms(self, kind: Corruption | None, severity: int) -> tuple[Arm, Arm]:
        """Without and with the prompt."""
        found: tuple[list[Any], list[Any]] = ([], [])
        refused = [0, 0]
        for start in range(0, len(self.samples), BATCH):
            batch = self.samples[start : start + BATCH]
            bare = [self._spoilt(kind, severity, sample, sample.pixels()) for sample in batch]
            for i, (images, prompt) in enumerate(
                ((bare, None), (self._sent(kind, severity, batch, bare), self.prompt))
            ):
                arm = ask(self.reader, self.metered, self.task, batch, images, prompt)
                found[i].extend(arm.readings)
                refused[i] += arm.refused
        return Arm(found[0], refused[0]), Arm(found[1], refused[1])

    def _sent(
        self,
        kind: Corruption | None,
        severity: int,
        batch: Sequence[Sample],
        bare: Sequence[Pixels],
    ) -> list[Pixels]:
        if self.where == "input":
            return [self.prompt.render(pixels) for pixels in bare]
        return [
            self._spoilt(kind, severity, sample, self.prompt.render(sample.pixels()))
            for sample in batch
        ]

    def _spoilt(
        self, kind: Corruption | None, severity: int, sample: Sample, pixels: Pixels
    ) -> Pixels:
        return pixels if kind is None else kind(pixels, severity, seed=self.seed, sample=sample.id)


def _one(asking: _Asking, cells: Sequence[tuple[Corruption, int]], watch: Watch) -> ModelRobustness:
    spec = asking.metered.spec
    clean, _ = _cell(asking, None, 1)
    if clean is None:
        raise ModelError(
            f"{spec} answered no clean image with and without the prompt; nothing can be said about it"
        )
    found: list[Cell] = []
    changes: list[Matrix] = []
    unanswered = []
    for number, (kind, severity) in enumerate(cells, start=1):
        cell, change = _cell(asking, kind, severity)
        if cell is None:
            unanswered.append(f"{kind.name} {severity}")
        else:
            found.append(cell)
            changes.append(change)
        facts = {
            "model": spec,
            "done": number,
            "cells": len(cells),
            "corruption": kind.name,
            "severity": severity,
        }
        watch("corrupted", {**facts, "cell": None if cell is None else asdict(cell)})
    if not found:
        raise ModelError(
            f"{spec} answered no corrupted image with and without the prompt; ask again"
        )
    return _summary(spec, clean, found, np.stack(changes), tuple(unanswered), asking.seed)


def _cell(asking: _Asking, kind: Corruption | None, severity: int) -> tuple[Cell | None, Matrix]:
    """The cell, None if no image was answered twice; and (n,) what the prompt changed, image by
    image, NaN unknown.
    """
    bare, prompted = asking.arms(kind, severity)
    change = prompted.correct - bare.correct
    if np.isnan(change).all():
        return None, change
    gain = paired_gain(bare.correct, prompted.correct, seed=asking.seed)
    name, family, level = (
        (kind.name, kind.family, kind.levels[severity - 1]) if kind else ("clean", "", "")
    )
    cell = Cell(
        name,
        family,
        severity if kind else 0,
        level,
        gain.n,
        gain.before,
        gain.after,
        gain.gain,
        gain.ci,
        gain.mcnemar_p,
        gain.mcnemar_p,
        bare.failed + prompted.failed,
    )
    return cell, change


def _summary(
    spec: str,
    clean: Cell,
    cells: Sequence[Cell],
    changes: Matrix,
    unanswered: tuple[str, ...],
    seed: int,
) -> ModelRobustness:
    names = [cell.corruption for cell in cells]
    of = {
        name: [i for i, other in enumerate(names) if other == name] for name in dict.fromkeys(names)
    }
    before = float(np.mean([np.mean([cells[i].zero_shot for i in rows]) for rows in of.values()]))
    after = float(np.mean([np.mean([cells[i].prompted for i in rows]) for rows in of.values()]))
    # An image that lacks answers of a corruption counts by the others.
    per_image = _mean(np.stack([_mean(changes[rows]) for rows in of.values()]))
    mean = bootstrap_mean(per_image, seed=seed)
    errors = [
        (sum(1 - cells[i].prompted for i in rows), sum(1 - cells[i].zero_shot for i in rows))
        for rows in of.values()
    ]
    ratios = [ours / bare for ours, bare in errors if bare > 0]
    return ModelRobustness(
        spec,
        clean,
        tuple(cells),
        before,
        after,
        mean.mean,
        (mean.lo, mean.hi),
        before / clean.zero_shot if clean.zero_shot else None,
        after / clean.prompted if clean.prompted else None,
        float(np.mean(ratios)) if ratios else None,
        mean.mean / clean.gain if clean.gain > 0 else None,
        unanswered,
    )


def _mean(rows: Matrix) -> Matrix:
    """The mean down the columns of what is known; NaN where nothing is."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total: Matrix = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def _adjusted(models: Sequence[ModelRobustness]) -> tuple[ModelRobustness, ...]:
    """Holm over all cells of all models."""
    adjusted = iter(holm([cell.mcnemar_p for model in models for cell in model.cells]).tolist())
    return tuple(
        replace(model, cells=tuple(replace(cell, holm_p=next(adjusted)) for cell in model.cells))
        for model in models
    )
