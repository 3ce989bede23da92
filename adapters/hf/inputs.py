"""Requests as the tensors that a Hugging Face model reads, and labels as token ids."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bbtvp.adapters.hf.prompts import answer_ids, prompt_text
from bbtvp.core.arrays import Pixels
from bbtvp.models import Request

KNOWN = 4096
"""Number of texts that are cached. At six hundred tokens each, they take some 60 MB."""


class _Text(NamedTuple):
    """What a question becomes beside an image of one shape.

    rows: its inputs, None if text and image cannot be prepared separately.
    """

    widths: tuple[int, ...]
    rows: dict[str, Tensor] | None


@final
class Prompts:
    """A processor that is asked for each text once. Safe to use from many threads.

    A processor tokenises the same question again for every image, which for a small model takes as
    long as the image itself. What depends on the text and the image's shape is therefore cached,
    and only the image processor runs, unless the two together would differ in any bit from what the
    whole processor gives.
    """

    def __init__(self, processor: Any, *, encoder_decoder: bool) -> None:
        self.processor = processor
        self._encoder_decoder = encoder_decoder
        self._lock = threading.Lock()
        """A tokenizer sets its padding, then encodes, so two threads would mix their paddings."""
        self._text = lru_cache(KNOWN)(self._read)
        self.label_ids = lru_cache(KNOWN)(self._label_ids)

    def widths(self, request: Request) -> tuple[int, ...]:
        """Return the token counts of a prompt: one, or two with a Q-Former's own tokenizer."""
        return self._text(request.text, request.image.shape).widths

    def inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the model's inputs for requests of equal widths and image shape.

        There is no padding. Tensors are on the CPU, in the dtypes of the processor.
        """
        texts = [self._text(request.text, request.image.shape) for request in requests]
        rows = [text.rows for text in texts if text.rows is not None]
        if len(rows) < len(requests):
            return self._whole(
                [request.image for request in requests], [request.text for request in requests]
            )
        seen = dict(self._images([request.image for request in requests]))
        written = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
        return {key: value for key, value in seen.items() if isinstance(value, Tensor)} | written

    def _label_ids(self, text: str, label: str) -> tuple[int, ...]:
        """Return the token ids of a label as the answer to a question; () if it has none."""
        with self._lock:
            prompt = prompt_text(self.processor, text)
            return tuple(
                answer_ids(self.processor, prompt, label, encoder_decoder=self._encoder_decoder)
            )

    def _read(self, text: str, shape: tuple[int, ...]) -> _Text:
        pixels = (
            (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
        )  # 251 is prime: no two rows alike
        whole = self._whole([pixels], [text])
        seen = self._images([pixels])
        widths = tuple(whole[key].shape[1] for key in sorted(whole) if key.endswith("input_ids"))
        shared = {key for key in seen if key in whole}
        rows = {key: value for key, value in whole.items() if key not in shared}
        apart = all(_same(seen[key], whole[key]) for key in shared) and shared | set(rows) == set(
            whole
        )
        apart = (
            apart and {key for key, value in seen.items() if isinstance(value, Tensor)} <= shared
        )
        apart = apart and all(
            isinstance(value, Tensor) and len(value) == 1 for value in rows.values()
        )
        return _Text(widths, rows if apart else None)

    def _images(self, images: Sequence[Pixels]) -> Any:
        return self.processor.image_processor(
            [[Image.fromarray(image)] for image in images], return_tensors="pt"
        )

    def _whole(self, images: Sequence[Pixels], texts: Sequence[str]) -> dict[str, Any]:
        pictures = [[Image.fromarray(image)] for image in images]
        with self._lock:
            prompts = [prompt_text(self.processor, text) for text in texts]
            inputs = dict(
                self.processor(images=pictures, text=prompts, return_tensors="pt", padding=True)
            )
        inputs.pop("labels", None)  # PaliGemma's processor adds training labels
        return inputs


def _same(one: Any, other: Any) -> bool:
    tensors = isinstance(one, Tensor) and isinstance(other, Tensor)
    return tensors and one.dtype == other.dtype and torch.equal(one, other)


def placed(inputs: dict[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Move the inputs to the model's device, with floating point in its dtype.

    They go to a GPU from pinned memory, without waiting. The cast comes first, so that half the
    bytes travel to a model of half precision.
    """

    def place(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(place(item) for item in value)
        if not isinstance(value, Tensor):
            return value
        value = value.to(dtype) if value.is_floating_point() else value
        return (
            value.pin_memory().to(device, non_blocking=True)
            if device.type == "cuda"
            else value.to(device)
        )

    return {key: place(value) for key, value in inputs.items()}
