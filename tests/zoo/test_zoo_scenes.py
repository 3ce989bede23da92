"""The generator: a question's answer must agree with what was drawn, for any seed."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.zoo import scenes
from bbtvp.zoo.scenes import Scene, Thing

kinds = pytest.mark.parametrize("kind", scenes.KINDS)
seeds = st.integers(0, 2**32)
many = settings(max_examples=60, deadline=None, derandomize=True)


def drawn(kind: str, seed: int) -> Scene:
    return scenes.draw(kind, np.random.default_rng(seed))


def ink_of(scene: Scene, thing: Thing) -> np.ndarray:
    """Median colour of the pixels that surely belong to a thing: a point on each shape, and what
    surrounds it.
    """
    reach = {"ring": 0.79 * thing.r, "triangle": 0.0}.get(thing.shape, 0.0)
    x = round(thing.x + reach - 0.5)
    y = round(thing.y - 0.5)
    return np.median(scene.pixels[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3), axis=0)


@kinds
@given(seed=seeds)
@many
def test_a_scene_is_drawn_and_always_the_same(kind: str, seed: int) -> None:
    scene = drawn(kind, seed)
    again = drawn(kind, seed)
    assert scene.kind == kind
    assert scene.pixels.shape == (64, 64, 3) and scene.pixels.dtype == np.uint8
    assert scene.pixels.std() > 1, "something must be visible"
    np.testing.assert_array_equal(scene.pixels, again.pixels)
    assert scene.things == again.things


@pytest.mark.parametrize("kind", ["shape", "count", "pair", "presence"])
@given(seed=seeds)
@many
def test_things_lie_within_the_image_apart_and_in_their_colour(kind: str, seed: int) -> None:
    scene = drawn(kind, seed)
    for i, thing in enumerate(scene.things):
        assert (
            min(thing.x, thing.y) - thing.r >= 0 and max(thing.x, thing.y) + thing.r <= scenes.SIDE
        )
        assert all(
            math.hypot(thing.x - o.x, thing.y - o.y) > thing.r + o.r for o in scene.things[:i]
        )
        distance = {
            color: np.abs(ink_of(scene, thing) - rgb).max() for color, rgb in scenes.COLORS.items()
        }
        assert min(distance, key=distance.__getitem__) == thing.color


@kinds
@given(seed=seeds)
@many
def test_answers_are_true_and_among_the_labels(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = scenes.draw(kind, rng)
    for question in (
        scenes.main_question(scene, rng),
        *(scenes.other_question(scene, rng) for _ in range(4)),
    ):
        assert question.answer in question.labels
        assert question.answer == truth(scene, question.text)


def truth(scene: Scene, text: str) -> str:
    """The answer, from the words of the question and the things drawn."""
    words = text.rstrip("?").split()
    if text == "what digit is this?":
        return scenes.DIGITS[scene.digit]
    if text == "what shape is this?":
        (thing,) = scene.things
        return thing.shape
    if text == "how many objects are there?":
        return scenes.COUNTS[len(scene.things) - 1]
    if text == "what color is the digit?":
        return scene.ink
    if text.startswith("what color is the "):
        (color,) = [thing.color for thing in scene.things if thing.shape == words[-1]]
        return color
    if text.startswith("is there a "):
        return (
            "yes"
            if (words[3], words[4]) in [(thing.color, thing.shape) for thing in scene.things]
            else "no"
        )
    if text == "do the two objects have the same color?":
        return "yes" if len({thing.color for thing in scene.things}) == 1 else "no"
    assert text == "are the two objects side by side or stacked?"
    return lie(*scene.things)


def lie(first: Thing, second: Thing) -> str:
    """By the angle of the line through both centres."""
    angle = math.degrees(math.atan2(second.y - first.y, second.x - first.x)) % 180
    return "stacked" if 45 <= angle <= 135 else "side by side"


@given(seed=seeds)
@many
def test_a_pair_is_clearly_arranged_and_asked_about_in_any_order(seed: int) -> None:
    first, second = drawn("pair", seed).things
    assert first.shape != second.shape
    apart = sorted((abs(first.x - second.x), abs(first.y - second.y)))
    assert apart[0] <= 10.01 and apart[1] >= 22, (
        "nearly level along one axis, clearly apart along the other"
    )
    for question in (scenes.arrangement, scenes.same_color):
        assert question(first, second) == question(second, first)


def test_arrangement_and_color_of_a_pair_tell_nothing_of_each_other() -> None:
    rng = np.random.default_rng(4)
    pairs = [scenes.draw("pair", rng).things for _ in range(600)]
    counts = Counter(
        (scenes.arrangement(*pair).answer, scenes.same_color(*pair).answer) for pair in pairs
    )
    assert len(counts) == 4 and all(
        abs(n - 150) < 4.5 * math.sqrt(600 * 3 / 16) for n in counts.values()
    ), counts


def test_every_answer_comes_up_about_equally_often() -> None:
    rng = np.random.default_rng(0)
    for kind, share in (("shape", 1 / 5), ("count", 1 / 6), ("pair", 1 / 2), ("presence", 1 / 2)):
        questions = [scenes.main_question(scenes.draw(kind, rng), rng) for _ in range(400)]
        counts = Counter(question.answer for question in questions)
        tolerance = 4.5 * math.sqrt(share * (1 - share) / 400)
        assert set(counts) == set(questions[0].labels)
        assert all(abs(n / 400 - share) < tolerance for n in counts.values()), counts


def test_absent_things_are_asked_about_as_often_as_present_ones_whatever_the_scene() -> None:
    rng = np.random.default_rng(1)
    by_size: dict[int, Counter[str]] = {}
    for _ in range(900):
        scene = scenes.draw("presence", rng)
        by_size.setdefault(len(scene.things), Counter())[
            scenes.main_question(scene, rng).answer
        ] += 1
    for counts in by_size.values():
        assert abs(counts["yes"] / counts.total() - 0.5) < 4.5 * 0.5 / math.sqrt(counts.total())


@given(seed=seeds)
@many
def test_categories_of_a_scene_are_distinct(seed: int) -> None:
    categories = scenes.draw_categories(4, np.random.default_rng(seed))
    assert len({*categories}) == 4 and {*categories} <= {*scenes.CATEGORIES}


def test_popular_categories_and_companions_come_up_more_often() -> None:
    rng = np.random.default_rng(2)
    drawn = [scenes.draw_categories(3, rng) for _ in range(1500)]
    counts = Counter(category for row in drawn for category in row)
    first, last = (
        sum(counts[c] for c in part) for part in (scenes.CATEGORIES[:5], scenes.CATEGORIES[-5:])
    )
    assert first > 1.5 * last
    together = Counter(frozenset(pair) for row in drawn for pair in pairwise(row))
    pairs = [
        frozenset((c, scenes.CATEGORIES[scenes.companion(i)]))
        for i, c in enumerate(scenes.CATEGORIES)
    ]
    beside = sum(together[pair] for pair in {*pairs}) / together.total()
    assert beside > 0.3, "by chance it would be about one in twelve"


def test_every_category_is_the_companion_of_one() -> None:
    assert sorted(scenes.companion(i) for i in range(len(scenes.CATEGORIES))) == list(
        range(len(scenes.CATEGORIES))
    )


def test_no_category_is_its_own_companion() -> None:
    companions = [scenes.companion(i) for i in range(len(scenes.CATEGORIES))]
    assert all(companion != i for i, companion in enumerate(companions))


def test_digits_come_from_the_range_that_was_given() -> None:
    _, labels = scenes.uci_digits()
    index = int(np.flatnonzero(labels == 7)[-1])
    found = [
        scenes.draw("digit", np.random.default_rng(seed), range(index, index + 1)).digit
        for seed in range(5)
    ]
    assert found == [7] * 5


def test_the_digits_are_the_uci_set() -> None:
    images, labels = scenes.uci_digits()
    assert images.shape == (1797, 8, 8) and labels.shape == (1797,)
    assert images.min() == 0 and images.max() == 16 and {*labels.tolist()} == {*range(10)}
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
