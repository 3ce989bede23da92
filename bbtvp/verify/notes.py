"""What must be said beside the figures, and what forbids a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bbtvp.prompt import Prompt
from bbtvp.query import Model, PaidModel
from bbtvp.task import Task
from bbtvp.verify.overlap import Overlap
from bbtvp.verify.rows import Row
from bbtvp.verify.verdict import LEAST, OVERLAPPING


def withheld(task: Task, shared: Overlap) -> tuple[str, ...]:
    """Why no verdict can be given on this test split, whatever the models answer; nothing if it can."""
    n, found = len(task.test), []
    left = n - len(shared.places)
    if len(shared.places) >= OVERLAPPING * n:
        found.append(
            f"{len(shared.places)} of {n} test images are in train or validation too: split the data anew, so that "
            "what is held out was not seen"
        )
    elif left < LEAST:
        found.append(f"{left} test images say too little: give at least {LEAST}")
    if len({sample.answer for sample in task.test}) < 2:
        found.append(f"all test images have the answer {task.test[0].answer!r}: who always says it is always right")
    return tuple(found)


def overlap_note(shared: Overlap, task: Task) -> tuple[str, ...]:
    """How many test images the other splits hold."""
    if not shared.places:
        return ()
    parts = [
        f"{len(places)} {what}" for places, what in ((shared.equal, "equal"), (shared.alike, "nearly alike")) if places
    ]
    among = f"of {len(task.test)} test images, {' and '.join(parts)} to one in train or validation"
    return (f"{among}: the verdict leaves them out, the table does not",)


def canvas_note(prompt: Prompt, model: Model) -> list[str]:
    """Where the model does not see the canvas as it was made.

    A processor that makes it up to two times smaller is what a search plans for, whose canvas is that of the images.
    """
    canvas, side = prompt.space.canvas, model.capabilities.image_side
    if isinstance(model, PaidModel):
        fitting = model.fitting_canvas(canvas)
        if fitting != canvas:
            made = f"the prompt was made for a canvas of {canvas} px, which {model.spec} resamples"
            return [f"{made}; {fitting} px it would take as it is"]
    elif side is not None and not side <= canvas <= 2 * side:
        effect = "blurred" if canvas < side else "and details of two pixels are lost"
        made = f"the prompt was made for a canvas of {canvas} px"
        return [f"{made}; the processor of {model.spec} makes it {side} px, {effect}"]
    return []


def fact_notes(facts: Mapping[str, Any], task: Task) -> tuple[str, ...]:
    """Where the task is not the one that the bundle says it was searched on."""
    found = []
    question, labels, name = facts.get("question"), facts.get("labels"), facts.get("task")
    if question is not None and question != task.question:
        found.append(f"the prompt was searched with the question {question!r}, and is asked {task.question!r} here")
    if labels is not None and list(labels) != list(task.labels or ()):
        found.append(
            f"the prompt was searched with the labels {', '.join(map(str, labels))}; this task has "
            f"{', '.join(task.labels or ()) or 'free answers'}"
        )
    elif name is not None and labels is None and name != task.name and question == task.question:
        found.append(f"the prompt was searched on the task {name}, and is proved on {task.name}")
    return tuple(found)


def row_notes(rows: Sequence[Row]) -> list[str]:
    """What the other arms say of a gain."""
    found = []
    for row in rows:
        if row.noise:
            found.append(f"{row.model}: {100 * row.noise:.1f} % of the answers change when it is asked the same again")
        beyond = row.over_calibrated_ci95
        if row.gain > 0 and beyond is not None and beyond[0] <= 0:
            found.append(
                f"{row.model}: a correction of its answers alone, without a prompt, reaches "
                f"{100 * (row.calibrated or 0):.1f} %, and the prompt is not shown to do better"
            )
        if row.sentence_only is not None and row.gain > 0 and row.sentence_only >= row.prompted:
            found.append(f"{row.model}: the sentence alone does as well as the prompt with its picture")
    return found
