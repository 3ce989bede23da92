"""The task `example/gauges`: the data set's pictures, drawn in memory."""

from __future__ import annotations

from bbtvp.core.errors import unknown
from bbtvp.tasks import Sample, Task
from bbtvp_example.dataset import LABELS, QUESTION, draw


def load(name: str, *, per_height: int = 4) -> Task:
    """The task of this name. UsageError for any but `gauges`."""
    if name != "gauges":
        raise unknown("task", f"example/{name}", ["example/gauges"])
    train, validation, test = (
        tuple(_samples(split, per_height)) for split in ("train", "validation", "test")
    )
    return Task("gauges", QUESTION, LABELS, train, validation, test, metric="within-one")


def _samples(split: str, per_height: int) -> list[Sample]:
    names = [(height, f"{split}_{height}_{i}") for height in LABELS for i in range(per_height)]
    return [Sample(name, height, draw(int(height), name)) for height, name in names]
