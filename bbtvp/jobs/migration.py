"""The decision about a prompt on a new model: its rule, its evidence, and what it is written as.

Of a prompt that was made for an old model, asked about on a new one:

    keep        the prompt is shown to gain on the new model
    needs none  it is not shown to gain at all, and the new model without a prompt is shown to lose
                less than `max_harm` against the old model with the prompt, on the same images
    refined     neither; and the prompt as it was refined on training and validation images is shown
                to gain
    drop        none of these, and the prompt is shown to lose; or it is not shown to gain, and the
                interval of its gain ends below `WORTH`
    undecided   everything else

A first deployment must gain more than two points (`Rule`). Here the prompt is deployed already, so
any gain that is shown is a reason to keep it.

"Shown" is the proof's own test (`bbtvp.verify.verdict`), with all its controls. The prompt and the
refined prompt are both tried on the same test images, and one of them is enough for a deployment;
so each is tested at half the proof's level (Bonferroni), and no more than one null prompt in twenty
is kept or deployed refined. The comparison of the models is a test of its own, at the whole level.
Several prompts, or several new models, are questions of their own and are not corrected for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, final

from bbtvp.core.origin import without_paths
from bbtvp.stats import PairedGain
from bbtvp.verify import Proof, ProofRow, Rule
from bbtvp.verify.verdict import LEVEL

DecisionWord: TypeAlias = Literal["keep", "refined", "needs none", "drop", "undecided"]

PROOFS_OF_ONE = 2
"""Prompts that may be tried on the same test images: as it is, and refined."""

WORTH = 0.10
"""A gain of so much, which a `drop` must exclude where it does not rest on the minimum gain."""


def rule_of(facts: Mapping[str, Any]) -> Rule:
    """The rule of a bundle's proofs here: any gain, or the loss that a cheaper prompt may have.

    At half the usual level.
    """
    usual = Rule.of(facts)
    return Rule(min(usual.min_gain, 0.0), usual.max_harm, LEVEL / PROOFS_OF_ONE)


@final
@dataclass(frozen=True)
class ModelsCompared:
    """The old model with the prompt beside the new model without one.

    before: the score of the old model with the prompt, after: of the new one without; both 0 to 1,
    on the same n images, unless the old figure is the bundle's (`asked` is False). ci: of after −
    before, 95 %; None where it is not known. shown: whether the new model is shown to lose less
    than the rule's `max_harm`.
    """

    before: float | None
    after: float | None
    n: int
    ci: tuple[float, float] | None
    shown: bool
    asked: bool
    said: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@final
@dataclass(frozen=True)
class Refinement:
    """A prompt refined on the new model: what became of it, and its proof where there is one.

    outcome: "refined", "start" or "identity" (`bbtvp.search.refinement.Outcome`), "" where it was
    not begun or not ended; said: why, in words. bundle: where the refined prompt lies.
    """

    outcome: str
    said: str
    queries: int
    bundle: str | None = None
    proof: Proof | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "said": self.said,
            "queries": self.queries,
            "bundle": self.bundle,
            "proof": None if self.proof is None else _proof_json(self.proof),
        }


@final
class ServingCost(NamedTuple):
    """What one image costs at a model.

    tokens: image tokens, at the model's own limits of size, images that the prompt shows among
    them; None where they are not known. usd: of 1,000 images' tokens; most_usd: of 1,000 queries at
    most, question and reply with them; None without a price, 0 for a local model.
    """

    tokens: float | None
    usd: float | None
    most_usd: float | None


@final
@dataclass(frozen=True)
class Migration:
    """One prompt, from the old model to one new model.

    bundle: what to deploy at the new model; None for images as they are, and while undecided.
    more_images: how many more test images would about decide it, where that is known. costs: by
    what is sent: "old with the prompt", "new with the prompt", "new without".
    """

    prompt: str
    digest: str
    task: str
    old: str
    new: str
    decision: DecisionWord
    reasons: tuple[str, ...]
    rule: Rule
    queries: int
    usd: float
    bundle: str | None = None
    more_images: int | None = None
    proof: Proof | None = None
    compared: ModelsCompared | None = None
    refinement: Refinement | None = None
    costs: Mapping[str, ServingCost] | None = None

    @property
    def row(self) -> ProofRow | None:
        """What the proof of the prompt found on the new model; None where it was not asked."""
        return self.proof.rows[0] if self.proof and self.proof.rows else None

    @property
    def refined_row(self) -> ProofRow | None:
        """The same of the refined prompt."""
        proof = self.refinement and self.refinement.proof
        return proof.rows[0] if proof and proof.rows else None

    def as_json(self) -> dict[str, Any]:
        """The entry of a `bbtvp.migrate/1` document."""
        return {
            "prompt": self.prompt,
            "digest": self.digest,
            "task": self.task,
            "old": self.old,
            "new": self.new,
            "decision": self.decision,
            "reasons": list(self.reasons),
            "rule": self.rule.as_json(),
            "bundle": self.bundle,
            "more_images": self.more_images,
            "queries": self.queries,
            "usd": round(self.usd, 6),
            "proof": None if self.proof is None else _proof_json(self.proof),
            "compared": self.compared and self.compared.as_json(),
            "refinement": self.refinement and self.refinement.as_json(),
            "costs": {name: cost._asdict() for name, cost in (self.costs or {}).items()},
        }


def _proof_json(proof: Proof) -> dict[str, Any]:
    rows = [{**row, "model": without_paths(row["model"])} for row in proof.as_json()]
    return {"models": rows, **proof.words(), "saved": proof.saved}


@final
class Verdicts(NamedTuple):
    """What is known when the decision is made: the proofs, and the comparison of the models."""

    proof: Proof
    compared: ModelsCompared | None
    refinement: Refinement | None


@final
class Decision(NamedTuple):
    """The decision, its reasons, and about how many more test images would settle it."""

    word: DecisionWord
    reasons: tuple[str, ...]
    more_images: int | None = None


def early(proof: Proof) -> Decision | None:
    """The decision that the first proof gives alone; None if there is more to find out."""
    if proof.verdict.word == "go":
        return Decision("keep", tuple(map(str, proof.verdict.reasons)))
    return None


def decide(found: Verdicts) -> Decision:
    """The decision on all that was asked, by the rule of this module."""
    if (first := early(found.proof)) is not None:
        return first
    if needs_none(found.proof, found.compared):
        said = "" if found.compared is None else found.compared.said
        return Decision("needs none", (said, *map(str, found.proof.verdict.reasons)))
    refinement = found.refinement
    if refinement is not None and refinement.proof is not None:
        verdict = refinement.proof.verdict
        if verdict.word == "go":
            return Decision("refined", tuple(f"refined: {said}" for said in verdict.reasons))
    last = [] if refinement is None else [refinement.said]
    proof = found.proof
    if proof.verdict.word == "no-go":
        return Decision("drop", (*map(str, proof.verdict.reasons), *last))
    paired = proof.rows[0].paired if proof.rows else None
    if paired is not None and _is_nothing(paired):
        return Decision("drop", (_said_of(paired), *last))
    return Decision(
        "undecided", (*map(str, proof.verdict.reasons), *last), proof.verdict.more_images
    )


def needs_none(proof: Proof, compared: ModelsCompared | None) -> bool:
    """Whether the new model does without: the prompt adds nothing that is shown, and so it is."""
    if compared is None or not compared.shown:
        return False
    return proof.verdict.word == "no-go" or not any(row.paired.ci[0] > 0 for row in proof.rows)


def _is_nothing(paired: PairedGain) -> bool:
    """Whether a gain is not shown, and a gain worth having is excluded."""
    low, high = paired.ci
    return low <= 0 and high < WORTH


def _said_of(paired: PairedGain) -> str:
    low, high = (100 * end for end in paired.ci)
    return (
        f"no gain is shown ({100 * paired.gain:+.1f} points [{low:+.1f}, {high:+.1f}] on "
        f"{paired.n} images), and {100 * WORTH:g} points are excluded"
    )
