"""What marks draw, where, and where not: the traps of the catalogue of image-side prompts are tests
here.
"""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import Frame, Legend, Marks, Placement, PromptSpace, preset
from bbtvp.prompt.marks.ink import TILE, strip
from bbtvp.prompt.marks.marks import ANCHORS, INKS, LAYOUTS, PLACES
from bbtvp.prompt.marks.naming import Named, axes, parts
from tests.prompt.scenes import MARKS, blank, inked, marked, noise, plain_scene, with_values

SPACE = PromptSpace((MARKS,), 96)
DRAWN = [layout for layout in LAYOUTS if layout != "none"]
LABELLED = [anchors for anchors in ANCHORS if anchors != "none"]


# the variables


def test_ranges_of_the_catalogue() -> None:
    far = {
        name: [SPACE.params(np.full(SPACE.dim, z))["marks"][name] for z in (-1e9, 0.0, 1e9)]
        for name in ("divisions", "alpha", "label_height", "margin")
    }
    assert far["divisions"] == [2, 5, 8]
    assert far["alpha"] == pytest.approx([0.2, 0.6, 1.0])
    assert far["label_height"] == pytest.approx([1 / 40, (1 / 40 / 14) ** 0.5, 1 / 14])
    assert far["margin"] == pytest.approx([0.0, 0.06, 0.12])


def test_every_choice_and_every_number_of_divisions_can_be_reached() -> None:
    for n, layout, anchors, place, ink in itertools.product(
        range(2, 9), LAYOUTS, ANCHORS, PLACES, INKS
    ):
        look = MARKS.look(MARKS.start(n, layout=layout, anchors=anchors, place=place, ink=ink))
        assert look[:5] == (layout, n, anchors, place, ink)


def test_the_groups_of_a_space_are_those_of_its_choices() -> None:
    space = preset("annotate", 64)
    named = [tuple(space.names[first : first + count]) for first, count in space.choices]
    assert named == [
        tuple(f"marks.layout_{name}" for name in LAYOUTS),
        tuple(f"marks.anchors_{name}" for name in ANCHORS),
        tuple(f"marks.place_{name}" for name in PLACES),
        tuple(f"marks.ink_{name}" for name in INKS),
        tuple(f"guidance.wording_{name}" for name in ("none", "structure", "scan", "report")),
    ]
    assert preset("tone", 64).choices == ()


def test_the_largest_of_a_group_is_chosen_and_the_first_on_ties() -> None:
    z = SPACE.neutral()
    z[:5] = (-1.0, 2.0, 2.0, -3.0, 0.0)
    assert SPACE.params(z)["marks"]["layout"] == "rows"
    z[:5] -= 1e300
    assert SPACE.params(z)["marks"]["layout"] == "none"


def test_bad_marks() -> None:
    for phase in (0.3, -1.0, float("nan")):
        with pytest.raises(UsageError, match="phase"):
            Marks(phase)
    with pytest.raises(UsageError, match="unknown choice of layout 'row'; did you mean rows"):
        MARKS.start(layout="row")
    with pytest.raises(UsageError, match="9 divisions"):
        MARKS.start(9)


# trap 6: marks on a blank canvas


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize(
    ("anchors", "place", "ink"), [("none", "margin", "luminance"), ("symbols", "corners", "red")]
)
def test_marks_off_leave_a_blank_canvas_alone(
    level: int, anchors: str, place: str, ink: str
) -> None:
    prompt = marked(96, layout="none", anchors=anchors, place=place, ink=ink)
    assert not inked(prompt, level).any()


def expected_lines(side: int, count: int) -> list[int]:
    """One pixel wide below a canvas of 375 px."""
    return [int(side * part / count) for part in range(1, count)]


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_rows_and_columns_are_lines_at_equal_parts_and_nothing_else(count: int) -> None:
    rows, columns = (inked(marked(240, count, layout=name)) for name in ("rows", "columns"))
    assert rows.all(axis=1).nonzero()[0].tolist() == expected_lines(240, count)
    assert rows.sum() == (count - 1) * 240
    assert np.array_equal(columns, rows.T)
    assert np.array_equal(inked(marked(240, count, layout="grid")), rows | columns)


