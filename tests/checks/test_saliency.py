"""Saliency on scores of a known place, and on miniatures whose scenes say where the object is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bbtvp.checks.saliency import (
    MapMethod,
    curves,
    evidence,
    heat_map,
    hidden,
    on_canvas,
    planned_maps,
    saliency,
    share_within,
)
from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.core.rng import stream
from bbtvp.prompt import Frame, Placement, Prompt, PromptSpace, Tone
from bbtvp.tasks import Sample, Task
from bbtvp.verify.events import CheckPlanned
from bbtvp.verify.session import held_out
from bbtvp.zoo import scenes
from tests.support import SIDE, Eye, Flaky, Recorder, patterns

SPOT = np.s_[20:30, 36:46]


def picture() -> Pixels:
    """Grey, with a bright spot."""
    pixels = np.full((48, 64, 3), 60, np.uint8)
    pixels[SPOT] = 240
    return pixels


def spot(images: Sequence[Pixels]) -> Vector:
    """The score of one who looks at the spot alone."""
    return np.array([image[SPOT].mean() / 255 for image in images])


def inside(margin: int = 0) -> np.ndarray:
    found = np.zeros((48, 64), bool)
    found[20 - margin : 30 + margin, 36 - margin : 46 + margin] = True
    return found


def test_occlusion_sees_the_spot_and_nothing_beyond_its_reach() -> None:
    method = MapMethod(patch=0.125, stride=0.0625)
    found, whole = heat_map(spot, picture(), method, stream(0, "x"))
    assert whole == pytest.approx(240 / 255)
    assert found[inside()].min() > 0
    assert found[~inside(margin=8)].max() == 0  # squares are 6 x 8 px
    assert inside()[np.unravel_index(found.argmax(), found.shape)]


def test_rise_is_its_formula() -> None:
    """Equation 6, with the masks' own sum in place of N E[M]."""
    method = MapMethod("rise", masks=40)
    masks = np.stack(method.kept(48, 64, stream(0, "x")))
    scores = spot([hidden(picture(), mask) for mask in masks])
    found, _ = heat_map(spot, picture(), method, stream(0, "x"))
    assert found == pytest.approx((scores[:, None, None] * masks).sum(axis=0) / masks.sum(axis=0))


def test_rise_finds_the_spot() -> None:
    method = MapMethod("rise", masks=800)
    found, _ = heat_map(spot, picture(), method, stream(0, "x"))
    share = share_within(found, inside(margin=4), "rise")
    assert share is not None and share > 3 * inside(margin=4).mean()
    assert inside(margin=2)[np.unravel_index(found.argmax(), found.shape)]


def test_masks_of_rise() -> None:
    masks = np.stack(MapMethod("rise", masks=400, keep=0.3).kept(48, 64, stream(0, "m")))
    assert masks.shape == (400, 48, 64)
    assert (masks.min(), masks.max()) == (0, 1)
    assert masks.mean() == pytest.approx(0.3, abs=0.01)
    assert masks.mean(axis=0).std() < 0.03  # no pixel is kept more often


def test_what_is_hidden_takes_the_mean_colour() -> None:
    kept = np.ones((48, 64))
    kept[:24] = 0
    found = hidden(picture(), kept)
    assert np.array_equal(found[24:], picture()[24:])
    assert {*np.unique(found[:24])} == {round(picture().mean())}


def test_curves_tell_a_good_map_from_a_bad_one() -> None:
    good = inside().astype(float)
    for found, better in ((good, True), (-good, False)):
        deletion, insertion = curves(spot, picture(), found, 16)
        assert deletion is not None and insertion is not None
        assert (deletion < 0.4) == (insertion > 0.8) == better
    flat = np.zeros((48, 64))
    assert share_within(flat, inside(), "occlusion") is None
    assert not evidence(flat + 0.7, "rise").any()


def test_the_area_is_that_of_the_scores() -> None:
    """Deleting what is salient, the spot first: from 240 to the mean by the first step, and no
    further.
    """
    pixels = picture()
    order = inside().astype(float)
    deletion, _ = curves(spot, pixels, order, 4)
    mean = round(pixels.mean()) / 255
    assert deletion == pytest.approx((240 / 255 + mean) / 2 / 4 + 3 / 4 * mean)


# -- through a model -------------------------------------------------------------------------------
TASK = patterns(amplitude=0.06)
SPACE = PromptSpace((Placement(inside=0.5), Tone(("contrast",)), Frame("color")), SIDE)


def prompt() -> Prompt:
    return SPACE.prompt(np.array([1.0, *[0.5] * (SPACE.dim - 1)]))


@pytest.mark.parametrize(
    "method", [MapMethod(), MapMethod("rise", masks=30), MapMethod(patch=0.3, stride=0.2, steps=0)]
)
def test_the_cost_is_told_before_and_kept(method: MapMethod) -> None:
    model = Recorder()
    seen: list[object] = []
    found = saliency(
        prompt(),
        TASK,
        model,
        limit=2,
        method=method,
        watch=seen.append,
    )
    told = planned_maps(prompt(), held_out(TASK, 2), method)
    assert seen[0] == CheckPlanned("saliency", told, 0)
    assert len(model.asked) == found.cost.queries <= told
    assert found.cost.queries > 0.8 * told  # the curves begin and end at images that are known
    assert (found.maps[0].deletion is None) == (method.steps == 0)


