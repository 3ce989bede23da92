"""Floor 5: the proof on held-out images: zero-shot, empty-frame control and prompt, on the source and other models.

>>> proof = verify(prompt, "zoo/digits-low-contrast", ["zoo/llava", "zoo/paligemma"])
>>> print(proof.rows[0].gain, proof.rows[0].gain_ci95)
"""

from bbtvp.verify.proof import Proof as Proof
from bbtvp.verify.proof import Row as Row
from bbtvp.verify.proof import verify as verify
