"""What the tests ask, and of whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bbtvp import load_model
from bbtvp.core.arrays import Pixels
from bbtvp.models import Model, Reply, Request
from bbtvp.tasks import Task
from bbtvp.zoo import tasks

KEY = "sk-local-0123456789abcdef0123456789abcdef"
"""Of LiteLLM and llama.cpp. LiteLLM starts only with one that looks strong; it guards nothing but
these tests.
"""

Folder = Callable[[str], Path]
"""The folder of a miniature, by its name."""


@cache
def digits() -> Task:
    """What digit is this?"""
    return tasks.load("digits", limit=40)


def pictures(count: int = 32, side: int | None = None) -> list[Pixels]:
    """Digits of the test split; with a side, resized by us, so that nobody else has to."""
    found = [sample.pixels() for sample in digits().test[:count]]
    if side is None:
        return found
    return [
        np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        for pixels in found
    ]


def asking(pixels: Sequence[Pixels], *, labels: bool = False) -> list[Request]:
    """The task's question about each."""
    task = digits()
    return [Request(image, task.question, task.labels if labels else None) for image in pixels]


def replies(model: Model, requests: Sequence[Request]) -> list[Reply]:
    """The answers, all of them."""
    outcomes = model.query(requests)
    assert [outcome for outcome in outcomes if not isinstance(outcome, Reply)] == []
    return [outcome for outcome in outcomes if isinstance(outcome, Reply)]


def texts(model: Model, requests: Sequence[Request]) -> list[str]:
    """What it wrote, without the white space around."""
    return [str(reply.text).strip() for reply in replies(model, requests)]


def endpoint(spec: str, base_url: str, **options: object) -> Model:
    """A model behind a server, without a store: what is asked, is asked."""
    return load_model(
        spec, base_url=base_url, **{"store": False, "concurrency": 4, "retries": 0, **options}
    )
