"""What contracts share: how one is run, and how it says that it is broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bbtvp.core.errors import UsageError


class ContractBroken(AssertionError):
    """A part does not keep its contract. The message says which promise, and what happened instead."""


class Contract:
    """Checks, as methods whose names begin with `test_`: pytest finds them in a subclass named
    Test….
    """

    @classmethod
    def check_all(cls) -> None:
        """Run every check, for those who have no pytest; raises ContractBroken at the first that
        fails.
        """
        for name in sorted(dir(cls)):
            if name.startswith("test_"):
                getattr(cls(), name)()


def ensure(kept: bool, promise: str) -> None:
    """Raise ContractBroken with the promise, unless it is kept."""
    if not kept:
        raise ContractBroken(promise)


@contextmanager
def refused(promise: str, *parts: str) -> Iterator[None]:
    """The block must raise a UsageError of one line that contains one of `parts` (any, if there are
    none).
    """
    try:
        yield
    except UsageError as error:
        said = str(error)
        ensure("\n" not in said, f"{promise}: the message has several lines: {said!r}")
        ensure(
            not parts or any(part in said for part in parts),
            f"{promise}: the message does not say so: {said!r}",
        )
        return
    raise ContractBroken(f"{promise}: expected a UsageError, and nothing was raised")
