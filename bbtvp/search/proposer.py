"""New wordings from a proposer model, tried on training images before the search begins.

Each round the proposer is told the question, the labels, the scores of the wordings so far and a
few wrong answers; what it gives is checked, and tried with the images as they are. Its calls are no
image queries: they are counted and capped apart, and their dollars count for the cap on money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np

from bbtvp.core.errors import BudgetReached, ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Budget, MeteredModel, Model, QueryFailed, Request, as_model
from bbtvp.prompt import Guidance, Identity, PromptSpace
from bbtvp.prompt.guidance import MOST, NONE
from bbtvp.prompt.wordings import PLACE, Wording
from bbtvp.runs.journal import Journal
from bbtvp.runs.records import PROPOSER
from bbtvp.search.ask import Answers
from bbtvp.search.config import SearchConfig
from bbtvp.search.engines import Engines
from bbtvp.search.events import ProposerSkipped, Watch, WordingsProposed
from bbtvp.search.objective import Objective
from bbtvp.search.plan import make_plan
from bbtvp.search.proposals import (
    CALLS,
    EACH,
    GIVEN,
    ROUNDS,
    Mistake,
    ProposalPlan,
    Refused,
    ScoredWording,
    meta_prompt,
    parsed,
    proposal_plan,
    sifted,
)
from bbtvp.search.setup import Setup
from bbtvp.tasks import Sample

_MISTAKES = 5
_KEPT = 4
_REPLY = 1024
"""Tokens of a reply of the proposer."""


@final
class ProposerCost(NamedTuple):
    """Calls of a proposer, retries included, and US dollars."""

    calls: int
    usd: float

    def __str__(self) -> str:
        paid = f", ${self.usd:.4f}" if self.usd else ""
        return f"{_count(self.calls, 'call')}{paid}, counted apart from image queries"


def cost_of(journal: Journal) -> ProposerCost | None:
    """What the proposer of this run cost; None where none was asked."""
    if not journal.proposals:
        return None
    return ProposerCost(journal.proposals, journal.proposal_usd)


def with_proposals(space: PromptSpace, found: Sequence[Wording]) -> PromptSpace:
    """The space with these wordings in its Guidance, before the texts that it has."""
    layers = [
        _with_texts(layer, found) if isinstance(layer, Guidance) else layer
        for layer in space.layers
    ]
    return replace(space, layers=tuple(layers))


def _with_texts(layer: Guidance, found: Sequence[Wording]) -> Guidance:
    made = [each for each in layer.wordings if not isinstance(each, Wording)]
    texts = [each for each in layer.wordings if isinstance(each, Wording)]
    whole: tuple[str | Wording, ...] = (*made, *found, *texts)
    return Guidance(whole[:MOST])


def proposed(
    objective: Objective,
    setup: Setup,
    config: SearchConfig,
    *,
    journal: Journal,
    budget: Budget,
    watch: Watch,
) -> Setup:
    """The set-up with the wordings that the proposer gave, and a plan for what is left.

    objective: of the search. UsageError for a budget that is too small, and for a cap on money and
    a proposer of unknown price.
    """
    training = len(setup.task.train)
    plan = proposal_plan(config, training)
    if plan is None or config.proposer is None:
        return setup
    proposer = as_model(config.proposer)
    if config.usd is not None:
        proposer.need_price()
    proposing = Proposing(
        objective, proposer, plan, journal=journal, budget=budget, seed=config.seed, watch=watch
    )
    texts = [
        each
        for layer in setup.space.layers
        if isinstance(layer, Guidance)
        for each in layer.wordings
        if isinstance(each, Wording)
    ]
    space = with_proposals(setup.space, proposing.run(texts))
    left = config.changed({"queries": config.queries - plan.queries})
    held = len(setup.task.validation)
    searched = make_plan(space, left, training=training, validation=held)
    return setup._replace(space=space, plan=searched, engines=Engines(space, searched, left))


@final
class Tried(NamedTuple):
    """A wording that was tried: its text, and the answers."""

    text: str
    answers: Answers

    @property
    def score(self) -> float:
        """Mean score of the images that were answered, 0 to 1; 0 where none was."""
        known = self.answers.correct[np.isfinite(self.answers.correct)]
        return float(known.mean()) if len(known) else 0.0


_Scored: TypeAlias = dict[str, Tried]
"""What was tried so far, by the name of the wording."""


@final
class Proposing:
    """The rounds of one run, each journalled: a run that goes on asks nothing again."""

    def __init__(
        self,
        objective: Objective,
        proposer: Model,
        plan: ProposalPlan,
        *,
        journal: Journal,
        budget: Budget,
        seed: int,
        watch: Watch,
    ) -> None:
        self._objective = objective
        self._plan = plan
        self._journal = journal
        self._budget = budget
        self._watch = watch
        self._calls = Budget(
            CALLS,
            {PROPOSER: journal.proposals},
            usd_cap=None if budget.usd_cap is None else max(0.0, budget.usd_cap - budget.usd),
        )
        self._calls.phase = PROPOSER
        self._proposer = MeteredModel(proposer, journal, budget=self._calls)
        train = objective.task.train
        order = stream(seed, "proposals").permutation(len(train))[: plan.images]
        self._samples: list[Sample] = [train[i] for i in order]

    def run(self, given: Sequence[Wording]) -> tuple[Wording, ...]:
        """Proposals that were answered as well as the plain question, the best first.

        given: the wordings of the search. A proposer that fails, or gives nothing that can be used,
        ends its rounds with an event that says why. A cap ends them too.
        """
        known = list(given)
        scored: _Scored = {}
        proposed: list[Wording] = []
        try:
            scored = self._tried({}, [None, *known[:GIVEN]])
            for number in range(ROUNDS):
                found = self._round(number, scored, known)
                if not found:
                    break
                proposed += found
                known += found
                scored = self._tried(scored, found)
        except BudgetReached as error:
            self._watch(ProposerSkipped(str(error)))
        least = scored[NONE].score if NONE in scored else 0.0
        kept = [each for each in proposed if each.name in scored]
        kept = [each for each in kept if scored[each.name].score >= least]
        kept.sort(key=lambda each: -scored[each.name].score)
        return tuple(kept[:_KEPT])

    def _tried(self, scored: _Scored, wordings: Sequence[Wording | None]) -> _Scored:
        """With these wordings, asked about the images as they are; None for the plain question."""
        found = dict(scored)
        self._budget.phase = "search"
        for wording in wordings:
            if wording is None:
                queries = self._objective.queries(self._samples)
                found[NONE] = Tried(PLACE, self._objective.ask(queries))
                continue
            space = PromptSpace((Identity(), Guidance((wording,))))
            worded = Objective(
                self._objective.task,
                space,
                self._objective.models,
                self._objective.reader,
                repeats=self._objective.repeats,
            )
            queries = worded.queries(self._samples, np.array([0.0, 1.0]))
            found[wording.name] = Tried(wording.text, worded.ask(queries))
        return found

    def _round(self, number: int, scored: _Scored, known: Sequence[Wording]) -> list[Wording]:
        """The proposals of one round that are to be tried, from the journal or newly asked."""
        name = f"proposals/{number}"
        done = self._journal.step(name) or self._asked(name, scored, known)
        if done["why"]:
            self._watch(ProposerSkipped(done["why"]))
        found = [Wording(**each) for each in done["taken"]]
        if found or done["refused"]:
            self._watch(
                WordingsProposed(
                    number + 1,
                    tuple(each.text for each in found),
                    tuple(Refused(*each) for each in done["refused"]),
                    self._journal.proposals,
                    self._journal.proposal_usd,
                )
            )
        return found

    def _asked(self, name: str, scored: _Scored, known: Sequence[Wording]) -> dict[str, Any]:
        reply, why = self._reply(scored)
        taken, refused = sifted(parsed(reply), self._objective.task, known)
        if not why and not taken:
            why = f"it gave {_count(len(refused), 'proposal')}, all refused"
            why = why if refused else "it gave no wording"
        return self._journal.write_step(
            name,
            taken=[
                {"name": w.name, "text": w.text, "reply_tokens": w.reply_tokens, "source": w.source}
                for w in taken[:EACH]
            ],
            refused=[list(each) for each in refused],
            why=why and f"{self._proposer.spec}: {why}; the search goes on without",
        )

    def _reply(self, scored: _Scored) -> tuple[str, str]:
        """What the proposer says, and why it says nothing."""
        before = self._calls.usd
        try:
            outcome = self._proposer.query([self._request(scored)])[0]
        except BudgetReached as error:
            return "", self._unheard if error.cap == "image queries" else str(error)
        except ModelError as error:
            return "", str(error)
        finally:
            self._budget.usd += self._calls.usd - before
        if isinstance(outcome, QueryFailed):
            return "", outcome.reason
        return outcome.text or "", ""

    @property
    def _unheard(self) -> str:
        spec = self._proposer.spec
        return f"no reply in {CALLS} calls, retries included (bbtvp doctor --model {spec} --probe)"

    def _request(self, scored: _Scored) -> Request:
        ranked = sorted(scored.values(), key=lambda one: one.score)
        best = ranked[-1].answers
        wrong = [
            (sample, Mistake(sample.answer, _said(best, place)))
            for place, sample in enumerate(self._samples)
            if best.correct[place] < 1
        ][:_MISTAKES]
        first = wrong[0][0] if wrong else self._samples[0]
        task = self._objective.task
        text = meta_prompt(
            task,
            task.ask(first),
            [ScoredWording(one.text, one.score) for one in ranked],
            [mistake for _, mistake in wrong],
            count=EACH,
            images=len(self._samples),
        )
        return Request(first.pixels(), text, max_tokens=_REPLY)


def _said(answers: Answers, place: int) -> str:
    outcome = answers.outcomes[place]
    text = None if isinstance(outcome, QueryFailed) else outcome.text
    return text or answers.labels[place] or ""


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
