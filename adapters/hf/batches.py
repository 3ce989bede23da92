"""How much runs at once on a device, and less from then on once its memory has run out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import torch

from bbtvp.core.errors import UsageError
from bbtvp.models import Outcome, QueryFailed, Request

T = TypeVar("T")

FULL = "out of memory"
_MESSAGES = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""The messages of CUDA and MPS, of the CPU's allocator, and of cuBLAS without a workspace."""

_log = logging.getLogger(__name__)


@final
class BatchSizer:
    """What fits in a forward pass: `batch` sequences, and `tokens` tokens of them together.

    Safe to use from many threads. Where memory runs out, `tokens` becomes half of what was tried,
    so that prompts of every length use as much as fits.
    """

    def __init__(self, spec: str, batch: int, tokens: int | None = None) -> None:
        """Raises UsageError for anything but whole numbers of at least 1."""
        for name, value in {"batch": batch, "tokens": 1 if tokens is None else tokens}.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"{name} must be a whole number, at least 1, got {value!r}")
        self.spec = spec
        self.batch = batch
        self.tokens = tokens
        self._chains = math.inf
        self._failed = 0
        self.proven = False
        """Whether any forward pass was completed."""

    def rows(self, width: int) -> int:
        """Return how many sequences of `width` tokens run at once, at least one."""
        return self.batch if self.tokens is None else max(1, min(self.batch, self.tokens // width))

    def chains(self, rows: int, width: int, length: int) -> int:
        """Return how many continuations of `length` tokens run at once for each prefix.

        rows, width: number and tokens of the prefixes. A continuation counts its own tokens and a
        quarter of its prefix's: the keys and values of the prefix are repeated one layer at a time,
        and take about a quarter of what a layer needed to read the prefix.
        """
        tokens = self.batch * width if self.tokens is None else min(self.tokens, self.batch * width)
        return max(1, int(min(tokens / (rows * (length + width / 4)), self._chains)))

    def fewer_chains(self, tried: int) -> None:
        """Note that memory ran out with so many continuations at once."""
        self._chains = max(1, tried // 2)
        self._failed = tried

    def run(
        self,
        requests: Sequence[Request],
        width: int,
        answer: Callable[[Sequence[Request]], list[Outcome]],
    ) -> list[Outcome]:
        """Answer requests of one width, as many at once as fit.

        A request that does not fit alone is a failed query.
        """
        done: list[Outcome] = []
        while len(done) < len(requests):
            part = requests[len(done) : len(done) + self.rows(width)]
            found = unless_full(answer, part)
            if found is not None:
                done += found
                self.proven = True
                self._say(width)
            elif len(part) > 1:
                self._failed = len(part)
                self.tokens = width * len(part) // 2
            else:
                done.append(QueryFailed(f"{FULL}, with nothing else in the forward pass"))
        return done

    def _say(self, width: int) -> None:
        if self._failed:
            _log.warning(
                "%s: out of memory with %d sequences at once; "
                "going on with %d (set the option tokens=%d to start so)",
                self.spec,
                self._failed,
                self.rows(width),
                self.tokens or self.rows(width) * width,
            )
            self._failed = 0


def unless_full(work: Callable[..., T], *arguments: Any) -> T | None:
    """Return what `work` returns; None, with an emptied cache, if the device is out of memory."""
    try:
        return work(*arguments)
    except (RuntimeError, MemoryError) as error:
        if not is_full(error):
            raise
    # Only here is the traceback gone, and with it the tensors of the pass that failed.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return None


def is_full(error: Exception) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _MESSAGES)
