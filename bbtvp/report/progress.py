"""What a run tells while it goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TextIO, assert_never, final

from bbtvp.report.preflight import preflight_lines
from bbtvp.search.events import (
    ArmValidated,
    GenerationDone,
    ProposerSkipped,
    RaceWon,
    RepliesSeen,
    SearchEvent,
    SearchPlanned,
    SearchPrepared,
    StageSkipped,
    StageStopped,
    StageUnvalidated,
    WordingsProposed,
)
from bbtvp.search.plan import describe_plan
from bbtvp.search.proposer import ProposerCost
from bbtvp.search.validation import Arm
from bbtvp.verify import ProofPlan
from bbtvp.verify.events import (
    ModelProbed,
    ModelVerified,
    ProofEvent,
    ProofJudged,
    ProofOpened,
    ProofPlanned,
)


def lines_of(event: SearchEvent | ProofEvent) -> Iterator[str]:
    """What is said of an event, in lines; nothing of a generation, which comes too often."""
    match event:
        case ProofPlanned() | ProofOpened() | ModelProbed() | ModelVerified() | ProofJudged():
            return _proof_lines(event)
        case _:
            return _search_lines(event)


def _search_lines(event: SearchEvent) -> Iterator[str]:
    match event:
        case SearchPrepared(preflight):
            yield from preflight_lines(preflight)
        case SearchPlanned():
            yield from (f"{spec}: {'; '.join(said)}" for spec, said in event.probes.items())
            yield f"plan: {describe_plan(event.plan)}; answers read as {event.reader}"
            yield from _continuing(event.resumed)
        case RepliesSeen(preview):
            yield "what the model says about the images as they are, and how it is read:"
            yield from (f"  {reply.line}" for reply in preview.replies)
            yield preview.summary
        case ArmValidated(arm):
            unit = "of the score" if arm.graded else "right"
            right = f"{100 * arm.accuracy:5.1f} % {unit}"
            yield f"validation: {arm.name:<16} {right}, loss {arm.loss:.3f}"
            if arm.cut:
                yield f"  {_cut_short(arm)}"
        case WordingsProposed() | ProposerSkipped():
            yield from _proposer_lines(event)
        case RaceWon():
            yield f"race: {event.recipe}, mean fall of the loss {event.fall:.3f}"
        case StageStopped() | StageSkipped() | StageUnvalidated():
            yield f"{event.stage}: {_STAGE_ENDS[type(event)]}{event.why}"
        case GenerationDone():
            return
        case _:
            assert_never(event)


def _proposer_lines(event: WordingsProposed | ProposerSkipped) -> Iterator[str]:
    if isinstance(event, ProposerSkipped):
        yield f"proposer: {event.why}"
        return
    yield from (f"proposed: {text!r}" for text in event.texts)
    yield from (f"refused, {each.why}: {each.text!r}" for each in event.refused)
    yield f"proposer, round {event.number}: {ProposerCost(event.calls, event.usd)}"


_STAGE_ENDS: Mapping[type, str] = MappingProxyType(
    {
        StageStopped: "stopped, ",
        StageSkipped: "skipped, ",
        StageUnvalidated: "the best candidate was not compared with the image as it is: ",
    }
)


def _cut_short(arm: Arm) -> str:
    """What a cap left of the comparison: on how many images it rests, and how sure it is."""
    said = f"on {arm.answered} of {arm.planned} validation images only: {arm.cut}"
    if not 0 < arm.stderr < math.inf:
        return said
    interval = f"loss {-arm.gain:+.3f} ± {2 * arm.stderr:.3f} (two standard errors)"
    return f"{interval} against the image as it is, {said}"


def _proof_lines(event: ProofEvent) -> Iterator[str]:
    match event:
        case ProofPlanned(models, plan):
            yield f"verification: at most {plan.queries} image queries over {models} models"
            yield describe_power(plan)
        case ModelProbed(spec, findings):
            yield f"{spec}: {'; '.join(findings)}"
        case ModelVerified(row):
            gain = f"{100 * row.paired.gain:+.1f} points"
            yield f"verified: {row.model:<18} {gain} on {row.paired.n} test images"
        case ProofOpened(resumed):
            yield from _continuing(resumed)
        case ProofJudged():
            return
        case _:
            assert_never(event)


def _continuing(resumed: int) -> Iterator[str]:
    if resumed:
        yield (f"continuing: {resumed} image queries were answered before and are not sent again")


def describe_power(plan: ProofPlan) -> str:
    """What so many test images can show, in one line."""
    if plan.unchanged is not None:
        fewer = "; graded scores need fewer" if plan.graded else ""
        return (
            f"a go takes at least {plan.unchanged} test images, if no answer changes, and more if "
            f"some do{fewer}; there are {plan.images}"
        )
    if plan.seen is None:
        return f"{plan.images} test images are too few to show any gain"
    lost = f"{100 * plan.lost:g} % of the answers are spoilt"
    lost += "; graded scores need fewer" if plan.graded else ""
    counts = [
        f"{count:,} for {100 * gain:g}" for gain, count in plan.needed.items() if count is not None
    ]
    needed = f"; needed: {', '.join(counts)} points" if counts else ""
    return (
        f"{plan.images} test images show that a gain of {100 * plan.seen:.1f} points "
        f"passes the minimum (80 % power, if {lost}){needed}"
    )


@final
class Progress:
    """Tells people of a search or a proof.

    Lines go to `say`; the bar to `screen`, if that is a terminal.
    """

    def __init__(self, say: Callable[[str], None], screen: TextIO) -> None:
        self._say = say
        self._screen = screen
        self._bar: Any = None

    def __call__(self, event: SearchEvent | ProofEvent) -> None:
        """Tell of one event."""
        if isinstance(event, GenerationDone):
            self._generation(event)
            return
        self._close()
        for line in lines_of(event):
            self._say(line)

    def _generation(self, event: GenerationDone) -> None:
        terms = ""
        if event.fca or event.tse:
            terms = f", FCA {event.fca:.3f}, TSE {event.tse:+.3f}"
        line = f"loss {event.mean:.3f} (best {event.best:.3f}{terms}), {event.queries} queries"
        if not self._screen.isatty():
            self._say(f"{event.stage} {event.generation}/{event.generations}: {line}")
            return
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=event.generations, desc=event.stage, leave=False, file=self._screen
            )
        self._bar.update(event.generation - self._bar.n)
        self._bar.set_postfix_str(line)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