def test_dots_are_small_round_and_in_the_middle_of_their_parts() -> None:
    drawn = inked(marked(240, 3, layout="dots"))
    for x, y in itertools.product((40, 120, 200), repeat=2):
        assert drawn[y - 2 : y + 2, x - 2 : x + 2].sum() >= 5
        drawn[y - 2 : y + 2, x - 2 : x + 2] = False
    assert not drawn.any()


@pytest.mark.parametrize("anchors", LABELLED)
@pytest.mark.parametrize("layout", DRAWN)
def test_in_a_margin_nothing_but_lines_is_drawn_over_the_image(layout: str, anchors: str) -> None:
    prompt = marked(224, 4, layout=layout, anchors=anchors, place="margin")
    margin = prompt.renderer.insets(prompt.space.geometry).left
    assert margin == prompt.renderer.insets(prompt.space.geometry).top >= 0.06 * 224 - 1
    labelled = inked(prompt)
    bare = inked(with_values(prompt, anchors_none=9.0))
    assert labelled[:margin].any() == (layout != "rows")
    assert labelled[:, :margin].any() == (layout != "columns")
    over = labelled[margin:, margin:]
    if layout == "dots":
        assert over.sum() <= bare.sum() * 1.2
    else:
        lines = (over.all(axis=1)[:, None] & (layout != "columns")) | (
            over.all(axis=0)[None] & (layout != "rows")
        )
        assert np.array_equal(over, lines)


def test_the_image_is_moved_out_of_the_margin_not_covered() -> None:
    prompt = marked(224, 4, layout="rows", anchors="digits", place="margin")
    margin = prompt.renderer.insets(prompt.space.geometry).left
    pixels = blank(224, 60)
    pixels[:4] = pixels[-4:] = pixels[:, :4] = pixels[:, -4:] = (0, 0, 200)
    rendered = prompt.render(pixels)
    assert (rendered[:margin] == 255).all()
    for edge in (
        rendered[margin + 1, margin + 1 :],
        rendered[margin + 1 :, -2],
        rendered[-2, margin + 1 :],
    ):
        assert (edge[:, 2] > 150).mean() > 0.95


@pytest.mark.parametrize("place", ["cell", "corners"])
@pytest.mark.parametrize("anchors", LABELLED)
@pytest.mark.parametrize(
    ("layout", "count"), [("rows", 3), ("columns", 8), ("grid", 2), ("grid", 8)]
)
def test_labels_stay_clear_of_the_lines_of_their_part(
    layout: str, count: int, anchors: str, place: str
) -> None:
    prompt = marked(224, count, layout=layout, anchors=anchors, place=place)
    lines = inked(with_values(prompt, anchors_none=9.0))
    near = (
        lines
        | np.roll(lines, 1, 0)
        | np.roll(lines, -1, 0)
        | np.roll(lines, 1, 1)
        | np.roll(lines, -1, 1)
    )
    near[0] = near[-1] = near[:, 0] = near[:, -1] = False
    both = inked(prompt)
    assert np.array_equal(both & near & ~lines, np.zeros_like(lines))
    assert (both & ~lines).sum() > 20


def components(map_: np.ndarray) -> int:  # type: ignore[type-arg]
    """Connected parts by flooding rows and columns."""
    left = map_.copy()
    found = 0
    while left.any():
        found += 1
        part = np.zeros_like(left)
        part[np.unravel_index(left.argmax(), left.shape)] = True
        grown = part
        while True:
            grown = part.copy()
            grown[1:] |= part[:-1]
            grown[:-1] |= part[1:]
            grown[:, 1:] |= part[:, :-1]
            grown[:, :-1] |= part[:, 1:]
            grown &= left
            if np.array_equal(grown, part):
                break
            part = grown
        left &= ~part
    return found


@pytest.mark.parametrize(
    ("layout", "place", "parts_"),
    [
        ("rows", "cell", 3),
        ("rows", "corners", 12),
        ("columns", "margin", 3),
        ("grid", "cell", 9),
        ("grid", "margin", 6),
        ("dots", "cell", 18),
    ],
)
def test_as_many_characters_are_drawn_as_the_sentence_says(
    layout: str, place: str, parts_: int
) -> None:
    """Letters B, C and digits 1, 2, 3 are each one connected stroke; so is a dot."""
    prompt = marked(224, 3, layout=layout, anchors="digits", place=place)
    lines = (
        inked(with_values(prompt, anchors_none=9.0))
        if layout in ("rows", "columns", "grid")
        else False
    )
    if place == "margin":
        margin = prompt.renderer.insets(prompt.space.geometry).left
        lines = np.zeros((224, 224), bool)
        lines[margin:, margin:] = True
    assert components(inked(prompt) & ~np.asarray(lines)) == parts_


