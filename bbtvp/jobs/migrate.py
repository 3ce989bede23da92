"""Moving prompts to new models: whether each still holds there, and what to do if not.

Each prompt is verified on each new model, looking early. Where it does not hold, the new model
without a prompt is set beside the old one with it. Where that is worse, the prompt is refined from
where it is, and the refined prompt is verified. The rule is in `bbtvp.jobs.migration`.

Everything lies in one folder, `PROMPT/NEW/` for each pair, with the journals of proofs and
searches, so that the same command goes on where it was stopped and asks nothing twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.errors import BbtvpError, BudgetReached
from bbtvp.core.origin import without_paths
from bbtvp.jobs.migrate_compare import AskedModel, ask_both, beside_the_bundle, evidence_of
from bbtvp.jobs.migrate_cost import serving_costs
from bbtvp.jobs.migration import (
    Decision,
    Migration,
    ModelsCompared,
    Refinement,
    Verdicts,
    decide,
    early,
    needs_none,
    rule_of,
)
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import EvidenceEntry
from bbtvp.runs.folder import BUNDLE, Cost, cost_in
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.runs.proofs import check_folder
from bbtvp.search import Run, SearchConfig, optimize
from bbtvp.search.events import silent
from bbtvp.tasks import Task
from bbtvp.tasks.overlap import overlap
from bbtvp.verify import Proof, plan_proof, verify
from bbtvp.verify.notes import withheld
from bbtvp.verify.session import CheckSession
from bbtvp.verify.verdict import LEAST

REFINEMENT = 300
"""Image queries of one refinement, by default."""

_UNFIT = re.compile(r"[^\w.-]+")
"""Characters that the name of a folder does without."""


@final
@dataclass(frozen=True)
class PromptToMove:
    """A prompt that is to be moved, with the task that it is for.

    name: a short one for people, unlike that of every other prompt. path: of its bundle. facts,
    evidence: what the bundle says.
    """

    name: str
    path: Path
    prompt: Prompt
    digest: str
    task: Task
    facts: Mapping[str, Any] = field(default_factory=dict)
    evidence: Sequence[EvidenceEntry] = ()


@final
@dataclass(frozen=True)
class MigrateOptions:
    """What all pairs share.

    queries: of one refinement. usd: the most that everything may cost. old: the spec of the old
    model; old_model: the model, None if it cannot be asked, and why (`old_missing`).
    """

    old: str
    out: Path
    queries: int = REFINEMENT
    usd: float | None = None
    seed: int = 0
    reader: str = "auto"
    old_model: Model | None = None
    old_missing: str = ""
    watch: Callable[[Any], None] = silent


@final
class MigratePlan(NamedTuple):
    """The most image queries of one pair: proof, comparison, refinement, proof of the refined."""

    prompt: str
    new: str
    proof: int
    comparison: int
    refinement: int
    second_proof: int

    @property
    def queries(self) -> int:
        """All of them."""
        return self.proof + self.comparison + self.refinement + self.second_proof


def plan_migration(moved: PromptToMove, new: Model, options: MigrateOptions) -> MigratePlan:
    """The plan of one pair, which asks nothing."""
    if moved.prompt.is_identity or withheld(moved.task, overlap(moved.task)):
        return MigratePlan(moved.name, new.spec, 0, 0, 0, 0)
    planned = plan_proof(
        moved.prompt,
        moved.task,
        [new],
        reader=options.reader,
        calibration=0,
        rule=rule_of(moved.facts),
    )
    compared = 0 if options.old_model is None else len(moved.task.test)
    # The answers without the prompt are those of the first proof.
    second = planned.queries - len(moved.task.test)
    return MigratePlan(moved.name, new.spec, planned.queries, compared, options.queries, second)


@final
class Migrator:
    """Moves prompts, one pair after the other, within one cap on money."""

    def __init__(self, options: MigrateOptions) -> None:
        self.options = options
        self._costs: dict[Path, Cost] = {}

    @property
    def usd(self) -> float:
        """US dollars spent so far, in all processes that worked in the folder."""
        return math.fsum(cost.usd for cost in self._costs.values())

    @property
    def queries(self) -> int:
        """Image queries sent so far, likewise."""
        return sum(cost.queries for cost in self._costs.values())

    def move(self, moved: PromptToMove, new: Model) -> Migration:
        """The decision on one pair.

        Raises BudgetReached at the cap, and what a proof or a search raises.
        """
        usd = self.usd
        queries = self.queries
        folder = self.options.out / f"{_fit(moved.name)}-{moved.digest[:8]}"
        pair = _Pair(self, moved, new, folder)
        found, verdicts = pair.decided()
        refinement = verdicts and verdicts.refinement
        bundle = {"keep": str(moved.path), "refined": refinement and refinement.bundle}
        return Migration(
            prompt=moved.name,
            digest=moved.digest,
            task=moved.task.name,
            old=without_paths(self.options.old),
            new=without_paths(new.spec),
            decision=found.word,
            reasons=found.reasons,
            rule=pair.rule,
            queries=self.queries - queries,
            usd=self.usd - usd,
            bundle=bundle.get(found.word),
            more_images=found.more_images,
            proof=verdicts and verdicts.proof,
            compared=verdicts and verdicts.compared,
            refinement=refinement,
            costs=serving_costs(moved.prompt, moved.task, self.options.old_model, new),
        )

    @contextmanager
    def counting(self, folder: Path) -> Iterator[float | None]:
        """Gives the US dollars that the part whose journal lies in `folder` may spend in all.

        None without a cap. What the journal says in the end counts, also if the part failed.
        """
        try:
            yield self._left(folder)
        finally:
            self._costs[folder] = cost_in(folder)

    def _left(self, folder: Path) -> float | None:
        """US dollars that are left, if what this part spent before is counted as left."""
        if self.options.usd is None:
            return None
        others = math.fsum(cost.usd for part, cost in self._costs.items() if part != folder)
        left = self.options.usd - others
        if left <= 0:
            raise BudgetReached(
                f"${self.options.usd:g} are spent; the same command goes on with a higher --usd",
                "US dollars",
            )
        return left


@final
class _Pair:
    """One prompt and one new model."""

    def __init__(self, migrator: Migrator, moved: PromptToMove, new: Model, folder: Path) -> None:
        self.migrator = migrator
        self.options = migrator.options
        self.moved = moved
        self.new = new
        self.rule = rule_of(moved.facts)
        self.folder = folder / _fit(new.spec)
        self.old_folder = folder / f"old-{_fit(self.options.old)}"

    def decided(self) -> tuple[Decision, Verdicts | None]:
        """The decision, and what it rests on; None of a prompt that was not asked about."""
        task = self.moved.task
        if self.moved.prompt.is_identity:
            return Decision("needs none", ("the bundle leaves every image as it is",)), None
        shared = overlap(task)
        if wrong := withheld(task, shared):
            more = LEAST - (len(task.test) - len(shared.places))
            return Decision("undecided", tuple(wrong), more if more > 0 else None), None
        proof = self._proof(self.moved.prompt, self.folder, self.moved.facts)
        first = Verdicts(proof, None, None)
        if (found := early(proof)) is not None:
            return found, first
        compared = self._compared()
        if needs_none(proof, compared):
            second = Verdicts(proof, compared, None)
            return decide(second), second
        third = Verdicts(proof, compared, self._refinement())
        return decide(third), third

    # -- the proofs --------------------------------------------------------------------------------
    def _proof(self, prompt: Prompt, folder: Path, facts: Mapping[str, Any]) -> Proof:
        with self.migrator.counting(self._kept(prompt, folder)) as left:
            return verify(
                prompt,
                self.moved.task,
                self.new,
                source=(),
                reader=self.options.reader,
                rule=self.rule,
                sequential=True,
                facts=facts,
                usd=left,
                seed=self.options.seed,
                out=folder,
                watch=self.options.watch,
            )

    def _kept(self, prompt: Prompt, folder: Path) -> Path:
        """Where `folder` keeps the proof of a prompt, with its journal."""
        return check_folder(folder, PROOFS, prompt.digest, self.moved.task.digest)

    def _refinement(self) -> Refinement:
        """The prompt refined on the new model, with its proof if it is another one."""
        folder = self.folder / "refinement"
        try:
            with self.migrator.counting(folder) as left:
                run = self._refined(folder, left)
        except BudgetReached as error:
            if error.cap == "US dollars":
                raise
            return Refinement("", f"not refined: {error}", 0)
        except BbtvpError as error:
            return Refinement("", f"not refined: {error}", 0)
        return self._judged(run, sum(run.queries.values()), folder)

    def _refined(self, folder: Path, usd: float | None) -> Run:
        config = SearchConfig.of(
            {
                "start": str(self.moved.path),
                "queries": self.options.queries,
                "usd": usd,
                "seed": self.options.seed,
                "reader": self.options.reader,
                "goal": self.moved.facts.get("goal", "accuracy"),
            }
        )
        return optimize(
            self.moved.task, self.new, config=config, out=folder, watch=self.options.watch
        )

    def _judged(self, run: Run, queries: int, folder: Path) -> Refinement:
        started = run.started
        if started is None or started.outcome != "refined":
            return Refinement(started.outcome if started else "", str(started), queries)
        proof = self._proof(run.prompt, folder, self.moved.facts)
        said = f"refined: {proof.verdict}"
        return Refinement("refined", said, queries, str(folder / BUNDLE), proof)

    # -- the models --------------------------------------------------------------------------------
    def _compared(self) -> ModelsCompared | None:
        """The new model without a prompt beside the old one with it; None of a cost prompt."""
        if self.rule.min_gain < 0:
            return None  # it was made to cost less: its absence is no gain
        with self._session(self.folder) as session:
            return self._beside(AskedModel(session, self.new))

    def _beside(self, new: AskedModel) -> ModelsCompared:
        options = self.options
        most = self.rule.max_harm
        if options.old_model is None:
            known = evidence_of(self.moved.evidence, options.old, self.moved.task.name)
            why = f"{without_paths(options.old)} cannot be asked ({options.old_missing})"
            return beside_the_bundle(known, new, most, why)
        with self._session(self.old_folder) as session:
            old = AskedModel(session, options.old_model)
            return ask_both(self.moved.prompt, old, new, most, options.seed)

    @contextmanager
    def _session(self, folder: Path) -> Iterator[CheckSession]:
        """The proof of the prompt in `folder`, opened to ask further questions."""
        prompt = self.moved.prompt
        with self.migrator.counting(self._kept(prompt, folder)) as left:
            session = CheckSession(
                PROOFS,
                prompt,
                self.moved.task,
                reader=self.options.reader,
                usd=left,
                seed=self.options.seed,
                out=folder,
            )
            with session:
                yield session


def _fit(name: str) -> str:
    return _UNFIT.sub("_", name).strip("._") or "prompt"
