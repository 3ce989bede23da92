"""Surrogates of other classes than CLIP: reduced models with random weights of the real classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.prompt import preset
from bbtvp.search import LogProbReader, Objective
from bbtvp.surrogate import ClipSurrogate, Guide, SurrogateGroup, load_surrogate
from bbtvp.zoo import tasks
from bbtvp.zoo.families import tokenizer

SIDE = 32
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
VISION = {**SIZES, "image_size": SIDE, "patch_size": 8}
TEXTS = ["a red circle", "seven", "a photo of nothing at all"]


def text_sizes(tok: Any) -> dict[str, Any]:
    return {**SIZES, "vocab_size": len(tok), "max_position_embeddings": 16}


def special(tok: Any) -> dict[str, int]:
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": tok.pad_token_id}


def siglip() -> tuple[Any, Any]:
    tok = tokenizer(side="right")
    config = hf.SiglipConfig(
        text_config={**text_sizes(tok), **special(tok), "projection_size": 32},
        vision_config=VISION,
    )
    images = hf.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return hf.SiglipModel(config), hf.SiglipProcessor(image_processor=images, tokenizer=tok)


def siglip2_naflex() -> tuple[Any, Any]:
    tok = tokenizer(side="right")
    config = hf.Siglip2Config(
        text_config={**text_sizes(tok), **special(tok), "projection_size": 32},
        vision_config={**SIZES, "patch_size": 8, "num_patches": 16},
    )
    images = hf.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    return hf.Siglip2Model(config), hf.Siglip2Processor(image_processor=images, tokenizer=tok)


def dinov2() -> tuple[Any, Any]:
    config = hf.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_ratio=2,
        image_size=SIDE,
        patch_size=8,
    )
    images = hf.BitImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return hf.Dinov2Model(config), images


def dinov2_with_texts() -> tuple[Any, Any]:
    tok = tokenizer(side="right")
    vision, images = dinov2()
    text = hf.BertModel(hf.BertConfig(**text_sizes(tok)))
    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(
        vision.config, text.config, projection_dim=16
    )
    model = hf.VisionTextDualEncoderModel(config, vision, text)
    return model, hf.VisionTextDualEncoderProcessor(image_processor=images, tokenizer=tok)


ENCODERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "siglip": siglip,
    "siglip2-naflex": siglip2_naflex,
    "dinov2": dinov2,
    "dinov2-with-texts": dinov2_with_texts,
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The spec of an encoder's folder, written once."""
    root = tmp_path_factory.mktemp("encoders")

    def of(name: str) -> str:
        folder = root / name
        if not folder.exists():
            torch.manual_seed(0)
            model, processor = ENCODERS[name]()
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        return f"hf/{folder}"

    return of


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["siglip", "siglip2-naflex", "dinov2-with-texts"])
def test_embeddings_are_the_models_own(
    name: str, spec: Callable[[str], str], images: list[Pixels]
) -> None:
    surrogate = load_surrogate(spec(name))
    folder = spec(name).removeprefix("hf/")
    model = hf.AutoModel.from_pretrained(folder).eval()
    processor = hf.AutoProcessor.from_pretrained(folder)
    padding = "max_length" if name.startswith("siglip") else True
    pixels = processor.image_processor(images=images[:3], return_tensors="pt")
    ids = processor.tokenizer(
        TEXTS, padding=padding, max_length=16, truncation=True, return_tensors="pt"
    )
    with torch.inference_mode():
        out = model(**pixels, **ids)
    seen = surrogate.features(images[:3])
    torch.testing.assert_close(seen.pooled, out.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(surrogate.embedded(TEXTS), out.text_embeds, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "first"), [("siglip", "mean"), ("dinov2", "class"), ("dinov2-with-texts", "class")]
)
def test_the_first_token_stands_for_the_whole_image(
    name: str, first: str, spec: Callable[[str], str], images: list[Pixels]
) -> None:
    tokens = load_surrogate(spec(name)).features(images).tokens
    assert tokens.shape[1] == 17
    is_mean = torch.allclose(tokens[:, 0], tokens[:, 1:].mean(1), atol=1e-5)
    assert is_mean == (first == "mean")


@pytest.mark.parametrize("name", ["siglip", "dinov2", "dinov2-with-texts"])
def test_gradients_reach_the_pixels_and_the_variables(
    name: str, spec: Callable[[str], str], images: list[Pixels]
) -> None:
    surrogate = load_surrogate(spec(name))
    levels, seen = surrogate.watched(images)
    torch.testing.assert_close(
        seen.tokens.detach(), surrogate.features(images).tokens, atol=1e-5, rtol=0
    )
    (slope,) = torch.autograd.grad(seen.pooled[:, 0].sum(), levels)
    assert slope.shape == levels.shape and all(row.abs().sum() > 0 for row in slope)
    space = preset("tone", SIDE)
    guide = Guide(surrogate, space, tasks.load("shapes-dark").train[:3], terms=("fca",))
    assert np.linalg.norm(guide(space.neutral() + 0.5)) == pytest.approx(1)


