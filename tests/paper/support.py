"""What the tests of the converters share."""

from __future__ import annotations

import json

import numpy as np

from bbtvp.adapters import hf
from bbtvp.models import Reply, Request
from tests.paper import published

EXPECTED = json.loads((published.HERE / "expected.json").read_text())
"""Log-probabilities by the authors' code, written by record.py."""


def scores(model: hf.HuggingFaceModel) -> np.ndarray:
    """(images, labels) log-probabilities, each image with its own question."""
    requests = [
        Request(pixels, question, published.LABELS)
        for pixels, question in zip(published.images(), published.QUESTIONS, strict=True)
    ]
    replies = [reply for reply in model.query(requests) if isinstance(reply, Reply)]
    return np.array([[score.logprob for score in reply.scores or ()] for reply in replies])
