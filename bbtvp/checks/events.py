"""What the checks tell while they go on.

A finding is its own event: each task, corruption and map is told as soon as it is known.
"""

from __future__ import annotations

from typing import TypeAlias

from bbtvp.checks.effects import TaskEffect
from bbtvp.checks.robustness import CellTried
from bbtvp.checks.saliency import SaliencyMap
from bbtvp.verify.events import CheckPlanned, ModelProbed

CheckEvent: TypeAlias = CheckPlanned | ModelProbed | TaskEffect | CellTried | SaliencyMap
