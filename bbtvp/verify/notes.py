"""The notes of a proof: what its figures do not show, and what forbids a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bbtvp.models import Delivered, Model
from bbtvp.prompt import Prompt
from bbtvp.prompt.layer import Size
from bbtvp.search.canvas import median_size, picture_sizes, sent_size
from bbtvp.search.saving import price_of
from bbtvp.tasks import Task
from bbtvp.tasks.overlap import Overlap
from bbtvp.verify.controls import shortened
from bbtvp.verify.messages import Message, message
from bbtvp.verify.rows import ProofRow
from bbtvp.verify.verdict import LEAST, OVERLAPPING


def withheld(task: Task, shared: Overlap) -> tuple[Message, ...]:
    """Why no verdict can be given on this test split; empty if one can."""
    images = len(task.test)
    seen = len(shared.places)
    found = []
    if seen >= OVERLAPPING * images:
        found.append(message("split-leaks", seen=seen, images=images))
    elif images - seen < LEAST:
        found.append(message("too-few-images", images=images - seen, least=LEAST))
    if len({sample.answer for sample in task.test}) < 2:
        found.append(message("one-answer", answer=task.test[0].answer))
    return tuple(found)


def overlap_note(shared: Overlap, task: Task) -> tuple[Message, ...]:
    """How many test images are in another split too."""
    images = len(task.test)
    equal = len(shared.equal)
    alike = len(shared.alike)
    if equal and alike:
        return (message("seen-equal-and-alike", images=images, equal=equal, alike=alike),)
    if equal:
        return (message("seen-equal", images=images, equal=equal),)
    return (message("seen-alike", images=images, alike=alike),) if alike else ()


def canvas_note(prompt: Prompt, model: Model, task: Task) -> list[Message]:
    """A note where the model does not see the canvas as it was made.

    A processor may make it up to two times smaller: the search chooses the canvas for that. Where
    each image has a canvas of its own, what arrives of the median test image.
    """
    if prompt.keeps_image:
        return []
    if prompt.space.shape == "picture":
        return _delivery_note(prompt, model, task)
    canvas = prompt.space.canvas
    side = model.capabilities.image_side
    fitting = model.fitting_canvas(canvas)
    if fitting != canvas:
        return [message("canvas-resampled", model=model.spec, canvas=canvas, fitting=fitting)]
    if side is not None and canvas < side:
        return [message("canvas-blurred", model=model.spec, canvas=canvas, side=side)]
    if side is not None and canvas > 2 * side:
        return [message("canvas-loses-detail", model=model.spec, canvas=canvas, side=side)]
    return []


def _delivery_note(prompt: Prompt, model: Model, task: Task) -> list[Message]:
    own = median_size(picture_sizes(task, "test"))
    arrives = model.delivered(*sent_size(prompt, own))
    if arrives is None:
        return []
    if not arrives.whole:
        return [message("delivered-in-part", model=model.spec, image=_px(own), part=_px(arrives))]
    return [message("delivered", model=model.spec, image=_px(own), arrives=_px(arrives))]


def saving_note(prompt: Prompt, model: Model, task: Task) -> list[Message]:
    """A note where the size that is sent was searched, on what that saves."""
    if not prompt.space.placement.sizes:
        return []
    own = picture_sizes(task, "test")
    sent = [sent_size(prompt, size) for size in own]
    before = [price_of(model, size) for size in own]
    after = [price_of(model, size) for size in sent]
    if math.fsum(before) == math.fsum(after):
        return []
    share = math.fsum(after) / math.fsum(before) - 1
    dollars = [model.image_usd(*size) for size in (*own, *sent)]
    known = [usd for usd in dollars if usd is not None]
    if len(known) < len(dollars) or not any(known):
        return [message("image-cost", model=model.spec, share=share)]
    usd = 1000 * (math.fsum(known[: len(own)]) - math.fsum(known[len(own) :])) / len(own)
    return [message("image-usd", model=model.spec, share=share, saved=usd)]


def _px(size: Size | Delivered) -> str:
    return f"{size.width} x {size.height} px"


def fact_notes(facts: Mapping[str, Any], task: Task) -> tuple[Message, ...]:
    """Notes where the task differs from the one that the bundle was searched on."""
    found = []
    question = facts.get("question")
    labels = facts.get("labels")
    name = facts.get("task")
    if question is not None and question != task.question:
        found.append(message("other-question", searched=question, asked=task.question))
    if not isinstance(labels, list | tuple):  # a bundle's facts may be any JSON
        labels = None
    if labels is not None and sorted(map(str, labels)) != sorted(task.labels or ()):
        if task.labels:
            found.append(message("other-labels", searched=list(labels), labels=list(task.labels)))
        else:
            found.append(message("free-answers", searched=list(labels)))
    elif name is not None and labels is None and name != task.name and question == task.question:
        found.append(message("other-task", searched=name, task=task.name))
    return tuple(found)


UNREAD = 0.05
"""Share of unprompted replies that could not be read, from which a note says so."""


def _reply_notes(row: ProofRow) -> list[Message]:
    """What the replies without an answer, and the commonest answer, say about the accuracies."""
    found = []
    before = row.unread("zero_shot")
    after = row.unread("prompted")
    if before > after and before >= UNREAD * row.images:
        said = message("unread", model=row.model, unread=before, images=row.images, after=after)
        found.append(said)
    gathered = row.collapse
    if gathered is not None and gathered.overused:
        found.append(
            message(
                "collapse",
                model=row.model,
                answer=shortened(gathered.after.answer or ""),
                share=gathered.after.share,
                earlier=gathered.earlier,
                true=gathered.true,
            )
        )
    return found


def row_notes(rows: Sequence[ProofRow]) -> list[Message]:
    """What the other arms say about a gain."""
    found = []
    for row in rows:
        if row.noise:
            if row.paired.graded:
                found.append(message("noise-graded", model=row.model, noise=row.noise))
            else:
                found.append(message("noise", model=row.model, noise=row.noise))
        found += _version_notes(row)
        found += _reply_notes(row)
        beyond = row.over_calibration
        if row.gain > 0 and beyond is not None and beyond.ci[0] <= 0:
            found.append(message("calibration-does-it", model=row.model, calibrated=beyond.before))
        found += _words_note(row)
    return found


def _version_notes(row: ProofRow) -> list[Message]:
    """Whether the replies are those of one known version of the model."""
    versions = list(row.versions)
    if len(versions) > 1:
        return [
            message("several-versions", model=row.model, count=len(versions), versions=versions)
        ]
    if versions and row.unversioned:
        return [message("version-missing", model=row.model, versions=versions)]
    return []


def _words_note(row: ProofRow) -> list[Message]:
    """Whether the picture adds to the words, where the prompt gains and has both."""
    beyond = row.over_words
    if beyond is None or row.gain <= 0:
        return []
    low, high = beyond.ci
    gain = beyond.gain
    words = beyond.before
    model = row.model
    if low > 0:
        return [message("picture-adds", model=model, words=words, gain=gain, low=low, high=high)]
    return [message("sentence-does-it", model=model, words=words, gain=gain, low=low, high=high)]


def words_note(prompt: Prompt) -> list[Message]:
    """A note where the prompt is words alone."""
    return [message("words-alone")] if prompt.keeps_image and not prompt.is_identity else []
