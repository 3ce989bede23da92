"""Optimisers by name, or by a factory of your own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.plugins import Registry
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

Factory: TypeAlias = Callable[..., Optimiser]
"""Called with a `Start` and, by keyword, the method's own options; an `Optimiser` class will do."""


def _full(start: Start) -> Optimiser:
    return CmaEs(start)


def _diagonal(start: Start) -> Optimiser:
    return CmaEs(start, diagonal=True)


METHODS: Mapping[str, Factory] = MappingProxyType(
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
"""Our own methods by name. Plug-ins add to them."""

OPTIMISERS = Registry(
    "bbtvp.optimisers", "optimiser", expected="a function of a Start", builtin=METHODS
)
"""All methods; `ng:<Name>` adds nevergrad's, and `<name>@<rank>` searches a random projection."""


def optimiser(
    method: str | Factory,
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
    """A new search. method: a name of `OPTIMISERS`, `ng:<Name>`, or a factory of your own.

    `<name>@<rank>` searches a random projection of that many directions ("cma@48": BBT); `subspace`
    one of your own. The other named settings are those of `Start`; `options` are the method's own
    (`a`, `c`, … for `spsa-gc`). UsageError for a name, an option or a setting that cannot be.
    """
    start = Start(
        dim, seed, sigma=sigma, popsize=popsize, budget=budget, x0=x0, guide=guide, choices=choices
    )
    name, at, rank = (method, "", "") if callable(method) else method.partition("@")
    build = _builder(name, options)
    if at:
        if subspace is not None:
            raise UsageError(
                f"{method} makes a subspace of its own: pass {name!r} with subspace=, "
                "or no subspace"
            )
        if not rank.isdecimal():
            raise UsageError(
                f"{method!r}: after the @ comes a number of directions, as in {name}@48"
            )
        subspace = Subspace.random_projection(dim, int(rank), seed)
    return build(start) if subspace is None else Projected(start, subspace, build)


def factory(method: str | Factory) -> Factory:
    """What makes a method's optimisers; of "cma@48", those of "cma". UsageError if there is none.

    Its attributes `guided`, `estimator` and `categorical` are, where it has them, `Optimiser`'s.
    """
    if callable(method):
        return method
    name = method.partition("@")[0]
    if name.startswith(NEVERGRAD):
        return lambda start: Nevergrad(start, name.removeprefix(NEVERGRAD))
    if name not in METHODS and name not in OPTIMISERS.names():
        examples = (f"{NEVERGRAD}NGOpt", f"{NEVERGRAD}TBPSA")
        raise unknown(OPTIMISERS.kind, name, (*OPTIMISERS.names(), *examples))
    found: Factory = OPTIMISERS.load(name)
    return found


def method_name(method: str | Factory) -> str:
    """What a journal calls it: the name, or the place of a factory, `package.module:Factory`."""
    if isinstance(method, str):
        return method
    named = getattr(method, "__qualname__", type(method).__qualname__)
    return f"{method.__module__}:{named}"


def _builder(method: str | Factory, options: Mapping[str, Any]) -> Callable[[Start], Optimiser]:
    build = factory(method)
    name = method_name(method)
    _check_options(name, options, tuple(inspect.signature(build).parameters)[1:])

    def made(start: Start) -> Optimiser:
        search = build(start, **options)
        if not isinstance(search, Optimiser):
            raise UsageError(
                f"the optimiser {name} gave {type(search).__name__}, not a bbtvp.optim.Optimiser"
            )
        return search

    return made


def _check_options(name: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for option in given:
        if not known:
            raise UsageError(f"{name} has no options of its own: remove {option!r}")
        if option not in known:
            raise unknown(f"option of {name}", option, known)
