"""Names of search methods: what `auto` stands for, and what a name asks for.

NAME        an optimiser of `bbtvp.optim`
NAME@48     the same in a random projection to 48 variables
NAME@g24    the same along the 24 principal directions of the surrogate's gradients
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.optim import Factory, factory, optimiser

AUTO = "auto"
ALONG = "@g"
FEW = 32
"""Variables up to which `auto` takes gp."""
FULL = 500
"""Variables up to which `auto` takes cma; cma-diagonal beyond."""


def is_guided(method: str | Factory) -> bool:
    """Whether a method follows a surrogate's gradient. UsageError for one that is unknown."""
    if isinstance(method, str) and ALONG in method:
        return True
    name, _ = _parted(method)
    return name != AUTO and bool(getattr(factory(name), "guided", False))


def takes_whole_layers(method: str | Factory) -> bool:
    """Whether a method searches all variables of a layer: choices, and what changes nothing, too.

    One that follows a surrogate's gradient, one that is made for choices, and one that searches a
    subspace of a given rank. UsageError for a method that is unknown.
    """
    name, rank = _parted(method)
    if is_guided(method) or rank:
        return True
    return name != AUTO and bool(getattr(factory(name), "categorical", False))


def gradient_rank(method: str | Factory) -> tuple[str | Factory, int | None]:
    """The optimiser, and the number K of `NAME@gK`, None without one.

    UsageError if K is no number.
    """
    if not isinstance(method, str) or ALONG not in method:
        return method, None
    name, _, rank = method.partition(ALONG)
    if not rank.isdecimal():
        raise UsageError(
            f"{method!r}: after {ALONG} comes a number of gradients' directions, as in cma{ALONG}24"
        )
    return name, int(rank)


def method_for(method: str | Factory, dim: int) -> str | Factory:
    """The optimiser that a method stands for, given the number of variables."""
    if method != AUTO:
        return method
    if dim <= FEW:
        return "gp"
    return "cma" if dim <= FULL else "cma-diagonal"


def default_popsize(dim: int) -> int:
    """CMA-ES's λ = 4 + ⌊3 ln d⌋ (Hansen, arXiv 1604.00772, eq. 48)."""
    return 4 + int(3 * math.log(dim))


def popsize_for(method: str | Factory, dim: int) -> int:
    """Candidates per generation: what a step of an estimator needs, else CMA-ES's λ."""
    name, rank = _parted(method)
    if name != AUTO and getattr(factory(name), "estimator", False):
        return optimiser(name, 2, 0, guide=nowhere).popsize
    digits = rank.removeprefix("g")
    return default_popsize(int(digits) if digits.isdecimal() else dim)


def nowhere(z: Vector) -> Any:
    """A guide without a direction, for a method whose name alone is looked at."""
    return np.zeros((1, len(z)))


def _parted(method: str | Factory) -> tuple[str | Factory, str]:
    """The method, and what follows its @."""
    if not isinstance(method, str):
        return method, ""
    name, _, rank = method.partition("@")
    return name, rank
