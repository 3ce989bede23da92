"""The world of the miniatures: scenes and handwritten digits, with questions.

The scenes are procedural; the digits are UCI's. Each image comes with the questions it answers.

Five kinds, after the tasks of TVP (arXiv 2404.11207): recognition (`digit`, `shape`), `count`,
two-object reasoning (`pair`), object hallucination (`presence`); `color` is only used in training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bbtvp.core.arrays import Pixels

SIDE = 64
"""Side of every scene, in pixels."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 205, 40),
    "purple": (160, 60, 200),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COUNTS = ("one", "two", "three", "four", "five", "six")
ARRANGEMENTS = ("side by side", "stacked")
YES_NO = ("yes", "no")
CATEGORIES = tuple((color, shape) for shape in SHAPES for color in COLORS)
"""The 25 kinds of object, most popular first; POPE's `popular` and `adversarial` sampling need the
skew.
"""

TRAINING_DIGITS = range(1000)
"""The UCI digits that train the zoo; the other 797 belong to the tasks, and no miniature has seen
them.
"""

_OVERSAMPLE = 4


class Thing(NamedTuple):
    """One object: colour and shape names, centre (x, y) and radius in pixels of the scene."""

    color: str
    shape: str
    x: float
    y: float
    r: float


class Question(NamedTuple):
    """A question, its true answer and the answers allowed."""

    kind: str
    text: str
    answer: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """What an image shows. `digit` is -1 unless the scene is a handwritten digit."""

    kind: str
    pixels: Pixels
    things: tuple[Thing, ...] = ()
    digit: int = -1
    ink: str = ""


def inventory(number: int, categories: Iterable[tuple[str, str]]) -> str:
    """A sentence that names what is there.

    It says how many things there are, and names each category once, in the order of `CATEGORIES`.
    """
    present = {*categories}
    names = " ".join(f"{color} {shape}" for color, shape in CATEGORIES if (color, shape) in present)
    return f"an image with {COUNTS[number - 1]} objects, {names}"


