"""Optimisers by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.optim.bandits import BanditsTd
from bbtvp.optim.base import Choices, Guide, Optimiser, Start
from bbtvp.optim.catcma import CatCma
from bbtvp.optim.cma_es import CmaEs
from bbtvp.optim.cma_noise import CmaNoise
from bbtvp.optim.cma_restarts import CmaRestarts
from bbtvp.optim.gp import GaussianProcess
from bbtvp.optim.guided_es import GuidedEs
from bbtvp.optim.nes import Nes
from bbtvp.optim.ng import Nevergrad
from bbtvp.optim.p_rgf import PRgf
from bbtvp.optim.random_search import RandomSearch
from bbtvp.optim.rgf import Rgf
from bbtvp.optim.spsa import Spsa
from bbtvp.optim.spsa_gc import SpsaGc
from bbtvp.optim.subspace import Projected, Subspace

NEVERGRAD = "ng:"


def _full(start: Start) -> Optimiser:
    return CmaEs(start)


def _diagonal(start: Start) -> Optimiser:
    return CmaEs(start, diagonal=True)


METHODS: Mapping[str, Callable[..., Optimiser]] = MappingProxyType(
    {
        "gp": GaussianProcess,
        "cma": _full,
        "cma-diagonal": _diagonal,
        "cma-restarts": CmaRestarts,
        "cma-noise": CmaNoise,
        "catcma": CatCma,
        "spsa": Spsa,
        "spsa-gc": SpsaGc,
        "rgf": Rgf,
        "nes": Nes,
        "bandits-td": BanditsTd,
        "guided-es": GuidedEs,
        "p-rgf": PRgf,
        "random": RandomSearch,
    }
)
"""Our own names; `ng:<Name>` adds every optimiser of nevergrad's registry, `<name>@<rank>` a random
projection.
"""


def optimiser(
    name: str,
    dim: int,
    seed: int,
    *,
    sigma: float = 1.0,
    popsize: int | None = None,
    budget: int | None = None,
    x0: Vector | None = None,
    guide: Guide | None = None,
    choices: Choices = (),
    subspace: Subspace | None = None,
    **options: Any,
) -> Optimiser:
    """A new search by name: one of `METHODS`, or `ng:<Name>`.

    `<name>@<rank>` searches a random projection of that many directions ("cma@48": BBT); `subspace`
    one of your own. The other named settings are those of `Start`; `options` are the method's own
    (`a`, `c`, … for `spsa-gc`).
    """
    start = Start(
        dim, seed, sigma=sigma, popsize=popsize, budget=budget, x0=x0, guide=guide, choices=choices
    )
    method, at, rank = name.partition("@")
    build = _builder(method, options)
    if at:
        if subspace is not None:
            raise UsageError(
                f"{name} makes a subspace of its own: pass {method!r} with subspace=, or no subspace"
            )
        if not rank.isdecimal():
            raise UsageError(
                f"{name!r}: after the @ comes a number of directions, as in {method}@48"
            )
        subspace = Subspace.random_projection(dim, int(rank), seed)
    return build(start) if subspace is None else Projected(start, subspace, build)


def _builder(name: str, options: Mapping[str, Any]) -> Callable[[Start], Optimiser]:
    if name.startswith(NEVERGRAD):
        _check_options(name, options, ())
        return lambda start: Nevergrad(start, name.removeprefix(NEVERGRAD))
    if name not in METHODS:
        raise unknown("optimiser", name, (*METHODS, f"{NEVERGRAD}NGOpt", f"{NEVERGRAD}TBPSA"))
    method = METHODS[name]
    _check_options(name, options, tuple(inspect.signature(method).parameters)[1:])
    return lambda start: method(start, **options)


def _check_options(name: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for option in given:
        if not known:
            raise UsageError(f"{name} has no options of its own: remove {option!r}")
        if option not in known:
            raise unknown(f"option of {name}", option, known)
