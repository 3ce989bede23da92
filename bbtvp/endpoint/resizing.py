"""How vendors resize an image before their model sees it, and how many tokens it then costs.

A rule takes the size of an image and returns each step that the vendor applies to it. The numbers
of a rule come from `limits.toml`. Nothing here uses the network.
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
class ResizeStep:
    """One thing that is done to an image, and its size in pixels afterwards."""

    what: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.what} {self.width} x {self.height} px"


@final
@dataclass(frozen=True)
class ResizeResult:
    """What a rule does to an image.

    scale: pixels after per pixel before, along a side; 1 if the image is not resampled, None if
    that is not known. tokens: the expected number, None if not known. at_most: an upper bound that
    holds under every published reading of the rule. notes: warnings for the user.
    """

    steps: tuple[ResizeStep, ...]
    scale: float | None
    tokens: int | None
    at_most: int
    notes: tuple[str, ...] = ()


class StrictModel(BaseModel):
    """A record of a data file: strict types, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@final
class TilesRule(StrictModel):
    """Scale the image into a box, then cut it into tiles.

    The image is scaled to fit `fit` x `fit` pixels, and then until its short side is at most
    `short`, but never up: 768 x 512 pixels are billed as two tiles of 512. It costs `base` tokens,
    and `per_tile` tokens for each tile.
    """

    kind: Literal["tiles"]
    fit: Count
    short: Count
    tile: Count
    base: int = Field(ge=0)
    per_tile: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        scale = min(1.0, self.fit / max(width, height))
        scale = min(scale, self.short / min(width, height))
        w, h = _scaled(width, height, scale)
        tiles = self._tiles(w, h)
        steps = _scaling((width, height), (w, h))
        if tiles > 1:
            steps += (ResizeStep(f"cut into {tiles} tiles of at most {self.tile} px:", w, h),)
        notes: tuple[str, ...] = ()
        if tiles > 1:
            note = (
                f"each of the {tiles} tiles shows its own part of the frame; "
                f"an image of {self.tile} px stays in one tile"
            )
            notes = (note,)
        cost = self.base + self.per_tile * tiles
        return ResizeResult(steps, scale, cost, cost, notes)

    def _tiles(self, width: int, height: int) -> int:
        return math.ceil(width / self.tile) * math.ceil(height / self.tile)


@final
class PatchesRule(StrictModel):
    """Cover the image with patches, and scale it down until there are at most `budget` of them.

    side: the longest side of an image that is not scaled down, in pixels. Each patch costs `times`
    tokens.
    """

    kind: Literal["patches"]
    patch: Count
    budget: Count
    side: Count | None = None
    times: float = Field(default=1.0, gt=0)

    def apply(self, width: int, height: int) -> ResizeResult:
        w, h = self._fitted(*self._within(width, height))
        tokens = math.ceil(self._patches(w, h) * self.times)
        most = tokens
        if (w, h) != (width, height):
            before = self._patches(*self._within(width, height))
            most = math.ceil(min(before, self.budget) * self.times)
        return ResizeResult(_scaling((width, height), (w, h)), w / width, tokens, max(most, tokens))

    def _within(self, width: int, height: int) -> tuple[int, int]:
        if self.side is None or max(width, height) <= self.side:
            return width, height
        return _scaled(width, height, self.side / max(width, height))

    def _fitted(self, width: int, height: int) -> tuple[int, int]:
        """Scale to the area of the budget, then until one side is a whole number of patches."""
        if self._patches(width, height) <= self.budget:
            return width, height
        scale = math.sqrt(self.budget * self.patch**2 / (width * height))
        across = width * scale / self.patch
        down = height * scale / self.patch
        scale *= min(max(1, math.floor(across)) / across, max(1, math.floor(down)) / down)
        return _scaled(width, height, scale)

    def _patches(self, width: int, height: int) -> int:
        return math.ceil(width / self.patch) * math.ceil(height / self.patch)


@final
class PadRule(StrictModel):
    """Scale down to a long side and a budget of patches, then pad to whole patches.

    The long side is at most `edge` pixels. Padding is added at the bottom and on the right.
    """

    kind: Literal["pad"]
    patch: Count
    edge: Count
    budget: Count
    degrades_below: int = Field(default=0, ge=0)
    pixels_per_token: Count | None = None
    """Of an older rule; where it is given, the bound takes the dearer of the two rules."""

    def apply(self, width: int, height: int) -> ResizeResult:
        w, h = _largest(
            width,
            height,
            lambda w, h: max(w, h) <= self.edge and self._patches(w, h) <= self.budget,
        )
        steps = _scaling((width, height), (w, h))
        padded = (self.patch * math.ceil(w / self.patch), self.patch * math.ceil(h / self.patch))
        if padded != (w, h):
            steps += (ResizeStep("padded at the bottom and right to", *padded),)
        small = min(width, height) < self.degrades_below
        notes = (f"images under {self.degrades_below} px may be read worse",) if small else ()
        tokens = self._patches(w, h)
        older = padded[0] * padded[1] / self.pixels_per_token if self.pixels_per_token else 0
        most = max(tokens, math.ceil(older))
        return ResizeResult(steps, w / width, tokens, most, notes)

    def _patches(self, width: int, height: int) -> int:
        return math.ceil(width / self.patch) * math.ceil(height / self.patch)


