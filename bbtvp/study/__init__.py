"""Floor 5: the search as a run: plan, loop, journal, resume.

>>> run = optimize("zoo/digits-low-contrast", "zoo/llava", budget=1000, out="runs/digits")
>>> run.save("digits.vprompt")
"""

from bbtvp.runs.journal import Journal as Journal
from bbtvp.study.allocation import Allocation as Allocation
from bbtvp.study.optimize import Run as Run
from bbtvp.study.optimize import optimize as optimize
from bbtvp.study.plan import Plan as Plan
from bbtvp.study.search import Watch as Watch
