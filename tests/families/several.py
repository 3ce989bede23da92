"""Requests of several images: bbtvp's adapter against a full forward pass of each label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import bbtvp
from bbtvp.core.arrays import Pixels
from bbtvp.models import Budget, Reply, Request, Shown
from tests.families.check import LABELS, QUESTION, picture
from tests.families.kit import Family, save
from tests.families.reference import Reference

IMAGES = 3
BEFORE = ("Answer: cat", "Answer: caterpillar")
SHOWN = tuple(Shown(picture(seed), text) for seed, text in zip((11, 12), BEFORE, strict=True))
REQUESTS = tuple(
    Request(picture(seed), QUESTION, LABELS, context=context)
    for seed, context in ((1, SHOWN), (2, SHOWN), (1, SHOWN[::-1]))
)


class SeveralFound(NamedTuple):
    """What was found of one family.

    taken: what the adapter said of `IMAGES` images. apart: nats between its scores and those of
    full forward passes; None where it takes one image. order: nats by which the order counts.
    """

    taken: str
    apart: float | None = None
    order: float = 0.0


def measure_several(family: Family, folder: Path) -> SeveralFound:
    """Build a family, save it, load it with the adapter, and ask both about three images."""
    reference = Reference(family)
    save(reference.model, reference.processor, folder)
    model = bbtvp.load_model(f"hf/{folder}")
    found = model.probe_images(IMAGES, Budget())
    taken = found.findings[0] if found else ""
    if model.capabilities.images < IMAGES:
        return SeveralFound(taken)
    ours = np.array([scores_of(reply) for reply in model.query(REQUESTS)])
    wanted = np.array([_expected(reference, request) for request in REQUESTS])
    return SeveralFound(
        taken,
        float(np.abs(ours - wanted).max()),
        float(np.abs(wanted[0] - wanted[2]).max()),
    )


def scores_of(reply: Any) -> list[float]:
    """The log-probabilities of a reply; NaN for a failed query."""
    scores = reply.scores if isinstance(reply, Reply) else None
    return [score.logprob for score in scores or ()] or [float("nan")] * len(LABELS)


@torch.inference_mode()
def _expected(reference: Reference, request: Request) -> list[float]:
    """Log-probabilities of the labels after one user turn, each by a forward pass of its own."""
    content: list[dict[str, Any]] = []
    for image, text in (*request.context, Shown(request.image, request.text)):
        content += _shown(image, text)
    inputs = dict(
        reference.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    )
    return [_score(reference, inputs, label) for label in LABELS]


def _shown(image: Pixels, text: str) -> Sequence[dict[str, Any]]:
    return {"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": text}


def _score(reference: Reference, inputs: dict[str, Any], label: str) -> float:
    ids = reference.answer_ids(QUESTION, label, fresh=False)
    following = reference.following(inputs, ids)
    return sum(float(following[i, token]) for i, token in enumerate(ids))
