"""Every error that bbtvp raises on purpose.

The message is one line that says what is wrong and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BbtvpError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(BbtvpError):
    """The caller asked for what cannot be: an unknown name, a bad option, a budget of 0."""

    exit_code = 2


class DataError(BbtvpError):
    """Images, labels or task files that cannot be used as they are."""


class BundleError(BbtvpError):
    """A prompt bundle that is damaged, altered, or of an unknown version."""


class JournalError(BbtvpError):
    """A run folder that cannot be continued.

    It holds another configuration, or a record before the last one is damaged.
    """


class ModelError(BbtvpError):
    """A model that cannot be loaded, or that failed too often to go on."""


class UnreadReplies(BbtvpError):
    """Too many of a model's replies give no answer for a search to be worth its money."""


class BudgetReached(BbtvpError):
    """A cap was reached.

    cap: which one, "image queries", "US dollars" or "minutes".
    """

    exit_code = 3

    def __init__(self, said: str, cap: str = "image queries") -> None:
        super().__init__(said)
        self.cap = cap


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for an unknown name: nearest names first, else all of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"choose from: {', '.join(known) or 'none'}"
    )
    return UsageError(f"unknown {kind} {name!r}; {hint}")
