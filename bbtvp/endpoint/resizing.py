"""The ways in which vendors bring an image to what their model takes, and the tokens that it then
costs. No network.

A rule is given the size of an image and tells what is made of it, step by step. Its numbers come
from `limits.toml`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field

Count: TypeAlias = Annotated[int, Field(ge=1)]


@final
@dataclass(frozen=True)
class Step:
    """One thing that is done to an image, and its size in pixels after it."""

    what: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.what} {self.width} x {self.height} px"


@final
@dataclass(frozen=True)
class Seen:
    """What a rule makes of an image.

    scale: pixels after per pixel before, of a side; 1 if not resampled, None if not known. tokens:
    as expected, None if not known. at_most: tokens for a bound, whichever reading of the rule
    holds.
    """

    steps: tuple[Step, ...]
    scale: float | None
    tokens: int | None
    at_most: int
    notes: tuple[str, ...] = ()


class Strict(BaseModel):
    """What is read from a data file: types as they stand there, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@final
class Tiles(Strict):
    """Fitted into `fit` squared, the short side brought down to `short`, cut into tiles of base +
    per_tile tokens.
    """

    kind: Literal["tiles"]
    fit: Count
    short: Count
    tile: Count
    base: int = Field(ge=0)
    per_tile: Count

    def see(self, width: int, height: int) -> Seen:
        scale = min(1.0, self.fit / max(width, height))
        scale = min(scale, self.short / min(width, height))
        w, h = _scaled(width, height, scale)
        tiles = self._tiles(w, h)
        steps = _scaling((width, height), (w, h))
        if tiles > 1:
            steps += (Step(f"cut into {tiles} tiles of at most {self.tile} px:", w, h),)
        # Whether a small image is scaled up to the short side is told in neither way: the bound
        # takes the dearer.
        up = max(1.0, min(self.short / min(width, height), self.fit / max(width, height)))
        most = max(tiles, self._tiles(*_scaled(width, height, up))) if up > 1 else tiles
        cut = (
            f"each of the {tiles} tiles sees its own part of the frame; {self.tile} px stay in one tile",
        ) * (tiles > 1)
        return Seen(steps, scale, self._cost(tiles), self._cost(most), cut)

    def _tiles(self, width: int, height: int) -> int:
        return math.ceil(width / self.tile) * math.ceil(height / self.tile)

    def _cost(self, tiles: int) -> int:
        return self.base + self.per_tile * tiles


@final
class Patches(Strict):
    """Covered by patches; scaled down until they are at most `budget`; `times` tokens for each."""

    kind: Literal["patches"]
    patch: Count
    budget: Count
    times: float = Field(default=1.0, gt=0)

    def see(self, width: int, height: int) -> Seen:
        w, h = (
            (width, height)
            if self._patches(width, height) <= self.budget
            else self._shrunk(width, height)
        )
        tokens = math.ceil(self._patches(w, h) * self.times)
        most = tokens if (w, h) == (width, height) else math.ceil(self.budget * self.times)
        return Seen(_scaling((width, height), (w, h)), w / width, tokens, most)

    def _shrunk(self, width: int, height: int) -> tuple[int, int]:
        """To the area of the budget, then on until one side is a whole number of patches."""
        scale = math.sqrt(self.budget * self.patch**2 / (width * height))
        across = width * scale / self.patch
        down = height * scale / self.patch
        scale *= min(max(1, math.floor(across)) / across, max(1, math.floor(down)) / down)
        return _scaled(width, height, scale)

    def _patches(self, width: int, height: int) -> int:
        return math.ceil(width / self.patch) * math.ceil(height / self.patch)


@final
class Pad(Strict):
    """Scaled down to a long `edge` and a `budget` of patches, then padded at the bottom and right
    to whole patches.
    """

    kind: Literal["pad"]
    patch: Count
    edge: Count
    budget: Count
    degrades_below: int = Field(default=0, ge=0)
    pixels_per_token: Count
    """By an older rule that is still told; the bound takes the dearer of the two."""

    def see(self, width: int, height: int) -> Seen:
        w, h = _largest(
            width,
            height,
            lambda w, h: max(w, h) <= self.edge and self._patches(w, h) <= self.budget,
        )
        steps = _scaling((width, height), (w, h))
        padded = (self.patch * math.ceil(w / self.patch), self.patch * math.ceil(h / self.patch))
        if padded != (w, h):
            steps += (Step("padded at the bottom and right to", *padded),)
        small = min(width, height) < self.degrades_below
        notes = (f"images under {self.degrades_below} px may be read worse",) if small else ()
        tokens = self._patches(w, h)
        most = max(tokens, math.ceil(padded[0] * padded[1] / self.pixels_per_token))
        return Seen(steps, w / width, tokens, most, notes)

    def _patches(self, width: int, height: int) -> int:
        return math.ceil(width / self.patch) * math.ceil(height / self.patch)


