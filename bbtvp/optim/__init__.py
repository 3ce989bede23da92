"""Floor 1: derivative-free minimisation by ask and tell over vectors.

It knows nothing of images, models or prompts.

    search = optimiser("cma", dim=72, seed=0, sigma=1.0)
    while money_is_left:
        z = search.ask()                    # (n, 72), n at most search.popsize
        search.tell(z, losses_of(z))        # (n,), finite
    best = search.recommend()               # (72,)

| name | what it is |
|---|---|
| `cma`, `cma-diagonal` | CMA-ES, full up to some hundred variables, or separable for thousands |
| `cma-restarts`, `cma-noise` | growing populations; learning rates that follow the noise |
| `catcma` | continuous and categorical variables together (`choices`) |
| `spsa`, `spsa-gc`, `nes`, `rgf` | estimates of the gradient: ZIP, BlackVIP, NES, BAR |
| `bandits-td` | an estimate that is kept from step to step |
| `guided-es`, `p-rgf` | estimates that lean on gradients of a surrogate (`guide`) |
| `random` | the baseline |
| `ng:<Name>` | any optimiser of nevergrad |
| `<name>@<rank>` | any of them in a random projection; `subspace=` takes another one |

Each optimiser is a deterministic function of (method, options, seed, told losses): resuming is
`replay`.
"""

from __future__ import annotations

from bbtvp.optim.bandits import BanditsTd as BanditsTd
from bbtvp.optim.base import JSON as JSON
from bbtvp.optim.base import Choices as Choices
from bbtvp.optim.base import Guide as Guide
from bbtvp.optim.base import Optimiser as Optimiser
from bbtvp.optim.base import Start as Start
from bbtvp.optim.catcma import CatCma as CatCma
from bbtvp.optim.cma_es import CmaEs as CmaEs
from bbtvp.optim.cma_noise import CmaNoise as CmaNoise
from bbtvp.optim.cma_restarts import CmaRestarts as CmaRestarts
from bbtvp.optim.guided_es import GuidedEs as GuidedEs
from bbtvp.optim.nes import Nes as Nes
from bbtvp.optim.ng import Nevergrad as Nevergrad
from bbtvp.optim.p_rgf import PRgf as PRgf
from bbtvp.optim.random_search import RandomSearch as RandomSearch
from bbtvp.optim.registry import METHODS as METHODS
from bbtvp.optim.registry import OPTIMISERS as OPTIMISERS
from bbtvp.optim.registry import Factory as Factory
from bbtvp.optim.registry import factory as factory
from bbtvp.optim.registry import method_name as method_name
from bbtvp.optim.registry import optimiser as optimiser
from bbtvp.optim.replay import replay as replay
from bbtvp.optim.rgf import Rgf as Rgf
from bbtvp.optim.spsa import Spsa as Spsa
from bbtvp.optim.spsa_gc import SpsaGc as SpsaGc
from bbtvp.optim.subspace import Projected as Projected
from bbtvp.optim.subspace import Subspace as Subspace
