"""The check of a model when it is loaded: what it mends, what it refuses, and what it leaves."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bbtvp.adapters.hf import HuggingFaceModel
from bbtvp.adapters.hf.batches import BatchSizer
from bbtvp.adapters.hf.check import SlowerWarning
from bbtvp.adapters.hf.loading import load
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Reply, Request

Folder = Callable[[str], Path]
LABELS = ("cat", "two dogs", "a red car", "a red car and two dogs")


def asked(n: int = 3) -> list[Request]:
    drawn = np.random.default_rng(7).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(one).resize((64, 64))) for one in drawn]
    return [Request(image, "what?", LABELS) for image in images]


def scores(model: HuggingFaceModel, requests: list[Request]) -> np.ndarray:
    rows = [reply.scores or () for reply in model.query(requests) if isinstance(reply, Reply)]
    return np.array([[score.logprob for score in row] for row in rows])


def loaded(folder: Path) -> HuggingFaceModel:
    model = load(str(folder), check=False)
    assert isinstance(model, HuggingFaceModel)
    return model


@pytest.mark.parametrize("family", ["llava", "blip2", "paligemma", "idefics3"])
def test_a_right_model_is_left_as_it_is(family: str, untrained: Folder) -> None:
    model = loaded(untrained(family))
    before = scores(model, asked())
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowerWarning)
        model.check()
    assert model.batch == 32
    np.testing.assert_array_equal(scores(model, asked()), before)


@pytest.mark.parametrize("family", ["llava", "blip2"])
def test_full_forward_passes_score_as_a_cache_does(family: str, untrained: Folder) -> None:
    model = loaded(untrained(family))
    cached = scores(model, asked())
    model._scorer.cached = False
    np.testing.assert_allclose(scores(model, asked()), cached, atol=1e-4)


def test_a_cache_that_forgets_is_not_used(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a model that needs an input of its prefix again, and is silent about it."""
    model = loaded(untrained("llava"))
    right = scores(model, asked())
    forward = model.model.forward

    def forgets(**given: Any) -> Any:
        past = given.get("cache")
        if past is not None and past.get_seq_length():
            given["input_ids"] = torch.zeros_like(given["input_ids"])
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", forgets)
    with pytest.warns(SlowerWarning, match="without a cache"):
        model.check()
    np.testing.assert_allclose(scores(model, asked()), right, atol=1e-4)
    assert model.batch == 32


def test_a_model_whose_rows_disturb_each_other_runs_them_alone(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(untrained("llava"))
    right = np.concatenate([scores(model, [request]) for request in asked()])
    forward = model.model.forward

    def mixes(**given: Any) -> Any:
        pixels = given.get("pixel_values")
        if pixels is not None and len(pixels) > 1:
            given["pixel_values"] = pixels.mean(0, keepdim=True).expand_as(pixels)
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", mixes)
    with pytest.warns(SlowerWarning, match="each image runs alone"):
        model.check()
    assert model.batch == 1
    np.testing.assert_allclose(scores(model, asked()), right, atol=1e-5)


def refusal(model: HuggingFaceModel) -> str:
    with pytest.raises(ModelError) as caught:
        model.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_that_looks_at_no_image_is_refused(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(untrained("llava"))
    forward = model.model.forward

    def blind(**given: Any) -> Any:
        if given.get("pixel_values") is not None:
            given["pixel_values"] = torch.zeros_like(given["pixel_values"])
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", blind)
    assert "looks at no image" in refusal(model)


def test_a_model_that_draws_at_random_is_refused(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(untrained("llava"))
    forward = model.model.forward

    def random(**given: Any) -> Any:
        out = forward(**given)
        out.logits = out.logits + torch.randn_like(out.logits)
        return out

    monkeypatch.setattr(model.model, "forward", random)
    assert "change from one forward pass to the next" in refusal(model)


@pytest.mark.parametrize(
    "error", [ValueError("no\nstate"), AttributeError("image_outputs"), TypeError("NoneType")]
)
def test_a_model_that_fails_on_its_own_inputs_is_refused(
    error: Exception, untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(untrained("llava"))

    def failing(**given: Any) -> Any:
        raise error

    monkeypatch.setattr(model.model, "forward", failing)
    said = refusal(model)
    assert "LlavaForConditionalGeneration fails" in said and type(error).__name__ in said


def test_weights_that_are_not_numbers_are_refused(untrained: Folder) -> None:
    model = loaded(untrained("llava"))
    with torch.no_grad():
        model.model.lm_head.weight.fill_(float("nan"))
    assert "not finite" in refusal(model)


def test_a_prompt_of_other_tokens_is_refused(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a second BOS."""
    model = loaded(untrained("llava"))
    inputs = model._prompts.inputs

    def doubled(requests: Any) -> Any:
        found = inputs(requests)
        first = found["input_ids"][:, :1]
        longer = {key: torch.cat([first, found[key]], 1) for key in ("input_ids",)}
        return found | longer | {"attention_mask": torch.ones_like(longer["input_ids"])}

    monkeypatch.setattr(model._prompts, "inputs", doubled)
    assert "the prompt has" in refusal(model)


def test_a_model_that_replies_to_another_prompt_is_refused(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As BLIP, whose own generate leaves the last token out."""
    model = loaded(untrained("llava"))
    generate = model.model.generate

    def cuts(input_ids: Any, attention_mask: Any, **given: Any) -> Any:
        return generate(input_ids=input_ids[:, :-1], attention_mask=attention_mask[:, :-1], **given)

    monkeypatch.setattr(model.model, "generate", cuts)
    assert "replies to another prompt" in refusal(model)


def test_a_full_memory_is_left_to_the_queries(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(untrained("llava"))

    def full(**given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(model.model, "forward", full)
        model.check()
    assert scores(model, asked()).shape == (3, 4)


@pytest.mark.parametrize("word", ["no", 0, None])
def test_the_check_is_a_plain_yes_or_no(word: Any, untrained: Folder) -> None:
    with pytest.raises(UsageError, match="check must be true or false"):
        load(str(untrained("llava")), check=word)


def test_a_state_in_the_model_makes_threads_take_turns(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(untrained("llava"))
    forward = model.model.forward

    def remembers(**given: Any) -> Any:
        model.model.seen = given["input_ids"]
        return forward(**given)

    model.model.seen = None
    monkeypatch.setattr(model.model, "forward", remembers)
    assert not hasattr(model._turn, "locked")
    model.check()
    assert hasattr(model._turn, "locked")


def test_a_sizer_of_one_runs_one_image_at_a_time() -> None:
    sizer = BatchSizer("test", 32)
    sizer.batch = 1
    assert sizer.rows(10) == 1
