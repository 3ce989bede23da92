"""Examples that go with every image: as images of their own, or as a strip."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import digest_json
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.prompt import Exemplars, Identity, Legend, Placement, Prompt, PromptSpace

SIDE = 224


def picture(level: int, height: int = 40, width: int = 60) -> Pixels:
    pixels = np.full((height, width, 3), level, np.uint8)
    pixels[::4, :, 0] = 255 - level
    return pixels


SHOWN = [
    (picture(level), f"Which digit? {name}", name)
    for level, name in ((10, "one"), (90, "two"), (170, "three"))
]
SETS = ((0,), (0, 1), (2, 0, 1))


def layer(**options: object) -> Exemplars:
    return Exemplars.of(SHOWN, SETS, **options)  # type: ignore[arg-type]


def space(*more: object, **options: object) -> PromptSpace:
    return PromptSpace((layer(**options), *more), SIDE)  # type: ignore[arg-type]


def chosen(made: PromptSpace, number: int) -> Prompt:
    found = made.layers[[one.kind for one in made.layers].index("exemplars")]
    assert isinstance(found, Exemplars)
    return made.prompt(made.embed(found.start(number), ("exemplars",), made.neutral()))


def test_nothing_is_shown_at_first_and_each_set_is_a_start() -> None:
    made = space()
    assert made.prompt(made.neutral()).context() == ()
    assert not made.prompt(made.neutral()).contains_data
    assert [len(made.context(z)) for z in made.starts()] == [0, 1, 2, 3]
    assert made.choices == ((0, 4),)


def test_the_images_come_in_the_order_of_their_set_each_with_its_answer() -> None:
    prompt = chosen(space(), 2)
    assert [shown.text for shown in prompt.context()] == [SHOWN[i][1] for i in SETS[2]]
    for shown, place in zip(prompt.context(), SETS[2], strict=True):
        assert np.array_equal(shown.image, SHOWN[place][0])
    assert prompt.theta["exemplars"] == {"set": "3", "images": 3, "answers": "three, one, two"}
    plain = PromptSpace((Placement(),), SIDE)
    image = picture(120)
    assert np.array_equal(prompt.render(image), plain.render(plain.neutral(), image))


def test_a_large_example_is_made_smaller() -> None:
    made = Exemplars.of([(picture(9, 300, 900), "", "one")], [(0,)], side=SIDE)
    assert made.context(made.start(0), space().geometry)[0].image.shape == (75, 224, 3)


def test_examples_may_go_with_the_image_as_it_is() -> None:
    prompt = chosen(space(Identity()), 1)
    image = picture(120)
    assert np.array_equal(prompt.render(image), image)
    assert len(prompt.context()) == 2
    with pytest.raises(UsageError, match="identity leaves the image as it is"):
        space(Identity(), form="strip")


@pytest.mark.parametrize("place", ["right", "below"])
def test_a_strip_leaves_the_rest_to_the_image_and_shows_nothing_else(place: str) -> None:
    made = space(form="strip", place=place)
    prompt = chosen(made, 2)
    assert prompt.context() == ()
    assert prompt.contains_data
    image = picture(200, SIDE, SIDE)
    shown = prompt.render(image)
    where = np.s_[:, -56:] if place == "right" else np.s_[-56:, :]
    strip = shown[where]
    assert (strip == 255).all(axis=2).mean() > 0.2
    assert (strip == 0).all(axis=2).any()
    assert strip.tobytes() == prompt.render(picture(30, SIDE, SIDE))[where].tobytes()
    rest = np.s_[:, :168] if place == "right" else np.s_[:168, :]
    assert (shown[rest] == 200).any()
    none = made.prompt(made.neutral()).render(image)
    assert np.array_equal(none, image)


def test_a_strip_goes_with_a_legend_below() -> None:
    made = space(Legend(("one", "two")), form="strip")
    assert made.renderer(made.starts()[1]).insets(made.geometry).right == 56


def test_a_strip_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(UsageError, match="too small on a canvas of 48 x 48 px; use a larger"):
        PromptSpace((layer(form="strip"),), 48)
    wide = Exemplars.of([(picture(9), "", "a very long answer indeed")], [(0,)], form="strip")
    with pytest.raises(UsageError, match="too wide for a strip of 24 px"):
        PromptSpace((wide,), 96)
    with pytest.raises(UsageError, match="needs one canvas for all images; give --canvas"):
        PromptSpace((layer(form="strip"),), SIDE, "picture")
    with pytest.raises(UsageError, match="cannot be drawn"):
        Exemplars.of([(picture(9), "", "犬")], [(0,)], form="strip")


@pytest.mark.parametrize("sets", [[], [()], [(3,)], [(0, -1)]])
def test_a_set_that_means_nothing_is_refused(sets: list[tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="set"):
        Exemplars.of(SHOWN, sets)


# -- bundles ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["p.vprompt", "folder"])
@pytest.mark.parametrize("form", ["images", "strip"])
def test_a_bundle_holds_the_chosen_pictures_and_says_so(
    tmp_path: Path, name: str, form: str
) -> None:
    prompt = chosen(space(form=form), 1)
    prompt.save(tmp_path / name, {"task": "digits"})
    loaded = Prompt.load(tmp_path / name)
    assert loaded.digest == prompt.digest
    assert loaded.contains_data
    image = picture(77)
    assert np.array_equal(loaded.render(image), prompt.render(image))
    for ours, theirs in zip(prompt.context(), loaded.context(), strict=True):
        assert ours.text == theirs.text
        assert np.array_equal(ours.image, theirs.image)


def test_a_bundle_has_only_the_pictures_of_its_set_without_metadata(tmp_path: Path) -> None:
    path = tmp_path / "p.vprompt"
    chosen(space(), 1).save(path)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("exemplar-")]
        manifest = json.loads(archive.read("manifest.json"))
        assert len(names) == 2
        assert manifest["contains_data"] is True
        for name in names:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                assert image.info == {}


def test_a_prompt_that_shows_none_holds_none(tmp_path: Path) -> None:
    made = space()
    made.prompt(made.neutral()).save(tmp_path / "p.vprompt")
    with zipfile.ZipFile(tmp_path / "p.vprompt") as archive:
        assert archive.namelist() == ["manifest.json"]
        assert json.loads(archive.read("manifest.json"))["contains_data"] is False
    assert Prompt.load(tmp_path / "p.vprompt").context() == ()


def test_a_folder_forgets_the_pictures_of_an_earlier_bundle(tmp_path: Path) -> None:
    made = space()
    chosen(made, 2).save(tmp_path)
    made.prompt(made.neutral()).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json"]


def test_a_picture_that_was_exchanged_is_not_loaded(tmp_path: Path) -> None:
    chosen(space(), 0).save(tmp_path)
    (file,) = tmp_path.glob("exemplar-*.png")
    Image.fromarray(picture(3)).save(file)
    with pytest.raises(BundleError, match="altered"):
        Prompt.load(tmp_path)
    own = layer()
    other = replace(own, pictures={}).with_files(
        {own.exemplars[1].file: own.pictures[own.exemplars[1].file]}
    )
    with pytest.raises(UsageError, match="has no picture here"):
        other.context(other.start(0), space().geometry)
    with pytest.raises(UsageError, match="is not the picture"):
        own.with_files({own.exemplars[1].file: own.pictures[own.exemplars[0].file]})


def test_a_bundle_without_a_picture_that_it_shows_is_not_loaded(tmp_path: Path) -> None:
    made = space()
    made.prompt(made.neutral()).save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    manifest["z"][1] = 1.0
    content = {name: value for name, value in manifest.items() if name != "digest"}
    written = {**content, "digest": digest_json(content)}
    text = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
    (tmp_path / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(BundleError, match="has no picture here"):
        Prompt.load(tmp_path)


def test_a_page_that_others_see_gets_grey_in_place_of_the_pictures() -> None:
    prompt = chosen(space(form="strip"), 2)
    hidden = prompt.without_data()
    image = picture(200, SIDE, SIDE)
    shown = hidden.render(image)
    assert hidden.digest == prompt.digest
    assert np.array_equal(shown[:, :168], prompt.render(image)[:, :168])
    strip = shown[:, 168:]
    assert (strip == strip[..., :1]).all()
    assert (strip == 128).all(axis=2).any()
    plain = PromptSpace((Placement(),), SIDE)
    assert plain.prompt(plain.neutral()).without_data().context() == ()
