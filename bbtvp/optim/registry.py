"""Optimisers by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.optim.base import Optimiser, Start
from bbtvp.optim.cma_es import CmaEs
from bbtvp.optim.ng import Nevergrad
from bbtvp.optim.random_search import RandomSearch
from bbtvp.optim.spsa_gc import SpsaGc

NEVERGRAD = "ng:"


def _full(start: Start) -> Optimiser:
    return CmaEs(start)


def _diagonal(start: Start) -> Optimiser:
    return CmaEs(start, diagonal=True)


METHODS: Mapping[str, Callable[..., Optimiser]] = MappingProxyType(
    {"cma": _full, "cma-diagonal": _diagonal, "spsa-gc": SpsaGc, "random": RandomSearch}
)
"""Our own names; `ng:<Name>` adds every optimiser of nevergrad's registry."""


def optimiser(
    name: str,
    dim: int,
    seed: int,
    *,
    sigma: float = 1.0,
    popsize: int | None = None,
    budget: int | None = None,
    x0: Vector | None = None,
    **options: Any,
) -> Optimiser:
    """A new search by name: `cma`, `cma-diagonal`, `spsa-gc`, `random` or `ng:<Name>`.

    The named settings are those of `Start`; `options` are the method's own (`a`, `c`, … for `spsa-gc`).
    """
    start = Start(dim, seed, sigma=sigma, popsize=popsize, budget=budget, x0=x0)
    if name.startswith(NEVERGRAD):
        _check_options(name, options, ())
        return Nevergrad(start, name.removeprefix(NEVERGRAD))
    if name not in METHODS:
        raise unknown("optimiser", name, (*METHODS, f"{NEVERGRAD}NGOpt", f"{NEVERGRAD}TBPSA"))
    method = METHODS[name]
    _check_options(name, options, tuple(inspect.signature(method).parameters)[1:])
    return method(start, **options)


def _check_options(name: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for option in given:
        if not known:
            raise UsageError(f"{name} has no options of its own: remove {option!r}")
        if option not in known:
            raise unknown(f"option of {name}", option, known)
