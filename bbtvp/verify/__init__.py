"""Floor 5: the proof on held-out images, on the source and other models, and a verdict by a stated
rule.

>>> proof = verify(prompt, "zoo/digits-low-contrast", ["zoo/llava", "zoo/paligemma"], source="zoo/llava")
>>> print(proof.verdict, proof.rows[0].gain, proof.rows[0].gain_ci95)
"""

from bbtvp.verify.detail import Detail as Detail
from bbtvp.verify.planning import Plan as Plan
from bbtvp.verify.planning import plan as plan
from bbtvp.verify.proof import Proof as Proof
from bbtvp.verify.proof import verify as verify
from bbtvp.verify.rows import Row as Row
from bbtvp.verify.verdict import Rule as Rule
from bbtvp.verify.verdict import Verdict as Verdict
