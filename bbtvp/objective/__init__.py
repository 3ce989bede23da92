"""Floor 4: what the search minimises.

    J(z) = mean over images of [ task loss + λ_fca · FCA − λ_tse · TSE ]

Only the task loss costs image queries. What the search may see is an `Evaluation`, never a bare number.
"""

from __future__ import annotations

from bbtvp.objective.evaluation import MISSING as MISSING
from bbtvp.objective.evaluation import Evaluation as Evaluation
from bbtvp.objective.evaluation import Scale as Scale
from bbtvp.objective.evaluation import additive as additive
from bbtvp.objective.objective import Objective as Objective
from bbtvp.objective.objective import Table as Table
from bbtvp.objective.objective import check_terms as check_terms
from bbtvp.objective.readers import LogProbReader as LogProbReader
from bbtvp.objective.readers import Reader as Reader
from bbtvp.objective.readers import Reading as Reading
from bbtvp.objective.readers import TextReader as TextReader
from bbtvp.objective.readers import choose_reader as choose_reader
from bbtvp.objective.readers import read_all as read_all