@final
class Square(Strict):
    """Scaled, up or down, and padded to a square of `side`; a fixed number of tokens."""

    kind: Literal["square"]
    side: Count
    tokens: Count

    def see(self, width: int, height: int) -> Seen:
        scale = self.side / max(width, height)
        w, h = _scaled(width, height, scale)
        steps = _scaling((width, height), (w, h))
        if (w, h) != (self.side, self.side):
            steps += (Step("padded to", self.side, self.side),)
        return Seen(steps, scale, self.tokens, self.tokens)


@final
class Crops(Strict):
    """Whole while no side is over `whole`; otherwise cut into crops that are each brought to `tile`
    squared.
    """

    kind: Literal["crops"]
    whole: Count
    tile: Count
    tokens: Count

    def see(self, width: int, height: int) -> Seen:
        if max(width, height) <= self.whole:
            return Seen((), 1.0, self.tokens, self.tokens)
        # Two rules are told: crops of `tile`, or of two thirds of the short side, which makes four
        # of a square.
        unit = max(1, int(min(width, height) / 1.5))
        plain = math.ceil(width / self.tile) * math.ceil(height / self.tile)
        most = max(plain, math.ceil(width / unit) * math.ceil(height / unit))
        note = f"cut into {plain} to {most} crops of {self.tile} px, how is not told; {self.whole} px stay whole"
        return Seen((), None, plain * self.tokens, most * self.tokens, (note,))


@final
class Least(Strict):
    """Scaled up until the short side is `side`, never down; a token for so many pixels."""

    kind: Literal["least"]
    side: Count
    pixels_per_token: Count

    def see(self, width: int, height: int) -> Seen:
        scale = max(1.0, self.side / min(width, height))
        w, h = _scaled(width, height, scale)
        tokens = math.ceil(w * h / self.pixels_per_token)
        # The vendor's own examples lie up to a quarter above their mean.
        return Seen(_scaling((width, height), (w, h)), scale, tokens, math.ceil(1.25 * tokens))


@final
class Budget(Strict):
    """So many tokens at most, whatever the size; how the pixels get there is not told."""

    kind: Literal["budget"]
    tokens: Count

    def see(self, width: int, height: int) -> Seen:
        return Seen(
            (),
            None,
            self.tokens,
            self.tokens,
            ("how the image is brought to that many tokens is not told",),
        )


@final
class Processor(Strict):
    """A local model: what its own processor does; `side` is the square that it makes, where that is
    known.
    """

    kind: Literal["processor"]
    tokens: Count
    side: Count | None = None

    def see(self, width: int, height: int) -> Seen:
        if self.side is None:
            note = "the model's own processor resizes the image: read preprocessor_config.json in its folder"
            return Seen((), None, None, self.tokens, (note,))
        scale = self.side / min(width, height)
        return Seen(_scaling((width, height), (self.side, self.side)), scale, None, self.tokens)


@final
class Unknown(Strict):
    """Nothing is told; `tokens` or one per 14 x 14 px, the larger, is assumed for bounds."""

    kind: Literal["unknown"]
    tokens: Count

    def see(self, width: int, height: int) -> Seen:
        most = max(self.tokens, math.ceil(width / 14) * math.ceil(height / 14))
        return Seen(
            (),
            None,
            None,
            most,
            ("what is done to the image is not known; a probe tells whether it arrives",),
        )


@final
class Like(Strict):
    """As another service does it for a model of this name."""

    kind: Literal["like"]
    service: str


Rule: TypeAlias = Tiles | Patches | Pad | Square | Crops | Least | Budget | Processor | Unknown


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaling(before: tuple[int, int], after: tuple[int, int]) -> tuple[Step, ...]:
    if before == after:
        return ()
    return (Step("scaled down to" if after < before else "scaled up to", *after),)


def _largest(width: int, height: int, fits: Callable[[int, int], bool]) -> tuple[int, int]:
    """The largest size of this shape that fits; `fits` holds for small ones."""
    if fits(width, height):
        return width, height
    low = 0.0
    high = 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(*_scaled(width, height, middle)) else (low, middle)
    return _scaled(width, height, low)
