"""What happens to pixels on the way to a model."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.prompt.channel import Channel
from tests.prompt.scenes import noise

IMAGE = noise(48, 40)


def sent(channel: Channel, seed: int = 0, image: Pixels = IMAGE) -> Pixels:
    return channel.draw(np.random.default_rng(seed))(image)


def off(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max())


def smooth(side: int = 64) -> Pixels:
    """A ramp: what resizing and encoding keep."""
    y, x = np.mgrid[:side, :side] * (255 / (side - 1))
    return np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)


def test_equal_generators_draw_equal_transmissions() -> None:
    one, other = (Channel().draw(stream(3, "channel", "tone", 0, 1)) for _ in range(2))
    assert np.array_equal(one(IMAGE), other(IMAGE))
    assert np.array_equal(one(IMAGE), one(IMAGE))
    assert not np.array_equal(one(IMAGE), sent(Channel(), seed=4))


def test_one_draw_does_the_same_to_every_picture() -> None:
    """A picture's neighbour in a batch changes nothing."""
    send = Channel().draw(np.random.default_rng(0))
    first = send(IMAGE)
    send(smooth())
    assert np.array_equal(send(IMAGE), first)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 1),
    st.floats(0, 0.4),
    st.none() | st.tuples(st.integers(1, 50), st.integers(50, 95)),
    st.integers(0, 9),
)
@settings(max_examples=40)
def test_the_picture_keeps_its_size_and_its_kind(
    height: int, width: int, resize: float, crop: float, jpeg: tuple[int, int] | None, seed: int
) -> None:
    image = noise(height, width)
    before = image.copy()
    found = sent(Channel(resize, crop, jpeg), seed, image)
    assert found.shape == (height, width, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(image, before)


@pytest.mark.parametrize("seed", range(3))
def test_a_channel_that_does_nothing(seed: int) -> None:
    assert off(sent(Channel(resize=1, crop=0, jpeg=None), seed), IMAGE) <= 1


def test_each_part_does_something_of_its_own() -> None:
    found = {
        "resize": sent(Channel(0.3, 0, None)),
        "crop": sent(Channel(1, 0.2, None)),
        "jpeg": sent(Channel(1, 0, (20, 20))),
    }
    for image in found.values():
        assert off(image, IMAGE) > 20
    assert len({image.tobytes() for image in found.values()}) == 3


def test_resizing_takes_fine_detail_away_and_keeps_the_rest() -> None:
    for seed in range(5):
        assert sent(Channel(0.3, 0, None), seed).std() < IMAGE.std()
        assert off(sent(Channel(0.5, 0, None), seed, smooth()), smooth()) <= 6


def test_a_crop_cuts_off_at_most_its_share_of_each_edge() -> None:
    """Levels of a ramp say which column became the first, and which the last."""
    ramp = smooth()
    for seed in range(20):
        found = sent(Channel(1, 0.25, None), seed, ramp)
        for channel, axis in ((0, 1), (1, 0)):
            line = found[..., channel].mean(axis=1 - axis)
            assert -1 <= line[0] <= 0.25 * 255 + 6
            assert 0.75 * 255 - 6 <= line[-1] <= 256
    edges = {int(sent(Channel(1, 0.25, None), seed, ramp)[32, 0, 0]) for seed in range(20)}
    assert len(edges) > 5


def test_each_edge_is_cut_on_its_own() -> None:
    ramp = smooth()
    found = [sent(Channel(1, 0.25, None), seed, ramp).astype(int) for seed in range(20)]
    edges = np.array(
        [[f[32, 0, 0], f[0, 32, 1], 255 - f[32, -1, 0], 255 - f[-1, 32, 1]] for f in found]
    )
    assert np.abs(np.corrcoef(edges.T) - np.eye(4)).max() < 0.8
    assert (edges.std(axis=0) > 8).all()


def test_jpeg_is_of_a_quality_within_its_range() -> None:
    def encoded(quality: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(IMAGE).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer).convert("RGB")).tobytes()

    allowed = {encoded(quality): quality for quality in (30, 31, 32)}
    drawn = {allowed[sent(Channel(1, 0, (30, 32)), seed).tobytes()] for seed in range(30)}
    assert drawn == {30, 31, 32}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resize": 0}, "channel resize is 0; give a share of the side, above 0 and at most 1"),
        ({"resize": 1.1}, "channel resize is 1.1"),
        ({"resize": math.nan}, "channel resize is nan"),
        ({"crop": -0.1}, "channel crop is -0.1; give a share of the side, 0 to 0.4"),
        ({"crop": 0.5}, "channel crop is 0.5"),
        ({"crop": math.nan}, "channel crop is nan"),
        (
            {"jpeg": (0, 50)},
            r"channel jpeg is \(0, 50\); give the lowest and the highest quality, 1 to 95",
        ),
        ({"jpeg": (80, 96)}, "channel jpeg is"),
        ({"jpeg": (80, 60)}, "channel jpeg is"),
    ],
)
def test_what_no_channel_does_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Channel(**options)  # type: ignore[arg-type]
