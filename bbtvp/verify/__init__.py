"""Floor 6: the proof on held-out images, on the source and on other models, with a verdict.

>>> models = ["zoo/llava", "zoo/paligemma"]
>>> proof = verify(prompt, "zoo/digits-low-contrast", models, source="zoo/llava")
>>> print(proof.verdict, proof.rows[0].gain, proof.rows[0].gain_ci95)
"""

from bbtvp.verify.detail import ProofDetail as ProofDetail
from bbtvp.verify.planning import ProofPlan as ProofPlan
from bbtvp.verify.planning import plan_proof as plan_proof
from bbtvp.verify.proof import Proof as Proof
from bbtvp.verify.proof import needless_proof as needless_proof
from bbtvp.verify.proof import verify as verify
from bbtvp.verify.rows import ProofRow as ProofRow
from bbtvp.verify.verdict import Rule as Rule
from bbtvp.verify.verdict import Verdict as Verdict
