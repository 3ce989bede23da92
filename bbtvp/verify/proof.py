"""The proof: every model in all arms on the test split, paired image by image, and a verdict by a
stated rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.rng import stream
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.search import choose_reader
from bbtvp.search.loop import Watch, silent
from bbtvp.stats import holm
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.registry import load_task
from bbtvp.verify.asking import Desk, check_folder
from bbtvp.verify.inquiry import Inquiry
from bbtvp.verify.notes import canvas_note, fact_notes, overlap_note, row_notes, withheld
from bbtvp.verify.overlap import Overlap, overlap
from bbtvp.verify.planning import Looks, plan
from bbtvp.verify.remark import Remark, remark
from bbtvp.verify.rows import Row as Row
from bbtvp.verify.rows import row
from bbtvp.verify.verdict import UNJUDGED, Evidence, Rule, Verdict, judge, settled


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
    """Rows in the order of the models, the image queries and dollars they cost, and examples from
    the first model.

    refused: of the failed queries, those that a model would not answer. notes: what a reader of the
    figures must know. saved: test images that the sequential mode did not ask about, over all
    models.
    """

    task: str
    prompt: str
    rows: tuple[Row, ...]
    queries: int
    failed: int
    refused: int
    usd: float
    examples: tuple[Example, ...]
    verdict: Verdict = UNJUDGED
    notes: tuple[Remark, ...] = ()
    saved: int = 0

    @property
    def transfer(self) -> float | None:
        """Mean gain over the models that were never queried, None if there are none."""
        gains = [row.gain for row in self.rows if row.role == "target"]
        return float(np.mean(gains)) if gains else None

    def as_json(self) -> list[dict[str, Any]]:
        """The `models` part of a `bbtvp.result/1` document."""
        return [row.as_json() for row in self.rows]

    def words(self) -> dict[str, Any]:
        """The `verdict` and `notes` parts."""
        return {"verdict": self.verdict.as_json(), "notes": [note.as_json() for note in self.notes]}


def verify(
    prompt: Prompt,
    task: Task | str,
    models: Sequence[Model | str],
    *,
    source: str | Sequence[str] | None = None,
    reader: str = "auto",
    normalise: str = "mean",
    rule: Rule | None = None,
    calibration: int = 0,
    sequential: bool = False,
    facts: Mapping[str, Any] | None = None,
    usd: float | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    examples: int = 8,
    watch: Watch = silent,
) -> Proof:
    """Prove a prompt on the test split of `task`, on each model; `source` names what was searched,
    one or several.

    Costs at most one image query per model, test image and arm: three arms, or five for a prompt
    with Guidance, and zero-shot once more of a model that does not always answer the same. rule: of
    the verdict. calibration: images that are no test images (`CALIBRATION` of them will do), on
    which an output calibration is fitted at a query each, for a model that gives log-probabilities;
    none by default. sequential: look after every tenth of the test images, in an order drawn by the
    seed, and ask a model no further than its question is settled. facts: what a bundle says of its
    origin. out: a run folder whose `verify/` part makes the call resumable. usd: a cap on money.
    Raises UsageError without models, ModelError if a model answers nothing, BudgetReached at the
    cap.
    """
    if not models:
        raise UsageError("name at least one model to verify on")
    if calibration < 0:
        raise UsageError(f"calibration on {calibration} images; give a number from 0 up")
    task = load_task(task) if isinstance(task, str) else task
    rule = rule or Rule()
    config = {
        "task": task.digest,
        "prompt": prompt.digest,
        "reader": reader,
        "normalise": normalise,
    }
    folder = check_folder(out, "verify", prompt, task)
    planned = plan(prompt, task, models, reader=reader, calibration=calibration, rule=rule)
    watch("verifying", {"models": len(models), "queries": planned.queries, "plan": planned})
    shared = overlap(task)
    with Desk(config, folder, usd=usd, watch=watch) as desk:
        watch("opened", {"resumed": desk.before})

        def open_(given: Model | str) -> Inquiry:
            metered = desk.metered(given, "verify")
            inquiry = Inquiry(
                prompt, task, metered, choose_reader(reader, metered, task, normalise=normalise)
            )
            inquiry.calibrate(calibration, seed)
            return inquiry

        court = _Court(task, rule, shared, source, models, sequential, seed)
        rows, shown, told = court.hear(open_, examples, watch)
        spent = desk.spent
    verdict = judge(rule, court.evidence, withheld(task, shared))
    notes = (*overlap_note(shared, task), *fact_notes(facts or {}, task), *told, *row_notes(rows))
    proof = Proof(task.name, prompt.digest, rows, *spent, shown, verdict, notes, court.saved)
    watch("judged", {"verdict": verdict, "notes": notes})
    if folder is not None:
        origin = task.origin and asdict(task.origin)
        document = {"task": task.name, "origin": origin, "models": proof.as_json(), **proof.words()}
        atomic_write_json(folder / "proof.json", document)
    return proof


@final
class _Court:
    """Hears the models one by one: those that decide first, where looking early may spare the
    others.
    """

    def __init__(
        self,
        task: Task,
        rule: Rule,
        shared: Overlap,
        source: str | Sequence[str] | None,
        models: Sequence[Model | str],
        sequential: bool,
        seed: int,
    ) -> None:
        self.task = task
        self.rule = rule
        self.seed = seed
        self.sources = {source} if isinstance(source, str) else set(source or ())
        self.specs = [model if isinstance(model, str) else model.spec for model in models]
        self.given = dict(enumerate(models))
        deciders = sum(map(self._decides, self.specs))
        order = (
            stream(seed, "verify", "order").permutation(len(task.test))
            if sequential
            else range(len(task.test))
        )
        self.samples: list[Sample] = [task.test[i] for i in order]
        self._unseen = [i not in shared.places for i in order]
        counts = {True: deciders, False: len(models) - deciders}
        images = len(task.test)
        self.looks = (
            {kind: Looks.of(images, count) for kind, count in counts.items()}
            if sequential
            else None
        )
        self.evidence: list[Evidence] = []
        self.saved = 0

    def _decides(self, spec: str) -> bool:
        return spec in self.sources or self.sources.isdisjoint(self.specs)

    def hear(
        self, open_: Callable[[Model | str], Inquiry], examples: int, watch: Watch
    ) -> tuple[tuple[Row, ...], tuple[Example, ...], tuple[Remark, ...]]:
        """Rows in the given order, examples from the first model, and notes."""
        order = list(self.given)
        if self.looks:
            order.sort(key=lambda i: not self._decides(self.specs[i]))
        rows: dict[int, Row] = {}
        shown: dict[int, tuple[Example, ...]] = {}
        notes: list[Remark] = []
        for i in order:
            if self.looks and judge(self.rule, self.evidence).word == "no-go":
                notes.append(remark("not-asked", model=self.specs[i]))
                self.saved += len(self.samples)
                continue
            inquiry = open_(self.given[i])
            role = "source" if inquiry.spec in self.sources else "target"
            rows[i] = self._asked(inquiry, role)
            if self.looks and rows[i].images < len(self.samples):
                asked = rows[i].images
                images = len(self.samples)
                notes.append(
                    remark("settled-early", model=inquiry.spec, asked=asked, images=images)
                )
            notes += canvas_note(inquiry.prompt, inquiry.metered.model)
            shown[i] = _examples(inquiry, examples)
            watch("verified", rows[i].as_json())
        return _adjusted([rows[i] for i in sorted(rows)]), shown[min(shown)], tuple(notes)

    def _asked(self, inquiry: Inquiry, role: str) -> Row:
        decides = self._decides(inquiry.spec)
        if not self.looks:
            inquiry.look(self.samples)
            self.evidence.append(self._evidence(inquiry, decides))
            return row(inquiry, role, self.seed)
        looks = self.looks[decides]
        for k, batch in enumerate(looks.batches(self.samples)):
            inquiry.look(batch)
            found = self._evidence(inquiry, decides)._replace(
                z=float(looks.z[k]), below_z=float(looks.below_z[k])
            )
            if settled(self.rule, found) and not found.fails:
                break
        self.evidence.append(found)
        self.saved += len(self.samples) - len(inquiry.samples)
        return row(inquiry, role, self.seed, repeated_z=float(looks.limit_z[k]))

    def _evidence(self, inquiry: Inquiry, decides: bool) -> Evidence:
        """Of the test images that no other split holds."""
        unseen = np.array(self._unseen[: len(inquiry.samples)])
        used = unseen & inquiry.answered()
        before = inquiry.correct("zero_shot")[used]
        after = inquiry.correct("prompted")[used]
        gained = int((after > before).sum())
        lost = int((after < before).sum())
        return Evidence(inquiry.spec, decides, gained, lost, int(used.sum()), int(unseen.sum()))


def _adjusted(rows: Sequence[Row]) -> tuple[Row, ...]:
    adjusted = holm([row.mcnemar_p for row in rows])
    return tuple(
        replace(row, mcnemar_p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True)
    )


def _examples(inquiry: Inquiry, limit: int) -> tuple[Example, ...]:
    """The first test images, whatever became of them: no picking of the good ones."""
    before = inquiry.answers["zero_shot"]
    after = inquiry.answers["prompted"]
    return tuple(
        Example(
            inquiry.spec,
            sample.pixels(),
            inquiry.prompt.render(sample.pixels()),
            inquiry.task.ask(sample),
            sample.answer,
            before[i].reading.answer,
            after[i].reading.answer,
        )
        for i, sample in enumerate(inquiry.samples[:limit])
    )