def test_before_and_after_and_where_the_picture_lies() -> None:
    found = saliency(prompt(), TASK, Eye(), limit=2)
    assert [(look.id, look.arm) for look in found.maps] == [
        (sample.id, arm) for sample in TASK.test[:2] for arm in ("before", "after")
    ]
    before, after = found.maps[:2]
    assert (before.picture, after.picture) == (1, 0.25)
    assert before.in_picture == pytest.approx(1)
    assert after.in_picture == share_within(
        after.map, on_canvas(prompt(), TASK.test[0].pixels()), "occlusion"
    )
    truth = saliency(prompt(), TASK, Eye(), limit=2, target="truth")
    assert [look.label for look in truth.maps[::2]] == [sample.answer for sample in TASK.test[:2]]


def test_on_canvas_is_where_the_image_shows() -> None:
    space = PromptSpace((Placement(inside=0.6, search=("x", "y")), Frame("color")), 50)
    for z in ([0.0, 0.0], [1.0, -2.0]):
        tried = space.prompt(np.array([*z, *[0.3] * (space.dim - 2)]))
        for shape in ((40, 40, 3), (20, 40, 3)):
            black, white = (tried.render(np.full(shape, level, np.uint8)) for level in (0, 255))
            shown = on_canvas(tried, np.zeros(shape, np.uint8))
            assert np.array_equal((black != white).all(axis=2), shown)


def test_resumed_with_pictures_on_disk(tmp_path: Path) -> None:
    first = saliency(prompt(), TASK, Eye(), limit=1, out=tmp_path)
    again = Recorder()
    second = saliency(prompt(), TASK, again, limit=1, out=tmp_path)
    assert again.calls == []
    assert second.maps == first.maps
    files = [*tmp_path.rglob("*.png")]
    assert sorted(file.name for file in files) == sorted(first.files)
    document = json.loads(next(tmp_path.rglob("saliency.json")).read_text())
    assert document == json.loads(json.dumps(first.as_json()))
    assert document["schema"] == "bbtvp.saliency/1"


def test_failed_queries_are_left_out_and_too_many_are_an_error() -> None:
    found = saliency(
        prompt(), TASK, Flaky(share=0.1, seed=3), limit=1, method=MapMethod("rise", masks=60)
    )
    assert sum(look.failed for look in found.maps) > 0
    assert all(np.isfinite(look.map).all() for look in found.maps)
    with pytest.raises(ModelError, match=r"too many queries failed|failed: HTTP"):
        saliency(prompt(), TASK, Flaky(share=1.0), limit=1)


def test_text_answers_are_scored_by_the_label_named() -> None:
    found = saliency(prompt(), TASK, Eye(logprobs=False), limit=1)
    assert found.maps[0].score == 1.0
    free = patterns(labels=None, metric="exact")
    with pytest.raises(UsageError, match="free answers"):
        saliency(prompt(), free, Eye(logprobs=False), limit=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "ris"}, "did you mean rise"),
        ({"patch": 0.1, "stride": 0.2}, "stride"),
        ({"masks": 0}, "at least 1 mask"),
    ],
)
def test_bad_input(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        MapMethod(**options)  # type: ignore[arg-type]


# -- the miniatures --------------------------------------------------------------------------------
def test_a_miniature_looks_at_the_object() -> None:
    """The scene says where it is; a random map would have its share of the area on it."""
    rng = stream(1, "saliency")
    drawn = [scenes.draw("shape", rng) for _ in range(6)]
    samples = tuple(
        Sample(f"s{i}", scene.things[0].shape, scene.pixels) for i, scene in enumerate(drawn)
    )
    train = tuple(Sample(f"t{i}", shape, drawn[0].pixels) for i, shape in enumerate(scenes.SHAPES))
    task = Task(
        "seen",
        "what shape is this?",
        scenes.SHAPES,
        train,
        (Sample("v", "ring", drawn[0].pixels),),
        samples,
    )
    bare = PromptSpace((Placement(),), scenes.SIDE)
    found = saliency(
        bare.prompt(bare.neutral()), task, "zoo/llava", limit=6, method=MapMethod(steps=8)
    )
    y, x = np.mgrid[: scenes.SIDE, : scenes.SIDE]
    ratios = []
    for look, scene in zip(found.maps[::2], drawn, strict=True):
        thing = scene.things[0]
        on = np.hypot(x - thing.x, y - thing.y) <= 1.2 * thing.r
        share = share_within(look.map, on, "occlusion")
        ratios.append((share or 0) / on.mean())
        assert (
            look.deletion is not None
            and look.insertion is not None
            and look.deletion < look.insertion
        )
    assert min(ratios) > 1.3
    assert np.mean(ratios) > 2.5
