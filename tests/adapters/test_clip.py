"""The CLIP surrogate: its features are CLIP's own; FCA and TSE follow their definitions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from bbtvp.adapters.hf import clip
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.surrogate import ClipSurrogate, load_surrogate, wording

Folder = Callable[[str], Path]
ANSWERS = ["one", "a red circle", "one", "seven", "two"]


@pytest.fixture(scope="module")
def surrogate(untrained: Folder) -> ClipSurrogate:
    return clip.load(str(untrained("clip")))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8))


def test_features_are_those_of_the_model_itself(
    surrogate: ClipSurrogate, images: list[np.ndarray], untrained: Folder
) -> None:
    model = transformers.CLIPModel.from_pretrained(untrained("clip")).eval()
    processor = transformers.CLIPProcessor.from_pretrained(untrained("clip"))
    texts = [f"this is a photo of a {answer}" for answer in ANSWERS]
    inputs = processor(
        images=[Image.fromarray(image) for image in images],
        text=texts,
        return_tensors="pt",
        padding=True,
    )
    with torch.inference_mode():
        out = model(**inputs)
    found = surrogate.features(images)
    assert found.tokens.dtype == found.pooled.dtype == torch.float32
    torch.testing.assert_close(
        found.tokens, out.vision_model_output.last_hidden_state, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found.pooled, out.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        surrogate.embedded([wording(a) for a in ANSWERS]), out.text_embeds, atol=1e-5, rtol=0
    )


def test_the_surrogate_is_frozen_and_in_float32(
    surrogate: ClipSurrogate, images: list[np.ndarray]
) -> None:
    """Gradients reach the pixels, and no weight asks for one."""
    assert not surrogate.model.training
    assert all(
        p.dtype == torch.float32 and not p.requires_grad for p in surrogate.model.parameters()
    )
    levels, seen = surrogate.watched(images)
    (slope,) = torch.autograd.grad(seen.pooled[:, 0].sum(), levels)
    assert slope.shape == (5, 64, 64, 3) and all(row.abs().sum() > 0 for row in slope)
    torch.testing.assert_close(
        seen.pooled.detach(), surrogate.features(images).pooled, atol=1e-5, rtol=0
    )


def test_features_do_not_depend_on_the_batch(
    surrogate: ClipSurrogate, images: list[np.ndarray]
) -> None:
    whole = surrogate.features(images)
    for batch in (1, 2):
        parts = ClipSurrogate("parts", surrogate.model, surrogate.processor, batch=batch).features(
            images
        )
        torch.testing.assert_close(parts.tokens, whole.tokens, atol=1e-5, rtol=0)
        torch.testing.assert_close(parts.pooled, whole.pooled, atol=1e-6, rtol=0)


def test_fca_of_an_image_with_itself_is_nothing(
    surrogate: ClipSurrogate, images: list[np.ndarray]
) -> None:
    seen = surrogate.features(images)
    np.testing.assert_array_equal(surrogate.fca(seen, seen), np.zeros(len(images)))


def test_fca_grows_with_the_change(surrogate: ClipSurrogate, images: list[np.ndarray]) -> None:
    seen = surrogate.features(images)
    slightly = [np.where(image < 255, image + 1, image).astype(np.uint8) for image in images]
    little, much = (
        surrogate.fca(surrogate.features(changed), seen)
        for changed in (slightly, [255 - i for i in images])
    )
    assert little.shape == (5,) and little.dtype == np.float64
    assert (little > 0).all() and (much > little).all()


def test_fca_is_the_mean_token_distance_in_units_of_the_token_norm(
    surrogate: ClipSurrogate, images: list[np.ndarray]
) -> None:
    one = surrogate.features(images[:2])
    other = surrogate.features(images[2:4])
    a = one.tokens.numpy().astype(float)
    b = other.tokens.numpy().astype(float)
    expected = np.linalg.norm(a - b, axis=-1).mean(-1) / np.linalg.norm(b, axis=-1).mean()
    np.testing.assert_allclose(surrogate.fca(one, other), expected, rtol=1e-5)


def test_tse_is_a_cosine(surrogate: ClipSurrogate, images: list[np.ndarray]) -> None:
    seen = surrogate.features(images)
    found = surrogate.tse(seen, ANSWERS)
    assert found.shape == (5,) and (np.abs(found) <= 1 + 1e-6).all()
    np.testing.assert_allclose(
        found, (seen.pooled * surrogate.embedded([wording(a) for a in ANSWERS])).sum(-1), atol=1e-6
    )


def test_each_answer_has_an_embedding_of_its_own(surrogate: ClipSurrogate) -> None:
    """CLIP reads a text off its end token: a tokenizer that adds none gives every answer the same
    embedding.
    """
    embedded = surrogate.embedded([wording(a) for a in ANSWERS])
    assert torch.equal(embedded[0], embedded[2])
    assert len({tuple(row) for row in embedded.tolist()}) == len({*ANSWERS})


def test_a_spec_leads_to_the_surrogate(untrained: Folder) -> None:
    folder = untrained("clip")
    assert load_surrogate(f"hf/{folder}").spec == f"hf/{folder}"


@pytest.mark.parametrize("spec", ["clip", "nope/clip", "hf/"])
def test_an_unknown_provider_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="provider"):
        load_surrogate(spec)


def test_a_model_that_is_no_encoder_is_refused(untrained: Folder) -> None:
    with pytest.raises(ModelError, match="is a llava, and no encoder"):
        clip.load(str(untrained("llava")))


def test_weights_that_are_missing_are_not_made_up(untrained: Folder, tmp_path: Path) -> None:
    shutil.copytree(untrained("clip"), tmp_path / "clip")
    file = tmp_path / "clip" / "model.safetensors"
    weights = load_file(file)
    del weights["visual_projection.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights of a CLIPModel"):
        clip.load(str(tmp_path / "clip"))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        clip.load(str(tmp_path))


def test_a_device_that_is_not_there_is_refused(untrained: Folder) -> None:
    with pytest.raises(UsageError, match="device 'gpu' cannot be used"):
        clip.load(str(untrained("clip")), device="gpu")


def test_loading_leaves_progress_bars_as_they_were(untrained: Folder) -> None:
    transformers.utils.logging.enable_progress_bar()
    clip.load(str(untrained("clip")))
    assert transformers.utils.logging.is_progress_bar_enabled()
