"""Floor 1: what says whether a gain is more than noise: paired tests, intervals, power, and looking
early.

Every interval draws from a private generator, so equal data and seed give equal numbers. scipy
loads on first use.
"""

from __future__ import annotations

from bbtvp.stats.intervals import MeanInterval as MeanInterval
from bbtvp.stats.intervals import bootstrap_mean as bootstrap_mean
from bbtvp.stats.intervals import paired_interval as paired_interval
from bbtvp.stats.intervals import wilson as wilson
from bbtvp.stats.multiple import holm as holm
from bbtvp.stats.paired import PairedGain as PairedGain
from bbtvp.stats.paired import mcnemar as mcnemar
from bbtvp.stats.paired import paired_gain as paired_gain
from bbtvp.stats.power import images_needed as images_needed
from bbtvp.stats.power import power as power
from bbtvp.stats.power import smallest_gain as smallest_gain
from bbtvp.stats.ranks import roc_auc as roc_auc
from bbtvp.stats.score import paired_z as paired_z
from bbtvp.stats.score import score_interval as score_interval
from bbtvp.stats.sequential import boundaries as boundaries
from bbtvp.stats.sequential import spent as spent
