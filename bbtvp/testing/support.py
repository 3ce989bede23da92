"""What all contracts share: how one is run, and how it reports a broken promise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bbtvp.core.errors import UsageError


class ContractBroken(AssertionError):
    """A plug-in breaks its contract.

    The message says which promise is broken and what happened instead.
    """


class Contract:
    """A set of checks: methods whose names begin with `test_`.

    pytest finds them in a subclass whose name begins with Test.
    """

    @classmethod
    def check_all(cls) -> None:
        """Run every check without pytest. Raises ContractBroken at the first that fails."""
        for name in sorted(dir(cls)):
            if name.startswith("test_"):
                getattr(cls(), name)()


def ensure(kept: bool, promise: str) -> None:
    """Raise ContractBroken with the promise, unless it is kept."""
    if not kept:
        raise ContractBroken(promise)


@contextmanager
def refused(promise: str, *parts: str) -> Iterator[None]:
    """Check that the block raises a UsageError with a message of one line.

    parts: the message must contain one of them, if there are any.
    """
    try:
        yield
    except UsageError as error:
        said = str(error)
        ensure("\n" not in said, f"{promise}: the message has several lines: {said!r}")
        ensure(
            not parts or any(part in said for part in parts),
            f"{promise}: the message says something else: {said!r}",
        )
        return
    raise ContractBroken(f"{promise}: expected a UsageError, and nothing was raised")
