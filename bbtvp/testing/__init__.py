"""Floor 3: what a third party runs to see whether its own part keeps the house's contracts.

    from bbtvp.testing import OptimiserContract

    class TestMine(OptimiserContract):
        def make(self, dim, seed, **settings):
            return MyOptimiser(Start(dim, seed, **settings))

`AdapterContract` does the same for a model behind an adapter of your own: `make(self)` gives it.
pytest then runs every check as a test of its own. Needs no pytest: `TestMine.check_all()` runs them
in plain code.
"""

from __future__ import annotations

from bbtvp.testing.adapter import AdapterContract as AdapterContract
from bbtvp.testing.optimiser import OptimiserContract as OptimiserContract
from bbtvp.testing.support import ContractBroken as ContractBroken
