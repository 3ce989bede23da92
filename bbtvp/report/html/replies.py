"""The raw replies of a run on its page: the first ones, and those that gave no answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, final

from bbtvp.core.errors import DataError
from bbtvp.jobs.replies import first_replies, replies_of
from bbtvp.report.html.words import Words
from bbtvp.runs.folder import RunFolder
from bbtvp.search.preview import SeenReply, one_line
from bbtvp.search.recipe import Loads

SCANNED = 3000
"""Replies that are looked through for those without an answer."""

_UNREAD = 12
"""Replies without an answer that are shown."""

_LONGEST = 300
"""Most characters that are shown of a reply."""


@final
class RepliesView(NamedTuple):
    """Rows of the tables of replies: image, reply, read as, right answer."""

    first: list[tuple[str, ...]]
    unread: list[tuple[str, ...]]

    def __bool__(self) -> bool:
        return bool(self.first or self.unread)


def replies_view(run: RunFolder, words: Words, loader: Loads | None) -> RepliesView:
    """The replies that a page shows. Without a loader no task is loaded, and `unread` is empty."""
    first = [_row(each.reply, words) for each in first_replies(run)]
    unread = [] if loader is None else [_row(reply, words) for reply in _unread(run, loader)]
    return RepliesView(first, unread)


def _unread(run: RunFolder, loader: Loads) -> Iterator[SeenReply]:
    try:
        scanned = list(islice(replies_of(run, loader), SCANNED))
    except DataError:
        return iter(())
    unread = (each.reply for each in scanned if each.reply.status != "answered")
    return islice(unread, _UNREAD)


def _row(reply: SeenReply, words: Words) -> tuple[str, ...]:
    read = words(f"status_{reply.status}") if reply.answer is None else reply.answer
    return reply.sample, one_line(reply.said, _LONGEST), read, reply.truth
