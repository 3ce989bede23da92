"""`bbtvp replies`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import (
    choice_option,
    give,
    json_flag,
    loader_with,
    own_metric_option,
    say,
)

if TYPE_CHECKING:
    from bbtvp.jobs.replies import RunReply

_KINDS = ("all", "wrong", "unread", "unparsed", "refused", "cut", "failed")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@choice_option(
    "--only",
    choices=_KINDS,
    help="Which replies: the wrong ones; those without an answer (unread), or of one such kind.",
)
@click.option("--arm", help="Of one arm: unprompted, prompted, zero_shot, empty_frame, ….")
@click.option("--model", help="Of one model, by its name in the run.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most rows.")
@own_metric_option
@json_flag
def replies(
    *,
    run: Path,
    only: str,
    arm: str | None,
    model: str | None,
    limit: int,
    metric: str | None,
    as_json: bool,
) -> None:
    """List what the models of a RUN replied, word for word, and how each reply was read.

    The replies are those to the validation images, and those of the proofs in the run folder. They
    come from the journals: nothing is asked. The task is loaded for its images.
    """
    from bbtvp.core.errors import DataError
    from bbtvp.core.table import text_table
    from bbtvp.jobs.replies import first_replies, replies_of
    from bbtvp.runs.folder import RunFolder
    from bbtvp.search.preview import one_line

    folder = RunFolder(run)
    try:
        every = list(replies_of(folder, loader_with(metric)))
    except DataError as error:
        say(f"{error}; only the first replies, which the journal shows, are listed")
        every = first_replies(folder)
    of_arm = [e for e in every if arm in (None, e.arm) and model in (None, e.model)]
    wanted = _test_of(only)
    found = [each for each in of_arm if wanted(each)]
    shown = list(islice(found, limit))
    if as_json:
        rows = [each.as_json() for each in shown]
        give({"replies": rows, "of": len(found), "counts": _counts(of_arm)})
        return
    head = ("part", "arm", "model", "image", "reply", "read as", "right answer")
    table = [
        (
            each.part,
            each.arm,
            each.model,
            each.reply.sample,
            one_line(each.reply.said, 60),
            f"({each.reply.status})" if each.reply.answer is None else each.reply.answer,
            each.reply.truth,
        )
        for each in shown
    ]
    if table:
        click.echo(text_table([head, *table], left=len(head)))
    if len(found) > len(shown):
        say(f"{len(found) - len(shown)} more; --limit {len(found)} lists all")
    for line in _summary(of_arm):
        say(line)


def _test_of(only: str) -> Callable[[RunReply], bool]:
    if only == "all":
        return lambda each: True
    if only == "wrong":
        return lambda each: each.reply.right is False
    if only == "unread":
        return lambda each: each.reply.status != "answered"
    return lambda each: each.reply.status == only


def _counts(found: Iterable[RunReply]) -> dict[str, int]:
    """How many of the replies have each status."""
    return dict(Counter(each.reply.status for each in found))


def _summary(found: Sequence[RunReply]) -> list[str]:
    """One line for each arm and model: how many replies have each status."""
    arms = dict.fromkeys((each.part, each.arm, each.model) for each in found)
    if not arms:
        return ["the journals of this run hold no such replies"]
    lines = []
    for place in arms:
        own = [each for each in found if (each.part, each.arm, each.model) == place]
        right = f"{sum(each.reply.right is True for each in own)} of {len(own)} right"
        graded = [each.reply.score for each in own if each.reply.score is not None]
        if graded:
            right = f"{right}, {len(graded)} with a score between"
        counts = [f"{count} {status}" for status, count in _counts(own).items()]
        lines.append(f"{', '.join(place)}: {right}; {', '.join(counts)}")
    return lines