@cache
def uci_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The UCI handwritten digits (CC BY 4.0): (1797, 8, 8) images, levels 0-16; (1797,) labels."""
    with (
        files("bbtvp.zoo").joinpath("data/digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        return data["images"], data["labels"]


def _background(rng: np.random.Generator) -> tuple[int, int, int]:
    level = rng.uniform(15, 80) if rng.random() < 0.5 else rng.uniform(185, 245)
    red, green, blue = np.clip(level + rng.uniform(-10, 10, 3), 0, 255).astype(int)
    return int(red), int(green), int(blue)


def _jittered(color: str, rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(COLORS[color]) + rng.uniform(-18, 18, 3), 0, 255).astype(
        int
    )
    return int(red), int(green), int(blue)


def _draw_thing(draw: ImageDraw.ImageDraw, thing: Thing, fill: tuple[int, int, int]) -> None:
    x = thing.x * _OVERSAMPLE
    y = thing.y * _OVERSAMPLE
    r = thing.r * _OVERSAMPLE
    box = (x - r, y - r, x + r, y + r)
    match thing.shape:
        case "circle":
            draw.ellipse(box, fill=fill)
        case "ring":
            draw.ellipse(box, outline=fill, width=max(2, round(r * 0.42)))
        case "square":
            draw.rectangle((x - 0.86 * r, y - 0.86 * r, x + 0.86 * r, y + 0.86 * r), fill=fill)
        case "triangle":
            draw.polygon([(x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)], fill=fill)
        case _:
            arm = 0.34 * r
            draw.rectangle((x - r, y - arm, x + r, y + arm), fill=fill)
            draw.rectangle((x - arm, y - r, x + arm, y + r), fill=fill)


def draw_scene(kind: str, things: tuple[Thing, ...], rng: np.random.Generator) -> Scene:
    """Draw the things, antialiased, on a dark or a light background."""
    canvas = Image.new("RGB", (SIDE * _OVERSAMPLE, SIDE * _OVERSAMPLE), _background(rng))
    draw = ImageDraw.Draw(canvas)
    for thing in things:
        _draw_thing(draw, thing, _jittered(thing.color, rng))
    return Scene(kind, np.asarray(canvas.reduce(_OVERSAMPLE)), things)


def _place(
    n: int, rng: np.random.Generator, low: float, high: float
) -> list[tuple[float, float, float]]:
    """`n` circles (x, y, r) that do not overlap; shrinks when crowded."""
    for attempt in range(1000):
        shrink = 0.97 ** (attempt // 5)
        spots: list[tuple[float, float, float]] = []
        for _ in range(n):
            r = max(4.5, rng.uniform(low, high) * shrink)
            x, y = rng.uniform(r + 1, SIDE - r - 1, 2)
            if all(math.hypot(x - a, y - b) > r + c + 2 for a, b, c in spots):
                spots.append((float(x), float(y), float(r)))
        if len(spots) == n:
            return spots
    raise AssertionError(f"no room for {n} objects")


def draw_categories(n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """`n` distinct categories: popular ones more often.

    Each brings its companion along, as cups bring tables.
    """
    weights = 1 / (np.arange(len(CATEGORIES)) + 6.0)
    chosen: list[int] = []
    while len(chosen) < n:
        if chosen and rng.random() < 0.35:
            index = companion(chosen[-1])
        else:
            index = int(rng.choice(len(CATEGORIES), p=weights / weights.sum()))
        if index not in chosen:
            chosen.append(index)
    return [CATEGORIES[index] for index in chosen]


def companion(index: int) -> int:
    """The category that most often appears beside category `index`."""
    return (index * 6 + 3) % len(CATEGORIES)


def _digit(rng: np.random.Generator, digits: range) -> Scene:
    images, labels = uci_digits()
    index = int(rng.choice(digits))
    side = int(rng.integers(34, 54))
    glyph = Image.fromarray((images[index] * 15.9).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    mask = Image.new("L", (SIDE, SIDE), 0)
    x, y = rng.integers(1, SIDE - side, 2)
    mask.paste(glyph, (int(x), int(y)))
    ink = str(rng.choice(list(COLORS)))
    canvas = Image.new("RGB", (SIDE, SIDE), _background(rng))
    canvas.paste(Image.new("RGB", (SIDE, SIDE), _jittered(ink, rng)), mask=mask)
    return Scene("digit", np.asarray(canvas), digit=int(labels[index]), ink=ink)


def _shape(rng: np.random.Generator) -> Scene:
    r = rng.uniform(9, 19)
    x, y = rng.uniform(r + 1, SIDE - r - 1, 2)
    thing = Thing(
        str(rng.choice(list(COLORS))), str(rng.choice(SHAPES)), float(x), float(y), float(r)
    )
    return draw_scene("shape", (thing,), rng)


def _count(rng: np.random.Generator) -> Scene:
    spots = _place(int(rng.integers(1, len(COUNTS) + 1)), rng, 6.5, 10.5)
    colors = list(COLORS)
    shapes = list(SHAPES)
    things = tuple(Thing(str(rng.choice(colors)), str(rng.choice(shapes)), *spot) for spot in spots)
    return draw_scene("count", things, rng)


def _pair(rng: np.random.Generator) -> Scene:
    """Two things of different shape, apart along one axis and nearly level along the other.

    Half of the pairs share a colour.
    """
    shapes = rng.choice(SHAPES, 2, replace=False)
    colors = rng.choice(list(COLORS), 2, replace=False)
    if rng.random() < 0.5:
        colors[1] = colors[0]
    along = sorted(rng.uniform(11, 53, 2))
    while along[1] - along[0] < 22:
        along = sorted(rng.uniform(11, 53, 2))
    across = np.clip(rng.uniform(14, 50) + rng.uniform(-5, 5, 2), 11, 53)
    spots = [(along[0], across[0]), (along[1], across[1])]
    if rng.random() < 0.5:
        spots = [(y, x) for x, y in spots]
    things = tuple(
        Thing(str(color), str(shape), float(x), float(y), float(rng.uniform(7, 10)))
        for color, shape, (x, y) in zip(colors, shapes, spots, strict=True)
    )
    return draw_scene("pair", things, rng)


def _presence(rng: np.random.Generator) -> Scene:
    spots = _place(int(rng.integers(2, 5)), rng, 8, 11)
    things = tuple(
        Thing(*category, *spot)
        for category, spot in zip(draw_categories(len(spots), rng), spots, strict=True)
    )
    return draw_scene("presence", things, rng)


KINDS = ("digit", "shape", "count", "pair", "presence")


def draw(kind: str, rng: np.random.Generator, digits: range = TRAINING_DIGITS) -> Scene:
    """A scene of one kind; a handwritten digit is one of the UCI `digits` (indices)."""
    if kind == "digit":
        return _digit(rng, digits)
    return {"shape": _shape, "count": _count, "pair": _pair, "presence": _presence}[kind](rng)


def arrangement(first: Thing, second: Thing) -> Question:
    """How two things lie to each other: along which axis they are further apart."""
    beside = abs(first.x - second.x) > abs(first.y - second.y)
    return Question(
        "pair",
        "are the two objects side by side or stacked?",
        ARRANGEMENTS[0 if beside else 1],
        ARRANGEMENTS,
    )


def same_color(first: Thing, second: Thing) -> Question:
    """Whether two things share their color."""
    answer = "yes" if first.color == second.color else "no"
    return Question("pair", "do the two objects have the same color?", answer, YES_NO)


def presence_question(color: str, shape: str, things: tuple[Thing, ...]) -> Question:
    """POPE's question about one category."""
    there = any((thing.color, thing.shape) == (color, shape) for thing in things)
    return Question(
        "presence", f"is there a {color} {shape} in the image?", "yes" if there else "no", YES_NO
    )