# trap 3, 4: sizes, half size, tile edges


@pytest.mark.parametrize(("side", "thick"), [(56, 1), (224, 1), (512, 2), (768, 3), (1024, 4)])
def test_thickness_is_a_share_of_the_canvas(side: int, thick: int) -> None:
    assert inked(marked(side, 2, layout="rows"))[:, side // 2].sum() == thick


def halved(pixels: Pixels) -> Pixels:
    side = len(pixels) // 2
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [224, 448, 768])
@pytest.mark.parametrize("level", [0, 90, 160, 255])
def test_lines_dots_and_labels_are_still_visible_at_half_size(side: int, level: int) -> None:
    """At the least alpha that is drawn and the smallest labels."""
    for layout in DRAWN:
        prompt = with_values(marked(side, 4, layout=layout), alpha=0.0)
        contrast = np.abs(halved(prompt.render(blank(side, level))).astype(int) - level).max(axis=2)
        marks = contrast >= 24
        if layout == "rows":
            assert marks.mean(axis=1).max() == 1
            assert (marks.mean(axis=1) > 0.9).sum() >= 3
        assert marks.sum() >= 4 * 4
    smallest = with_values(
        marked(side, 3, layout="rows", anchors="digits", place="cell"), label_height=-1e9
    )
    left = halved(smallest.render(blank(side, level)))[:, : side // 16].astype(int)
    bare = halved(with_values(smallest, anchors_none=9.0).render(blank(side, level)))[
        :, : side // 16
    ]
    assert (np.abs(left - bare).max(axis=2) >= 60).sum() >= 3 * 4


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("level", [0, 100, 127, 128, 200, 255])
def test_ink_by_luminance_contrasts_with_any_level(ink: str, level: int) -> None:
    prompt = marked(96, 3, layout="rows", anchors="letters", place="cell", ink=ink)
    contrast = int(np.abs(prompt.render(blank(96, level)).astype(int) - level).max())
    if ink == "luminance":
        assert contrast >= 127
    elif ink == "red":
        assert np.array_equal(np.unique(prompt.render(blank(96, 255))[..., 0]), [255])
    else:
        assert contrast == level


def test_ink_is_chosen_where_it_lies() -> None:
    pixels = blank(96, 20)
    pixels[:, 48:] = 230
    rendered = marked(96, 2, layout="rows", ink="luminance").render(pixels)
    assert (rendered[48, :48] == 255).all()
    assert (rendered[48, 48:] == 0).all()


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, 600),
    size=st.integers(1, 1600),
    share=st.floats(0, 1),
    thick=st.integers(1, 9),
)
def test_no_line_lies_across_a_tile_edge(start: int, size: int, share: float, thick: int) -> None:
    at = start + share * size
    first, end = strip(start, size, at, thick)
    assert start <= first < end <= start + size
    assert end - first == min(thick, size)
    if size >= 2 * thick:
        assert (
            first // TILE == (end - 1) // TILE
            or min(TILE - start % TILE, (start + size) % TILE) < thick
        )
    assert (
        abs((first + end) / 2 - min(max(at, start + thick / 2), start + size - thick / 2))
        <= 1.5 * thick + 0.5
    )


def test_the_line_at_two_thirds_of_768_lies_in_one_tile_of_512() -> None:
    rows = inked(marked(768, 3, layout="rows")).all(axis=1).nonzero()[0]
    assert rows.tolist() == [255, 256, 257, 509, 510, 511]


@pytest.mark.parametrize("phase", [-0.25, -0.1, 0.2])
def test_a_phase_moves_all_lines_by_that_share_of_a_division(phase: float) -> None:
    rows = inked(marked(240, 4, Marks(phase), layout="rows")).all(axis=1).nonzero()[0]
    assert rows.tolist() == [round(60 * (part + phase)) for part in (1, 2, 3)]


