"""A Ray cluster and the workers on it: who is free gets the next job, who dies is replaced."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, final

from bbtvp.adapters.ray_worker import Facts, Worker
from bbtvp.core.errors import BbtvpError, ModelError

if "ray" not in sys.modules:  # read at the import: what raylets say would land on stdout
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
try:
    import ray
except ImportError as error:
    raise ImportError("it needs Ray: pip install 'bbtvp[ray]'") from error

LIVES = 3
"""Workers in a row that may be lost, in one place, without an answer; then the place is given up.
"""

SENDS = 2
"""How often a batch is sent before its requests are given up."""

ANSWERS = 10
"""Seconds within which a Ray that is asked for by address has to take a connection."""


class Lost(NamedTuple):
    """A job whose worker died, and why."""

    reason: str


class Hand(NamedTuple):
    """A worker as the driver sees it."""

    actor: Any
    lives: int


class Task(NamedTuple):
    """What a worker is at: its own start and load, or a job by number."""

    hand: Hand
    method: str
    job: int = -1


@final
class Crew:
    """Workers, of which those that die are replaced. Jobs go to whoever is free.

    size: places for workers that are not given up. Anything that ends `run` early kills those at
    work, for what they are at is of no use to anyone; the next `run` starts others.
    """

    def __init__(
        self,
        spec: str,
        options: dict[str, Any],
        threads: int,
        need: Mapping[str, float],
        size: int,
        patience: float,
    ) -> None:
        """need: what each worker reserves, `num_cpus` and `num_gpus`. All else as for
        `bbtvp.adapters.ray.load`.
        """
        self.size = size
        self._spec = f"ray/{spec}"
        self._need = need
        self._patience = patience
        actor = ray.remote(**need)(Worker)
        self._make: Callable[[], Any] = lambda: actor.remote(spec, options, threads, os.getcwd())
        self._idle: deque[Hand] = deque()
        self._busy: dict[Any, Task] = {}
        self._facts: Facts | None = None
        self._lock = threading.Lock()

    def facts(self) -> Facts:
        """What the workers hold, once one has loaded it."""
        with self._lock:
            self._fill()
            while self._facts is None:
                self._step()
        return self._facts

    def run(self, method: str, jobs: Sequence[Any]) -> list[Any]:
        """The workers' answers to the jobs, in order; `Lost` for one that took `SENDS` workers with
        it.

        Raises what a worker returns as an error, and ModelError if no worker is left or none can be
        placed.
        """
        waiting = deque(range(len(jobs)))
        sent = Counter[int]()
        found: dict[int, Any] = {}
        with self._lock:
            self._fill()
            try:
                while len(found) < len(jobs):
                    while waiting and self._idle:
                        job = waiting.popleft()
                        hand = self._idle.popleft()
                        sent[job] += 1
                        self._busy[getattr(hand.actor, method).remote(jobs[job])] = Task(
                            hand, method, job
                        )
                    task, result = self._step()
                    if isinstance(result, Lost) and task.job >= 0 and sent[task.job] < SENDS:
                        waiting.appendleft(task.job)
                    elif task.job >= 0:
                        found[task.job] = result
            finally:
                self._stop_work()
        return [found[job] for job in range(len(jobs))]

    def _fill(self) -> None:
        while len(self._idle) + len(self._busy) < self.size:
            self._hire(LIVES)

    def _hire(self, lives: int) -> None:
        hand = Hand(self._make(), lives)
        self._busy[hand.actor.start.remote()] = Task(hand, "start")

    def _step(self) -> tuple[Task, Any]:
        """Wait until one worker is through with its task: what that was, and the result."""
        if not self._busy:
            raise ModelError(f"{self._spec}: no worker stays alive; see Ray's logs on its machine")
        placed = self._idle or any(task.method != "start" for task in self._busy.values())
        ready, _ = ray.wait(
            list(self._busy), num_returns=1, timeout=None if placed else self._patience
        )
        if not ready:
            raise ModelError(self._no_room())
        task = self._busy.pop(ready[0])
        try:
            result = ray.get(ready[0])
        except (
            ray.exceptions.RayTaskError
        ):  # a bug in the model: it shows, with the worker's own traceback
            if task.job >= 0:
                self._idle.append(task.hand)
            raise
        except ray.exceptions.RayError as error:
            return task, self._replace(task.hand, error)
        if isinstance(result, BbtvpError):
            raise result
        hand = Hand(task.hand.actor, LIVES) if task.job >= 0 else task.hand
        if task.method == "start":
            self._busy[hand.actor.load.remote()] = Task(hand, "load")
        else:
            self._idle.append(hand)
        if task.method == "load":
            self._agree(result)
        return task, result

    def _agree(self, facts: Facts) -> None:
        """All workers and the driver run one bbtvp and hold one model, or answers would depend on
        who is asked.
        """
        if facts.version != version("bbtvp"):
            raise ModelError(
                f"a worker has bbtvp {facts.version}, this machine {version('bbtvp')}; install one version on all"
            )
        self._facts = self._facts or facts
        if facts != self._facts:
            raise ModelError(
                f"{self._spec}: workers hold different models, {self._facts} and {facts}"
            )

    def _replace(self, hand: Hand, error: Exception) -> Lost:
        ray.kill(hand.actor)  # it may be alive and merely out of reach
        reason = _reason(error)
        if "No module named" in reason:
            raise ModelError(
                f"{self._spec}: on a worker's machine: {reason}; install bbtvp, and all it needs, on each"
            )
        if hand.lives > 1:
            self._hire(hand.lives - 1)
        else:
            self.size -= 1
        if self.size == 0:
            raise ModelError(f"{self._spec}: no worker stays alive; the last: {reason}")
        return Lost(reason)

    def _stop_work(self) -> None:
        for ref, task in list(self._busy.items()):
            if task.job >= 0:
                ray.kill(task.hand.actor)
                del self._busy[ref]

    def _no_room(self) -> str:
        wanted = " and ".join(
            f"{amount:g} {kind.removeprefix('num_')}" for kind, amount in self._need.items()
        )
        free, total = (
            ", ".join(f"{found.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
            for found in (ray.available_resources(), ray.cluster_resources())
        )
        return (
            f"{self._spec}: the Ray cluster had no room for a worker in {self._patience:g} s: it takes {wanted}; "
            f"free are {free} of {total}; give other models fewer workers (-M workers=1), or ask for less (-M cpus=0)"
        )


def _reason(error: Exception) -> str:
    """What Ray says of a loss, its one telling line of many."""
    lines = [line.strip() for line in str(error).split("Some common causes")[0].split("\n")]
    telling = ("The actor is dead because", "The actor died because its", "ModuleNotFoundError")
    found = [line for line in lines if line.startswith(telling)]
    return (found or lines)[-1].removeprefix("ModuleNotFoundError: ")[:240]


def connect(address: str | None) -> None:
    """Use the Ray of this process, or the one at `address`, or start one. Raises ModelError if that
    fails.
    """
    if ray.is_initialized():
        return
    there = address or os.environ.get("RAY_ADDRESS") or "local"
    host, _, port = there.rpartition(":")
    if host and port.isdecimal():  # Ray itself would try for many minutes, and say so on stderr
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS).close()
        except OSError as error:
            raise ModelError(
                f"no Ray at {there} ({error}); start one there: ray start --head"
            ) from error
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # read by a Ray that is started here; else 15, behind all else
    try:
        ray.init(
            address=there, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:240]
        raise ModelError(f"no Ray at {there} ({reason}); start one: ray start --head") from error
    finally:
        if (
            in_main and handler is not None
        ):  # Ray puts its own in place, which would end the process half-way
            signal.signal(signal.SIGTERM, handler)


def room(need: Mapping[str, float]) -> int:
    """How many workers fit into what is free now, at least 1."""
    free = ray.available_resources()
    kinds = (("CPU", need["num_cpus"]), ("GPU", need["num_gpus"]))
    return max(
        1, min((int(free.get(kind, 0) / amount) for kind, amount in kinds if amount), default=1)
    )
