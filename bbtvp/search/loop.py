"""The loop: ask, render, query, tell; journalled, resumable, within its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import BudgetReached, UnreadReplies
from bbtvp.core.rng import derived_seed
from bbtvp.models import Budget
from bbtvp.prompt import Prompt
from bbtvp.runs.journal import Journal
from bbtvp.search.canvas import picture_sizes
from bbtvp.search.choice import Chooser, finalists_of, ranked_finalists
from bbtvp.search.config import SearchConfig
from bbtvp.search.events import RaceWon, RepliesSeen, StageSkipped, Watch
from bbtvp.search.methods import takes_whole_layers
from bbtvp.search.objective import Objective
from bbtvp.search.plan import Stage
from bbtvp.search.race import Race
from bbtvp.search.refinement import Outcome
from bbtvp.search.reserve import Reserve
from bbtvp.search.saving import SavedSize, cheapest, prices
from bbtvp.search.setup import Setup
from bbtvp.search.stage import Allowance, More, StageSearch
from bbtvp.search.surrogacy import head_of
from bbtvp.search.validation import Arm, ArmLosses, Validation, beats
from bbtvp.search.variables import searched, that_matter
from bbtvp.surrogate import Surrogate, warm_start
from bbtvp.surrogate.terms import Head
from bbtvp.tasks import Sample


@final
@dataclass(frozen=True)
class Search:
    """What a search found: the best prompt, and the arms on validation that it was chosen from.

    improved: whether it beat the unprompted image there; False too where a cap left no answer.
    outcome: of a refinement, what took the place of its start, if anything did.
    """

    prompt: Prompt
    improved: bool
    arms: tuple[Arm, ...]
    queries: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    outcome: Outcome | None = None

    @property
    def kept(self) -> bool:
        """Whether a prompt is to be deployed: one that improved, or the start of a refinement."""
        return self.outcome == "start" or (self.improved and self.outcome != "identity")


@final
class Searcher:
    """One run of the main job over an objective whose models share one budget."""

    def __init__(
        self,
        objective: Objective,
        setup: Setup,
        config: SearchConfig,
        *,
        journal: Journal,
        budget: Budget,
        surrogate: Surrogate | None = None,
        watch: Watch,
    ) -> None:
        self.objective = objective
        self.space = objective.space
        self.plan = setup.plan
        self.config = config
        self.journal = journal
        self.budget = budget
        self.surrogate = surrogate
        self.watch = watch
        self._setup = setup
        self._engines = setup.engines
        self._validation = Validation(
            objective, self.plan, journal=journal, budget=budget, seed=config.seed
        )
        self._reserve = Reserve(budget)
        self._stages = StageSearch(
            objective, config, journal=journal, budget=budget, reserve=self._reserve, watch=watch
        )
        self._head: Head | None = None

    def run(self) -> Search:
        """Race, then search stage after stage; what is found is kept only if it pays on validation.

        A cap that is met while validation is asked leaves the choice to what was answered; without
        any answer the winner is not improved. Raises BudgetReached if a cap was met before anything
        was searched.
        """
        self._preview()
        chooser = Chooser(self.plan, self._validation, watch=self.watch)
        self._reserve.attempts = chooser.base.attempts
        best = self.space.neutral()
        incumbent = chooser.base
        start = self._setup.start
        if start is not None:
            best = start.z
            incumbent = chooser.begin(best)
        begun = False
        for number, stage in enumerate(self.plan.stages):
            if self.space.hidden(stage.kinds, best):
                self.watch(StageSkipped(stage.name, "the image fills the canvas and hides it"))
                continue
            try:
                finalists = self._finalists(number, best, urgent=not begun)
            except BudgetReached as reached:
                if not begun:
                    raise
                self.watch(StageSkipped(stage.name, str(reached)))
                continue
            choice = chooser.choose(stage, finalists, incumbent)
            settled = begun or start is not None
            if choice is None:
                best = best if settled else finalists[stage.name]
            else:
                best = choice.z if choice.kept or not settled else best
                incumbent = choice.losses if choice.kept else incumbent
            begun = True
        outcome = None if start is None else self._outcome(chooser, incumbent)
        improved = any(arm.kept for arm in chooser.arms[1:])
        if outcome is not None:
            improved = beats(chooser.base.losses, incumbent.losses)
        if self.config.goal == "cost":
            kept = improved if outcome is None else outcome != "identity"
            base = best if kept else self.space.neutral()
            if saved := self._saved(base, incumbent if kept else chooser.base):
                best = saved.z
                chooser.keep(f"size {saved.size}", saved.losses)
                improved = True
                outcome = outcome and "refined"
        return Search(
            self.space.prompt(best),
            improved,
            tuple(chooser.arms),
            dict(self.budget.spent),
            self.budget.failed,
            outcome,
        )

    @staticmethod
    def _outcome(chooser: Chooser, incumbent: ArmLosses) -> Outcome:
        """What is left of the start: `incumbent` is the start, or what beat it."""
        if beats(incumbent.losses, chooser.base.losses):
            return "identity"
        return "refined" if any(arm.kept for arm in chooser.arms[2:]) else "start"

    def _saved(self, z: Vector, incumbent: ArmLosses) -> SavedSize | None:
        """The prompt sent smaller, where that is shown to be no worse."""
        median = sorted(picture_sizes(self.objective.task), key=lambda one: one.longer)
        priced = prices(self.space, self.objective.models[0], median[len(median) // 2])
        return cheapest(self.space, z, incumbent, validation=self._validation, priced=priced)

    def _preview(self) -> None:
        """Show how the first replies are read.

        Raises UnreadReplies if too many give no answer, or are cut at a limit that nobody chose: to
        choose it is cheaper than to search with replies that cannot be read.
        """
        preview = self._validation.preview()
        if preview is None:
            return
        self.watch(RepliesSeen(preview))
        if preview.unread > self.config.unread:
            shapes = "; ".join(f"{count} × {shape!r}" for shape, count in preview.shapes)
            raise UnreadReplies(
                f"{preview.summary}. Without an answer: {shapes}. "
                "To search all the same: -S unread=1"
            )
        begun = self.journal.step("validation/unprompted") is not None
        if preview.is_cut and self.objective.task.max_tokens is None and not begun:
            raise UnreadReplies(f"{preview.summary}. To search all the same: --max-tokens 16")

    def _finalists(self, number: int, base: Vector, *, urgent: bool) -> dict[str, Vector]:
        """What one stage gives validation to choose from, by name; see `finalists_of`.

        urgent: nothing was searched before, so the first generation comes before what is kept back
        for validation. Raises BudgetReached if there is no room for one generation.
        """
        stage = self.plan.stages[number]
        kept = self.plan.chosen_after(number)
        self.budget.phase = "search"
        self._reserve.hold_back(kept, first=self.plan.extra + stage.cost if urgent else 0)
        recipes = [base] if number else self._raced(stage, base)
        if not self.plan.looks:  # there is one finalist
            recipes = recipes[:1]
        if not stage.generations:
            return ranked_finalists(stage, recipes)
        start = recipes[0]
        places = searched(self.space, stage.kinds, self.config)
        if len(self.space.starts()) > 1 and not takes_whole_layers(self.config.method):
            pictures = [self.objective.prepared(one) for one in self.objective.task.train[:2]]
            places = that_matter(self.space, places, start, pictures)
        if not len(places):
            return ranked_finalists(stage, recipes)
        optimiser = self._engines.begin(
            stage,
            start,
            places,
            head=self._ready_head() if self.config.guided else None,
            samples=self._free(),
        )
        found = self._stages.run(stage, optimiser, places, start, allowance=self._allowance(number))
        if number or not self.plan.looks:
            return {stage.name: found}
        return finalists_of(self.space, stage, found, recipes=recipes, places=places)

    def _allowance(self, number: int) -> Allowance:
        """What a stage may spend: also what is planned for later stages, if they are hidden."""
        plan = self.plan
        stage = plan.stages[number]
        kept = plan.chosen_after(number)
        later = [kind for each in plan.stages[number + 1 :] for kind in each.kinds]
        if not later:
            return Allowance(stage.queries, kept)
        more = More(
            plan.after(number),
            plan.choosing(number),
            granted=lambda found: self.space.hidden(later, found),
        )
        return Allowance(stage.queries, kept, more)

    def _raced(self, stage: Stage, base: Vector) -> list[Vector]:
        """Where the first stage may begin, the winner of the race first; `base` without a race."""
        if not self.plan.rungs:
            return [base]
        recipes = self._setup.recipes
        if self.config.warm:
            recipes.append(self._warm_point(stage, base))
        race = Race(
            self.objective,
            self.plan,
            journal=self.journal,
            budget=self.budget,
            seed=self.config.seed,
        )
        placed = race.run(recipes)
        self.watch(RaceWon(stage.name, self.space.describe(placed[0].z), placed[0].fall))
        return [recipe.z for recipe in placed]

    # -- the surrogate -----------------------------------------------------------------------------
    def _ready_head(self) -> Head:
        """The surrogate's own answer to the task; priming is paid for at the first call."""
        if self._head is None:
            if self.surrogate is None:
                raise TypeError("SearchConfig refuses what needs a surrogate where there is none")
            self.budget.phase = "search"  # priming is no validation
            self._head = head_of(
                self.surrogate,
                self.objective,
                self.config,
                kinds=self.plan.stages[0].kinds,
                journal=self.journal,
            )
        return self._head

    def _free(self) -> Sequence[Sample]:
        return self.objective.free or self.objective.task.train

    def _warm_point(self, stage: Stage, base: Vector) -> Vector:
        """The z that the surrogate would choose, with only this stage's layers moved; no query."""
        return warm_start(
            self._ready_head(),
            self.space,
            self._free(),
            derived_seed(self.config.seed, "warm"),
            kinds=stage.kinds,
            base=base,
            steps=25,
        ).z
