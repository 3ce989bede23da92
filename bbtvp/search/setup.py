"""What is settled before the first query of a search: the prompt space, the reader and the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.errors import DataError, UsageError
from bbtvp.models import Model
from bbtvp.prompt import PromptSpace, preset
from bbtvp.prompt.image import read_header
from bbtvp.search.config import SearchConfig
from bbtvp.search.engines import Engines
from bbtvp.search.plan import Plan, make_plan
from bbtvp.search.readers import Reader, choose_reader
from bbtvp.search.words import worded
from bbtvp.tasks import Sample, Task

LARGEST_CANVAS = 768
"""Side in pixels that passes the resizing rules of every vendor known to us without a second
resize.
"""

USUAL_CANVAS = 224
"""Side in pixels where nothing is known of a model."""


@final
class Setup(NamedTuple):
    """What is fixed before the first query."""

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
        space = preset(space, config.canvas or choose_canvas(task, models))
        space = worded(space, config.words, task)
    elif config.words is not None:
        raise UsageError(
            "--words goes with a preset; give a PromptSpace its own: Guidance(wordings=…)"
        )
    reader = choose_reader(config.reader, models, task, normalise=config.normalise)
    plan = make_plan(space, config, training=len(task.train), validation=len(task.validation))
    return Setup(space, reader, plan, Engines(space, plan, config))


def choose_canvas(task: Task, models: Sequence[Model]) -> int:
    """Side of the canvas in pixels, so that nothing the model could see is lost before it looks.

    The larger of what the models' processors make and the median training image's longer side, at
    most 768, and no more than what models take as it is.
    """
    sides = [side for sample in task.train[:16] if (side := _longer_side(sample)) is not None]
    if not sides:
        raise UsageError(f"task {task.name} has no training images that can be read")
    seen = max(_seen(model) for model in models)
    wanted = min(LARGEST_CANVAS, max(seen, int(np.median(sides))))
    return min([wanted, *(model.fitting_canvas(wanted) for model in models)])


def canvas_seen(side: int | None, fitting: Callable[[int], int]) -> int:
    """Side in pixels of the square that a local model sees of a canvas of the usual size.

    side: what its processor makes of any square, None if that depends on the image. fitting: gives
    the side nearest to the given one that is not resampled.
    """
    return side or fitting(USUAL_CANVAS)


def _seen(model: Model) -> int:
    if model.is_endpoint:
        return model.capabilities.image_side or USUAL_CANVAS
    return canvas_seen(model.capabilities.image_side, model.fitting_canvas)


def _longer_side(sample: Sample) -> int | None:
    """The longer side of a sample's image in pixels; None for a file that cannot be read."""
    if not isinstance(sample.image, Path):
        return int(max(sample.image.shape[:2]))
    try:
        header = read_header(sample.image)
    except DataError:
        return None
    return max(header.width, header.height)
