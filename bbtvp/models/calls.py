"""Calls of a function that somebody else wrote: so many at once, each within a limit of time."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import threading
import time
import traceback
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias, final

from bbtvp.core.errors import ModelError

Call: TypeAlias = Callable[[], Any]
"""One call of the function; of an async one it gives an awaitable."""

_LONGEST = 300
"""Characters of a message that are shown."""

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")
"""Names of environment variables whose values are shown nowhere."""


class FunctionFailed(ModelError):
    """A call that raised. The message says in one line what, and where."""


class FunctionHung(FunctionFailed):
    """A call that did not end within its time."""


@final
class FunctionCalls:
    """Makes calls, at most `concurrency` at once. One thread at a time may use it.

    name: of the function, for messages. timeout: seconds that one call may take; with None there is
    no limit, and calls one at a time are made in the thread that asks. is_async: calls give
    awaitables, which share one event loop.

    A thread cannot be ended from outside: a call that hangs is left alone, and the next one is made
    in another thread.
    """

    def __init__(
        self, name: str, *, concurrency: int, timeout: float | None, is_async: bool
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._make: Callable[[], _Lane] = _ThreadLane
        if is_async:
            self._make = _EventLoop().lane
        elif timeout is None and concurrency == 1:
            self._make = _HereLane
        self._concurrency = concurrency
        self._lanes: list[_Lane] = []

    def run(self, calls: Iterable[Call]) -> Iterator[tuple[int, Any]]:
        """(number of the call, what it gave), in the order in which the calls end.

        What it gave is a `FunctionFailed` where it raised or hung. A call is taken from `calls`
        when there is room for it.
        """
        waiting = enumerate(calls)
        busy: dict[Future[Any], _Underway] = {}
        try:
            while self._fill(busy, waiting):
                yield from self._ended(busy)
        finally:
            for future, underway in busy.items():
                underway.lane.leave(future)

    def _fill(
        self, busy: dict[Future[Any], _Underway], waiting: Iterator[tuple[int, Call]]
    ) -> bool:
        """Begin as many calls as there is room for; whether any is under way."""
        while len(busy) < self._concurrency:
            number, call = next(waiting, (-1, None))
            if call is None:
                break
            lane = self._lanes.pop() if self._lanes else self._make()
            future = lane.submit(self._guarded(call))
            limit = float("inf") if self._timeout is None else self._timeout
            busy[future] = _Underway(number, lane, time.monotonic() + limit)
        return bool(busy)

    def _ended(self, busy: dict[Future[Any], _Underway]) -> Iterator[tuple[int, Any]]:
        """Wait for the first calls that end or run out of time."""
        soonest = min(underway.deadline for underway in busy.values())
        left = None if self._timeout is None else max(0.0, soonest - time.monotonic())
        done, _ = wait(busy, timeout=left, return_when=FIRST_COMPLETED)
        now = time.monotonic()
        for future, underway in list(busy.items()):
            if future in done:
                del busy[future]
                self._lanes.append(underway.lane)
                yield underway.number, self._found(future)
            elif underway.deadline <= now:
                del busy[future]
                underway.lane.leave(future)
                yield underway.number, self._hung()

    def _found(self, future: Future[Any]) -> Any:
        """What a call that has ended gave, or a FunctionFailed."""
        if future.cancelled():  # by the function itself, such as a client that was closed
            return FunctionFailed(f"{self._name} was cancelled before it gave an answer")
        return future.exception() or future.result()

    def _hung(self) -> FunctionHung:
        return FunctionHung(f"{self._name} gave no answer within {self._timeout:g} s")

    def _guarded(self, call: Call) -> Call:
        """The same call, which raises nothing but FunctionFailed."""

        def guarded() -> Any:
            try:
                found = call()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # it may call sys.exit, which is a failed query
                raise _failure(self._name, error) from error
            return self._awaited(found) if inspect.isawaitable(found) else found

        return guarded

    async def _awaited(self, found: Any) -> Any:
        try:
            return await found
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            raise _failure(self._name, error) from error


def one_line(text: str) -> str:
    """A message on one line, at most `_LONGEST` characters, without the values of secret keys."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name.upper()):
            text = text.replace(value, "***")
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _failure(name: str, error: BaseException) -> FunctionFailed:
    """What a call raised, and at which line of which file."""
    if isinstance(error, FunctionFailed):
        return error
    where = ""
    frames = traceback.extract_tb(error.__traceback__)
    if len(frames) > 1:  # the first is `guarded` above
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    said = f": {error}" if str(error) else ""
    return FunctionFailed(one_line(f"{name} raised {type(error).__name__}{said}") + where)


class _Underway(NamedTuple):
    """A call that was begun, and the time on the monotonic clock at which it is given up."""

    number: int
    lane: _Lane
    deadline: float


class _Lane(ABC):
    """Where one call at a time is made."""

    @abstractmethod
    def submit(self, call: Call) -> Future[Any]:
        """Begin a call, which raises nothing but FunctionFailed."""

    def leave(self, future: Future[Any]) -> None:  # noqa: B027
        """Give up the call that is under way; the lane is used no more."""


@final
class _HereLane(_Lane):
    """Makes the call in the thread that asks, for functions that belong to one thread."""

    def submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        _settle(future, call)
        return future


@final
class _ThreadLane(_Lane):
    """A thread that makes calls one after the other, and does not keep the process alive."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Call] | None] = SimpleQueue()
        threading.Thread(target=_work, args=[self._waiting], daemon=True).start()
        self._end = weakref.finalize(self, self._waiting.put, None)

    def submit(self, call: Call) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.put((future, call))
        return future

    def leave(self, future: Future[Any]) -> None:
        self._end()


def _work(waiting: SimpleQueue[tuple[Future[Any], Call] | None]) -> None:
    while (job := waiting.get()) is not None:
        _settle(*job)


def _settle(future: Future[Any], call: Call) -> None:
    try:
        found = call()
        if inspect.iscoroutine(found):  # of a plain function that calls an async one
            found = asyncio.run(found)
    except FunctionFailed as error:
        future.set_exception(error)
    else:
        future.set_result(found)


@final
class _EventLoop:
    """An event loop in a thread of its own: clients of async libraries belong to one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run_forever, args=[self._loop], daemon=True)
        self._started = False
        weakref.finalize(self, _stop, self._loop)

    def lane(self) -> _Lane:
        """Room for one more call on the loop."""
        if not self._started:
            self._started = True
            self._thread.start()
        return _LoopLane(self)

    def submit(self, call: Call) -> Future[Any]:
        """Begin a call."""

        async def made() -> Any:
            found = call()
            return await found if inspect.isawaitable(found) else found

        return asyncio.run_coroutine_threadsafe(made(), self._loop)


@final
class _LoopLane(_Lane):
    """Room for one call on an event loop. A call that is given up is cancelled."""

    def __init__(self, loop: _EventLoop) -> None:
        self._loop = loop

    def submit(self, call: Call) -> Future[Any]:
        return self._loop.submit(call)

    def leave(self, future: Future[Any]) -> None:
        future.cancel()


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    if loop.is_running():
        loop.call_soon_threadsafe(loop.stop)
    else:
        loop.close()
