"""What the checks tell while they go on."""

from __future__ import annotations

from typing import TypeAlias

from bbtvp.checks.effects import TaskTried
from bbtvp.checks.robustness import CellTried
from bbtvp.checks.saliency import ImageMapped
from bbtvp.verify.events import CheckPlanned, ModelProbed

CheckEvent: TypeAlias = CheckPlanned | ModelProbed | TaskTried | CellTried | ImageMapped
