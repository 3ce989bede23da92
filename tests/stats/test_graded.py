"""Tests of graded paired scores, against those of right and wrong answers and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.stats import (
    graded_images_needed,
    graded_interval,
    graded_z,
    null_spread,
    paired_gain,
    paired_z,
    score_interval,
    sign_flip_p,
)
from bbtvp.stats.paired import PairedGain


def differences(gained: int, lost: int, n: int) -> np.ndarray:
    return np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])


@pytest.mark.parametrize("margin", [-0.5, -0.02, 0.0, 0.02, 0.1, 0.5])
@pytest.mark.parametrize(("gained", "lost", "n"), [(20, 7, 100), (0, 5, 40), (0, 0, 50), (9, 0, 9)])
def test_of_right_and_wrong_answers_it_is_tangos_test(
    gained: int, lost: int, n: int, margin: float
) -> None:
    found = graded_z(differences(gained, lost, n), margin)
    assert found == pytest.approx(float(paired_z(gained, lost, n, margin)), rel=1e-4, abs=1e-6)


def test_of_right_and_wrong_answers_the_interval_is_tangos() -> None:
    for table in ((20, 7, 100), (0, 0, 50), (3, 30, 60)):
        found = graded_interval(differences(*table), 1.96)
        assert found == pytest.approx(score_interval(*table, 1.96), abs=1e-6)


def test_no_change_on_a_few_images_shows_nothing() -> None:
    assert abs(graded_z(np.zeros(30), 0.02)) < 1.645
    low, high = graded_interval(np.full(30, 0.1), 1.645)
    assert low < 0.02 and high > 0.1


@pytest.mark.parametrize("n", [30, 120])
@pytest.mark.parametrize("kind", ["even", "large losses", "large gains"])
def test_the_level_holds_for_skewed_scores(kind: str, n: int) -> None:
    """Half of the images do not change; the mean is the margin."""
    draw = stream(0, "test", kind, n)
    up, down = {
        "even": (lambda size: draw.beta(2, 1, size), lambda size: draw.beta(2, 1, size)),
        "large losses": (lambda size: draw.beta(1, 12, size), np.ones),
        "large gains": (np.ones, lambda size: draw.beta(1, 12, size)),
    }[kind]
    means = {"even": (2 / 3, 2 / 3), "large losses": (1 / 13, 1), "large gains": (1, 1 / 13)}[kind]
    margin = 0.02
    rising = (2 * margin + means[1]) / sum(means)
    runs = 1500
    shown = np.zeros(2)
    for _ in range(runs):
        size = draw.binomial(n, 0.5)
        better = draw.binomial(size, rising)
        d = np.concatenate([up(better), -down(size - better), np.zeros(n - size)])
        z = graded_z(d, margin)
        shown += (z > 1.645, z < -1.645)
    assert (shown / runs < 0.08).all()


def test_images_needed_follow_from_the_spread() -> None:
    d = np.concatenate([np.full(60, 0.3), np.full(30, -0.2), np.zeros(110)])
    gain = float(d.mean())
    count = graded_images_needed(gain, null_spread(d, 0.02), margin=0.02)
    assert count is not None
    draw = stream(0, "test", "power")
    seen = [graded_z(draw.choice(d, count), 0.02) >= 1.645 for _ in range(400)]
    assert 0.75 < np.mean(seen) < 0.95  # the spread under the hypothesis is on the safe side
    assert graded_images_needed(0.02, 0.3, margin=0.02) is None


def test_paired_gain_of_graded_scores() -> None:
    draw = stream(0, "test", "gain")
    before = draw.uniform(0, 0.8, 80)
    after = before + draw.uniform(-0.05, 0.2, 80)
    found = paired_gain(before, after)
    assert found.graded and found.mcnemar_p is None
    assert found.gain == pytest.approx(float((after - before).mean()))
    assert found.ci[0] < found.gain < found.ci[1] and found.p < 0.001
    assert found.gained == int((after > before).sum())
    row = found.as_json("first", "second") | {"gained": found.gained, "lost": found.lost}
    assert "mcnemar_p" not in row
    assert PairedGain.from_json(row, "first", "second") == found
    assert paired_gain(before, after) == found


def test_the_sign_flip_test_tries_every_pattern_of_a_few_changes() -> None:
    d = np.array([0.1, 0.2, 0.4, 0.0])
    assert sign_flip_p(d) == pytest.approx(2 / 8)
    assert sign_flip_p(np.zeros(5)) == sign_flip_p(np.array([0.3])) == 1


def test_differences_that_cannot_be() -> None:
    for wrong, margin in (([1.5], 0.0), ([], 0.0), ([0.1], 1.0)):
        with pytest.raises(UsageError):
            graded_z(wrong, margin)
