"""One model's row of a proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import ModelError
from bbtvp.stats import PairedGain, paired_gain
from bbtvp.verify.answers import ModelAnswers
from bbtvp.verify.arms import AGAIN
from bbtvp.verify.controls import (
    Collapse,
    ReplyCounts,
    collapse,
    hardest_constant,
    reply_counts,
)
from bbtvp.verify.detail import ProofDetail, proof_detail
from bbtvp.verify.verdict import ChangedAnswers

_COUNTS = {3: "three", 5: "five"}


@final
@dataclass(frozen=True)
class ProofRow:
    """What a proof found for one model, on the `n` images that it answered in all arms.

    paired: from zero-shot to prompted. over_frame: from the empty-frame control to prompted, which
    is what the search found beyond placing the image. over_calibration: from zero-shot with the
    output calibration (`bbtvp.search.calibration`), fitted on images that are no test images, to
    prompted; None without log-probabilities. role: "source" or "target".

    constant_answer: the one answer that is right on most of the test images; over_constant: from
    always saying so to prompted. collapse: how the answers gather on one. replies: what each arm
    left without an answer. None and nothing in a row made by hand.

    `gain_ci95` is a paired bootstrap interval. In a sequential proof it is the repeated interval of
    the score test, which holds at every look. holm_p: `paired.p`, adjusted for all models. failed:
    queries without an answer. unparsed: prompted replies that named no single label. images: test
    images asked about. noise: share of images whose zero-shot answer is judged differently the
    second time (of graded scores the mean difference), 0 for a model that always answers the same,
    None where it is not known.

    sentence_only, image_only: mean score of each half of a prompt with words on the same images,
    else None. over_words: from the words alone, with the raw image, to prompted: what the picture
    adds. None where the words of the prompt's own z are none.

    versions: of the model, as its replies report them; empty where none does. unversioned: whether
    some reply reports none.
    """

    model: str
    role: str
    paired: PairedGain
    over_frame: PairedGain
    failed: int
    unparsed: int
    images: int
    sentence_only: float | None = None
    image_only: float | None = None
    over_words: PairedGain | None = None
    noise: float | None = None
    over_calibration: PairedGain | None = None
    holm_p: float | None = None
    detail: ProofDetail | None = None
    constant_answer: str | None = None
    over_constant: PairedGain | None = None
    collapse: Collapse | None = None
    replies: Mapping[str, ReplyCounts] = field(default_factory=dict)
    versions: tuple[str, ...] = ()
    unversioned: bool = False

    @property
    def n(self) -> int:
        """Images answered in all arms."""
        return self.paired.n

    @property
    def zero_shot(self) -> float:
        """Mean score without the prompt, 0 to 1: the accuracy, unless answers are graded."""
        return self.paired.before

    @property
    def empty_frame(self) -> float:
        """Mean score of the empty-frame control, 0 to 1."""
        return self.over_frame.before

    @property
    def prompted(self) -> float:
        """Mean score with the prompt, 0 to 1."""
        return self.paired.after

    @property
    def gain(self) -> float:
        """prompted − zero_shot."""
        return self.paired.gain

    @property
    def gain_ci95(self) -> tuple[float, float]:
        """The 95 % interval of `gain`."""
        return self.paired.ci

    @property
    def version(self) -> str | None:
        """The version that replies report, all of them if several; None where none does."""
        return ", ".join(self.versions) or None

    def unread(self, arm: str) -> int:
        """Replies of an arm that may hold an answer and could not be read: unparsed, or cut."""
        counts = self.replies.get(arm, ReplyCounts())
        return counts.unparsed + counts.cut

    @property
    def over_empty_frame(self) -> float:
        """prompted − empty_frame."""
        return self.over_frame.gain

    def as_json(self) -> dict[str, Any]:
        """The row of a `bbtvp.result/1` document, without keys that have no value.

        The version is there always, null where it is not reported.
        """
        beyond = self.over_calibration
        constant = self.over_constant
        words = self.over_words
        found = {
            "role": self.role,
            **self.paired.as_json("zero_shot", "prompted"),
            "empty_frame": self.empty_frame,
            "over_empty_frame": self.over_frame.gain,
            "over_empty_frame_ci95": self.over_frame.ci,
            "failed": self.failed,
            "unparsed": self.unparsed,
            "sentence_only": self.sentence_only,
            "image_only": self.image_only,
            "over_sentence": words and words.gain,
            "over_sentence_ci95": words and words.ci,
            "images": self.images,
            "gained": self.paired.gained,
            "lost": self.paired.lost,
            f"{self.paired.p_name}_holm": self.holm_p,
            "noise": self.noise,
            "calibrated": beyond and beyond.before,
            "over_calibrated": beyond and beyond.gain,
            "over_calibrated_ci95": beyond and beyond.ci,
            "best_constant": constant and constant.before,
            "best_constant_answer": self.constant_answer,
            "over_best_constant": constant and constant.gain,
            "over_best_constant_ci95": constant and constant.ci,
            "collapse": self.collapse and _collapse_json(self.collapse),
            "replies": {arm: counts._asdict() for arm, counts in self.replies.items()} or None,
            "detail": self.detail and self.detail.as_json(),
        }
        known = {name: value for name, value in found.items() if value is not None}
        return {"model": self.model, "version": self.version, **known}


def proof_row(
    answers: ModelAnswers,
    role: str,
    seed: int,
    *,
    constant: str,
    repeated_z: float | None = None,
) -> ProofRow:
    """The row of a model that was asked.

    constant: the best constant answer to the test images. repeated_z: the boundary at the last of
    several looks.

    ModelError if no image was answered in all arms.
    """
    correct = {arm: answers.correct(arm) for arm in answers.arms}
    main = {arm: values for arm, values in correct.items() if arm != AGAIN}
    answered = answers.answered()
    if not answered.any():
        raise ModelError(
            f"{answers.spec} answered no test image in all {_COUNTS[len(main)]} arms; "
            "nothing can be said about it"
        )
    kept = {arm: values[answered] for arm, values in main.items()}
    gain = paired_gain(kept["zero_shot"], kept["prompted"], seed=seed)
    if repeated_z is not None:
        changed = ChangedAnswers.of(kept["zero_shot"], kept["prompted"])
        gain = gain._replace(ci=changed.interval(repeated_z))
    samples, before, after = answers.said(answered)
    named, always = hardest_constant(answers.task, constant, samples, after)
    calibrated = answers.calibrated()
    beyond = None
    if calibrated is not None and np.isfinite(calibrated[answered]).any():
        beyond = paired_gain(calibrated[answered], kept["prompted"], seed=seed)
    return ProofRow(
        answers.spec,
        role,
        gain,
        over_frame=paired_gain(kept["empty_frame"], kept["prompted"], seed=seed),
        failed=sum(answers.arms[arm].failed for arm in main),
        unparsed=answers.arms["prompted"].unparsed,
        images=len(answers.samples),
        sentence_only=_mean(kept, "sentence_only"),
        image_only=_mean(kept, "image_only"),
        over_words=paired_gain(kept["sentence_only"], kept["prompted"], seed=seed)
        if "sentence_only" in kept and answers.prompt.ask("")
        else None,
        noise=_noise(correct, exact=answers.model.capabilities.deterministic),
        over_calibration=beyond,
        detail=proof_detail(answers, seed),
        constant_answer=named,
        over_constant=paired_gain(always, kept["prompted"], seed=seed),
        collapse=collapse(answers.task, samples, before, after),
        replies=reply_counts({arm: answers.arms[arm] for arm in main}),
        versions=answers.model.versions,
        unversioned=answers.model.unversioned,
    )


def _collapse_json(found: Collapse) -> dict[str, Any]:
    return {
        "before": found.before._asdict(),
        "after": found.after._asdict(),
        "earlier": found.earlier,
        "true": found.true,
        "collapsed": found.collapsed,
    }


def _mean(kept: Mapping[str, Vector], arm: str) -> float | None:
    return float(kept[arm].mean()) if arm in kept else None


def _noise(correct: Mapping[str, Vector], *, exact: bool) -> float | None:
    """0 for a model that always answers the same; None if no image was answered both times."""
    if AGAIN not in correct:
        return 0.0 if exact else None
    changed = np.abs(correct["zero_shot"] - correct[AGAIN])
    return float(np.nanmean(changed)) if np.isfinite(changed).any() else None
