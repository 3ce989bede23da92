"""What a new member takes over from a finished one computes what it computed there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bbtvp.zoo import scenes
from bbtvp.zoo.families import FAMILIES, WIDTH
from bbtvp.zoo.member import Member
from bbtvp.zoo.training.lineage import _positions, inherit
from bbtvp.zoo.training.pool import augment

CPU = torch.device("cpu")


def untrained(name: str) -> Member:
    member = Member.untrained(name, CPU)
    member.model.eval()
    return member


def heir(parent: str, child: str) -> tuple[Member, Member, set[str]]:
    one = untrained(parent)
    other = untrained(child)
    return one, other, inherit(one, other, some_scenes(one.side))


def some_scenes(side: int) -> torch.Tensor:
    drawn = [
        scenes.draw(kind, np.random.default_rng(i)).pixels
        for i, kind in enumerate(scenes.KINDS * 3)
    ]
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)
    return augment(pixels, side, torch.Generator().manual_seed(0))[0]


def encoded(member: Member, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = member.tower.encoder(inputs_embeds=x).last_hidden_state
    return found


@pytest.mark.parametrize("child", ["blip2", "paligemma", "idefics3"])
def test_a_tower_computes_what_llavas_computes(child: str) -> None:
    one, other, _ = heir("llava", child)
    x = torch.randn(2, 49, WIDTH, generator=torch.Generator().manual_seed(0))
    # BLIP-2's layer norms differ by 1e-5 in epsilon, SigLIP's GELU is a tanh where CLIP's is a
    # sigmoid.
    torch.testing.assert_close(
        encoded(one, x), encoded(other, x), atol=0.15 if child != "blip2" else 1e-3, rtol=1e-2
    )
    assert not torch.allclose(encoded(one, x), encoded(untrained(child), x), atol=0.5), (
        "a tower of its own differs"
    )


@pytest.mark.parametrize(("child", "first"), [("blip2", 0), ("paligemma", 1)])
def test_clips_first_norm_lives_on_in_the_embeddings(child: str, first: int) -> None:
    """Patch by patch, up to the spread that a norm takes from each patch and the fold from all of
    them.
    """
    one = untrained("llava")
    other = untrained(child)
    norm = one.tower.pre_layrnorm
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
        norm.bias.normal_(generator=torch.Generator().manual_seed(2))
        pixels = some_scenes(one.side)
        inherit(one, other, pixels)
        wanted = norm(one.tower.embeddings(one.images(pixels)["pixel_values"]))[:, first:]
        found = other.tower.embeddings(one.images(pixels)["pixel_values"])
    likeness = torch.nn.functional.cosine_similarity(found, wanted, dim=-1)
    assert (
        likeness.mean() > 0.95
        and 0.8 < found.norm(dim=-1).mean() / wanted.norm(dim=-1).mean() < 1.25
    )


def test_a_llama_answers_as_its_parents_whatever_the_tokenizer() -> None:
    """Idefics3's tokenizer has three tokens more, in front of all words: the rows move with their
    words.
    """
    one, other, _ = heir("llava", "idefics3")
    text = "is there a red circle in the image?"
    logits = []
    for member, decoder in (
        (one, one.model.model.language_model),
        (other, other.model.model.text_model),
    ):
        ids = member.processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")[
            "input_ids"
        ]
        with torch.no_grad():
            seen = decoder(input_ids=ids).last_hidden_state
            words = member.model.lm_head(seen)[0, -1]
        vocabulary = member.processor.tokenizer.get_vocab()
        logits.append(words[[vocabulary[word] for word in ("Ġyes", "Ġno", "Ġseven", "Ġgreen")]])
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_minigpt4_takes_llavas_decoder_and_blip2s_q_former() -> None:
    parents = {name: untrained(name) for name in FAMILIES["minigpt4"].parents}
    child = untrained("minigpt4")
    for parent in parents.values():
        inherit(parent, child, some_scenes(parent.side))
    taken = child.model.state_dict()
    for key, tensor in parents["blip2"].model.state_dict().items():
        if key.startswith(("vision_model.", "qformer.")) or key == "query_tokens":
            assert torch.equal(taken[key], tensor), key
    for key, tensor in parents["llava"].model.model.language_model.state_dict().items():
        assert torch.equal(taken[f"language_model.model.{key}"], tensor), key


@pytest.mark.parametrize(
    ("parent", "child"), [("blip2", "minigpt4"), ("llava", "blip2"), ("llava", "paligemma")]
)
def test_a_decoder_of_another_class_is_left_alone(parent: str, child: str) -> None:
    own = untrained(child).model.state_dict()
    _, member, taken = heir(parent, child)
    decoder = [key for key in own if "language_model" in key]
    assert decoder and not taken & {*decoder}
    assert all(torch.equal(member.model.state_dict()[key], own[key]) for key in decoder)


def test_positions_keep_their_places_on_a_finer_grid() -> None:
    """A table that rises from left to right still does, with and without a class token in front."""
    columns = torch.arange(7.0).repeat(7)[:, None].expand(49, 3)
    with_class = torch.cat([torch.full((1, 3), 99.0), columns])
    finer = _positions(with_class, 64)
    rows = finer[:, 0].reshape(8, 8).numpy()
    assert (np.diff(rows, axis=1) > 0).all() and np.allclose(rows, rows[0], atol=1e-4)
    same = _positions(with_class, 50)
    torch.testing.assert_close(same, with_class)
    torch.testing.assert_close(_positions(columns, 50)[1:], columns)