@final
class SquareRule(StrictModel):
    """Scale up or down to fit a square of `side` pixels, and pad it. The token count is fixed."""

    kind: Literal["square"]
    side: Count
    tokens: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        scale = self.side / max(width, height)
        w, h = _scaled(width, height, scale)
        steps = _scaling((width, height), (w, h))
        if (w, h) != (self.side, self.side):
            steps += (ResizeStep("padded to", self.side, self.side),)
        return ResizeResult(steps, scale, self.tokens, self.tokens)


@final
class CropsRule(StrictModel):
    """Keep an image whole up to a size, and cut a larger one into crops.

    An image is whole while no side exceeds `whole` pixels. Each crop is resized to `tile` x `tile`
    pixels.
    """

    kind: Literal["crops"]
    whole: Count
    tile: Count
    tokens: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        if max(width, height) <= self.whole:
            return ResizeResult((), 1.0, self.tokens, self.tokens)
        # Two rules are documented: crops of `tile` pixels, or crops of two thirds of the short
        # side, which cut a square into four.
        unit = max(1, int(min(width, height) / 1.5))
        plain = math.ceil(width / self.tile) * math.ceil(height / self.tile)
        most = max(plain, math.ceil(width / unit) * math.ceil(height / unit))
        note = (
            f"cut into {plain} to {most} crops of {self.tile} px by an undocumented rule; "
            f"an image of {self.whole} px stays whole"
        )
        return ResizeResult((), None, plain * self.tokens, most * self.tokens, (note,))


@final
class LeastRule(StrictModel):
    """Scale up until the short side is `side` pixels, never down.

    One token is charged for every `pixels_per_token` pixels.
    """

    kind: Literal["least"]
    side: Count
    pixels_per_token: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        scale = max(1.0, self.side / min(width, height))
        w, h = _scaled(width, height, scale)
        tokens = math.ceil(w * h / self.pixels_per_token)
        # The vendor's own examples exceed this mean by up to a quarter.
        return ResizeResult(
            _scaling((width, height), (w, h)), scale, tokens, math.ceil(1.25 * tokens)
        )


@final
class BudgetRule(StrictModel):
    """A fixed number of tokens, whatever the size. The vendor does not say how it resizes."""

    kind: Literal["budget"]
    tokens: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        note = "the vendor does not document how the image is resized to that many tokens"
        return ResizeResult((), None, self.tokens, self.tokens, (note,))


@final
class ProcessorRule(StrictModel):
    """A local model, whose own processor resizes the image. No rule says how: it is measured."""

    kind: Literal["processor"]
    tokens: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        return ResizeResult((), None, None, self.tokens)


@final
class UnknownRule(StrictModel):
    """Nothing is documented.

    The bound assumes `tokens`, or one token per 14 x 14 pixels if that is more.
    """

    kind: Literal["unknown"]
    tokens: Count

    def apply(self, width: int, height: int) -> ResizeResult:
        most = max(self.tokens, math.ceil(width / 14) * math.ceil(height / 14))
        note = "the vendor does not document what is done to the image; a probe shows if it arrives"
        return ResizeResult((), None, None, most, (note,))


@final
class LikeRule(StrictModel):
    """The rule that another service applies to a model of the same name."""

    kind: Literal["like"]
    service: str


ResizeRule: TypeAlias = (
    TilesRule
    | PatchesRule
    | PadRule
    | SquareRule
    | CropsRule
    | LeastRule
    | BudgetRule
    | ProcessorRule
    | UnknownRule
)


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _scaling(before: tuple[int, int], after: tuple[int, int]) -> tuple[ResizeStep, ...]:
    if before == after:
        return ()
    return (ResizeStep("scaled down to" if after < before else "scaled up to", *after),)


def _largest(width: int, height: int, fits: Callable[[int, int], bool]) -> tuple[int, int]:
    """Return the largest size of this shape that fits; `fits` must hold for small sizes."""
    if fits(width, height):
        return width, height
    low = 0.0
    high = 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(*_scaled(width, height, middle)) else (low, middle)
    return _scaled(width, height, low)
