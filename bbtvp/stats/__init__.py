"""Floor 1: whether a gain is more than noise.

Paired tests, intervals, power, and tests that may be looked at early:

>>> from bbtvp.stats import paired_gain
>>> found = paired_gain([1, 0, 0, 1, 0], [1, 1, 1, 1, 0])
>>> found.gain, found.gained, found.lost
(0.4, 2, 0)

Every interval draws from a random generator of its own, so equal data and seed give equal numbers.
scipy loads on first use.
"""

from __future__ import annotations

from bbtvp.stats.graded import graded_images_needed as graded_images_needed
from bbtvp.stats.graded import graded_interval as graded_interval
from bbtvp.stats.graded import graded_z as graded_z
from bbtvp.stats.graded import null_spread as null_spread
from bbtvp.stats.intervals import bootstrap_mean as bootstrap_mean
from bbtvp.stats.intervals import paired_interval as paired_interval
from bbtvp.stats.multiple import holm as holm
from bbtvp.stats.paired import PairedGain as PairedGain
from bbtvp.stats.paired import counted_interval as counted_interval
from bbtvp.stats.paired import is_right_or_wrong as is_right_or_wrong
from bbtvp.stats.paired import mcnemar as mcnemar
from bbtvp.stats.paired import paired_gain as paired_gain
from bbtvp.stats.paired import sign_flip_p as sign_flip_p
from bbtvp.stats.power import images_if_unchanged as images_if_unchanged
from bbtvp.stats.power import images_needed as images_needed
from bbtvp.stats.power import smallest_gain as smallest_gain
from bbtvp.stats.ranks import roc_auc as roc_auc
from bbtvp.stats.score import paired_z as paired_z
from bbtvp.stats.score import score_interval as score_interval
from bbtvp.stats.sequential import boundaries as boundaries
