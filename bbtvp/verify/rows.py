"""One model's row of a proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, final

import numpy as np

from bbtvp.core.errors import ModelError
from bbtvp.stats import paired_gain, score_interval
from bbtvp.verify.arms import AGAIN
from bbtvp.verify.detail import Detail, detail
from bbtvp.verify.inquiry import Inquiry

_COUNTS = {3: "three", 5: "five"}


@final
@dataclass(frozen=True)
class Row:
    """One model's proof. Shares are of the `n` images answered in all arms; `gain` is prompted −
    zero_shot.

    `gain_ci95`: paired bootstrap interval; if looked at early, the repeated interval of the score
    test, which holds at every look. `mcnemar_p`: exact, two-sided; `mcnemar_p_holm` adjusted for
    all models. `over_empty_frame`, with its interval, is what the search found beyond placement
    alone. `unparsed`: prompted replies that named no single label. `sentence_only` and
    `image_only`: shares of the same images, None for a prompt without Guidance; a gain that the
    sentence alone has too is not the picture's. `images`: test images asked about. `gained`,
    `lost`: answers that became right, and wrong.

    `noise`: share of images judged otherwise when zero-shot is asked again, 0 for a model that
    always answers the same. `calibrated`: zero-shot with the output calibration
    (`bbtvp.search.calibration`), fitted on images that are no test images; None without
    log-probabilities. `over_calibrated`: prompted − calibrated.
    """

    model: str
    role: str
    n: int
    zero_shot: float
    empty_frame: float
    prompted: float
    gain: float
    gain_ci95: tuple[float, float]
    mcnemar_p: float
    over_empty_frame: float
    over_empty_frame_ci95: tuple[float, float]
    failed: int
    unparsed: int
    sentence_only: float | None = None
    image_only: float | None = None
    images: int = 0
    gained: int = 0
    lost: int = 0
    mcnemar_p_holm: float | None = None
    noise: float | None = None
    calibrated: float | None = None
    over_calibrated: float | None = None
    over_calibrated_ci95: tuple[float, float] | None = None
    detail: Detail | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields; without those of arms that there were none of."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found["detail"] = self.detail and self.detail.as_json()
        return {name: value for name, value in found.items() if value is not None}


def row(inquiry: Inquiry, role: str, seed: int, *, repeated_z: float | None = None) -> Row:
    """repeated_z: the boundary at this look, if it is one of several. ModelError if nothing was
    answered.
    """
    correct: Mapping[str, Any] = {arm: inquiry.correct(arm) for arm in inquiry.answers}
    main = {arm: values for arm, values in correct.items() if arm != AGAIN}
    answered = inquiry.answered()
    if not answered.any():
        raise ModelError(
            f"{inquiry.spec} answered no test image in all {_COUNTS[len(main)]} arms; nothing can be said about it"
        )
    kept = {arm: values[answered] for arm, values in main.items()}
    gain = paired_gain(kept["zero_shot"], kept["prompted"], seed=seed)
    over = paired_gain(kept["empty_frame"], kept["prompted"], seed=seed)
    readings = [answer.reading for answer in inquiry.answers["prompted"]]
    found = Row(
        inquiry.spec,
        role,
        gain.n,
        gain.before,
        over.before,
        gain.after,
        gain.gain,
        gain.ci,
        gain.mcnemar_p,
        over.gain,
        over.ci,
        sum(int(np.isnan(values).sum()) for values in main.values()),
        sum(reading.answer is None and bool(np.isfinite(reading.correct)) for reading in readings),
        sentence_only=_mean(kept, "sentence_only"),
        image_only=_mean(kept, "image_only"),
        images=len(inquiry.samples),
        gained=gain.gained,
        lost=gain.lost,
        noise=_noise(correct),
        detail=detail(inquiry, seed),
    )
    if repeated_z is not None:
        found = replace(found, gain_ci95=score_interval(gain.gained, gain.lost, gain.n, repeated_z))
    calibrated = inquiry.calibrated()
    if calibrated is None or not np.isfinite(calibrated[answered]).any():
        return found
    beyond = paired_gain(calibrated[answered], kept["prompted"], seed=seed)
    return replace(
        found, calibrated=beyond.before, over_calibrated=beyond.gain, over_calibrated_ci95=beyond.ci
    )


def _mean(kept: Mapping[str, Any], arm: str) -> float | None:
    return float(kept[arm].mean()) if arm in kept else None


def _noise(correct: Mapping[str, Any]) -> float | None:
    """None if no image was answered both times."""
    if AGAIN not in correct:
        return 0.0
    both = np.abs(correct["zero_shot"] - correct[AGAIN])
    return float(np.nanmean(both)) if np.isfinite(both).any() else None
