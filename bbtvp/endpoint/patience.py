"""How long an attempt is waited for: as long as others took, with room to spare.

A request that hangs would otherwise hold a whole generation until the limit of an attempt. An image
query changes nothing at the vendor, so that it may be given up and asked again; it counts, and is
booked, like any attempt whose reply was lost. Each further attempt of a request gets twice as long.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import final

FLOOR = 10.0
"""Seconds that an attempt always gets, unless the limit of an attempt is less."""
_FACTOR = 4.0
"""Multiple of the high quantile: a reply of a model that thinks may take much longer than most."""
_HIGH = 0.95
"""The quantile of the latest durations that is multiplied."""
_LATEST = 64
"""Durations that are remembered."""
_ENOUGH = 8
"""Durations from which the quantile means something; until then the limit of an attempt holds."""


@final
class Patience:
    """The seconds that an attempt gets. Safe to use from many threads.

    most: the limit of an attempt. floor: what it gets however quick others were.
    """

    def __init__(self, most: float, floor: float = FLOOR) -> None:
        self.most = most
        self.floor = min(floor, most)
        self._latest = deque[float](maxlen=_LATEST)
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        """Note how long an attempt took, whether it was answered or given up."""
        with self._lock:
            self._latest.append(seconds)

    def seconds(self, attempts: int) -> float:
        """Return how long the next attempt gets, after so many attempts of the same request."""
        with self._lock:
            latest = sorted(self._latest)
        if len(latest) < _ENOUGH:
            return self.most
        high = latest[math.ceil(_HIGH * len(latest)) - 1]
        return min(self.most, max(self.floor, _FACTOR * high) * 2.0**attempts)
