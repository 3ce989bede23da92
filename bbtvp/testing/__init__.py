"""Floor 3: tests for plug-ins. A third party runs them on an optimiser or a model of its own.

>>> from bbtvp.optim import Start
>>> from bbtvp.optim.random_search import RandomSearch
>>> from bbtvp.testing import OptimiserContract
>>> class TestMine(OptimiserContract):
...     def make(self, dim, seed, **settings):
...         return RandomSearch(Start(dim, seed, **settings))
>>> TestMine.check_all()

pytest runs every check of `TestMine` as a test; `check_all` runs them without pytest.
`AdapterContract` does the same for a model: its `make(self)` gives one that can be asked.
"""

from __future__ import annotations

from bbtvp.testing.adapter import AdapterContract as AdapterContract
from bbtvp.testing.optimiser import OptimiserContract as OptimiserContract
from bbtvp.testing.support import ContractBroken as ContractBroken
