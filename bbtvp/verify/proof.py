"""The proof: each model is asked in all arms about the test split; a rule gives the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.origin import is_among
from bbtvp.models import AnyModel, Model, as_models
from bbtvp.prompt import PromptSpace
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.search.events import silent
from bbtvp.search.exemplars import check_exemplars
from bbtvp.stats import holm
from bbtvp.tasks import Sample
from bbtvp.tasks.overlap import Overlap, overlap
from bbtvp.verify.answers import ModelAnswers
from bbtvp.verify.controls import (
    best_constant,
    collapse,
    hardest_constant,
    read_before,
)
from bbtvp.verify.events import (
    ModelVerified,
    ProofJudged,
    ProofOpened,
    ProofPlanned,
    ProofWatch,
)
from bbtvp.verify.examples import Example, first_examples
from bbtvp.verify.inputs import AnyPrompt, AnyTask, open_prompt
from bbtvp.verify.messages import Message, message
from bbtvp.verify.notes import (
    canvas_note,
    fact_notes,
    overlap_note,
    row_notes,
    saving_note,
    withheld,
    words_note,
)
from bbtvp.verify.planning import ProofSettings, SequentialDesign, looking_order, plan_proof
from bbtvp.verify.rows import ProofRow, proof_row
from bbtvp.verify.session import CheckSession
from bbtvp.verify.verdict import (
    UNJUDGED,
    ChangedAnswers,
    Constant,
    Evidence,
    Rule,
    Verdict,
    judge,
    needless,
    settled,
)


@final
@dataclass(frozen=True)
class Proof:
    """The result of `verify`. Rows are in the order of the models.

    queries, failed, refused (of the failed), usd: what the proof cost, all processes together.
    examples: test images and answers of the first model. notes: what a reader of the figures must
    know. saved: test images that a sequential proof did not ask about, over all models. evidence:
    what the verdict was judged by, a model each. settings: None for a proof made by hand.
    """

    task: str
    prompt: str
    rows: tuple[ProofRow, ...]
    queries: int
    failed: int
    refused: int
    usd: float
    examples: tuple[Example, ...]
    verdict: Verdict = UNJUDGED
    notes: tuple[Message, ...] = ()
    saved: int = 0
    evidence: tuple[Evidence, ...] = ()
    settings: ProofSettings | None = None

    def __repr__(self) -> str:
        gains = "; ".join(map(_gain_line, self.rows))
        return f"Proof({self.verdict.word}, {self.task}, {gains or 'no model was asked'})"

    def __str__(self) -> str:
        """The verdict, a line for each model, and the notes."""
        cost = f"{self.queries:,} image queries" + (f", ${self.usd:.4f}" if self.usd else "")
        lines = [f"verdict: {self.verdict}", *map(_gain_line, self.rows), f"spent: {cost}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @property
    def transfer(self) -> float | None:
        """Mean gain over the models that the search never queried; None if there are none."""
        gains = [row.gain for row in self.rows if row.role == "target"]
        return float(np.mean(gains)) if gains else None

    def as_json(self) -> list[dict[str, Any]]:
        """The `models` part of a `bbtvp.result/1` document."""
        return [row.as_json() for row in self.rows]

    def words(self) -> dict[str, Any]:
        """The `verdict` and `notes` parts."""
        return {"verdict": self.verdict.as_json(), "notes": [note.as_json() for note in self.notes]}


def _gain_line(row: ProofRow) -> str:
    low, high = row.paired.ci
    unit = "of the score" if row.paired.graded else "right"
    return (
        f"{row.model} {100 * row.paired.before:.1f} -> {100 * row.paired.after:.1f} % {unit}, "
        f"gain {100 * row.paired.gain:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] "
        f"on {row.paired.n} images"
    )


def verify(
    prompt: AnyPrompt,
    task: AnyTask,
    models: AnyModel | Sequence[AnyModel],
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
    watch: ProofWatch = silent,
) -> Proof:
    """Prove a prompt on the test split of `task`, on each model.

    prompt, task: also by their paths. models: one or several; a function is a model too.

    A proof costs at most one image query per model, test image and arm. There are three arms, five
    for a prompt of words and a picture, two for words alone, and zero-shot a second time for a
    model that does not always answer the same. Of the identity, which a search gives that found no
    gain, only the unprompted images are asked about: its gain is 0, and the verdict no-go.

    source: the model, or models, that the search queried; by default those that the bundle names,
    where the prompt is given by its path. rule: of the verdict. calibration: so
    many images that are no test images are asked about, one query each, to fit an output
    calibration for a model that gives log-probabilities; `CALIBRATION` of them will do. sequential:
    look after every tenth of the test images, in an order drawn by the seed, and stop asking a
    model as soon as the rule needs no more of it. facts: what a bundle says of its origin. usd: the
    most that the proof may cost, in US dollars. out: a run folder, whose `verify/` part makes the
    call resumable. examples: how many test images the proof keeps, with the answers to them.

    Raises UsageError without models, ModelError if a model answers nothing, and BudgetReached at
    the cap.
    """
    models = as_models(models)
    if not models:
        raise UsageError("name at least one model to verify on")
    if calibration < 0:
        raise UsageError(f"calibration on {calibration} images; give a number from 0 up")
    opened_prompt = open_prompt(prompt)
    prompt = opened_prompt.prompt
    task = opened_prompt.task(task)
    facts = opened_prompt.facts if facts is None else facts
    source = opened_prompt.facts.get("source_models") if source is None else source
    rule = rule or Rule.of(facts)
    planned = plan_proof(prompt, task, models, reader=reader, calibration=calibration, rule=rule)
    watch(ProofPlanned(len(models), planned))
    shared = overlap(task)
    check_exemplars(prompt.space, task)
    session = CheckSession(
        PROOFS,
        prompt,
        task,
        reader=reader,
        normalise=normalise,
        usd=usd,
        seed=seed,
        out=out,
        watch=watch,
    )
    with session:
        watch(ProofOpened(session.resumed))

        def opened(given: Model | str) -> ModelAnswers:
            model = session.model(given)
            answers = ModelAnswers(prompt, task, model, session.reader(model))
            if not prompt.is_identity:
                answers.calibrate(calibration, seed)
            return answers

        proving = _Proving(session, models, source, rule, shared)
        if sequential:
            proving.look_early()
        rows, shown, told = proving.ask_all(opened, examples)
        cost = session.cost
    verdict = (
        needless(rule)
        if prompt.is_identity
        else judge(rule, proving.evidence, withheld(task, shared))
    )
    found = (*overlap_note(shared, task), *fact_notes(facts, task), *words_note(prompt))
    notes = (*found, *told, *row_notes(rows))
    proof = Proof(
        task.name,
        prompt.digest,
        rows,
        *cost,
        shown,
        verdict,
        notes,
        proving.saved,
        tuple(proving.evidence),
        ProofSettings(reader, normalise, calibration, sequential, seed, *proving.roles),
    )
    watch(ProofJudged(verdict, notes))
    origin = task.origin and asdict(task.origin)
    session.save({"task": task.name, "origin": origin, "models": proof.as_json(), **proof.words()})
    return proof


def needless_proof(task: str, rule: Rule | None = None) -> Proof:
    """The proof of the identity on the task of this name; no model is asked, so it has no rows."""
    verdict = needless(rule or Rule())
    digest = PromptSpace.identity().digest
    return Proof(task, digest, (), 0, 0, 0, 0.0, (), verdict)


@final
class _Proving:
    """Asks the models one by one, and keeps what the verdict is judged by.

    A sequential proof asks the models that decide first: after a no-go it asks no other.
    """

    def __init__(
        self,
        session: CheckSession,
        models: Sequence[Model | str],
        source: str | Sequence[str] | None,
        rule: Rule,
        shared: Overlap,
    ) -> None:
        self._session = session
        self._given = list(models)
        self._specs = [model if isinstance(model, str) else model.spec for model in models]
        self._sources = {source} if isinstance(source, str) else set(source or ())
        self._rule = rule
        self._shared = shared
        self._samples: list[Sample] = list(session.task.test)
        self._unseen = [i not in shared.places for i in range(len(self._samples))]
        held = [sample for i, sample in enumerate(self._samples) if self._unseen[i]]
        self._constant = best_constant(session.task, held or self._samples)
        self._designs: dict[bool, SequentialDesign] = {}
        self.evidence: list[Evidence] = []
        self.saved = 0

    def look_early(self) -> None:
        """Ask in an order drawn by the seed, and look at the answers before all are in."""
        test = self._session.task.test
        order = looking_order(len(test), self._session.seed)
        self._samples = [test[i] for i in order]
        self._unseen = [i not in self._shared.places for i in order]
        deciding, others = self.roles
        self._designs = {
            True: SequentialDesign.of(len(test), deciding, self._rule.level),
            False: SequentialDesign.of(len(test), others, self._rule.level),
        }

    @property
    def roles(self) -> tuple[int, int]:
        """How many models decide the verdict, and how many do not."""
        deciding = sum(map(self._decides, self._specs))
        return deciding, len(self._specs) - deciding

    def _decides(self, spec: str) -> bool:
        return self._is_source(spec) or not any(map(self._is_source, self._specs))

    def _is_source(self, spec: str) -> bool:
        return is_among(spec, self._sources)

    def ask_all(
        self, opened: Callable[[Model | str], ModelAnswers], examples: int
    ) -> tuple[tuple[ProofRow, ...], tuple[Example, ...], tuple[Message, ...]]:
        """Rows in the order of the models, examples from the first model, and notes."""
        order = list(range(len(self._specs)))
        if self._designs:
            order.sort(key=lambda i: not self._decides(self._specs[i]))
        images = len(self._samples)
        rows: dict[int, ProofRow] = {}
        shown: dict[int, tuple[Example, ...]] = {}
        notes: list[Message] = []
        for i in order:
            if self._designs and judge(self._rule, self.evidence).word == "no-go":
                notes.append(message("not-asked", model=self._specs[i]))
                self.saved += images
                continue
            answers = opened(self._given[i])
            row = self._ask(answers)
            if self._designs and row.images < images:
                notes.append(
                    message("settled-early", model=row.model, asked=row.images, images=images)
                )
            notes += canvas_note(answers.prompt, answers.model.model, self._session.task)
            notes += saving_note(answers.prompt, answers.model.model, self._session.task)
            rows[i] = row
            shown[i] = first_examples(answers, examples)
            self._session.watch(ModelVerified(row))
        return _adjusted([rows[i] for i in sorted(rows)]), shown[min(shown)], tuple(notes)

    def _ask(self, answers: ModelAnswers) -> ProofRow:
        seed = self._session.seed
        decides = self._decides(answers.spec)
        role = "source" if self._is_source(answers.spec) else "target"
        if not self._designs:
            answers.extend(self._samples)
            self.evidence.append(self._evidence(answers, decides))
            return proof_row(answers, role, seed, constant=self._constant)
        design = self._designs[decides]
        for k, batch in enumerate(design.batches(self._samples)):
            answers.extend(batch)
            found = self._evidence(answers, decides)._replace(
                z=float(design.z[k]), below_z=float(design.below_z[k])
            )
            if settled(self._rule, found) and not found.fails:
                break
        self.evidence.append(found)
        self.saved += len(self._samples) - len(answers.samples)
        return proof_row(
            answers, role, seed, constant=self._constant, repeated_z=float(design.limit_z[k])
        )

    def _evidence(self, answers: ModelAnswers, decides: bool) -> Evidence:
        """From the test images that no other split holds."""
        unseen = np.array(self._unseen[: len(answers.samples)])
        used = unseen & answers.answered()
        before = answers.correct("zero_shot")[used]
        after = answers.correct("prompted")[used]
        read = read_before(answers.arms["zero_shot"])[used]
        found = Evidence(
            answers.spec,
            decides,
            ChangedAnswers.of(before, after),
            int(unseen.sum()),
            self._rule.z,
        )
        if not used.any():
            return found
        return found._replace(
            constant=self._beside_constant(answers, used, after),
            read=None if read.all() else ChangedAnswers.of(before[read], after[read]),
        )

    def _beside_constant(
        self, answers: ModelAnswers, used: NDArray[np.bool_], prompted: Vector
    ) -> Constant:
        task = answers.task
        samples, before, after = answers.said(used)
        answer, always = hardest_constant(task, self._constant, samples, after)
        gathered = collapse(task, samples, before, after)
        return Constant.of(answer, always, prompted, gathered)


def _adjusted(rows: Sequence[ProofRow]) -> tuple[ProofRow, ...]:
    adjusted = holm([row.paired.p for row in rows])
    return tuple(replace(row, holm_p=float(p)) for row, p in zip(rows, adjusted, strict=True))
