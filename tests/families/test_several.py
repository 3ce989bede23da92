"""Several images in a request: scores are those of transformers' own full forward passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bbtvp
from bbtvp.core.errors import UsageError
from bbtvp.models import Budget
from tests.families.all import FAMILIES
from tests.families.check import SEEN, TOLERANCE
from tests.families.kit import build, save
from tests.families.several import IMAGES, REQUESTS, measure_several, scores_of

# Its own classes warn of what is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default")

TAKE_SEVERAL = ("llava", "gemma3", "idefics3", "qwen2_5_vl")
TAKE_ONE = ("blip-2 (T5)", "paligemma")


@pytest.mark.parametrize("name", TAKE_SEVERAL)
def test_scores_are_those_of_a_full_forward_pass_of_each_label(name: str, tmp_path: Path) -> None:
    found = measure_several(FAMILIES[name], tmp_path)
    assert found.taken == f"{IMAGES} images in a request: accepted"
    assert found.apart is not None
    assert found.apart < TOLERANCE
    assert found.order > SEEN


@pytest.mark.parametrize("name", TAKE_ONE)
def test_a_model_that_takes_one_image_says_so_in_a_line(name: str, tmp_path: Path) -> None:
    save(*build(FAMILIES[name]), tmp_path)
    model = bbtvp.load_model(f"hf/{tmp_path}")
    with pytest.raises(UsageError, match=r"no chat template, so it takes one image.*; show fewer"):
        model.query(REQUESTS[:1])
    assert model.capabilities.images == 1


def test_a_template_that_moves_images_to_the_front_gets_a_turn_for_each(tmp_path: Path) -> None:
    model_made, processor = build(FAMILIES["llava"])
    processor.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: "
        "{% for c in m['content'] if c['type'] == 'image' %}<image>{% endfor %}"
        "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }} {% endfor %}"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    save(model_made, processor, tmp_path)
    model = bbtvp.load_model(f"hf/{tmp_path}")
    model.probe_images(IMAGES, Budget())
    assert model.capabilities.images == IMAGES
    forward, backward = (np.array(scores_of(reply)) for reply in model.query(REQUESTS[::2]))
    assert np.abs(forward - backward).max() > SEEN
    prompt = model._prompts.processor.tokenizer.decode(
        model._prompts.inputs(REQUESTS[:1])["input_ids"][0]
    )
    pieces = [piece for piece in prompt.replace("<image>", "|").split("|") if piece.strip()]
    assert [piece.split("user:")[0].strip() for piece in pieces if "Answer" in piece] == [
        "Answer: cat",
        "Answer: caterpillar",
    ]
