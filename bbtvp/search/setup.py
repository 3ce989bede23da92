"""What is settled before the first query of a search: the prompt space, the reader and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from bbtvp.core.errors import UsageError
from bbtvp.models import Model
from bbtvp.prompt import PromptSpace, preset
from bbtvp.search.canvas import choose_space
from bbtvp.search.config import SearchConfig
from bbtvp.search.engines import Engines
from bbtvp.search.exemplars import check_exemplars, with_exemplars
from bbtvp.search.plan import Plan, make_plan
from bbtvp.search.readers import Reader, choose_reader
from bbtvp.search.saving import with_sizes
from bbtvp.search.words import check_proposer, worded
from bbtvp.tasks import Task


@final
class Setup(NamedTuple):
    """What is fixed before the first query.

    task: as it is searched, without the training images that are shown as examples.
    """

    task: Task
    space: PromptSpace
    reader: Reader
    plan: Plan
    engines: Engines


def set_up(task: Task, models: Sequence[Model], config: SearchConfig) -> Setup:
    """Check a search and settle its plan; asks nothing.

    Raises UsageError for what cannot be run.
    """
    if not models:
        raise UsageError("name at least one source model")
    space = config.prompt
    if isinstance(space, str):
        given = config.canvas
        space = preset(space, given) if given else choose_space(space, task, models)
        space = worded(space, config.words, task)
    elif config.words is not None:
        raise UsageError(
            "--words goes with a preset; give a PromptSpace its own: Guidance(wordings=…)"
        )
    if config.goal == "cost":
        space = with_sizes(space)
    if config.exemplars:
        space, task = with_exemplars(space, task, models, most=config.exemplars, seed=config.seed)
    check_exemplars(space, task)
    check_proposer(space, config, len(task.train))
    reader = choose_reader(config.reader, models, task, normalise=config.normalise)
    plan = make_plan(space, config, training=len(task.train), validation=len(task.validation))
    return Setup(task, space, reader, plan, Engines(space, plan, config))
