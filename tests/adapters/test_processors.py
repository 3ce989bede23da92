"""Processors of images: without a video half, on Pillow, with the chat template of their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from bbtvp.adapters.hf.processors import load_processor, other_backend
from bbtvp.core.errors import ModelError

Folder = Callable[[str], Path]

CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}]


TOKENS = (
    "image",
    "video",
    "image_start",
    "image_end",
    "slice_start",
    "slice_end",
    "image_id_start",
    "image_id_end",
    "start_image",
    "end_image",
    "context_image",
)
"""Tokens that the processors below ask their tokenizer for by name."""


def as_saved(folder: Path, processor: str, images: str, **settings: Any) -> Path:
    """The miniature's tokenizer and chat template, with another processor's settings."""
    file = folder / "tokenizer_config.json"
    written = json.loads(file.read_text())
    del written["processor_class"]
    written["extra_special_tokens"] = {f"{name}_token": "<image>" for name in TOKENS}
    file.write_text(json.dumps(written))
    saved = {
        "processor_class": processor,
        "image_processor": {"image_processor_type": images, **settings},
    }
    (folder / "processor_config.json").write_text(json.dumps(saved))
    return folder


PIXELS = {"size": {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}}
SIDE = {"size": {"height": 56, "width": 56}}
WITH_A_VIDEO_HALF = [
    ("Qwen2VLProcessor", "Qwen2VLImageProcessor", PIXELS),
    ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessorFast", PIXELS),
    ("Qwen3VLProcessor", "Qwen2VLImageProcessor", PIXELS | {"patch_size": 16}),
    ("Glm4vProcessor", "Glm4vImageProcessor", PIXELS),
    ("InternVLProcessor", "GotOcr2ImageProcessor", SIDE),
    ("LlavaOnevisionProcessor", "LlavaOnevisionImageProcessor", SIDE),
    ("VideoLlama3Processor", "VideoLlama3ImageProcessor", PIXELS),
    ("MiniCPMV4_6Processor", "MiniCPMV4_6ImageProcessor", {"scale_resolution": 112}),
]


@pytest.mark.parametrize(
    ("processor", "images", "settings"),
    WITH_A_VIDEO_HALF,
    ids=[row[0] for row in WITH_A_VIDEO_HALF],
)
def test_a_processor_loads_without_its_video_half(
    processor: str, images: str, settings: dict[str, Any], damaged: Folder
) -> None:
    loaded = load_processor(str(as_saved(damaged("llava"), processor, images, **settings)))
    assert type(loaded).__name__ == processor
    assert isinstance(loaded, getattr(transformers, processor))
    assert loaded.video_processor.merge_size is None
    assert not other_backend(loaded)
    image = Image.fromarray(np.full((64, 80, 3), 100, np.uint8))
    seen = loaded.image_processor([[image]], return_tensors="pt")
    assert seen["pixel_values"].isfinite().all()
    assert loaded.apply_chat_template(CHAT, add_generation_prompt=True).startswith("USER: <image>")


@pytest.mark.parametrize("family", ["llava", "blip2", "instructblip", "idefics3", "paligemma"])
def test_a_processor_is_the_one_that_was_saved(family: str, untrained: Folder) -> None:
    folder = str(untrained(family))
    ours = load_processor(folder)
    theirs = transformers.AutoProcessor.from_pretrained(folder)
    assert ours.to_json_string() == theirs.to_json_string()
    assert ours.chat_template == theirs.chat_template
    assert type(ours).__name__ == type(theirs).__name__


@pytest.mark.parametrize("family", ["blip2", "instructblip"])
@pytest.mark.parametrize("file", ["chat_template.jinja", "chat_template.json"])
def test_a_chat_template_is_kept_that_the_class_would_drop(
    family: str, file: str, damaged: Folder
) -> None:
    folder = damaged(family)
    template = "{% for m in messages %}{{ m['content'][1]['text'] }}{% endfor %} Answer:"
    written = template if file.endswith("jinja") else json.dumps({"chat_template": template})
    (folder / file).write_text(written)
    assert not transformers.AutoProcessor.from_pretrained(str(folder)).chat_template
    assert load_processor(str(folder)).apply_chat_template(CHAT) == "what? Answer:"


def test_a_processor_that_reads_videos_alone_is_refused(damaged: Folder) -> None:
    folder = as_saved(damaged("llava"), "InstructBlipVideoProcessor", "BlipImageProcessor")
    with pytest.raises(ModelError, match="has no image processor: its InstructBlipVideoProcessor"):
        load_processor(str(folder))


def test_a_class_that_only_asks_for_torchvision_is_loaded_on_pillow(damaged: Folder) -> None:
    settings = {"size": {"longest_edge": 112}, "patch_size": {"height": 14, "width": 14}}
    folder = as_saved(damaged("llava"), "PixtralProcessor", "PixtralImageProcessor", **settings)
    loaded = load_processor(str(folder))
    assert type(loaded).__name__ == "PixtralProcessor"
    assert not other_backend(loaded)


@pytest.mark.parametrize("beside", [True, False])
def test_the_settings_of_the_video_half_are_kept(beside: bool, damaged: Folder) -> None:
    """Some chat templates are given the number of frames, also for an image."""
    folder = as_saved(damaged("llava"), "Qwen2VLProcessor", "Qwen2VLImageProcessor", **PIXELS)
    file = folder / ("video_preprocessor_config.json" if beside else "processor_config.json")
    written = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({"fps": 3} if beside else written | {"video_processor": {"fps": 3}}))
    loaded = load_processor(str(folder))
    assert loaded.video_processor.fps == 3
    assert loaded.video_processor.num_frames is None