@pytest.mark.parametrize("phase", [-0.25, 0.25])
@pytest.mark.parametrize("layout", DRAWN)
def test_a_phase_moves_labels_along_and_none_off_the_image(layout: str, phase: float) -> None:
    for place in PLACES:
        plain, moved = (
            inked(marked(224, 4, layer, layout=layout, anchors="digits", place=place))
            for layer in (MARKS, Marks(phase))
        )
        assert 0.5 < moved.sum() / plain.sum() < 2


# determinism

DIGEST = "29755420bd811b9bb60be84899a128e02f6a93516bb7adf8f0fa6f1866771c6b"


def test_a_fixed_scene_has_these_very_bytes_on_every_platform() -> None:
    """No font, no FreeType, no float decides a pixel beyond a rounding that Pillow does in whole
    numbers.
    """
    found = hashlib.sha256()
    legend = Legend(("red fox", "B-2 (spare)"))
    for layout, anchors, place, ink in itertools.product(DRAWN, LABELLED, PLACES, INKS):
        space = PromptSpace((MARKS, legend), 160)
        z = space.embed(
            MARKS.start(4, layout=layout, anchors=anchors, place=place, ink=ink),
            ["marks"],
            space.neutral(),
        )
        z[space.slices["legend"]] = (0.0, 1.0)
        found.update(space.render(z, plain_scene(160)).tobytes())
    assert found.hexdigest() == DIGEST


def test_a_renderer_gives_the_same_for_equal_images_whatever_came_between() -> None:
    prompt = marked(96, 5, layout="grid", anchors="symbols", place="corners")
    first = prompt.render(noise(60, 90))
    for height in range(20, 60):
        prompt.render(noise(height, 90))
    assert np.array_equal(prompt.render(noise(60, 90)), first)
    assert np.array_equal(prompt.space.prompt(prompt.z).render(noise(60, 90)), first)


# any z, any image


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.0, 1e-300, 1.0, 30.0, 1e6, 1.7e308]),
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    side=st.sampled_from([8, 33, 64, 224]),
    phase=st.floats(-0.25, 0.25),
)
def test_any_z_gives_a_canvas_and_is_what_params_say(
    seed: int, scale: float, height: int, width: int, side: int, phase: float
) -> None:
    space = PromptSpace((Marks(phase),), side)
    pixels = noise(height, width, seed)
    z = np.clip(np.random.default_rng(seed).standard_normal(space.dim), -1, 1) * scale
    rendered = space.render(z, pixels)
    look = space.params(z)["marks"]
    assert rendered.shape == (side, side, 3)
    assert rendered.dtype == np.uint8
    assert look["divisions"] in range(2, 9)
    plain = PromptSpace((Placement(),), side).render(np.zeros(0), pixels)
    if look["layout"] == "none":
        assert np.array_equal(rendered, plain)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), size=st.sampled_from([(64, 64), (40, 64), (64, 23)]))
def test_without_a_margin_bars_and_frame_are_not_touched(seed: int, size: tuple[int, int]) -> None:
    """Lines and labels keep to the image."""
    space = PromptSpace((Placement(0.75), Frame("color"), MARKS), 85)
    z = np.random.default_rng(seed).standard_normal(space.dim)
    z[:3] = 1.0
    bare = z.copy()
    bare[space.names.index("marks.layout_none")] = 1e6
    z[space.names.index("marks.layout_none")] = -1e6
    z[space.names.index("marks.place_cell")] = 1e6
    changed = (space.render(z, noise(*size)) != space.render(bare, noise(*size))).any(axis=2)
    high, wide = (round(64 * length / max(size)) for length in size)
    top = (85 - high) // 2
    left = (85 - wide) // 2
    assert changed.any()
    changed[top : top + high, left : left + wide] = False
    assert not changed.any()


def test_names_are_all_different_and_axes_cannot_be_mixed_up() -> None:
    for layout, anchors, count in itertools.product(DRAWN, LABELLED, range(2, 9)):
        named = Named(layout, count, anchors, "cell")
        columns, rows = axes(named)
        assert (
            len(set(columns + rows))
            == len(columns + rows)
            == count * (1 + (layout in ("grid", "dots")))
        )
        assert len(set(parts(named))) == count ** (1 + (layout in ("grid", "dots")))
