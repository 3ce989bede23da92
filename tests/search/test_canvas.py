"""The canvas that a search chooses, and what of it arrives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bbtvp.endpoint.images import resized
from bbtvp.models import Delivered, Model
from bbtvp.prompt.layer import Size
from bbtvp.search.canvas import choose_space, deliveries, longest_side, picture_sizes
from bbtvp.tasks import Sample, Task
from tests.support import SIDE, Eye, patterns


class Ruled(Eye):
    """A model that resizes as one of openai does."""

    def __init__(self, name: str = "gpt-4o") -> None:
        super().__init__()
        self.name = name
        self.capabilities = replace(self.capabilities, image_side=None)
        self.is_endpoint = True

    def delivered(self, width: int, height: int) -> Delivered | None:
        scale = resized("openai", self.name, (width, height)).scale
        assert scale is not None
        return Delivered(round(width * scale), round(height * scale))


class Cropper(Eye):
    """A model whose processor shows the middle of a picture alone."""

    def delivered(self, width: int, height: int) -> Delivered | None:
        return Delivered(SIDE, SIDE, whole=width == height)


def of_sizes(*sizes: tuple[int, int]) -> Task:
    """A task whose training images have these widths and heights."""

    def resampled(sample: Sample, size: tuple[int, int]) -> Sample:
        return replace(sample, image=np.zeros((size[1], size[0], 3), np.uint8))

    task = patterns()
    train = [resampled(s, sizes[i % len(sizes)]) for i, s in enumerate(task.train)]
    marked = [
        replace(sample, image=np.full_like(sample.image, 255 * i // len(train)))
        for i, sample in enumerate(train)
    ]
    return replace(task, train=tuple(marked))


def test_equal_squares_that_the_canvas_holds_keep_a_square_canvas() -> None:
    space = choose_space("default", patterns(), [Eye()])
    assert (space.shape, space.canvas) == ("square", SIDE)


def test_photos_keep_their_shape_up_to_what_the_model_takes() -> None:
    task = of_sizes((1600, 1200))
    space = choose_space("default", task, [Ruled()])
    assert (space.shape, space.canvas) == ("picture", 1024)  # the short side of 768
    patches = choose_space("default", task, [Ruled("gpt-6-luna")])
    assert (patches.shape, patches.canvas) == ("picture", 1600)


def test_mixed_shapes_all_pass_as_they_are_sent() -> None:
    task = of_sizes((1600, 400), (900, 900), (300, 40))
    model = Ruled()
    space = choose_space("tone", task, [model])
    for size in picture_sizes(task):
        sent = space.canvases.geometry(size).canvas
        assert model.delivered(*sent) == Delivered(*sent)
    assert space.canvases.geometry(Size(300, 40)).canvas == (300, 40)


def test_a_local_processor_of_one_size_bounds_the_canvas_by_twice_that() -> None:
    assert longest_side([Eye()], [Size(1600, 1200)]) == 2 * SIDE


@pytest.mark.parametrize("name", ["tvp", "frame"])
def test_presets_of_tvps_geometry_keep_a_square_canvas(name: str) -> None:
    assert choose_space(name, of_sizes((300, 200)), [Ruled()]).shape == "square"


def test_where_a_processor_cuts_a_picture_off_a_square_shows_all_of_it() -> None:
    assert choose_space("default", of_sizes((300, 200)), [Cropper()]).shape == "square"


@pytest.mark.parametrize(
    ("model", "sizes", "doubled"),
    [
        (Ruled(), [(300, 40), (64, 64)], True),
        (Ruled(), [(300, 40), (500, 400)], False),
        (Eye(), [(30, 20)], False),
    ],
)
def test_small_pictures_may_be_sent_at_twice_their_size_where_more_of_them_arrives(
    model: Model, sizes: list[tuple[int, int]], doubled: bool
) -> None:
    space = choose_space("default", of_sizes(*sizes), [model])
    largest = [space.canvases.geometry(Size(*size), 2.0).canvas for size in sizes]
    assert ("enlarge" in space.placement.search) == doubled
    assert (largest == [(2 * width, 2 * height) for width, height in sizes]) == doubled
    assert "enlarge" not in choose_space("tone", of_sizes(*sizes), [model]).placement.search


def test_a_picture_of_one_pixel_across() -> None:
    space = choose_space("default", of_sizes((1, 5000)), [Ruled("gpt-6-luna")])
    sent = space.canvases.geometry(Size(1, 5000)).canvas
    assert sent == (1, space.canvas) and space.canvas <= 2048


def test_what_arrives_of_the_median_and_of_the_smallest_picture() -> None:
    sizes = [Size(3000, 2000), Size(1600, 1200), Size(100, 50)]
    space = choose_space("default", of_sizes((1600, 1200)), [Ruled()])
    (found,) = deliveries([Ruled()], sizes, space.canvases)
    assert str(found) == (
        "eye/near: of the median picture arrives 1024 x 768 px (of 1600 x 1200 px, sent as "
        "1024 x 768 px); of the smallest 100 x 50 px (of 100 x 50 px)"
    )
    (plain,) = deliveries([Ruled()], sizes, None)
    assert plain.median.sent == (1600, 1200)
    assert plain.as_json()["median"]["arrives"] == [1024, 768]
