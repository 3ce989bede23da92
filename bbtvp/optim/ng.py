"""Any optimiser of nevergrad, by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.errors import BbtvpError, UsageError, unknown
from bbtvp.core.rng import derived_seed
from bbtvp.optim.base import JSON, Optimiser, Start
from bbtvp.optim.global_random import GlobalRandom


@final
class Nevergrad(Optimiser):
    """`ng:<Name>`: an optimiser of nevergrad's registry (Rapin and Teytaud, 2018).

    It searches an unbounded array.

    A batch is `popsize` asks in a row, then as many tells; methods that cannot work in parallel get
    batches of 1. Recommends what nevergrad's own `provide_recommendation` returns. Most methods
    plan for their budget: one is needed.

    Some methods draw from numpy's global generator, or seed themselves from it: they run inside
    `GlobalRandom`. Refused: methods that are, or contain, another library in a thread (Powell,
    Cobyla, SQP, CmaFmin2, NLOPT_*, DS*, …). A thread that waits to be told keeps the interpreter
    from exiting, and some draw random numbers outside the fence. Refused too: Voxelize meta-models,
    which learn until a clock runs out. Other meta-models cap one fit at 20 s of clock time; a fit
    that reaches the cap does not repeat.
    """

    def __init__(self, start: Start, name: str) -> None:
        library = _library()
        if name not in library.optimizers.registry:
            raise unknown("nevergrad optimiser", name, library.optimizers.registry)
        kind = library.optimizers.registry[name]
        super().__init__(
            f"ng:{name}",
            start,
            1 if kind.no_parallelization and not start.popsize else start.batch(),
        )
        if kind.no_parallelization and self.popsize > 1:
            raise UsageError(
                f"{self.method} works on one candidate at a time: leave popsize out or set it to 1"
            )
        if start.budget is None:
            raise UsageError(
                f"{self.method} plans for its budget: pass budget=<number of candidates>"
            )
        self._version = f"nevergrad {library.__version__}"
        self._fence = GlobalRandom(derived_seed(self.seed, "optim", self.method, "global"))
        self._asked: list[Any] = []
        array = library.p.Array(init=start.origin()).set_mutation(sigma=start.sigma)
        array.random_state = np.random.RandomState(derived_seed(self.seed, "optim", self.method))
        with self._inside():
            self._search = kind(array, budget=start.budget, num_workers=self.popsize)
            parts = list(_parts(self._search))
        if not all(_repeatable(part) for part in parts):
            raise UsageError(
                f"{self.method} runs a thread or a clock that cannot be controlled from here: "
                "try ng:TBPSA or cma"
            )

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """nevergrad runs here: with a global generator of its own, and failing in one line."""
        try:
            with self._fence.lent():
                yield
        except ImportError as error:
            raise UsageError(f"{self.method} needs a package that is missing: {error}") from error
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).replace("\n", " ")
            raise BbtvpError(
                f"{self.method} failed inside {self._version} ({reason}): try ng:TBPSA or cma"
            ) from error

    def _ask(self) -> Matrix:
        with self._inside():
            self._asked = [self._search.ask() for _ in range(self.popsize)]
        return np.array([candidate.value for candidate in self._asked])

    def _tell(self, z: Matrix, losses: Vector) -> None:
        with self._inside():
            for candidate, loss in zip(self._asked, losses.tolist(), strict=True):
                self._search.tell(candidate, loss)

    def _recommend(self) -> Vector:
        with self._inside():
            point: Vector = self._search.provide_recommendation().value
        return point

    def _options(self) -> dict[str, JSON]:
        return {"library": self._version}


def _parts(search: Any) -> Iterator[Any]:
    """A nevergrad optimiser and those it is made of.

    NGOpt and its kin build the one they choose when it is first read.
    """
    from nevergrad.optimization.base import Optimizer  # type: ignore[import-untyped]

    yield search
    chosen = getattr(search, "optim", None)
    for value in (*vars(search).values(), chosen):
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, Optimizer):
                yield from _parts(item)


def _repeatable(search: Any) -> bool:
    return not search.recast and getattr(search, "algorithm", "") != "voxelize"


def _library() -> Any:
    """nevergrad, imported when first needed: it brings pandas and scikit-learn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import nevergrad  # type: ignore[import-untyped]
        from nevergrad.optimization import metamodel  # type: ignore[import-untyped]

    # nevergrad 1.0.12 calls float() on an array of one element. numpy 2.4 made that an error, which
    # would end NGOpt and every meta-model in mid-search. The name is looked up in that module
    # first; this is what float() did before.
    metamodel.float = _number
    return nevergrad


def _number(value: Any) -> float:
    return float(np.asarray(value).item())
