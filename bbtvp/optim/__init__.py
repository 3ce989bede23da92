"""Floor 1: derivative-free minimisation by ask and tell over vectors. Knows nothing of images, models or prompts.

    search = optimiser("cma", dim=72, seed=0, sigma=1.0)
    while money_is_left:
        z = search.ask()                    # (popsize, 72)
        search.tell(z, losses_of(z))        # (popsize,), finite
    best = search.recommend()               # (72,)

Each optimiser is a deterministic function of (method, options, seed, told losses): resuming is `replay`.
"""

from __future__ import annotations

from bbtvp.optim.base import JSON as JSON
from bbtvp.optim.base import Optimiser as Optimiser
from bbtvp.optim.base import Start as Start
from bbtvp.optim.cma_es import CmaEs as CmaEs
from bbtvp.optim.ng import Nevergrad as Nevergrad
from bbtvp.optim.random_search import RandomSearch as RandomSearch
from bbtvp.optim.registry import METHODS as METHODS
from bbtvp.optim.registry import optimiser as optimiser
from bbtvp.optim.replay import replay as replay
from bbtvp.optim.spsa_gc import SpsaGc as SpsaGc
