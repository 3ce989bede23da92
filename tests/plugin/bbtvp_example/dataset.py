"""The data set `gauges:FOLDER`: dark pictures of a bar that stands 0 to 9 marks high."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import DataError
from bbtvp.core.rng import stream
from bbtvp.tasks import Sample, Task

SIDE = 36
LABELS = tuple(str(value) for value in range(10))
QUESTION = "how high does the bar stand? answer with a number from 0 to 9"


def gauges(folder: str) -> Task:
    """The task in a folder of `<split>_<height>_<number>.png`. DataError if a split is missing."""
    splits: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for path in sorted(Path(folder).glob("*.png")):
        split, height, _ = path.stem.split("_")
        splits[split].append(Sample(path.stem, height, path))
    if not all(splits.values()):
        raise DataError(f"{folder} holds no gauges; write them with bbtvp_example.dataset.write")
    return Task(
        "gauges",
        QUESTION,
        LABELS,
        tuple(splits["train"]),
        tuple(splits["validation"]),
        tuple(splits["test"]),
        metric="within-one",
    )


def write(folder: Path, per_height: int = 4) -> Path:
    """Draw `per_height` pictures of each height for every split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        for height in LABELS:
            for number in range(per_height):
                picture = draw(int(height), f"{split}_{height}_{number}")
                Image.fromarray(picture).save(folder / f"{split}_{height}_{number}.png")
    return folder


def draw(height: int, name: str) -> Pixels:
    """(36, 36, 3) uint8: a dim bar on a darker ground; `name` seeds the noise."""
    noise = stream(0, "gauges", name).normal(0, 3, (SIDE, SIDE))
    levels = np.full((SIDE, SIDE), 40.0)
    levels[SIDE - height * SIDE // 9 :] = 100.0
    grey = np.rint(levels + noise).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
