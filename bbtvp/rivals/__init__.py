"""Floor 7: what a user would do instead of a visual prompt, asked about the same images.

>>> table = compare_rivals("zoo/digits-low-contrast", ["zoo/llava"], prompt=prompt)
>>> print(table.advice)
"""

from bbtvp.rivals.compare import RivalPlan as RivalPlan
from bbtvp.rivals.compare import compare_rivals as compare_rivals
from bbtvp.rivals.compare import plan_rivals as plan_rivals
from bbtvp.rivals.registry import RIVALS as RIVALS
from bbtvp.rivals.registry import rivals_named as rivals_named
from bbtvp.rivals.rival import Rival as Rival
from bbtvp.rivals.rival import Tuned as Tuned
from bbtvp.rivals.rival import Tuning as Tuning
from bbtvp.rivals.table import RivalRow as RivalRow
from bbtvp.rivals.table import RivalTable as RivalTable
