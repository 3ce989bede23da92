"""What the methods share that step a point by a gradient which they measure from losses.

Published step sizes belong to weights of networks or to pixels, and to thousands of steps. Here z
has scale `sigma` and losses are of order 1, so the defaults were measured: a direction moves each
variable by about 0.3 sigma, which survives rounding to 8 bits; and RATE is the largest of 0.03,
0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3 with which no search ended above where it began.
Searched were a sphere, a quadratic of condition 100 and a logistic loss, each of order 1 at the
start, in 5, 50, 300 and 1,000 variables, with 600 candidates, noise of 0 and 0.05, two seeds; a
guide had cosine 0.3. Steps grow with the loss: keep that of order 1, and lower the rate if a search
diverges.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim.base import JSON, Optimiser, Start


def check(method: str, least: float = 0.0, *, above: bool = False, **options: object) -> None:
    """UsageError unless every option is a finite number that is at least `least` (or above it)."""
    for name, value in options.items():
        number = float(value) if isinstance(value, int | float | np.number) else math.nan
        if not math.isfinite(number) or number < least or (above and number == least):
            bound = "above" if above else "at least"
            raise UsageError(
                f"{method} option {name} must be finite and {bound} {least:g}, got {value!r}"
            )


def check_count(method: str, least: int, **options: object) -> None:
    """UsageError unless every option is an integer that is at least `least`."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(
                f"{method} option {name} must be an integer of at least {least}, got {value!r}"
            )


def check_word(method: str, known: Sequence[object], **options: object) -> None:
    """UsageError unless every option is one of the `known` values."""
    for name, value in options.items():
        if value not in known:
            raise UsageError(
                f"{method} option {name} must be {' or '.join(map(str, known))}, got {value!r}"
            )


def units(rows: Matrix) -> Matrix:
    """The rows at length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))


@final
@dataclass(frozen=True)
class Gains:
    """Step size and width of step i = 1, 2, …: a_i = a / (i + o)^alpha, c_i = c / i^gamma.

    Spall, 1998.
    """

    method: str
    a: float
    c: float
    o: float
    alpha: float
    gamma: float

    def __post_init__(self) -> None:
        check(self.method, above=True, a=self.a, c=self.c)
        check(self.method, o=self.o, alpha=self.alpha, gamma=self.gamma)

    def rate(self, step: int) -> float:
        return float(self.a / (step + self.o) ** self.alpha)

    def width(self, step: int) -> float:
        return float(self.c / step**self.gamma)

    def resolved(self) -> dict[str, JSON]:
        return {"o": self.o, "c": self.c, "a": self.a, "alpha": self.alpha, "gamma": self.gamma}


@final
@dataclass(frozen=True)
class StepLengths:
    """Length of step i = 1, 2, … of a method that steps along a unit vector: a / (i + o)^alpha."""

    a: float
    o: float
    alpha: float

    def rate(self, step: int) -> float:
        return float(self.a / (step + self.o) ** self.alpha)

    def resolved(self) -> dict[str, JSON]:
        return {"a": self.a, "o": self.o, "alpha": self.alpha}


class Descent(Optimiser):
    """Holds the iterate θ and the number of the step that is under way, from 1. Recommends θ."""

    estimator: ClassVar[bool] = True

    def __init__(self, method: str, start: Start, popsize: int) -> None:
        super().__init__(method, start, popsize)
        self._theta = start.origin()
        self._step = 1

    @final
    def _move(self, change: Vector) -> None:
        """Take the step: θ ← θ − change."""
        self._theta = self._theta - change
        self._step += 1

    @final
    def _recommend(self) -> Vector:
        return self._theta


class Mirrored(Descent):
    """Asks pairs θ + w Δ_1, θ − w Δ_1, θ + w Δ_2, …, with w the width of the step.

    `popsize` counts the rows of all pairs, so it is even.

    Subclasses draw the directions Δ_k and turn the differences L(θ + w Δ_k) − L(θ − w Δ_k) into a
    change of θ.
    """

    def __init__(self, method: str, start: Start, default: int) -> None:
        super().__init__(method, start, start.popsize or default)
        if self.popsize % 2:
            raise UsageError(
                f"{method} evaluates pairs: popsize must be even ({default} by default), "
                f"got {self.popsize}"
            )
        self._delta = np.empty((0, self.dim))

    @final
    def _ask(self) -> Matrix:
        self._delta = self._directions(self.popsize // 2)
        offset = self._width() * self._delta
        return np.stack((self._theta + offset, self._theta - offset), axis=1).reshape(
            self.popsize, self.dim
        )

    @final
    def _tell(self, z: Matrix, losses: Vector) -> None:
        self._move(self._change(losses[0::2] - losses[1::2]))

    @abstractmethod
    def _directions(self, pairs: int) -> Matrix:
        """(pairs, dim): Δ_k of this step."""

    @abstractmethod
    def _width(self) -> float:
        """The factor w of this step."""

    @abstractmethod
    def _change(self, difference: Vector) -> Vector:
        """(dim,) what is taken from θ.

        difference: (pairs,) differences of the losses along `self._delta`.
        """
