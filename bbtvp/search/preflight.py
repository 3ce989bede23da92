"""What is known of a search before anything is asked: the task, its images, the plan, the costs.

>>> from bbtvp.search.preflight import look_ahead
>>> found = look_ahead(task, [model], config, set_up(task, [model], config))
>>> found.warnings
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.prices import Estimate, dollars
from bbtvp.endpoint.remote import bounds
from bbtvp.models import Model
from bbtvp.prompt import PromptSpace
from bbtvp.search.ask import Context
from bbtvp.search.canvas import Delivery, deliveries, picture_sizes, sides_sent
from bbtvp.search.config import SearchConfig
from bbtvp.search.exemplars import describe_exemplars, largest_context
from bbtvp.search.plan import Plan, describe_plan
from bbtvp.search.proposals import ProposalPlan, proposal_plan
from bbtvp.search.saving import MARGIN
from bbtvp.search.setup import Setup
from bbtvp.stats import images_if_unchanged, images_needed, smallest_gain
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.inspection import SMALLEST, Inspection, inspect
from bbtvp.tasks.metrics import RIGHT_OR_WRONG
from bbtvp.tasks.overlap import describe_unreadable

MIN_GAIN = 0.02
"""The gain that a proof must show to be exceeded, by its default rule."""

SMALL_GAIN = 0.10
"""A test split that cannot show a gain of so much is called small."""

_DEPLOYED = 1000
"""Images for which the cost of a deployed prompt is given."""

_NAMED = 3
"""Files that are named of those of one kind."""


@final
@dataclass(frozen=True)
class Preflight:
    """A search before its first query.

    costs: the most that each endpoint costs, by spec. shown: the smallest true gain that the test
    images show with a probability of 80 %, None if they are too few for any. stops_after: image
    queries after which the cap on money ends the search, None if it does not. missing: keys and
    prices that the search needs and does not find, in words. delivered: what of the training
    images arrives at each model. examples: what it means that training images are shown, in words;
    () if none are. sizes: why no smaller size can be found, in words; () if one can. proposals:
    what a proposer may be asked, None without one.
    """

    task: Task
    models: tuple[str, ...]
    inspection: Inspection
    plan: Plan
    costs: Mapping[str, Estimate]
    usd: float | None
    shown: float | None
    stops_after: int | None
    missing: tuple[str, ...]
    delivered: tuple[Delivery, ...] = ()
    examples: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    proposals: ProposalPlan | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """How the loader read the files, and which of them it passed over."""
        return tuple(self.task.loading.lines()) if self.task.loading else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be seen before the search, the gravest first."""
        return (
            *self.missing,
            *self.examples,
            *self.sizes,
            *_of_images(self.inspection, self.task),
            *_of_splits(self.task),
            *self._of_money(),
            *self._of_power(),
        )

    def as_json(self) -> dict[str, Any]:
        """The document of `bbtvp optimize --dry-run --json`."""
        return {
            "queries": self.plan.queries,
            "plan": describe_plan(self.plan),
            **({"costs": {k: v._asdict() for k, v in self.costs.items()}} if self.costs else {}),
            "task": self.task.describe(),
            "models": list(self.models),
            "files": self.task.loading.as_json() if self.task.loading else None,
            "images": self.inspection.as_json(),
            "detectable_gain": self.shown,
            "usd_cap": self.usd,
            "cap_stops_after": self.stops_after,
            "missing": list(self.missing),
            "delivered": [one.as_json() for one in self.delivered],
            "warnings": list(self.warnings),
            **({"proposer": self.proposals._asdict()} if self.proposals else {}),
        }

    def _of_money(self) -> Iterator[str]:
        if self.stops_after is None or self.usd is None:
            return
        yield (
            f"${self.usd:g} stops it after about {self.stops_after:,} of "
            f"{self.plan.queries:,} image queries; raise --usd, or lower --queries"
        )

    def _of_power(self) -> Iterator[str]:
        images = len(self.task.test)
        needed = images_needed(SMALL_GAIN, margin=MIN_GAIN)
        if self.shown is None:
            yield f"{images} test images are too few to show any gain; {needed} show 10 points"
        elif self.shown > SMALL_GAIN:
            yield (
                f"{images} test images show a gain of {math.ceil(100 * self.shown)} points or more "
                f"(with a probability of 80 %); {needed} show 10 points"
            )


def look_ahead(
    task: Task,
    models: Sequence[Model],
    config: SearchConfig,
    setup: Setup,
    *,
    inspection: Inspection | None = None,
) -> Preflight:
    """All that is known before anything is asked; `inspection`: of the task, if it was made."""
    estimates = costs(task, models, setup)
    return Preflight(
        task,
        tuple(model.spec for model in models),
        inspection or inspect(task),
        setup.plan,
        estimates,
        config.usd,
        smallest_gain(len(task.test), margin=MIN_GAIN),
        _stops_after(estimates, setup.plan, config.usd),
        tuple(_missing(models, config)),
        _delivered(task, models, setup.space),
        (*describe_exemplars(setup.space), *_cost_of_examples(task, models, setup)),
        tuple(_of_sizes(task, config, setup)),
        proposal_plan(config, len(setup.task.train)),
    )


def _delivered(task: Task, models: Sequence[Model], space: PromptSpace) -> tuple[Delivery, ...]:
    canvases = None if space.keeps_image else space.canvases
    return tuple(deliveries(models, picture_sizes(task), canvases))