def main_question(scene: Scene, rng: np.random.Generator) -> Question:
    """The question that the scene's kind is about."""
    match scene.kind:
        case "digit":
            return Question("digit", "what digit is this?", DIGITS[scene.digit], DIGITS)
        case "shape":
            return Question("shape", "what shape is this?", scene.things[0].shape, SHAPES)
        case "count":
            return Question(
                "count", "how many objects are there?", COUNTS[len(scene.things) - 1], COUNTS
            )
        case "pair":
            return same_color(*scene.things)
        case _:
            return _balanced_presence(scene, rng)


def _balanced_presence(scene: Scene, rng: np.random.Generator) -> Question:
    present = [(thing.color, thing.shape) for thing in scene.things]
    absent = [category for category in CATEGORIES if category not in present]
    pool = present if rng.random() < 0.5 else absent
    return presence_question(*pool[int(rng.integers(len(pool)))], scene.things)


def other_question(scene: Scene, rng: np.random.Generator) -> Question:
    """A further question about any scene.

    So in training the question decides, never the look of the scene.
    """
    if scene.kind == "digit":
        return Question("color", "what color is the digit?", scene.ink, tuple(COLORS))
    if scene.kind == "pair" and rng.random() < 0.4:
        return arrangement(*scene.things)
    choices = ["count", "presence"]
    alone = [
        thing
        for thing in scene.things
        if sum(other.shape == thing.shape for other in scene.things) == 1
    ]
    if alone:
        choices.append("color")
    match rng.choice(choices):
        case "count":
            return Question(
                "count", "how many objects are there?", COUNTS[len(scene.things) - 1], COUNTS
            )
        case "color":
            thing = alone[int(rng.integers(len(alone)))]
            return Question(
                "color", f"what color is the {thing.shape}?", thing.color, tuple(COLORS)
            )
        case _:
            return _balanced_presence(scene, rng)
