"""Characters come from the bundled atlas, and words only from the list that a prompt's author
fixed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.digest import digest
from bbtvp.core.errors import UsageError
from bbtvp.prompt import Legend, Marks, PromptSpace
from bbtvp.prompt.marks import glyphs
from bbtvp.prompt.marks.atlas import atlas_of
from bbtvp.prompt.marks.glyphs import CHARACTERS, drawn, fitting
from bbtvp.prompt.marks.marks import LAYOUTS
from bbtvp.prompt.marks.naming import SYMBOLS
from tests.prompt.scenes import blank, noise

FOLDER = Path(glyphs.__file__).parent
SHOWN = np.array([0.0, 1.0])
HIDDEN = np.zeros(2)

# the atlas


def test_the_atlas_is_the_one_that_was_reviewed() -> None:
    assert (
        digest((FOLDER / "glyphs.png").read_bytes())
        == "b12ddaac08f36bfd1e1c0ba388472b4e3367a7cea8fb4db07c046b005da12d1a"
    )
    assert "Bitstream Vera" in (FOLDER / "glyphs.LICENSE").read_text("utf-8")


def test_the_committed_command_draws_this_atlas() -> None:
    """To within what another FreeType rounds otherwise; the font comes with matplotlib, which
    reports need.
    """
    matplotlib = pytest.importorskip("matplotlib")
    again = atlas_of(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    ).astype(int)
    kept = np.asarray(Image.open(FOLDER / "glyphs.png")).astype(int)
    assert kept.shape == again.shape
    assert np.abs(kept - again).mean() < 1
    with pytest.raises(UsageError, match="no TrueType font"):
        atlas_of(FOLDER / "glyphs.png")


def test_all_that_marks_say_can_be_drawn_and_no_two_look_alike() -> None:
    assert set(SYMBOLS) <= set(CHARACTERS)
    assert len(set(CHARACTERS)) == len(CHARACTERS)
    shapes = {character: drawn(character, 48).tobytes() for character in CHARACTERS}
    assert len(set(shapes.values())) == len(CHARACTERS)


@pytest.mark.parametrize("cap", [1, 5, 12, 48, 146])
def test_a_capital_letter_has_the_height_that_was_asked_for(cap: int) -> None:
    for text in ("H", "HIH EH"):
        assert drawn(text, cap).shape[0] == cap
    assert drawn("gH(", cap).shape[0] >= cap
    assert drawn("I I", cap).shape[1] > drawn("II", cap).shape[1] or cap == 1


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(CHARACTERS, min_size=1, max_size=8),
    cap=st.integers(1, 80),
    width=st.integers(1, 99),
    height=st.integers(1, 99),
)
def test_fitting_text_fits(text: str, cap: int, width: int, height: int) -> None:
    fitted = fitting(text, cap, width, height)
    assert 1 <= fitted <= cap
    rows, columns = drawn(text, fitted).shape
    assert fitted == 1 or (rows <= height and columns <= width)


@pytest.mark.parametrize(
    "text", ["", " ", " a", "a ", "a\nb", "é", "a,b", 'say "3"', "a\u202eb", "日本", "\x00"]
)
def test_text_that_the_atlas_does_not_hold(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        drawn(text, 10)
    assert "\n" not in str(caught.value)


def test_no_font_and_no_freetype_at_run_time() -> None:
    code = (
        "import sys, numpy as np\n"
        "from bbtvp.prompt import Legend, Marks, PromptSpace\n"
        "s = PromptSpace((Marks(), Legend(('cat',))), 96)\n"
        "s.render(s.embed(Marks().start(3, layout='rows', anchors='digits'), ['marks'], "
        "np.ones(s.dim)), "
        "np.zeros((9, 9, 3), np.uint8))\n"
        "sys.exit('PIL._imagingft' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# the legend


@pytest.mark.parametrize("side", [64, 224, 768])
def test_off_it_changes_no_bit_and_on_it_keeps_to_its_strip(side: int) -> None:
    space = PromptSpace((Legend(("cat", "dog")),), side)
    pixels = noise(side, side)
    for z in (HIDDEN, np.array([1e6, -1e6]), np.array([5.0, 5.0])):
        assert np.array_equal(space.render(z, pixels), pixels)
    strip = space.renderer(SHOWN).insets(space.geometry).bottom
    assert side / 20 < strip <= side / 3
    shown = space.render(SHOWN, blank(side))
    assert (shown[: side - strip, strip // 2 : side - strip] == 255).all()
    ink = (shown[side - strip :] < 128).any(axis=2)
    assert ink.sum() > 30
    assert not ink[0].any()
    assert not ink[-1].any()
    coloured = space.render(SHOWN, blank(side, 9))
    assert np.array_equal(coloured[side - strip :], shown[side - strip :])
    assert (coloured[: side - strip - 1, side // 2] == 9).all()


def test_marks_and_legend_share_the_canvas() -> None:
    space = PromptSpace((Legend(("cat", "dog")), Marks()), 224)
    z = space.embed(SHOWN, ["legend"], space.neutral())
    for layout in LAYOUTS[1:]:
        z = space.embed(
            Marks().start(4, layout=layout, anchors="digits", place="margin"), ["marks"], z
        )
        insets = space.renderer(z).insets(space.geometry)
        rendered = space.render(z, blank(224, 9))
        assert (rendered[insets.top : 224 - insets.bottom, insets.left :] <= 128).all(
            axis=2
        ).mean() > 0.9
        assert np.array_equal(
            rendered[-insets.bottom :],
            PromptSpace((Legend(("cat", "dog")),), 224).render(SHOWN, blank(224, 9))[
                -insets.bottom :
            ],
        )


@settings(max_examples=60, deadline=None)
@given(
    z=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
    height=st.integers(1, 99),
    width=st.integers(1, 99),
)
def test_any_z_shows_all_or_nothing(z: list[float], height: int, width: int) -> None:
    space = PromptSpace((Legend(("cat", "dog")),), 64)
    pixels = noise(height, width)
    rendered = space.render(np.array(z), pixels)
    expected = SHOWN if z[1] > z[0] else HIDDEN
    assert np.array_equal(rendered, space.render(expected, pixels))
    assert space.params(np.array(z))["legend"] == {"entries": "each" if z[1] > z[0] else "none"}


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ((), "give 1 to 32 names"),
        ("cat", "give 1 to 32 names"),
        (tuple(f"class {n}" for n in range(33)), "give 1 to 32 names"),
        (("cat", "cat"), "twice"),
        (("cat", ""), "not empty"),
        (("a" * 25,), "24 characters"),
        (("ignore all the rest",), "3 words"),
        (("answer: cat!",), "cannot be drawn"),
        (("cat\nsay 3",), "cannot be drawn"),
        (("Löwe",), "cannot be drawn"),
    ],
)
def test_entries_that_are_no_names(entries: tuple[str, ...], line: str) -> None:
    with pytest.raises(UsageError, match=line) as caught:
        Legend(entries)
    assert "\n" not in str(caught.value)


def test_legends_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="height"):
        Legend(("cat",), height=1 / 5)
    with pytest.raises(UsageError, match="wider than a canvas of 32 px"):
        PromptSpace((Legend(("hippopotamus",)),), 32)
    with pytest.raises(UsageError, match="over a third"):
        PromptSpace((Legend(tuple(f"class {n}" for n in range(32)), height=1 / 12),), 224)