def test_an_image_in_patches_has_features_and_no_gradients(
    spec: Callable[[str], str], images: list[Pixels]
) -> None:
    surrogate = load_surrogate(spec("siglip2-naflex"))
    seen = surrogate.features(images)
    assert (surrogate.fca(surrogate.features([255 - i for i in images]), seen) > 0).all()
    with pytest.raises(UsageError, match="cuts images into patches"):
        surrogate.watched(images)


def test_an_encoder_that_reads_no_texts_has_fca_and_refuses_tse(
    spec: Callable[[str], str], images: list[Pixels]
) -> None:
    surrogate = load_surrogate(spec("dinov2"))
    seen = surrogate.features(images)
    np.testing.assert_array_equal(surrogate.fca(seen, seen), np.zeros(4))
    with pytest.raises(UsageError, match="reads no texts"):
        surrogate.tse(seen, ["one"] * 4)
    model = hf_model()
    with pytest.raises(UsageError, match="leave out --tse"):
        Objective(*model, surrogate=surrogate, tse=1.0)
    found = Objective(*model, surrogate=surrogate, fca=1.0).evaluate(
        np.full((1, 3), 2.0), model[0].train[:2]
    )
    assert found[0].fca > 0 and found[0].tse == 0


def hf_model() -> tuple[Any, ...]:
    from tests.support import Eye, patterns

    return patterns(), preset("tone", 16), Eye(), LogProbReader()


@pytest.mark.parametrize("kind", ["tokens", "pooled"])
def test_fca_compares_what_the_spec_names(
    kind: str, spec: Callable[[str], str], images: list[Pixels]
) -> None:
    surrogate = load_surrogate(f"{spec('siglip')},features={kind}")
    one = surrogate.features(images[:2])
    other = surrogate.features(images[2:])
    a, b = (
        (f.pooled[:, None] if kind == "pooled" else f.tokens).double().numpy() for f in (one, other)
    )
    expected = np.linalg.norm(a - b, axis=-1).mean(-1) / np.linalg.norm(b, axis=-1).mean()
    np.testing.assert_allclose(surrogate.fca(one, other), expected, rtol=1e-5)
    assert surrogate.spec == spec("siglip") + (",features=pooled" if kind == "pooled" else "")


def test_unknown_features_are_refused(spec: Callable[[str], str]) -> None:
    with pytest.raises(UsageError, match="unknown features 'patches'"):
        load_surrogate(f"{spec('siglip')},features=patches")


def test_a_group_has_the_means_of_its_members(
    spec: Callable[[str], str], images: list[Pixels]
) -> None:
    members = [load_surrogate(spec(name)) for name in ("siglip", "dinov2", "dinov2-with-texts")]
    group = load_surrogate(" + ".join(member.spec for member in members))
    assert isinstance(group, SurrogateGroup) and group.origin is not None
    assert group.spec == group.origin.spec
    changed = [255 - image for image in images]
    seen, clean = group.features(changed), group.features(images)
    unit = torch.nn.functional.normalize
    distances = [
        (unit(m.features(changed).tokens, dim=-1) - unit(m.features(images).tokens, dim=-1))
        .norm(dim=-1)
        .mean(1)
        .numpy()
        for m in members
    ]
    np.testing.assert_allclose(group.fca(seen, clean), np.mean(distances, axis=0), rtol=1e-4)
    answers = ["one", "two", "seven", "one"]
    cosines = [m.tse(m.features(changed), answers) for m in members if m.reads_text]
    np.testing.assert_allclose(group.tse(seen, answers), np.mean(cosines, axis=0), atol=1e-5)


def test_gradients_flow_through_all_members_of_a_group(
    spec: Callable[[str], str], images: list[Pixels]
) -> None:
    members = [load_surrogate(spec(name)) for name in ("siglip", "dinov2-with-texts")]
    levels, seen = SurrogateGroup(members).watched(images)
    (slope,) = torch.autograd.grad(seen.pooled.sum(), levels)
    alone = []
    for member in members:
        own, features = member.watched(images)
        alone += torch.autograd.grad(features.pooled.sum(), own)
    torch.testing.assert_close(slope, sum(alone) / 2**0.5, atol=1e-6, rtol=1e-3)


def test_a_group_needs_two(spec: Callable[[str], str]) -> None:
    with pytest.raises(UsageError, match="two or more"):
        SurrogateGroup([load_surrogate(spec("dinov2"))])


def test_a_dual_encoder_without_a_shared_space_is_refused(tmp_path: Path) -> None:
    from bbtvp.zoo.catalogue import weights

    with pytest.raises((ModelError, UsageError), match="no embedding of a text"):
        load_surrogate(f"hf/{weights() / 'blip2'}")


def test_a_surrogate_of_another_class_is_still_a_clip_surrogate(spec: Callable[[str], str]) -> None:
    assert isinstance(load_surrogate(spec("siglip")), ClipSurrogate)
