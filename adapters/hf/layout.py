"""Where a processor without a chat template expects the image, found by asking the processor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import jinja2
import torch
from PIL import Image
from transformers.utils import logging

from bbtvp.core.errors import ModelError

REFUSALS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    jinja2.TemplateError,
)
"""What processors and chat templates raise for what they cannot use."""

PROBE = "Which of these is it?"
"""What processors and chat templates are tried with."""
_SIDE = 224
"""Pixels of the images that a processor is asked about."""


class ImageLayout(NamedTuple):
    """How image and question are handed to a processor.

    placeholder: what stands before the question, "" where the processor inserts the image's tokens
    itself or has none. nested: whether each text has a list of images, instead of one image.
    """

    placeholder: str = ""
    nested: bool = True


def image_layout(processor: Any) -> ImageLayout:
    """Return how a processor takes one image and one question. The answer is kept.

    With a chat template, this is what `apply_chat_template` does. Without one, the processor is
    asked with and without its image token before the question. Of the forms that it accepts, the
    one with the fewest image tokens is taken, but not one without any if another has some: a
    processor that inserts the tokens itself would count one too many. Raises ModelError if it
    accepts none.
    """
    if getattr(processor, "chat_template", None):
        return ImageLayout()
    return _found(processor)


def one_line(error: Exception) -> str:
    """Return what went wrong as the end of a message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


@lru_cache(16)
def _found(processor: Any) -> ImageLayout:
    token = str(getattr(processor, "image_token", None) or "")
    # One image for each text comes first: given lists, Idefics puts the image after the question.
    forms = [
        ImageLayout(placeholder, nested)
        for nested in (False, True)
        for placeholder in dict.fromkeys((token, ""))
    ]
    tokens: dict[ImageLayout, int] = {}
    refused: list[str] = []
    with _quiet():
        for form in forms:
            try:
                tokens[form] = _image_tokens(processor, form)
            except REFUSALS as error:
                refused.append(one_line(error))
                if isinstance(error, ImportError | OSError):  # another form would lack it too
                    break
    if not tokens:
        reasons = "; ".join(dict.fromkeys(refused))
        raise ModelError(
            f"{type(processor).__name__} takes no image with a question ({reasons}); add a chat "
            "template (chat_template.jinja) that places the image, or give another model"
        )
    seen = [form for form in tokens if tokens[form]]
    # min takes the first of equals. Without image tokens the question stands alone.
    return min(seen or sorted(tokens, key=lambda form: form.placeholder), key=tokens.__getitem__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what transformers says about forms that are only tried off the terminal."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _image_tokens(processor: Any, form: ImageLayout) -> int:
    """Return how many image tokens a prompt of this form has."""
    images = in_layout([Image.new("RGB", (_SIDE, _SIDE))] * 2, form)
    texts = [f"{form.placeholder}{PROBE}"] * 2
    inputs = processor(images=images, text=texts, return_tensors="pt", padding=True)
    ids = inputs.get("input_ids")
    if ids is None:
        return 0
    if len(ids) != len(texts):
        raise ValueError(f"{len(ids)} prompts for {len(texts)} questions")
    marks = torch.tensor(sorted(_image_ids(processor)), dtype=torch.long)
    return int(torch.isin(torch.as_tensor(ids[0]), marks).sum())


def in_layout(images: Sequence[Any], form: ImageLayout) -> list[Any]:
    """Return images, one for each text, as a processor takes them."""
    return [[image] for image in images] if form.nested else list(images)


def _image_ids(processor: Any) -> set[int]:
    """Return the ids of all tokens by which a processor marks an image."""
    tokenizer = processor.tokenizer
    named: list[Any] = [getattr(owner, "image_token_id", None) for owner in (processor, tokenizer)]
    several = getattr(processor, "image_token_ids", None)
    named += several if isinstance(several, Iterable) else ()
    if token := getattr(processor, "image_token", None):
        named.append(tokenizer.convert_tokens_to_ids(str(token)))
    return {found for found in named if isinstance(found, int)}
