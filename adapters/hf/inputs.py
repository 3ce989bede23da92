"""Requests as the tensors that a Hugging Face model reads, and labels as token ids."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationMixin

from bbtvp.adapters.hf.labels import AnswerPlace, answer_place, label_ids
from bbtvp.adapters.hf.layout import PROBE, REFUSALS, image_layout, in_layout, one_line
from bbtvp.adapters.hf.prompts import prompt_text, several_text
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.models import Request

KNOWN = 4096
"""Number of texts that are cached. At six hundred tokens each, they take some 60 MB."""


_AS_IT_IS = "{{ messages[0]['content'][1]['text'] }}"
"""A chat template for prompts that are rendered already.

With it, transformers tokenises a prompt by its own rules for chats. So a BOS that the template
wrote is not written again by the tokenizer.
"""

_SHAPE: tuple[int, ...] = (224, 224, 3)
"""The image about which a processor is asked first."""


class _Text(NamedTuple):
    """What a question becomes beside an image of one shape.

    ids: the token ids of the prompt, () for none. rows: its inputs, None if text and image cannot
    be prepared separately. beside: what the image processor says of the image and the model is not
    given, such as a number of crops; a text may depend on it.
    """

    widths: tuple[int, ...]
    ids: tuple[int, ...]
    rows: dict[str, Tensor] | None
    beside: dict[str, Any]


class InputNames(NamedTuple):
    """Which inputs a model takes.

    known: the names, None for any. decoder_prompt: whether the prompt is the decoder's.
    """

    known: frozenset[str] | None = None
    decoder_prompt: bool = False

    @classmethod
    def of(cls, model: Any) -> InputNames:
        """Read the names from the signature of a model's forward pass.

        Raises ModelError for a model that generates nothing.
        """
        if model is None:
            return cls()
        if not hasattr(model, "generate"):  # such as PI0, which moves a robot
            raise ModelError(
                f"a {type(model).__name__} writes no text; give a model that answers in words"
            )
        parameters = inspect.signature(model.forward).parameters
        decoder_prompt = "decoder_input_ids" in parameters and "input_ids" not in parameters
        others = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        known = None if others and not decoder_prompt else frozenset(parameters)
        return cls(known, decoder_prompt)

    @property
    def ids(self) -> str:
        """The name of the prompt's token ids."""
        return "decoder_input_ids" if self.decoder_prompt else "input_ids"

    def chosen(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs that the model takes, under its names, without training labels."""
        if self.decoder_prompt and "input_ids" in inputs:
            renamed = {"input_ids": self.ids, "attention_mask": "decoder_attention_mask"}
            inputs = {renamed.get(key, key): value for key, value in inputs.items()}
        return {
            key: value
            for key, value in inputs.items()
            if key != "labels" and (self.known is None or key in self.known)
        }


@final
class Prompts:
    """A processor that is asked for each text once. Safe to use from many threads.

    A processor tokenises the same question again for every image, which for a small model takes as
    long as the image itself. What depends on the text and the image's shape is therefore cached,
    and only the image processor runs, unless the two together would differ in any bit from what the
    whole processor gives.

    encoder_decoder: whether answers come from a decoder beside the encoder that reads the prompt.
    model: the model that takes the inputs. Without it, all that the processor makes is given.
    Raises ModelError for a processor or a chat template that cannot prepare an image with a
    question.
    """

    def __init__(self, processor: Any, *, encoder_decoder: bool, model: Any = None) -> None:
        self.processor = processor
        self._layout = image_layout(processor)
        self._reader = InputNames.of(model)
        self._fresh = encoder_decoder and not self._reader.decoder_prompt
        own = model is not None and type(model).generate is not GenerationMixin.generate
        end = () if self._fresh else _appended(processor)
        self._end = () if own else end
        self._lock = threading.Lock()
        """A tokenizer sets its padding, then encodes, so two threads would mix their paddings."""
        self._shape = _SHAPE
        """An image beside which the end of a prompt is looked at, the same for all: the last one,
        so that a question need not be prepared for two."""
        self._text = lru_cache(KNOWN)(self._read)
        self._place = lru_cache(KNOWN)(self._find_place)
        self._several_widths = lru_cache(KNOWN)(self._read_several_widths)
        self.label_ids = lru_cache(KNOWN)(self._label_ids)
        asked = self._text(PROBE, _SHAPE).ids
        if own and end and asked[-len(end) :] == end:
            # BLIP's generate takes the end token off and changes the first one. What another class
            # would do is not known, and scores must be of the prompt that its replies follow.
            raise ModelError(
                f"a {type(model).__name__} changes its prompt when it generates, so its labels "
                "cannot be scored as its replies are; give another model"
            )

    def widths(self, request: Request) -> tuple[int, ...]:
        """Return the token counts of a prompt: one, or two with a Q-Former's own tokenizer.

        A model that gets no tokens beside the image counts as one token.
        """
        if request.context:
            shown = tuple((part.image.shape, part.text) for part in request.context)
            return self._several_widths(request.text, request.image.shape, shown)
        return self._text(request.text, request.image.shape).widths

    def inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the model's inputs for requests of equal widths and image shape.

        There is no padding. Tensors are on the CPU, in the dtypes of the processor. A prompt that
        the decoder reads is in `decoder_input_ids`, any other one in `input_ids`; both are absent
        where the question is drawn into the image, or has no place. Raises ModelError for an image
        or a question that the processor refuses.
        """
        if any(request.context for request in requests):
            return self._several(requests)
        texts = [self._text(request.text, request.image.shape) for request in requests]
        images = [request.image for request in requests]
        rows = [text.rows for text in texts if text.rows is not None]
        if len(rows) == len(requests):
            seen = self._images(images)
            told = texts[0].beside
            if all(_repeats(seen[key], told[key], len(requests)) for key in told):
                written = {key: torch.cat([row[key] for row in rows]) for key in rows[0]}
                return {key: seen[key] for key in seen if key not in told} | written
        whole = self._whole(images, [request.text for request in requests])
        self._check_widths(whole, texts[0].widths)
        return whole

    def _several(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return the inputs for requests that show images before their own."""
        images = [[part.image for part in each.context] + [each.image] for each in requests]
        prompts = [
            several_text(self.processor, [part.text for part in each.context], each.text)
            for each in requests
        ]
        whole = self._prepared(images, prompts)
        self._check_widths(whole, self.widths(requests[0]))
        return whole

    def _read_several_widths(
        self, text: str, shape: tuple[int, ...], shown: tuple[tuple[tuple[int, ...], str], ...]
    ) -> tuple[int, ...]:
        blanks = [np.zeros(each, np.uint8) for each in (*(one for one, _ in shown), shape)]
        prompt = several_text(self.processor, [words for _, words in shown], text)
        return _widths(self._prepared([blanks], [prompt]))

    def _check_widths(self, inputs: dict[str, Any], expected: tuple[int, ...]) -> None:
        if _widths(inputs) != expected:
            raise ModelError(
                f"{type(self.processor).__name__} writes a prompt whose length depends on what the "
                "image shows, so images cannot be compared; give another model"
            )

    def _label_ids(self, text: str, label: str) -> tuple[int, ...]:
        """Return the token ids of a label as the answer to a question; () if it has none."""
        place = self._place(text)
        with self._lock:
            return tuple(label_ids(self.processor.tokenizer, place, label))

    def _find_place(self, text: str) -> AnswerPlace | None:
        written = () if self._fresh else self._text(text, self._shape).ids
        with self._lock:
            prompt = prompt_text(self.processor, text)
            return answer_place(self.processor, text, prompt, written)

    def _read(self, text: str, shape: tuple[int, ...]) -> _Text:
        self._shape = shape
        pixels = (
            (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
        )  # 251 is prime: no two rows alike
        whole = self._whole([pixels], [text])
        main = self._reader.ids
        ids = tuple(whole[main][0].tolist()) if main in whole else ()
        try:
            seen = self._images([pixels])
        except REFUSALS:  # such as an image processor that draws the question
            return _Text(_widths(whole), ids, None, {})
        rows = {key: value for key, value in whole.items() if key not in seen}
        beside = {key: value for key, value in seen.items() if key not in whole}
        apart = all(_same(seen[key], whole[key]) for key in seen if key in whole) and all(
            isinstance(value, Tensor) and len(value) == 1 for value in rows.values()
        )
        return _Text(_widths(whole), ids, rows if apart else None, beside)

    def _images(self, images: Sequence[Pixels]) -> dict[str, Any]:
        return dict(self.processor.image_processor(self._pictures(images), return_tensors="pt"))

    def _pictures(self, images: Sequence[Pixels]) -> list[Any]:
        return in_layout(list(map(Image.fromarray, images)), self._layout)

    def _whole(self, images: Sequence[Pixels], texts: Sequence[str]) -> dict[str, Any]:
        prompts = [prompt_text(self.processor, text) for text in texts]
        return self._prepared([[image] for image in images], prompts)

    def _prepared(
        self, images: Sequence[Sequence[Pixels]], prompts: Sequence[str]
    ) -> dict[str, Any]:
        """Return the model's inputs for full prompts and the images of each."""
        try:
            with self._lock:
                inputs = self._processed(images, prompts)
            ids = inputs.get("input_ids", prompts)
            if len(ids) != len(prompts):  # ShieldGemma asks each of its policies
                raise ValueError(f"{len(ids)} prompts for {len(prompts)} questions")
        except REFUSALS as error:
            raise ModelError(
                f"{type(self.processor).__name__} cannot prepare this image with this question "
                f"({one_line(error)}); ask another question, or give another model"
            ) from error
        return self._reader.chosen(_without_end(inputs, self._end))

    def _processed(
        self, images: Sequence[Sequence[Pixels]], prompts: Sequence[str]
    ) -> dict[str, Any]:
        """Return what the processor makes of images and prompts, as transformers would ask it."""
        if not getattr(self.processor, "chat_template", None):
            pictures = self._pictures([image for (image,) in images])
            return dict(
                self.processor(images=pictures, text=prompts, return_tensors="pt", padding=True)
            )
        chats = []
        for shown, prompt in zip(images, prompts, strict=True):
            first, *rest = ({"type": "image", "image": Image.fromarray(image)} for image in shown)
            text = {"type": "text", "text": prompt}
            chats.append([{"role": "user", "content": [first, text, *rest]}])
        return dict(
            self.processor.apply_chat_template(
                chats,
                chat_template=_AS_IT_IS,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        )


def _appended(processor: Any) -> tuple[int, ...]:
    """Return the end tokens that a tokenizer puts after a prompt and that no answer can follow.

    None of a chat template, which says itself how a prompt ends.
    """
    if getattr(processor, "chat_template", None):
        return ()
    plain = processor.tokenizer("a", add_special_tokens=False)["input_ids"]
    full = processor.tokenizer("a")["input_ids"]
    start = next((i for i in range(len(full)) if full[i : i + len(plain)] == plain), len(full))
    return tuple(full[start + len(plain) :])


def _without_end(inputs: dict[str, Any], end: tuple[int, ...]) -> dict[str, Any]:
    """Return inputs without these tokens, if all prompts end with them."""
    ids = inputs.get("input_ids")
    if not end or ids is None or (ids[:, -len(end) :] != torch.tensor(end)).any():
        return inputs
    return {
        key: value[:, : -len(end)]
        if isinstance(value, Tensor) and value.shape == ids.shape
        else value
        for key, value in inputs.items()
    }


def _widths(inputs: dict[str, Any]) -> tuple[int, ...]:
    """Return the token counts of prompts of equal length."""
    names = sorted(key for key in inputs if key.endswith("input_ids"))
    return tuple(inputs[key].shape[1] for key in names) or (1,)


def _same(one: Any, other: Any) -> bool:
    tensors = isinstance(one, Tensor) and isinstance(other, Tensor)
    return tensors and one.dtype == other.dtype and torch.equal(one, other)


def _repeats(several: Any, one: Any, times: int) -> bool:
    """Whether an image processor said of each of several images what it said of one."""
    if isinstance(one, Tensor):
        return _same(several, torch.cat([one] * times))
    return isinstance(one, list) and bool(several == one * times)


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
