"""A search before its first query, as plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bbtvp.core.table import text_table
from bbtvp.search.plan import describe_plan
from bbtvp.search.preflight import Preflight
from bbtvp.tasks import Task

MOST_CLASSES = 30
"""Classes that have a line of their own in a table; the rest are counted together."""


def preflight_text(found: Preflight) -> str:
    """All of it, for a terminal: question, labels, classes by split, warnings, plan and costs."""
    task = found.task
    parts = [*_heading(task), "", class_table(task), ""]
    parts += found.notes
    parts += [f"warning: {warning}" for warning in found.warnings]
    if not found.inspection.thorough:
        parts.append(_looked(found))
    parts += [f"delivered pixels: {one}" for one in found.delivered]
    parts.append(describe_plan(found.plan))
    parts += [str(found.proposals)] if found.proposals else []
    parts += [f"{spec}: {cost}" for spec, cost in found.costs.items()]
    return "\n".join(parts)


def preflight_lines(found: Preflight) -> Iterator[str]:
    """The short form, for the start of a search."""
    sizes = ", ".join(f"{len(samples)} {name}" for name, samples in found.task.splits.items())
    yield f"task: {found.task.name}, {sizes}; question: {found.task.question}"
    yield from found.notes
    yield from (f"warning: {warning}" for warning in found.warnings)


def class_table(task: Task) -> str:
    """The images of each answer in each split; of free answers, the images of each split."""
    counts = [Counter(sample.answer for sample in samples) for samples in task.splits.values()]
    labels = task.labels or ()
    lines = [(label, *(count[label] for count in counts)) for label in labels[:MOST_CLASSES]]
    rest = labels[MOST_CLASSES:]
    if rest:
        sums = (sum(count[label] for label in rest) for count in counts)
        lines.append((f"{len(rest)} more labels", *sums))
    lines.append(("all", *(count.total() for count in counts)))
    return text_table([("", *task.splits), *(tuple(map(str, line)) for line in lines)])


def _heading(task: Task) -> Iterator[str]:
    yield f"task      {task.name}"
    yield f"question  {task.ask(task.train[0])}"
    if task.question != task.ask(task.train[0]):
        yield f"          (about {task.train[0].id}; the template is {task.question})"
    if task.labels is not None:
        yield f"labels    {', '.join(task.labels)}"
    else:
        free = task.sample_labels(task.train[0]) is None
        yield f"labels    {'none: answers are free' if free else 'each row states its own'}"
    yield f"scored    {task.metric}"


def _looked(found: Preflight) -> str:
    seen = found.inspection
    return (
        f"{seen.decoded:,} of {seen.images:,} images were decoded, and of the others "
        "the headers read; pictures that are alike are looked for by bbtvp verify"
    )
