"""Three arms per model on the test split, five for a prompt with a sentence, paired image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.objective import Reading, choose_reader, read_all
from bbtvp.prompt import Guidance, Prompt
from bbtvp.query import Account, Meter, Model, load_model, probed
from bbtvp.stats import paired_gain
from bbtvp.study.journal import Journal
from bbtvp.study.search import Watch, silent
from bbtvp.task import Sample, Task
from bbtvp.task.registry import load_task

BATCH = 128
"""Test images in memory at a time, each in all arms."""

ARMS = ("zero_shot", "empty_frame", "prompted")
GUIDED = ("sentence_only", "image_only")
"""The two halves of a prompt with Guidance: its sentence with the raw image, its image with the plain question."""


_COUNTS = {3: "three", 5: "five"}


@final
@dataclass(frozen=True)
class Row:
    """One model's proof. Shares are of the `n` images answered in all arms; `gain` is prompted − zero_shot.

    `gain_ci95`: paired bootstrap interval. `mcnemar_p`: exact, two-sided. `over_empty_frame`, with its interval, is
    what the search found beyond placement alone. `unparsed`: prompted replies that named no single label.
    `sentence_only` and `image_only`: shares of the same images, None for a prompt without Guidance; a gain that the
    sentence alone has too is not the picture's.
    """

    model: str
    role: str
    n: int
    zero_shot: float
    empty_frame: float
    prompted: float
    gain: float
    gain_ci95: tuple[float, float]
    mcnemar_p: float
    over_empty_frame: float
    over_empty_frame_ci95: tuple[float, float]
    failed: int
    unparsed: int
    sentence_only: float | None = None
    image_only: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields; without those of arms that there were none of."""
        return {name: value for name, value in asdict(self).items() if name not in GUIDED or value is not None}


@final
@dataclass(frozen=True)
class Example:
    """A test image as it was and as prompted, with the model's answers."""

    model: str
    before: Pixels
    after: Pixels
    question: str
    truth: str
    answer_before: str | None
    answer_after: str | None


@final
@dataclass(frozen=True)
class Proof:
    """Rows in the order of the models, the image queries and dollars they cost, and examples from the first model.

    refused: of the failed queries, those that a model would not answer.
    """

    task: str
    prompt: str
    rows: tuple[Row, ...]
    queries: int
    failed: int
    refused: int
    usd: float
    examples: tuple[Example, ...]

    @property
    def transfer(self) -> float | None:
        """Mean gain over the models that were never queried, None if there are none."""
        gains = [row.gain for row in self.rows if row.role == "target"]
        return float(np.mean(gains)) if gains else None

    def as_json(self) -> list[dict[str, Any]]:
        """The `models` part of a `bbtvp.result/1` document."""
        return [row.as_json() for row in self.rows]


def verify(
    prompt: Prompt,
    task: Task | str,
    models: Sequence[Model | str],
    *,
    source: str | None = None,
    reader: str = "auto",
    normalise: str = "mean",
    usd: float | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    examples: int = 8,
    watch: Watch = silent,
) -> Proof:
    """Prove a prompt on the test split of `task`, on each model; `source` names the model that the search queried.

    Costs at most one image query per model, test image and arm: three arms, or five for a prompt with Guidance. out: a
    run folder whose `verify/` part makes the call resumable. usd: a cap on money. Raises UsageError without models,
    ModelError if a model answers nothing, BudgetReached at the cap.
    """
    if not models:
        raise UsageError("name at least one model to verify on")
    task = load_task(task) if isinstance(task, str) else task
    config = {"task": task.digest, "prompt": prompt.digest, "reader": reader, "normalise": normalise}
    folder = Path(out) / "verify" / prompt.digest[:12] if out is not None else None
    arms = _arms(prompt)
    rows: list[Row] = []
    shown: list[Example] = []
    with Journal(config, folder) as journal:
        watch("verifying", {"models": len(models), "queries": len(models) * len(arms) * len(task.test)})
        for given in models:
            model = load_model(given) if isinstance(given, str) else given
            probe = probed(model, usd_cap=None if usd is None else usd - journal.usd)
            if probe is not None:
                journal.write_probe(model.spec, probe)
                watch("probed", {"probes": {model.spec: probe.findings}})
            account = Account(spent=journal.spent, failed=journal.failed, usd_cap=usd, usd=journal.usd)
            account.phase = f"verify {model.spec}"
            meter = Meter(model, journal, account=account)
            role = "source" if model.spec == source else "target"
            readings = _ask(prompt, task, meter, reader, normalise)
            rows.append(_row(model.spec, role, readings, seed))
            shown = shown or _examples(model.spec, prompt, task, readings, examples)
            watch("verified", rows[-1].as_json())
        queries, failed, refused, spent = journal.spent.total(), journal.failed, journal.refused, journal.usd
    proof = Proof(task.name, prompt.digest, tuple(rows), queries, failed, refused, spent, tuple(shown))
    if folder is not None:
        atomic_write_json(folder / "proof.json", {"task": task.name, "models": proof.as_json()})
    return proof


