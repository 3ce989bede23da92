"""The checks and the proxy's own call take prompts whose canvas has each picture's own shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bbtvp.checks.effects import effects
from bbtvp.checks.robustness import robustness
from bbtvp.checks.saliency import MapMethod, saliency
from bbtvp.prompt import Frame, Marks, Placement, Prompt, PromptSpace, Tone
from bbtvp.tasks import Sample, Task
from tests.support import Eye, patterns

PROMPT = PromptSpace(
    (Placement(0.8, ("zoom", "size")), Tone(("contrast", "clarity")), Frame("color"), Marks()),
    40,
    "picture",
).prompt(np.full(31, 0.3))


def mixed() -> Task:
    """Test images of four shapes, one of them a single row."""

    def shaped(number: int, sample: Sample) -> Sample:
        height, width = ((16, 16), (48, 16), (20, 90), (1, 60))[number % 4]
        rows = np.arange(height) * 16 // height
        columns = np.arange(width) * 16 // width
        return replace(sample, image=sample.pixels()[rows][:, columns])

    task = patterns()
    test = tuple(shaped(i, sample) for i, sample in enumerate(task.test[:40]))
    return replace(task, test=test)


def test_every_check_takes_pictures_of_mixed_shapes(tmp_path: Path) -> None:
    task = mixed()
    assert len({PROMPT.render(one.pixels()).shape for one in task.test}) == 4
    assert robustness(PROMPT, task, Eye(), corruptions=("jpeg", "impulse-noise"), severities=(2,))
    assert effects(PROMPT, task, Eye()) is not None
    method = MapMethod(patch=0.5, stride=0.5, steps=0)
    maps = saliency(PROMPT, task, Eye(), limit=4, method=method, out=tmp_path).maps
    shapes = [one.map.shape for one in maps if one.arm == "after"]
    assert shapes == [PROMPT.render(one.pixels()).shape[:2] for one in task.test[:4]]


def test_a_bundle_applies_to_files_of_any_shape(tmp_path: Path) -> None:
    PROMPT.save(tmp_path / "own.vprompt")
    loaded = Prompt.load(tmp_path / "own.vprompt")
    image = loaded.apply(np.zeros((30, 90, 3), np.uint8))
    assert image.size == (40, 13)
