"""Whether a loaded model scores labels as it does in one full forward pass each.

Asked once, when a model is loaded: two small images, one question, labels of several tokens. The
reference is each image alone, without a cache. Where a batch, or the cache, gives other
log-probabilities, the model is run without it from then on, and a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bbtvp.adapters.hf.batches import BatchSizer, is_full
from bbtvp.adapters.hf.layout import PROBE, REFUSALS, one_line
from bbtvp.adapters.hf.prompts import answer_prompt
from bbtvp.adapters.hf.scoring import Ids, Scorer
from bbtvp.core.errors import ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Request, Shown

LABELS = ("cat", "two dogs", "a red car")

TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.1, torch.bfloat16: 0.3}
"""Nats, by the dtype of weights. Two right ways of computing a log-probability differ by less."""

_RELATIVE = 2e-6
"""The part of a log-probability by which they may differ besides."""

_SIDE = 64
_BLOBS = 4


class SlowerWarning(UserWarning):
    """A model is right only when it runs without a cache, or one image at a time."""


def requests() -> list[Request]:
    """Return the two requests: blobs of colour, 64 pixels wide, and their negative."""
    drawn = stream(0, "hf-check").integers(0, 256, (_BLOBS, _BLOBS, 3), np.uint8)
    image = np.asarray(Image.fromarray(drawn).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    return [Request(pixels, PROBE, LABELS) for pixels in (image, 255 - image)]


def check(
    spec: str,
    inputs: Callable[[Sequence[Request]], dict[str, Any]],
    ids: Callable[[str, str], Ids],
    scorer: Scorer,
    sizer: BatchSizer,
) -> None:
    """Make a model score right, the slower way if it must be, or refuse it.

    inputs: the model's inputs for requests. ids: the tokens of a label after a question. Raises
    ModelError for a model that fails on its own inputs, that looks at no image, or whose
    log-probabilities are not finite or differ from one forward pass to the next.
    """
    asked = requests()
    labels = [ids(PROBE, label) for label in LABELS]
    limit = _limit(scorer)

    def apart(cached: bool, parts: Sequence[Sequence[Request]]) -> float:
        scorer.cached = cached
        found = torch.cat([scorer(inputs(part), labels) for part in parts])
        return _apart(found, reference)

    try:
        reference = _reference(spec, inputs, labels, scorer, asked)
        _check_reply(spec, inputs(asked[:1]), scorer, limit)
        if _quiet(apart, True, [asked]) <= limit:
            return
        single = [asked[:1], asked[1:]]
        for cached, parts in ((True, single), (False, [asked]), (False, single)):
            if _quiet(apart, cached, parts) <= limit:
                _tell(spec, sizer, cached=cached, batch=len(parts) == 1)
                return
    except RuntimeError as error:
        if not is_full(error):
            raise
        scorer.cached = True  # the queries themselves will say what does not fit
        return
    raise ModelError(
        f"{spec}: its log-probabilities change from one forward pass to the next, so labels cannot "
        "be scored; give another model"
    )


def check_prompt(
    spec: str, processor: Any, inputs: Callable[[Sequence[Request]], dict[str, Any]]
) -> None:
    """Compare a prompt's token ids with those that transformers makes of the same chat.

    inputs: the model's inputs for requests. Raises ModelError if they differ. A processor without
    a chat template has nothing to compare, nor one whose thought was closed.
    """
    if not getattr(processor, "chat_template", None):
        return
    asked = requests()[0]
    picture = {"type": "image", "image": Image.fromarray(asked.image)}
    content = [picture, {"type": "text", "text": PROBE}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    if text != answer_prompt(processor, PROBE).text:
        return
    try:
        own = processor.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
    except REFUSALS:  # it needs options that nobody but this adapter gives it
        return
    ours = inputs([asked])["input_ids"][0].tolist()
    theirs = own["input_ids"][0].tolist()
    if ours != theirs:
        raise ModelError(
            f"{spec}: the prompt has {len(ours)} tokens here and {len(theirs)} in transformers' "
            "own chat; report it, or go on with check=false"
        )


def check_several(
    inputs: Callable[[Sequence[Request]], dict[str, Any]],
    ids: Callable[[str, str], Ids],
    scorer: Scorer,
    images: int,
) -> bool:
    """Whether requests of `images` images are scored right in one batch; if not, one at a time.

    Raises ModelError for a model that takes no such request, that does not look at the first of its
    images, or that scores it wrong in either way.
    """
    one, other = requests()
    rest = tuple(Shown(one.image, "A text.") for _ in range(images - 2))
    asked = [
        replace(one, context=(Shown(first, "A text."), *rest)) for first in (one.image, other.image)
    ]
    labels = [ids(PROBE, label) for label in LABELS]
    cached = scorer.cached
    try:
        scorer.cached = False
        reference = torch.cat([scorer(inputs([request]), labels) for request in asked])
        scorer.cached = cached
        alone = torch.cat([scorer(inputs([request]), labels) for request in asked])
    except REFUSALS as error:
        if isinstance(error, RuntimeError) and is_full(error):
            raise
        raise ModelError(f"the model fails on them ({one_line(error)})") from error
    finally:
        scorer.cached = cached
    limit = _limit(scorer)
    if torch.equal(reference[0], reference[1]):
        raise ModelError("the first of them changes nothing")
    if not _close(alone, reference, limit):
        raise ModelError("their log-probabilities change from one forward pass to the next")
    try:
        return _close(scorer(inputs(asked), labels), reference, limit)
    except REFUSALS as error:
        if isinstance(error, RuntimeError) and is_full(error):
            raise
        return False


def _close(found: Tensor, reference: Tensor, limit: float) -> bool:
    return _apart(found, reference) <= limit


def _apart(found: Tensor, reference: Tensor) -> float:
    """Return the largest difference in nats, without what two right ways may differ by."""
    if found.shape != reference.shape:
        return float("inf")
    return float(((found - reference).abs() - _RELATIVE * reference.abs()).max())


def _limit(scorer: Scorer) -> float:
    # A model in float16 may keep a part in float32, as BLIP-2 does: the coarsest weights decide.
    dtypes = {weight.dtype for weight in scorer.model.parameters()}
    return max(TOLERANCE.get(dtype, TOLERANCE[torch.float32]) for dtype in dtypes)


def _reference(
    spec: str,
    inputs: Callable[[Sequence[Request]], dict[str, Any]],
    labels: Sequence[Ids],
    scorer: Scorer,
    asked: Sequence[Request],
) -> Tensor:
    """Return (2, labels) log-probabilities of each request alone, by full forward passes."""
    scorer.cached = False
    try:
        found = torch.cat([scorer(inputs([request]), labels) for request in asked])
    except REFUSALS as error:
        if isinstance(error, RuntimeError) and is_full(error):
            raise
        raise ModelError(
            f"{spec}: a {type(scorer.model).__name__} fails on one image and one question "
            f"({one_line(error)}); give another model"
        ) from error
    if len(found) != len(asked):
        raise ModelError(
            f"{spec}: its processor makes {len(found)} sequences of {len(asked)} questions; "
            "give another model"
        )
    if not bool(torch.isfinite(found).all()):
        raise ModelError(
            f"{spec}: its log-probabilities are not finite; try another dtype (dtype=float32)"
        )
    if torch.equal(found[0], found[1]):
        raise ModelError(
            f"{spec}: two different images give the same answer, so it looks at no image; "
            "give a model that takes images"
        )
    return found


def _check_reply(spec: str, inputs: dict[str, Any], scorer: Scorer, limit: float) -> None:
    """Compare the first token's log-probabilities with those that `generate` draws it from.

    BLIP's own `generate` changes the tokens of the prompt, so that its labels would be scored after
    another prompt than its replies follow. Raises ModelError if they differ.
    """
    model = scorer.model
    if getattr(getattr(model, "generation_config", None), "forced_bos_token_id", None) is not None:
        return  # it is the first token, whatever its probability
    options = {"output_logits": True, "return_dict_in_generate": True}
    try:
        out = model.generate(**inputs, max_new_tokens=1, do_sample=False, num_beams=1, **options)
        drawn = out.logits[0].float().log_softmax(-1)
        apart = (drawn - scorer.first(inputs)).abs().max()
    except REFUSALS as error:
        if isinstance(error, RuntimeError) and is_full(error):
            raise
        return  # a model that writes no reply may score labels
    if float(apart) > limit:
        raise ModelError(
            f"{spec}: a {type(model).__name__} replies to another prompt than it scores labels "
            "after; give another model"
        )


def _quiet(apart: Callable[..., float], *how: Any) -> float:
    """Return how far apart the scores are, infinitely if a way fails."""
    try:
        found = apart(*how)
    except REFUSALS as error:
        if isinstance(error, RuntimeError) and is_full(error):
            raise
        return float("inf")
    return found if found == found else float("inf")


def _tell(spec: str, sizer: BatchSizer, *, cached: bool, batch: bool) -> None:
    """Settle for the slower way, with a warning."""
    ways = []
    if not cached:
        ways.append("each label takes a forward pass of its own, without a cache")
    if not batch:
        sizer.batch = 1
        ways.append("each image runs alone")
    warnings.warn(
        f"{spec} scores right only the slower way: {', and '.join(ways)}",
        SlowerWarning,
        stacklevel=4,
    )
