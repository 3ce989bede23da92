"""The warm start: better for the surrogate, the same each time, and only where it may move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.surrogate import ClipSurrogate, Student, ZeroShot, active_part, probe, warm_start
from bbtvp.tasks import Task
from tests.support import patterns

pytest.importorskip("torch")
SMALL = PromptSpace((Placement(0.6), Tone(), Frame("color")), 20)
LARGE = PromptSpace((Placement(0.6), Frame("pixels")), 20)
QUICK: dict[str, Any] = {"steps": 8, "images": 8}
FREE: dict[str, Any] = {**QUICK, "weights": {"task": 1.0}, "prior": 0.0}
"""The task loss alone: with random weights FCA and the prior would outweigh it."""


@pytest.fixture(scope="module")
def head(clip: ClipSurrogate, task: Task) -> Student:
    """Knows the patterns when they show well."""
    return probe(clip, task, task.train)


@pytest.fixture(scope="module")
def faint() -> Task:
    """The same patterns, hardly to be seen: a prompt can help."""
    return patterns(0.04)


@pytest.mark.parametrize("space", [SMALL, LARGE], ids=["cma", "gradient"])
def test_it_lowers_the_surrogates_loss_and_is_deterministic(
    head: Student, faint: Task, space: PromptSpace
) -> None:
    one, again, other = (warm_start(head, space, faint.train, seed, **FREE) for seed in (0, 0, 1))
    assert np.array_equal(one.z, again.z) and one == again._replace(z=one.z)
    assert not np.array_equal(one.z, other.z)
    assert one.z.shape == (space.dim,) and one.after < one.before


def test_only_the_layers_that_may_move_do(head: Student, faint: Task) -> None:
    base = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    found = warm_start(head, SMALL, faint.train, 0, kinds=("tone",), base=base, **FREE).z
    assert np.array_equal(found[3:], base[3:]) and not np.array_equal(found[:3], base[:3])


def test_a_strong_prior_keeps_it_near(head: Student, faint: Task) -> None:
    near, far = (
        warm_start(head, SMALL, faint.train, 0, **{**FREE, "prior": p}).z for p in (100.0, 0.0)
    )
    assert np.linalg.norm(near) < 0.2 < np.linalg.norm(far)


def test_a_bare_surrogate_follows_tse(clip: ClipSurrogate, task: Task) -> None:
    found = warm_start(clip, SMALL, task.train, 0, **QUICK)
    seen = [
        clip.features([SMALL.render(z, sample.pixels()) for sample in task.train])
        for z in (SMALL.neutral(), found.z)
    ]
    before, after = (clip.tse(features, task.train).mean() for features in seen)
    assert after > before


@pytest.mark.parametrize("space", [SMALL, LARGE], ids=["cma", "gradient"])
def test_a_channel_is_gone_through(clip: ClipSurrogate, task: Task, space: PromptSpace) -> None:
    """A channel that shows nothing leaves nothing to gain: whatever is found there is luck, and the
    prior undoes it.
    """
    calls: list[float] = []

    def blind(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        calls.append(rng.random())
        return np.full_like(pixels, 128)

    warm_start(ZeroShot(clip, task), space, task.train, 0, augment=blind, **QUICK)
    assert len(calls) >= 64


def test_the_active_part_is_the_inverse_of_embed() -> None:
    z = np.arange(6.0)
    for kinds in (("tone",), ("frame", "tone"), ("placement",), ("placement", "tone", "frame")):
        assert np.array_equal(SMALL.embed(active_part(SMALL, kinds, z), kinds, z), z)


def test_settings_that_cannot_be(clip: ClipSurrogate, task: Task) -> None:
    head = ZeroShot(clip, task)
    for settings in ({"weights": {}}, {"weights": {"task": -1.0}}, {"prior": -1.0}):
        with pytest.raises(UsageError, match="none below 0"):
            warm_start(head, SMALL, task.train, 0, **settings)  # type: ignore[arg-type]
    for counts in ({"steps": 0}, {"images": 0}, {"sigma": 0.0}, {"rate": -1.0}):
        with pytest.raises(UsageError, match="must be above 0"):
            warm_start(head, SMALL, task.train, 0, **counts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no variables to warm"):
        warm_start(head, SMALL, task.train, 0, kinds=("placement",))
    with pytest.raises(UsageError, match="unknown surrogate term"):
        warm_start(clip, SMALL, task.train, 0, weights={"task": 1.0})
