"""The architectures: each is built, saved and loaded through the adapter as any model would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from bbtvp.adapters import hf
from bbtvp.models import Reply, Request
from bbtvp.zoo import scenes, tasks
from bbtvp.zoo.catalogue import INDEPENDENT, STANDS_FOR
from bbtvp.zoo.families import FAMILIES, build_clip, tokenizer
from bbtvp.zoo.member import Member
from bbtvp.zoo.training.recipes import RECIPES
from bbtvp.zoo.training.train import answer_loss

MAX_PARAMETERS = 1_300_000
families = pytest.mark.parametrize("family", sorted(FAMILIES))


def words() -> list[str]:
    return sorted(
        {
            label
            for labels in (*tasks.LABELS.values(), scenes.YES_NO, tuple(scenes.COLORS))
            for label in labels
        }
    )


@families
def test_a_family_is_built_saved_and_loaded_unchanged(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, processor = FAMILIES[family].build()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = hf.load(str(tmp_path))
    assert isinstance(loaded, hf.HuggingFaceModel)
    assert type(loaded.model) is type(model) and isinstance(loaded.processor, type(processor))
    again = loaded.model.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
    image = scenes.draw("digit", np.random.default_rng(0)).pixels
    (reply,) = loaded.query([Request(image, tasks.QUESTIONS["digits"], scenes.DIGITS)])
    assert isinstance(reply, Reply) and reply.scores is not None
    assert np.isfinite([score.logprob for score in reply.scores]).all()


@pytest.mark.parametrize("family", [*sorted(FAMILIES), "clip"])
def test_a_family_is_small(family: str) -> None:
    model, _ = build_clip() if family == "clip" else FAMILIES[family].build()
    assert 300_000 < sum(parameter.numel() for parameter in model.parameters()) < MAX_PARAMETERS


def test_families_are_real_classes_of_several_kinds() -> None:
    classes = {family: type(FAMILIES[family].build()[0]) for family in FAMILIES}
    assert all(getattr(transformers, cls.__name__) is cls for cls in classes.values())
    assert len({*classes.values()}) == 6, (
        "BLIP-2 and MiniGPT-4 share one, with another language model; so do the LLaVAs"
    )
    assert {*STANDS_FOR} == {*FAMILIES, *RECIPES, "clip"}


def test_the_independent_members_have_no_parents_and_recorded_recipes() -> None:
    assert {*INDEPENDENT} == {*RECIPES}
    towers = set()
    for recipe in RECIPES.values():
        assert FAMILIES[recipe.family].parents == ()
        vision = FAMILIES[recipe.family].build()[0].config.vision_config
        towers.add((vision.model_type, vision.image_size, vision.patch_size))
    assert len(towers) == len(RECIPES), "another class, resolution and patch size each"


def test_parents_come_before_their_children() -> None:
    """`all` trains the members in this order."""
    order = list(FAMILIES)
    for name, family in FAMILIES.items():
        assert all(order.index(parent) < order.index(name) for parent in family.parents)


@families
def test_query_tokens_differ_from_one_another(family: str) -> None:
    model, _ = FAMILIES[family].build()
    if hasattr(model, "query_tokens"):
        assert model.query_tokens[0].std(dim=0).min() > 0.1, "equal query tokens never part"


def test_the_zoos_words_are_one_token_each_and_any_text_can_be_read() -> None:
    tok = tokenizer()
    for word in words():
        for text in (word, f" {word}"):
            assert len(tok(text, add_special_tokens=False)["input_ids"]) == 1, text
    strange = "Größe? 大きい \t«x» 🙂"
    assert tok.decode(tok(strange, add_special_tokens=False)["input_ids"]) == strange


@families
def test_what_is_trained_is_what_is_asked(family: str) -> None:
    """The trainer's tensors begin with the adapter's, and end with the answer and the end token."""
    member = Member.untrained(family, torch.device("cpu"))
    texts = ["what digit is this?", "is there a red circle in the image?"]
    answers = ["seven", "no"]
    rows = member.batch(texts, answers)
    adapter = hf.HuggingFaceModel("test", member.model, member.processor, 1)
    for i, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        image = scenes.draw("shape", np.random.default_rng(i)).pixels
        asked = adapter._inputs([Request(image, text)])["input_ids"][0]
        assert torch.equal(rows["input_ids"][i, : len(asked)], asked)
        target = rows["labels"][i][rows["labels"][i] != -100].tolist()
        assert target == [*adapter._ids_of(text, answer), member.processor.tokenizer.eos_token_id]


@families
def test_a_member_sees_the_pixels_that_its_processor_makes(family: str) -> None:
    member = Member.untrained(family, torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(
        0, 256, (member.side, member.side, 3), dtype=np.uint8
    )
    through = member.processor.image_processor(images=[pixels], return_tensors="pt")["pixel_values"]
    straight = member.images(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)["pixel_values"]
    torch.testing.assert_close(straight, through, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llava", "idefics3", "gemma3", "llava-dinov2"])
def test_questions_of_one_row_cost_what_they_cost_alone(family: str) -> None:
    member = Member.untrained(family, torch.device("cpu"))
    member.model.eval()
    asked = [["what digit is this?", "is there a red circle in the image?"]] * 2
    answered = [["seven", "no"], ["one", "yes"]]
    pixels = torch.rand(2, 3, member.side, member.side, generator=torch.Generator().manual_seed(0))
    packed = member.packed(asked, answered)
    labels = packed.pop("labels")
    alone = member.batch([q for row in asked for q in row], [a for row in answered for a in row])
    images = {key: value.repeat_interleave(2, 0) for key, value in member.images(pixels).items()}
    with torch.no_grad():
        together = answer_loss(member.model(**packed, **member.images(pixels)).logits, labels)
        torch.testing.assert_close(together, member.model(**alone, **images).loss)
