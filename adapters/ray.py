"""Any local model on many GPUs or machines, by Ray: workers hold the whole model each and take
batches when free.

    load_model("ray/hf/llava-hf/llava-1.5-7b-hf", workers=4, gpus=1, dtype="bfloat16")
    load_model("ray/zoo/llava", workers=2, address="auto")

The model goes by its own name and is asked in the very batches that it would form alone, so answers
are the same to the bit and a run may change between one process and many. Needs Ray: pip install
'bbtvp[ray]'; docs/machines.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from bbtvp.adapters.ray_crew import SENDS, Crew, Lost, connect, room
from bbtvp.adapters.ray_worker import Outline
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Budget, Model, Outcome, QueryFailed, Request

SHARE = 4
"""Parts per worker where a model does not say how it batches: small enough that none waits long for
the last.
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
    """The model that `load_model(name, **options)` gives, on workers of a Ray cluster.

    workers: by default as many as there is room for now. address: of the cluster, `auto` for the
    one this machine is part of, else RAY_ADDRESS; without either, or a Ray that this process uses
    already, one is started on this machine and ends with the process. cpus, gpus: what each worker
    reserves, fractions allowed; gpus is 1 where device is a CUDA one, and device is cuda where gpus
    is more than 0. threads: of each worker, by default as its cpus. patience: seconds to wait until
    the cluster has room for a first worker. Returns when that has loaded the model; the others join
    as they come. Raises UsageError for a bad option, ModelError if there is no cluster or no room,
    and whatever loading the model raises.
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
    return RayModel(Crew(name, options, each, need, size or room(need), wait))


@final
class RayModel(Model):
    """A model on workers, under its own name.

    A batch that is lost with its worker is sent once more, and counts once: nobody answered it.
    Lost again, its requests have failed.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        facts = crew.facts()
        self.spec = facts.spec
        self._identity = facts.identity
        self.capabilities = facts.capabilities

    @property
    def identity(self) -> str:
        return self._identity

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer all requests, from any thread. Raises ModelError if no worker is left."""
        if not requests:
            return []
        (batches,) = self._crew.run("split", [[Outline.of(request) for request in requests]])
        if isinstance(batches, Lost):
            raise ModelError(f"{self.spec}: workers die on the questions alone: {batches.reason}")
        parts: list[list[int]] = (
            batches if batches is not None else _parts(len(requests), SHARE * self._crew.size)
        )
        answers = self._crew.run("answer", [[requests[i] for i in part] for part in parts])
        outcomes: dict[int, Outcome] = {}
        for part, found in zip(parts, answers, strict=True):
            failed = isinstance(found, Lost) and QueryFailed(
                f"lost with its worker, {SENDS} times: {found.reason}"
            )
            outcomes.update(zip(part, [failed] * len(part) if failed else found, strict=True))
        return [outcomes[i] for i in range(len(requests))]


def _parts(count: int, most: int) -> list[list[int]]:
    """0 … count - 1 in at most `most` contiguous parts of nearly equal length."""
    return [part.tolist() for part in np.array_split(np.arange(count), min(count, most))]


def _amount(name: str, given: object) -> float:
    """A number of at least 0, as Ray reserves it. Raises UsageError."""
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
