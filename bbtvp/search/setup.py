"""What is settled before the first query of a search: the prompt space, the reader and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.models import Model
from bbtvp.prompt import Prompt, PromptSpace, preset
from bbtvp.search.canvas import choose_space
from bbtvp.search.config import SearchConfig
from bbtvp.search.engines import Engines
from bbtvp.search.exemplars import check_exemplars, with_exemplars
from bbtvp.search.plan import Plan, make_plan
from bbtvp.search.readers import Reader, choose_reader
from bbtvp.search.refinement import alternatives, check_images, open_start, without_shown
from bbtvp.search.saving import with_sizes
from bbtvp.search.words import check_proposer, worded
from bbtvp.tasks import Task


@final
class Setup(NamedTuple):
    """What is fixed before the first query.

    task: as it is searched, without the images that are shown as examples. start: the prompt that
    is refined; None for a search from neutral.
    """

    task: Task
    space: PromptSpace
    reader: Reader
    plan: Plan
    engines: Engines
    start: Prompt | None = None

    @property
    def recipes(self) -> list[Vector]:
        """Where the search may begin, the point that there is to beat first."""
        return _recipes(self.space, self.start)


def set_up(task: Task, models: Sequence[Model], config: SearchConfig) -> Setup:
    """Check a search and settle its plan; asks nothing.

    Raises UsageError for what cannot be run.
    """
    if not models:
        raise UsageError("name at least one source model")
    space = config.prompt
    start = open_start(config)
    if start is not None:
        check_images(start, models)
        space = start.space
        task = without_shown(task, space)
    elif isinstance(space, str):
        given = config.canvas
        space = preset(space, given) if given else choose_space(space, task, models)
        space = worded(space, config.words, task)
    elif config.words is not None:
        raise UsageError(
            "--words goes with a preset; give a PromptSpace its own: Guidance(wordings=…)"
        )
    if config.goal == "cost":
        space = _with_sizes(space, refined=start is not None)
    if config.exemplars:
        space, task = with_exemplars(space, task, models, most=config.exemplars, seed=config.seed)
    check_exemplars(space, task)
    check_proposer(space, config, len(task.train))
    reader = choose_reader(config.reader, models, task, normalise=config.normalise)
    plan = make_plan(
        space,
        config,
        training=len(task.train),
        validation=len(task.validation),
        recipes=len(_recipes(space, start)),
    )
    return Setup(task, space, reader, plan, Engines(space, plan, config), start)


def _recipes(space: PromptSpace, start: Prompt | None) -> list[Vector]:
    return space.starts() if start is None else alternatives(space, start.z)


def _with_sizes(space: PromptSpace, *, refined: bool) -> PromptSpace:
    """The space with the size that is sent among its variables; see `with_sizes`."""
    found = with_sizes(space)
    if refined and found is not space:
        raise UsageError(
            "the prompt of --start has no variable for the size that is sent, and --goal cost "
            "searches one; search without --start, or without --goal"
        )
    return found