def costs(task: Task, models: Sequence[Model], setup: Setup) -> dict[str, Estimate]:
    """Upper bounds of what the search costs on each source that is an endpoint, by spec."""
    context = largest_context(setup.space, setup.recipes)
    return _bounds(task, models, setup, setup.plan.queries, context=context)


def _bounds(
    task: Task,
    models: Sequence[Model],
    setup: Setup,
    queries: int | Sequence[int],
    *,
    context: Context,
) -> dict[str, Estimate]:
    # The unprompted images are sent as they are, and may be larger than the canvas.
    sides = sides_sent(task, setup.space.canvas, "train", "validation")
    return bounds(models, queries, sides, longest_texts(setup, task, task.train), context)


def longest_texts(setup: Setup, task: Task, samples: Sequence[Sample]) -> list[str]:
    """The longest question about these samples, as each recipe of the search asks it."""
    longest = max(map(task.ask, samples), key=len)
    return [setup.space.ask(z, longest) for z in setup.recipes]


def _cost_of_examples(task: Task, models: Sequence[Model], setup: Setup) -> Iterator[str]:
    """What the largest set adds to each query of an endpoint, and to 1,000 deployed images."""
    context = largest_context(setup.space, setup.recipes)
    if not context:
        return
    each = [_DEPLOYED] * len(models)
    without = _bounds(task, models, setup, each, context=())
    for spec, cost in _bounds(task, models, setup, each, context=context).items():
        tokens = cost.input_tokens // _DEPLOYED
        fewer = without[spec].input_tokens // _DEPLOYED
        money = ""
        if cost.usd_bound is not None:
            usd = without[spec].usd_bound or 0.0
            money = (
                f"; {_DEPLOYED:,} deployed images cost at most {dollars(cost.usd_bound)}, "
                f"without examples {dollars(usd)}"
            )
        yield (
            f"with examples a query to {spec} holds up to {1 + len(context)} images and "
            f"{tokens:,} tokens, without {fewer:,}{money}"
        )


def _of_sizes(task: Task, config: SearchConfig, setup: Setup) -> Iterator[str]:
    """Whether a search for cost has too few validation images to find a smaller size.

    Log-probabilities and graded scores have no least number.
    """
    graded = str(task.scoring) not in RIGHT_OR_WRONG
    if config.goal != "cost" or graded or setup.reader.name == "logprob":
        return
    images = len(task.validation)
    least = images_if_unchanged(MARGIN)
    if images < least:
        yield (
            f"{images} validation images cannot show that a smaller size does no worse, where "
            f"answers are right or wrong: {least} can, if no answer changes; give more"
        )


def _stops_after(estimates: Mapping[str, Estimate], plan: Plan, usd: float | None) -> int | None:
    """Image queries for which the cap on money suffices, if each costs the most that it can."""
    bound = math.fsum(one.usd_bound or 0.0 for one in estimates.values())
    if usd is None or bound <= usd:
        return None
    return math.floor(plan.queries * usd / bound)


def _missing(models: Sequence[Model], config: SearchConfig) -> Iterator[str]:
    for model in models:
        if model.missing_key is not None:
            yield f"{model.spec} needs a key: export {model.missing_key}=…"
        try:
            model.need_price()
        except UsageError as error:
            said = str(error).partition("\n")[0].rstrip(":")
            held = "a cap on money needs one" if config.usd is not None else "no cap on money holds"
            yield f"{said}; {held}"


def _of_images(found: Inspection, task: Task) -> Iterator[str]:
    if found.unreadable:
        yield describe_unreadable(found.unreadable, found.images)
    yield from found.misfits[:_NAMED]
    for files, said in (
        (found.small, f"have a side below {SMALLEST} px, as thumbnails and icons do"),
        (found.several, "hold several pictures, of which the first is sent"),
        (
            found.transparent,
            "have an alpha channel, or a clear colour: what is clear is sent white",
        ),
    ):
        if files:
            yield f"{len(files):,} images {said}: {_names(files)}"
    earlier = {"validation": "train", "test": "train or validation"}
    for split, shared in found.repeated.items():
        kinds = f"{len(shared.equal)} equal, {len(shared.alike)} alike"
        yield (
            f"{len(shared.places)} of {len(task.splits[split])} {split} images are in "
            f"{earlier[split]} too ({kinds}): "
            f"{', '.join(task.splits[split][place].id for place in sorted(shared.places)[:_NAMED])}"
            f"{', …' if len(shared.places) > _NAMED else ''}; remove them from one"
        )
    if found.divided:
        groups = ", ".join(found.divided[:_NAMED])
        more = ", …" if len(found.divided) > _NAMED else ""
        yield f"{len(found.divided)} groups are in more than one split: {groups}{more}"


def _of_splits(task: Task) -> Iterator[str]:
    """Labels without images in validation or test: nothing is learnt of them there."""
    for split in ("validation", "test"):
        present = {sample.answer for sample in task.splits[split]}
        absent = [label for label in task.labels or () if label not in present]
        if absent:
            yield f"no {split} image of {', '.join(map(repr, absent[:_NAMED]))}" + (
                f" and {len(absent) - _NAMED} more labels" if len(absent) > _NAMED else ""
            )


def _names(files: Sequence[Path]) -> str:
    named = ", ".join(f"{path.parent.name}/{path.name}" for path in files[:_NAMED])
    return named + (", …" if len(files) > _NAMED else "")
