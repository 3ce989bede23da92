"""Floor 5: the search: what is minimised, how answers are read, the plan, the loop, and `optimize`.

>>> run = optimize("zoo/digits-low-contrast", "zoo/llava", queries=1000, out="runs/digits")
>>> run.save("digits.vprompt")

What is minimised over the search vector z:

    J(z) = mean over images of [ task loss + λ_fca · FCA − λ_tse · TSE ]

Only the task loss costs image queries. What the search may see of a candidate is an `Evaluation`.
"""

from __future__ import annotations

from bbtvp.runs.journal import Journal as Journal
from bbtvp.search.ask import Answers as Answers
from bbtvp.search.ask import ask as ask
from bbtvp.search.config import SearchConfig as SearchConfig
from bbtvp.search.evaluation import MISSING as MISSING
from bbtvp.search.evaluation import Evaluation as Evaluation
from bbtvp.search.evaluation import Scale as Scale
from bbtvp.search.evaluation import additive as additive
from bbtvp.search.events import SearchEvent as SearchEvent
from bbtvp.search.events import Watch as Watch
from bbtvp.search.objective import Objective as Objective
from bbtvp.search.objective import Table as Table
from bbtvp.search.objective import check_terms as check_terms
from bbtvp.search.optimize import Run as Run
from bbtvp.search.optimize import optimize as optimize
from bbtvp.search.plan import Plan as Plan
from bbtvp.search.readers import LogProbReader as LogProbReader
from bbtvp.search.readers import Reader as Reader
from bbtvp.search.readers import Reading as Reading
from bbtvp.search.readers import TextReader as TextReader
from bbtvp.search.readers import choose_reader as choose_reader
