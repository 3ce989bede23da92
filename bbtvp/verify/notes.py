"""What must be said beside the figures, and what forbids a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.tasks import Task
from bbtvp.verify.overlap import Overlap
from bbtvp.verify.remark import Remark, remark
from bbtvp.verify.rows import Row
from bbtvp.verify.verdict import LEAST, OVERLAPPING


def withheld(task: Task, shared: Overlap) -> tuple[Remark, ...]:
    """Why no verdict can be given on this test split, whatever the models answer; nothing if it
    can.
    """
    images = len(task.test)
    seen = len(shared.places)
    found = []
    if seen >= OVERLAPPING * images:
        found.append(remark("split-leaks", seen=seen, images=images))
    elif images - seen < LEAST:
        found.append(remark("too-few-images", images=images - seen, least=LEAST))
    if len({sample.answer for sample in task.test}) < 2:
        found.append(remark("one-answer", answer=task.test[0].answer))
    return tuple(found)


def overlap_note(shared: Overlap, task: Task) -> tuple[Remark, ...]:
    """How many test images the other splits hold."""
    images = len(task.test)
    equal = len(shared.equal)
    alike = len(shared.alike)
    if equal and alike:
        return (remark("seen-equal-and-alike", images=images, equal=equal, alike=alike),)
    if equal:
        return (remark("seen-equal", images=images, equal=equal),)
    return (remark("seen-alike", images=images, alike=alike),) if alike else ()


def canvas_note(prompt: Prompt, model: Model) -> list[Remark]:
    """Where the model does not see the canvas as it was made.

    A processor that makes it up to two times smaller is what a search plans for, whose canvas is
    that of the images.
    """
    canvas = prompt.space.canvas
    side = model.capabilities.image_side
    fitting = model.fitting_canvas(canvas)
    if fitting != canvas:
        return [remark("canvas-resampled", model=model.spec, canvas=canvas, fitting=fitting)]
    if side is not None and canvas < side:
        return [remark("canvas-blurred", model=model.spec, canvas=canvas, side=side)]
    if side is not None and canvas > 2 * side:
        return [remark("canvas-loses-detail", model=model.spec, canvas=canvas, side=side)]
    return []


def fact_notes(facts: Mapping[str, Any], task: Task) -> tuple[Remark, ...]:
    """Where the task is not the one that the bundle says it was searched on."""
    found = []
    question = facts.get("question")
    labels = facts.get("labels")
    name = facts.get("task")
    if question is not None and question != task.question:
        found.append(remark("other-question", searched=question, asked=task.question))
    labels = (
        labels if isinstance(labels, list | tuple) else None
    )  # a bundle's facts may be anything that is JSON
    if labels is not None and sorted(map(str, labels)) != sorted(task.labels or ()):
        if task.labels:
            found.append(remark("other-labels", searched=list(labels), labels=list(task.labels)))
        else:
            found.append(remark("free-answers", searched=list(labels)))
    elif name is not None and labels is None and name != task.name and question == task.question:
        found.append(remark("other-task", searched=name, task=task.name))
    return tuple(found)


def row_notes(rows: Sequence[Row]) -> list[Remark]:
    """What the other arms say of a gain."""
    found = []
    for row in rows:
        if row.noise:
            found.append(remark("noise", model=row.model, noise=row.noise))
        beyond = row.over_calibrated_ci95
        if row.gain > 0 and beyond is not None and beyond[0] <= 0:
            found.append(
                remark("calibration-does-it", model=row.model, calibrated=row.calibrated or 0.0)
            )
        if row.sentence_only is not None and row.gain > 0 and row.sentence_only >= row.prompted:
            found.append(remark("sentence-does-it", model=row.model))
    return found
