"""Handle requests beside the event loop: in threads, or in processes of their own.

Rendering keeps Python's lock for a part of its time. In one process, every image that is prompted
would delay the streams of all the others; in processes it does not, and uses all cores.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import FrameType
from typing import final

from bbtvp.deploy.incoming import Handled, Handler
from bbtvp.deploy.routes import IncomingRequest

LONGEST = 10.0
"""Seconds for one request: to wait for a worker, and again to be prompted."""


@final
class Workers:
    """A pool that handles requests.

    count: of processes; 0 for threads of this process. patience: seconds that a request may wait
    for a worker, and may take in one; after that it passes as it is.
    """

    def __init__(self, handler: Handler, count: int = 0, patience: float = LONGEST) -> None:
        self.handler = handler
        self._count = count
        self._patience = patience
        self._pool = self._started()

    async def warm(self) -> None:
        """Start the processes, so that no request waits for it."""
        if self._count:
            loop = asyncio.get_running_loop()
            # Each process takes one of them, since a wait keeps it busy.
            naps = [loop.run_in_executor(self._pool, _nap) for _ in range(self._count)]
            await asyncio.gather(*naps)

    async def handle(
        self,
        incoming: IncomingRequest,
        fetched: Mapping[str, bytes] | None = None,
        copy: bool = False,
    ) -> Handled:
        """Handle a request. It passes as it is if there is no worker in time, or if one dies."""
        arguments = (incoming, fetched, copy)
        pool = self._pool
        try:
            task = pool.submit(_handled if self._count else self.handler, *arguments)
            return await asyncio.wait_for(asyncio.wrap_future(task), 2 * self._patience)
        except TimeoutError:
            return Handled("failed", why="no worker was free in time")
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._started()
            return Handled("failed", why="a worker died")

    def close(self) -> None:
        """End the pool once what was submitted is done, without waiting for it."""
        self._pool.shutdown(wait=False)

    def _started(self) -> Executor:
        if not self._count:
            return ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2), "bbtvp-proxy")
        return ProcessPoolExecutor(
            self._count,
            multiprocessing.get_context("spawn"),  # a fork would copy open connections
            _begin,
            (self.handler, self._patience),
        )


class _Here:
    """What a process of the pool knows. It is set once, before the first request."""

    handler: Handler | None = None
    patience = LONGEST


def _begin(handler: Handler, patience: float) -> None:
    _Here.handler = handler
    _Here.patience = patience
    for route in handler.routes:
        _ = route.prompt  # read now, not with the first request
    for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):  # they are for the proxy itself
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _late)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _handled(incoming: IncomingRequest, fetched: Mapping[str, bytes] | None, copy: bool) -> Handled:
    if _Here.handler is None:
        return Handled("failed", why="a worker has no routes")
    _alarm(_Here.patience)
    try:
        return _Here.handler(incoming, fetched, copy)
    except TimeoutError:  # between the handler's own return and the end of the alarm
        return Handled("failed", why="TimeoutError")
    finally:
        _alarm(0)


def _alarm(seconds: float) -> None:
    """Have a TimeoutError raised here after some seconds; 0 for never.

    Regular expressions look for signals too, so one that never ends is ended.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _late(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def _nap() -> None:
    threading.Event().wait(0.2)


def _end_with_parent() -> None:
    """End this process once the proxy is gone, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGTERM)
