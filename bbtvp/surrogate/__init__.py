"""Floor 3: local encoders, CLIP or others, that score images and give gradients.

It is free: no image query is asked, and nothing is sent.

Two terms of TVP (arXiv 2404.11207, §3.3 and §3.4), carried into the black box:

    FCA   mean over image tokens of || f(prompted) − f(unprompted) ||₂
          (in TVP, f is the target's own encoder)
    TSE   cosine of CLIP's image embedding and the text embedding of the sample's caption, or of
          "this is a photo of a {answer}"

and what else is free:

    head = ZeroShot(load_surrogate("zoo/clip"), task)         # CLIP's own answer to the task, or
    head = probe(surrogate, task, task.train)                 # fitted to the true answers, or
    head = prime(surrogate, task, images, samples, logprobs)  # fitted to the queried model's
    guide = Guide(head, space, task.train[:32])
    rows = guide(z)                                           # (3, d): task, −TSE, FCA
    z = warm_start(head, space, task.train, seed=0).z

Torch is loaded when a surrogate is used, never by this import.
"""

from __future__ import annotations

from bbtvp.surrogate.ares import AresStudent as AresStudent
from bbtvp.surrogate.ares import ares_student as ares_student
from bbtvp.surrogate.ares import train_frame as train_frame
from bbtvp.surrogate.clip import ClipSurrogate as ClipSurrogate
from bbtvp.surrogate.features import CAPTION as CAPTION
from bbtvp.surrogate.features import TEMPLATE as TEMPLATE
from bbtvp.surrogate.features import Features as Features
from bbtvp.surrogate.features import Surrogate as Surrogate
from bbtvp.surrogate.features import wording as wording
from bbtvp.surrogate.gradient import Augment as Augment
from bbtvp.surrogate.gradient import Guide as Guide
from bbtvp.surrogate.gradient import gradients_at as gradients_at
from bbtvp.surrogate.group import BETWEEN as BETWEEN
from bbtvp.surrogate.group import SurrogateGroup as SurrogateGroup
from bbtvp.surrogate.priming import Fit as Fit
from bbtvp.surrogate.priming import Student as Student
from bbtvp.surrogate.priming import prime as prime
from bbtvp.surrogate.priming import priming_points as priming_points
from bbtvp.surrogate.priming import probe as probe
from bbtvp.surrogate.pullback import pullback as pullback
from bbtvp.surrogate.registry import PROVIDERS as PROVIDERS
from bbtvp.surrogate.registry import load_surrogate as load_surrogate
from bbtvp.surrogate.scales import spread as spread
from bbtvp.surrogate.terms import TERMS as TERMS
from bbtvp.surrogate.terms import Head as Head
from bbtvp.surrogate.terms import ZeroShot as ZeroShot
from bbtvp.surrogate.warm import Warm as Warm
from bbtvp.surrogate.warm import active_part as active_part
from bbtvp.surrogate.warm import warm_start as warm_start