def _ask(prompt: Prompt, task: Task, meter: Meter, reader: str, normalise: str) -> dict[str, list[Reading]]:
    chosen = choose_reader(reader, meter, task, normalise=normalise)
    readings: dict[str, list[Reading]] = {arm: [] for arm in _arms(prompt)}
    for start in range(0, len(task.test), BATCH):
        samples = task.test[start : start + BATCH]
        for arm, (images, questions) in _sent(prompt, task, samples).items():
            readings[arm] += read_all(chosen, meter, task, samples, images, questions)
    return readings


def _arms(prompt: Prompt) -> tuple[str, ...]:
    return (*ARMS, *GUIDED) if Guidance.kind in prompt.space.slices else ARMS


def _sent(prompt: Prompt, task: Task, samples: Sequence[Sample]) -> dict[str, tuple[list[Pixels], list[str]]]:
    """The images and the questions of each arm."""
    control = prompt.space.empty_frame(prompt.z)
    raw, plain = [sample.pixels() for sample in samples], [task.ask(sample) for sample in samples]
    prompted = [prompt.render(pixels) for pixels in raw]
    sent = {
        "zero_shot": (raw, plain),
        "empty_frame": ([control.render(pixels) for pixels in raw], plain),
        "prompted": (prompted, [prompt.ask(question) for question in plain]),
    }
    if _arms(prompt) != ARMS:
        # the raw image, so that it differs from zero-shot in the sentence alone
        sentence = prompt.space.arms(prompt.z)["sentence_only"]
        sent["sentence_only"] = raw, [sentence.ask(question) for question in plain]
        sent["image_only"] = prompted, plain
    return sent


def _correct(readings: Sequence[Reading]) -> Vector:
    return np.array([reading.correct for reading in readings])


def _row(spec: str, role: str, readings: Mapping[str, Sequence[Reading]], seed: int) -> Row:
    correct = {arm: _correct(values) for arm, values in readings.items()}
    answered = np.isfinite(np.stack(list(correct.values()))).all(axis=0)
    if not answered.any():
        raise ModelError(
            f"{spec} answered no test image in all {_COUNTS[len(correct)]} arms; nothing can be said about it"
        )
    kept = {arm: values[answered] for arm, values in correct.items()}
    gain = paired_gain(kept["zero_shot"], kept["prompted"], seed=seed)
    over = paired_gain(kept["empty_frame"], kept["prompted"], seed=seed)
    failed = sum(int(np.isnan(values).sum()) for values in correct.values())
    unparsed = sum(r.answer is None and np.isfinite(r.correct) for r in readings["prompted"])
    return Row(
        spec, role, gain.n, gain.before, over.before, gain.after, gain.gain, gain.ci, gain.mcnemar_p,
        over.gain, over.ci, failed, int(unparsed), *(float(kept[arm].mean()) for arm in GUIDED if arm in kept),
    )  # fmt: skip


def _examples(
    spec: str, prompt: Prompt, task: Task, readings: Mapping[str, Sequence[Reading]], limit: int
) -> list[Example]:
    """The first test images, whatever became of them: no picking of the good ones."""
    return [
        Example(
            spec, sample.pixels(), prompt.render(sample.pixels()), task.ask(sample), sample.answer,
            readings["zero_shot"][i].answer, readings["prompted"][i].answer,
        )
        for i, sample in enumerate(task.test[:limit])
    ]  # fmt: skip
