"""Cells on several processes. The parent decides who works on what; a worker knows one cell at a
time.

A worker that sees its pipe closed has lost its parent, and ends. Whatever ends the parent's loop
ends the workers at once: journals and atomic files make that safe.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from bbtvp.core.errors import BbtvpError

if TYPE_CHECKING:
    from bbtvp.bench.run import Done, Settings, Work


def pool(work: Work, settings: Settings, jobs: int) -> Iterator[Done]:
    """Yield cells as they end. BbtvpError if a worker dies (out of memory, killed)."""
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would copy torch's threads in an unknown state
    queue = list(reversed(work))
    busy: dict[Any, Any] = {}
    processes: list[Any] = []
    try:
        for _ in range(min(jobs, len(queue))):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, settings), daemon=True)
            process.start()
            there.close()
            processes.append(process)
            busy[here] = queue.pop()
            here.send(busy[here])
        while busy:
            ready: Any
            for ready in wait(list(busy)):
                cell = busy.pop(ready)[0]
                ended = _received(ready, cell)
                if queue:
                    busy[ready] = queue.pop()
                    ready.send(busy[ready])
                yield ended
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _received(ready: Any, cell: object) -> Done:
    try:
        ended: Done = ready.recv()
    except (EOFError, ConnectionError) as error:
        raise BbtvpError(
            f"the process at work on {cell} died; what was answered is kept: run it again"
        ) from error
    return ended


def _work(there: Connection, settings: Settings) -> None:
    from bbtvp.bench.run import Workshop, attempt, one_thread

    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent ends its workers
    workshop = Workshop(settings)
    with one_thread():
        while True:
            try:
                cell, asked = there.recv()
                there.send(attempt(workshop, cell, asked))
            except (EOFError, BrokenPipeError):  # the parent is gone
                return
