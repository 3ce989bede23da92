"""A Ray cluster and the workers on it: an idle worker gets the next job, a dead one is replaced."""

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

from bbtvp.adapters.ray_worker import LoadedModel, Worker
from bbtvp.core.errors import BbtvpError, ModelError

if "ray" not in sys.modules:  # read at the import: what raylets say would land on stdout
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
try:
    import ray
except ImportError as error:
    raise ImportError("it needs Ray: pip install 'bbtvp[ray]'") from error

LIVES = 3
"""Workers that may be lost in a row, in one place and without an answer, before it is given up."""

SENDS = 2
"""How often a batch is sent before its requests are given up."""

ANSWERS = 10
"""Seconds within which a Ray at a given address must accept a connection."""


class LostBatch(NamedTuple):
    """A job whose worker died, and why."""

    reason: str


class WorkerHandle(NamedTuple):
    """A worker as the driver sees it, and how often its place may still lose one."""

    actor: Any
    lives: int


class WorkerTask(NamedTuple):
    """What a worker is doing: its own start and load, or a job by its number."""

    worker: WorkerHandle
    method: str
    job: int = -1


@final
class WorkerPool:
    """Workers, each of which is replaced if it dies. An idle worker gets the next job.

    size: places for workers that are not given up. Anything that ends `run` early kills the workers
    that are busy, since nobody needs their answers; the next `run` starts others.
    """

    def __init__(
        self,
        spec: str,
        options: dict[str, Any],
        *,
        threads: int,
        need: Mapping[str, float],
        size: int,
        patience: float,
    ) -> None:
        """need: what each worker reserves, `num_cpus` and `num_gpus`.

        All other arguments are those of `bbtvp.adapters.ray.load`.
        """
        self.size = size
        self._spec = f"ray/{spec}"
        self._need = need
        self._patience = patience
        actor = ray.remote(**need)(Worker)
        self._make: Callable[[], Any] = lambda: actor.remote(spec, options, threads, os.getcwd())
        self._idle: deque[WorkerHandle] = deque()
        self._busy: dict[Any, WorkerTask] = {}
        self._loaded: LoadedModel | None = None
        self._lock = threading.Lock()

    def loaded(self) -> LoadedModel:
        """Return what the workers hold, once one of them has loaded it."""
        with self._lock:
            self._fill()
            while self._loaded is None:
                self._step()
        return self._loaded

    def run(self, method: str, jobs: Sequence[Any]) -> list[Any]:
        """Return the workers' answers to the jobs, in order.

        The answer is `LostBatch` for a job that took `SENDS` workers with it. Raises what a worker
        returns as an error, and ModelError if no worker is left or none can be placed.
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
                        worker = self._idle.popleft()
                        sent[job] += 1
                        answer = getattr(worker.actor, method).remote(jobs[job])
                        self._busy[answer] = WorkerTask(worker, method, job)
                    task, result = self._step()
                    if isinstance(result, LostBatch) and task.job >= 0 and sent[task.job] < SENDS:
                        waiting.appendleft(task.job)
                    elif task.job >= 0:
                        found[task.job] = result
            finally:
                self._stop_work()
        return [found[job] for job in range(len(jobs))]

    def _fill(self) -> None:
        while len(self._idle) + len(self._busy) < self.size:
            self._start(LIVES)

    def _start(self, lives: int) -> None:
        worker = WorkerHandle(self._make(), lives)
        self._busy[worker.actor.start.remote()] = WorkerTask(worker, "start")

    def _step(self) -> tuple[WorkerTask, Any]:
        """Wait until one worker is through with its task; return the task and its result."""
        if not self._busy:
            raise ModelError(f"{self._spec}: no worker stays alive; see Ray's logs on its machine")
        placed = self._idle or any(task.method != "start" for task in self._busy.values())
        ready, _ = ray.wait(
            list(self._busy), num_returns=1, timeout=None if placed else self._patience
        )
        if not ready:
            raise ModelError(self._no_place())
        task = self._busy.pop(ready[0])
        try:
            result = ray.get(ready[0])
        except ray.exceptions.RayTaskError:
            # A bug in the model is shown, with the worker's own traceback.
            if task.job >= 0:
                self._idle.append(task.worker)
            raise
        except ray.exceptions.RayError as error:
            return task, self._replace(task.worker, error)
        if isinstance(result, BbtvpError):
            raise result
        worker = WorkerHandle(task.worker.actor, LIVES) if task.job >= 0 else task.worker
        if task.method == "start":
            self._busy[worker.actor.load.remote()] = WorkerTask(worker, "load")
        else:
            self._idle.append(worker)
        if task.method == "load":
            self._agree(result)
        return task, result

    def _agree(self, loaded: LoadedModel) -> None:
        """Check that all workers and the driver run one bbtvp and hold one model.

        Otherwise answers would depend on the worker that is asked.
        """
        if loaded.version != version("bbtvp"):
            raise ModelError(
                f"a worker has bbtvp {loaded.version}, this machine {version('bbtvp')}; "
                "install one version on all"
            )
        self._loaded = self._loaded or loaded
        if loaded != self._loaded:
            raise ModelError(
                f"{self._spec}: workers hold different models, {self._loaded} and {loaded}"
            )

    def _replace(self, worker: WorkerHandle, error: Exception) -> LostBatch:
        ray.kill(worker.actor)  # it may be alive and merely out of reach
        reason = _reason(error)
        if "No module named" in reason:
            raise ModelError(
                f"{self._spec}: on a worker's machine: {reason}; "
                "install bbtvp, and all it needs, on each"
            )
        if worker.lives > 1:
            self._start(worker.lives - 1)
        else:
            self.size -= 1
        if self.size == 0:
            raise ModelError(f"{self._spec}: no worker stays alive; the last: {reason}")
        return LostBatch(reason)

    def _stop_work(self) -> None:
        for ref, task in list(self._busy.items()):
            if task.job >= 0:
                ray.kill(task.worker.actor)
                del self._busy[ref]

    def _no_place(self) -> str:
        wanted = " and ".join(
            f"{amount:g} {kind.removeprefix('num_')}" for kind, amount in self._need.items()
        )
        free, total = (
            ", ".join(f"{found.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
            for found in (ray.available_resources(), ray.cluster_resources())
        )
        return (
            f"{self._spec}: the Ray cluster had no room for a worker in {self._patience:g} s: "
            f"it takes {wanted}; free are {free} of {total}; give other models fewer workers "
            "(-M workers=1), or ask for less (-M cpus=0)"
        )


def _reason(error: Exception) -> str:
    """Return what Ray says of a loss: the one informative line of many."""
    lines = [line.strip() for line in str(error).split("Some common causes")[0].split("\n")]
    telling = ("The actor is dead because", "The actor died because its", "ModuleNotFoundError")
    found = [line for line in lines if line.startswith(telling)]
    return (found or lines)[-1].removeprefix("ModuleNotFoundError: ")[:240]


def connect(address: str | None) -> None:
    """Use the Ray of this process, or the one at `address`, or start one.

    Raises ModelError if that fails.
    """
    if ray.is_initialized():
        return
    there = address or os.environ.get("RAY_ADDRESS") or "local"
    host, _, port = there.rpartition(":")
    if host and port.isdecimal():  # Ray itself would try for many minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS).close()
        except OSError as error:
            raise ModelError(
                f"no Ray at {there} ({error}); start one there: ray start --head"
            ) from error
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Read by a Ray that is started here. Its default of 15 runs behind all other processes.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(
            address=there, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:240]
        raise ModelError(f"no Ray at {there} ({reason}); start one: ray start --head") from error
    finally:
        # Ray installs a handler of its own, which would end the process half-way.
        if in_main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def free_places(need: Mapping[str, float]) -> int:
    """Return how many workers fit into what is free now, at least 1."""
    free = ray.available_resources()
    kinds = (("CPU", need["num_cpus"]), ("GPU", need["num_gpus"]))
    places = [int(free.get(kind, 0) / amount) for kind, amount in kinds if amount]
    return max(1, min(places, default=1))
