"""Words alone: a searched wording of the question, and the image as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from bbtvp.prompt import Guidance
from bbtvp.rivals.procedure import OneQuery
from bbtvp.rivals.rival import Rival, Tuned, Tuning, TuningCost, bare
from bbtvp.search import SearchConfig, optimize

PRESET = "words"


@final
@dataclass(frozen=True)
class WordsAlone(Rival):
    """The wording that a search of the preset "words" finds, within `Tuning.queries`."""

    name: ClassVar[str] = "words"
    seeded: ClassVar[bool] = True
    about: ClassVar[str] = "words alone: a searched wording, the image as it is"
    source: ClassVar[str] = "OPRO, arXiv 2309.03409, over published forms"

    def most_queries(self, tuning: Tuning) -> int:
        return tuning.queries

    def prepare(self, tuning: Tuning) -> Tuned:
        return searched_words(tuning)


def searched_words(tuning: Tuning) -> Tuned:
    """The words arm; searched once for all rivals that build on it."""
    if PRESET in tuning.known:
        return tuning.known[PRESET]
    run = optimize(
        tuning.task,
        bare(tuning.model),
        config=SearchConfig(
            prompt=PRESET, queries=tuning.queries, seed=tuning.seed, usd=tuning.usd
        ),
        out=tuning.folder and tuning.folder / PRESET,
    )
    spent = sum(run.queries.values())
    wording = run.prompt.theta.get(Guidance.kind, {}).get("wording")
    note = f"wording: {wording}" if wording else "no wording beat the plain question on validation"
    found = Tuned(OneQuery(run.prompt), TuningCost(spent, run.usd or None), note)
    tuning.known[PRESET] = found
    return found
