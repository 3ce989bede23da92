"""Any local model on many GPUs or machines, through Ray: each worker holds the whole model.

    load_model("ray/hf/llava-hf/llava-1.5-7b-hf", workers=4, gpus=1, dtype="bfloat16")
    load_model("ray/zoo/llava", workers=2, address="auto")

The model keeps its own name, and is asked in the same batches that it would form by itself. Answers
are therefore the same to the bit, and a run may move from one process to many and back. This needs
Ray: pip install 'bbtvp[ray]'; see docs/machines.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from bbtvp.adapters.ray_pool import SENDS, LostBatch, WorkerPool, connect, free_places
from bbtvp.adapters.ray_worker import RequestOutline
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Budget, Model, Outcome, Probe, QueryFailed, Request

SHARE = 4
"""Parts per worker where a model does not say how it batches.

Small parts keep the other workers from waiting long for the last one.
"""


def load(
    name: str,
    *,
    workers: int | None = None,
    address: str | None = None,
    cpus: float | str = 1,
    gpus: float | str | None = None,
    threads: int | None = None,
    patience: float | str = 60,
    **options: Any,
) -> Model:
    """Load the model that `load_model(name, **options)` gives, on workers of a Ray cluster.

    workers: by default as many as there is room for now. address: of the cluster; `auto` for the
    one that this machine is part of; else RAY_ADDRESS. Without either, the Ray that this process
    uses already, or one that is started here and ends with the process. cpus, gpus: what each
    worker reserves, fractions allowed. gpus is 1 where device is a CUDA device, and device is cuda
    where gpus is above 0. threads: of each worker, by default as many as its cpus. patience:
    seconds to wait until the cluster has room for a first worker. Returns when the first worker has
    loaded the model; the others join later. Raises UsageError for a bad option, ModelError if there
    is no cluster or no room, and whatever loading the model raises.
    """
    if name.partition("/")[0] == "ray":
        raise UsageError(f"ray/{name}: once is enough; use {name}")
    on_cuda = str(options.get("device", "")).startswith("cuda")
    need = {
        "num_cpus": _amount("cpus", cpus),
        "num_gpus": _amount("gpus", on_cuda if gpus is None else gpus),
    }
    if need["num_gpus"]:
        options.setdefault("device", "cuda")
    each = _whole("threads", max(1, int(need["num_cpus"])) if threads is None else threads)
    size = None if workers is None else _whole("workers", workers)
    wait = _amount("patience", patience)
    connect(address)
    pool = WorkerPool(
        name, options, threads=each, need=need, size=size or free_places(need), patience=wait
    )
    return RayModel(pool)


@final
class RayModel(Model):
    """A model on workers, under its own name.

    A batch that is lost with its worker is sent once more, and counts once, because nobody answered
    it. If it is lost again, its requests have failed.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        loaded = pool.loaded()
        self.spec = loaded.spec
        self._identity = loaded.identity
        self.capabilities = loaded.capabilities

    @property
    def identity(self) -> str:
        return self._identity

    def probe_images(self, images: int, budget: Budget) -> Probe | None:
        """See `Model`; one worker finds out, and the others do when they are asked."""
        if images <= self.capabilities.images:
            return None
        (found,) = self._pool.run("probe_images", [images])
        if isinstance(found, LostBatch):
            raise ModelError(f"{self.spec}: workers die on {images} images: {found.reason}")
        if isinstance(found, Probe):
            self.capabilities = found.capabilities
        return found if isinstance(found, Probe) else None

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer all requests, from any thread. Raises ModelError if no worker is left."""
        if not requests:
            return []
        (batches,) = self._pool.run("split", [[RequestOutline.of(request) for request in requests]])
        if isinstance(batches, LostBatch):
            raise ModelError(f"{self.spec}: workers die on the questions alone: {batches.reason}")
        parts: list[list[int]] = (
            batches if batches is not None else _parts(len(requests), SHARE * self._pool.size)
        )
        answers = self._pool.run("answer", [[requests[i] for i in part] for part in parts])
        outcomes: dict[int, Outcome] = {}
        for part, answer in zip(parts, answers, strict=True):
            if isinstance(answer, LostBatch):
                reason = f"lost with its worker, {SENDS} times: {answer.reason}"
                outcomes.update(dict.fromkeys(part, QueryFailed(reason)))
            else:
                outcomes.update(zip(part, answer, strict=True))
        return [outcomes[i] for i in range(len(requests))]


def _parts(count: int, most: int) -> list[list[int]]:
    """Split 0 to count - 1 into at most `most` contiguous parts of nearly equal length."""
    return [part.tolist() for part in np.array_split(np.arange(count), min(count, most))]


def _amount(name: str, given: object) -> float:
    """Return a number of at least 0, as Ray reserves it. Raises UsageError."""
    try:
        number = float(str(int(given) if isinstance(given, bool) else given))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0 and (number <= 1 or number.is_integer())):
        raise UsageError(f"{name} must be a number from 0 to 1, or a whole one, got {given!r}")
    return number


def _whole(name: str, given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise UsageError(f"{name} must be a whole number, at least 1, got {given!r}")
    return given
