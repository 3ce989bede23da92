"""A margin in the picture's own colour."""

from __future__ import annotations

import numpy as np
import pytest

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import Frame, Margin, Placement, PromptSpace, Tone

COLOUR = (200, 40, 90)


def plate(height: int = 40, width: int = 40) -> Pixels:
    """A plate of one colour with something dark in its middle."""
    pixels = np.full((height, width, 3), COLOUR, np.uint8)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = 10
    return pixels


@pytest.mark.parametrize("shape", [(40, 40), (20, 40), (40, 20)])
def test_the_margin_has_the_colour_of_the_edge(shape: tuple[int, int]) -> None:
    space = PromptSpace((Placement(search=("zoom",)), Margin()), 64)
    canvas = space.render(np.array([-3.0]), plate(*shape))
    for line in (canvas[0], canvas[-1], canvas[:, 0], canvas[:, -1]):
        assert np.array_equal(line, np.broadcast_to(COLOUR, line.shape))


def test_a_picture_that_fills_the_canvas_changes_no_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    space = PromptSpace((Margin(),), 64)
    assert np.array_equal(space.render(space.neutral(), pixels), pixels)


def test_the_colour_is_that_after_the_tone() -> None:
    layers = (Placement(0.5), Tone(("brightness",)), Margin())
    canvas = PromptSpace(layers, 64).render(np.array([1.0]), plate())
    assert np.array_equal(canvas[0, 0], canvas[16, 16])
    assert canvas[0, 0, 1] > COLOUR[1]


def test_a_frame_covers_it() -> None:
    layers = (Placement(0.5), Frame("color"))
    with_margin = PromptSpace((*layers, Margin()), 64)
    z = with_margin.neutral()
    assert np.array_equal(
        with_margin.render(z, plate()), PromptSpace(layers, 64).render(z, plate())
    )
