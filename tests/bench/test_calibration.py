"""Output calibration on scores with a known bias."""

from __future__ import annotations

import numpy as np
import pytest

from bbtvp.bench import calibration
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream


def biased(n: int, bias: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of answers that are drawn from them, and then spoilt by a bias."""
    rng = stream(0, "biased")
    scores = rng.normal(0, 2, (n, len(bias)))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(len(bias), p=p) for p in chances])
    return scores + bias, truth


def test_a_known_bias_is_found_and_undone() -> None:
    spoilt, truth = biased(4000, [2.0, -1.0, -1.0])
    bias = calibration.fitted(spoilt, truth, "labels")
    assert bias == pytest.approx([-2.0, 1.0, 1.0], abs=0.2)
    before = calibration.corrected(spoilt, np.zeros(3), truth).mean()
    after = calibration.corrected(spoilt, bias, truth).mean()
    assert after > before + 0.1


def test_the_prior_finds_it_without_labels() -> None:
    spoilt, _ = biased(4000, [2.0, -1.0, -1.0])
    unknown = np.zeros(len(spoilt), np.intp)
    assert calibration.fitted(spoilt, unknown, "prior") == pytest.approx([-2.0, 1.0, 1.0], abs=0.3)


def test_unbiased_scores_are_left_alone() -> None:
    scores, truth = biased(4000, [0.0, 0.0])
    assert calibration.fitted(scores, truth, "labels") == pytest.approx([0, 0], abs=0.1)


def test_a_label_never_seen_gets_a_finite_bias() -> None:
    scores, _ = biased(30, [0.0, 0.0, 0.0])
    bias = calibration.fitted(scores, np.zeros(30, np.intp), "labels")
    assert np.isfinite(bias).all() and bias.argmax() == 0


def test_missing_replies_are_left_out() -> None:
    scores, truth = biased(200, [1.0, 0.0])
    holes = np.vstack([scores, np.full((5, 2), np.nan)])
    answers = np.append(truth, [0] * 5)
    assert calibration.fitted(holes, answers, "labels") == pytest.approx(
        calibration.fitted(scores, truth, "labels")
    )
    assert np.isnan(calibration.corrected(holes, np.zeros(2), answers)[-5:]).all()


def test_an_unknown_fit_is_said() -> None:
    with pytest.raises(UsageError, match="did you mean labels"):
        calibration.fitted(np.zeros((3, 2)), np.zeros(3, np.intp), "label")
