"""The parts of a receipt: what each field is, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, final

from pydantic import BaseModel, ConfigDict, Field

from bbtvp.core.errors import UsageError
from bbtvp.stats import PairedGain
from bbtvp.verify.commitment import ShownNames
from bbtvp.verify.rows import ProofRow
from bbtvp.verify.verdict import ChangedAnswers, Evidence

FEWEST = 20
"""Answered images below which a model's figures would come too near to single answers."""

_HEX = r"^[0-9a-f]{64}$"

Name: TypeAlias = Annotated[str, Field(max_length=400)]
Text: TypeAlias = Annotated[str, Field(max_length=4000)]
Digest: TypeAlias = Annotated[str, Field(pattern=_HEX)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=10**7)]
Models: TypeAlias = Annotated[int, Field(ge=0, le=1000)]
Score: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Share: TypeAlias = Annotated[float, Field(ge=-1, le=1)]
Interval: TypeAlias = tuple[Share, Share]
Control: TypeAlias = Literal["empty_frame", "best_constant", "calibrated", "words"]
Code: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,39}$")]


class ReceiptPart(BaseModel):
    """A part of a receipt: nothing but what is documented, checked when it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@final
class ReceiptTask(ReceiptPart):
    """What was asked about, as far as it is told."""

    commitment: Digest = Field(description="HMAC-SHA256 of the test split with the owner's salt")
    images: Count = Field(description="test images")
    metric: Name = Field(description="how answers are scored; own: by the customer's code")
    max_tokens: Count | None = Field(
        default=None, description="of a reply; null: the reader's choice"
    )
    name: Text | None = Field(default=None, description="null unless allowed, as the two below")
    question: Text | None = None
    labels: Annotated[tuple[Text, ...], Field(fail_fast=True, max_length=10_000)] | None = None


@final
class ReceiptSettings(ReceiptPart):
    """How the proof was made; from these and the counts its figures can be computed again."""

    reader: Name
    normalise: Name
    calibration: Count
    sequential: bool
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)]
    min_gain: Share = Field(description="least gain for a go")
    max_harm: Score = Field(description="loss of another model that forbids a go")
    level: Annotated[float, Field(ge=1e-6, le=0.05, description="of the test that shows a gain")]
    deciding: Models = Field(description="models whose gain decides")
    others: Models = Field(description="models that may only be harmed")


@final
class ReceiptVerdict(ReceiptPart):
    """The verdict, and the codes of its reasons and of the proof's notes (docs/proof.md)."""

    word: Literal["go", "no-go", "undecided"]
    reasons: Annotated[tuple[Code, ...], Field(fail_fast=True, max_length=500)]
    more_images: Count | None = None
    notes: Annotated[tuple[Code, ...], Field(fail_fast=True, max_length=2000)] = ()


@final
class ReceiptControl(ReceiptPart):
    """From a control to the prompted answers: its mean score, the gain over it, and the counts."""

    score: Score
    gain: Share
    gain_ci95: Interval
    n: Count
    gained: Count
    lost: Count

    @classmethod
    def of(cls, paired: PairedGain) -> ReceiptControl:
        return cls(
            score=paired.before,
            gain=paired.gain,
            gain_ci95=paired.ci,
            n=paired.n,
            gained=paired.gained,
            lost=paired.lost,
        )


@final
class ReceiptChange(ReceiptPart):
    """Of n images, how many answers the prompt mended and how many it broke."""

    n: Count
    gained: Count
    lost: Count

    @classmethod
    def of(cls, changed: ChangedAnswers) -> ReceiptChange:
        return cls(n=changed.n, gained=changed.gained, lost=changed.lost)


@final
class ReceiptEvidence(ReceiptPart):
    """What the verdict was judged by: test images that no other split of the task holds.

    constant: from the best constant answer to the prompted ones. collapsed: the model says one and
    the same whatever it is shown. read: images whose unprompted reply was read; null if all were.
    """

    decides: bool
    asked: Count
    changed: ReceiptChange
    constant: ReceiptChange | None
    collapsed: bool
    read: ReceiptChange | None

    @classmethod
    def of(cls, evidence: Evidence) -> ReceiptEvidence:
        constant = evidence.constant
        return cls(
            decides=evidence.decides,
            asked=evidence.asked,
            changed=ReceiptChange.of(evidence.changed),
            constant=constant and ReceiptChange.of(constant.changed),
            collapsed=constant is not None and constant.collapsed is not None,
            read=evidence.read and ReceiptChange.of(evidence.read),
        )


@final
class ReceiptModel(ReceiptPart):
    """One model's figures on the n images that it answered in all arms, as shares.

    p: of no gain, two-sided: McNemar's, or of graded scores the sign-flip test's. p_holm: adjusted
    for all models. noise: share of answers that change when asked the same again.
    """

    model: Name
    role: Literal["source", "target"]
    version: Name | None = Field(description="as its replies reported it; null: they did not")
    versions: Annotated[tuple[Name, ...], Field(fail_fast=True, max_length=100)] = ()
    unversioned: bool = Field(description="whether some reply reported none")
    graded: bool = Field(description="whether answers may be partly right")
    images: Count = Field(description="test images that it was asked about")
    n: Count
    zero_shot: Score
    empty_frame: Score
    prompted: Score
    gain: Share
    gain_ci95: Interval
    gained: Count
    lost: Count
    p: Score
    p_holm: Score | None
    controls: Mapping[Control, ReceiptControl]
    failed: Count = Field(description="queries without an answer")
    unparsed: Count = Field(description="prompted replies that named no answer")
    noise: Score | None
    evidence: ReceiptEvidence

    @classmethod
    def of(cls, row: ProofRow, evidence: Evidence, names: ShownNames) -> ReceiptModel:
        """UsageError for a row of too few images."""
        if row.n < FEWEST:
            raise UsageError(
                f"{row.model} answered {row.n} images in all arms: a receipt of fewer than "
                f"{FEWEST} would say nearly what each answer was; leave the model out"
            )
        versions = tuple(names.version(version, row.model) for version in row.versions)
        controls: dict[Control, PairedGain | None] = {
            "empty_frame": row.over_frame,
            "best_constant": row.over_constant,
            "calibrated": row.over_calibration,
            "words": row.over_words,
        }
        return cls(
            model=names.model(row.model),
            role="source" if row.role == "source" else "target",
            version=", ".join(versions)[:400] or None,
            versions=versions,
            unversioned=row.unversioned,
            graded=row.paired.graded,
            images=row.images,
            n=row.n,
            zero_shot=row.zero_shot,
            empty_frame=row.empty_frame,
            prompted=row.prompted,
            gain=row.gain,
            gain_ci95=row.gain_ci95,
            gained=row.paired.gained,
            lost=row.paired.lost,
            p=row.paired.p,
            p_holm=row.holm_p,
            controls={
                name: ReceiptControl.of(paired)
                for name, paired in controls.items()
                if paired is not None
            },
            failed=row.failed,
            unparsed=row.unparsed,
            noise=row.noise,
            evidence=ReceiptEvidence.of(evidence),
        )


@final
class ReceiptQueries(ReceiptPart):
    """Image queries that were sent, retries included, those without an answer, and refusals."""

    sent: Count
    failed: Count
    refused: Count


@final
class ReceiptSignature(ReceiptPart):
    """As of `bbtvp.core.signing`, over the digest, as kind "receipt"."""

    algorithm: Name
    public_key: Name
    signature: Name
