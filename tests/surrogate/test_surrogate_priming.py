"""Students: what they learn from replies, and the AReS-style baseline."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bbtvp.core.arrays import Matrix, Pixels
from bbtvp.core.errors import UsageError
from bbtvp.models import Model, Reply, Request
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.surrogate import ClipSurrogate, Guide, ares_student, prime, priming_points, probe
from bbtvp.tasks import Sample, Task
from tests.support import Eye

pytest.importorskip("torch")


def images_of(samples: tuple[Sample, ...]) -> list[Pixels]:
    return [sample.pixels() for sample in samples]


def replies(model: Model, task: Task, samples: tuple[Sample, ...]) -> Matrix:
    """(n, k) label log-probabilities of the unprompted images."""
    asked = [Request(sample.pixels(), task.ask(sample), task.labels) for sample in samples]
    found = [outcome for outcome in model.query(asked) if isinstance(outcome, Reply)]
    return np.array([[score.logprob for score in reply.scores or ()] for reply in found])


@pytest.mark.parametrize("inputs", ["pooled", "mean", "tokens"])
def test_a_student_answers_as_its_target_does(clip: ClipSurrogate, task: Task, inputs: str) -> None:
    target = replies(Eye(), task, task.train)
    student = prime(clip, task, images_of(task.train), task.train, target, inputs=inputs)  # type: ignore[arg-type]
    found = student.logprobs(images_of(task.validation), task.validation)
    wanted = replies(Eye(), task, task.validation)
    assert (found.argmax(1) == wanted.argmax(1)).mean() > 0.8
    assert 0 < student.fit.kl < student.fit.constant_kl and student.fit.gap > 0.3
    assert student.fit.rows == len(task.train)
    loss = student.loss(images_of(task.validation), task.validation)
    true = [task.labels.index(sample.answer) for sample in task.validation]  # type: ignore[union-attr]
    np.testing.assert_allclose(loss, -found[np.arange(len(true)), true], rtol=1e-4, atol=1e-6)


def test_a_student_of_noise_learns_nothing_and_says_so(clip: ClipSurrogate, task: Task) -> None:
    noise = np.random.default_rng(0).normal(size=(len(task.train), 4))
    student = prime(clip, task, images_of(task.train), task.train, noise)
    assert student.fit.gap < 0.1


def test_priming_is_deterministic_and_indifferent_to_constants(
    clip: ClipSurrogate, task: Task
) -> None:
    target = replies(Eye(), task, task.train)
    one, again, shifted = (
        prime(clip, task, images_of(task.train), task.train, t).logprobs(
            images_of(task.test), task.test
        )
        for t in (target, target, target + 5)
    )
    assert np.array_equal(one, again)
    np.testing.assert_allclose(one, shifted, atol=1e-3)


def test_failed_queries_and_text_replies(clip: ClipSurrogate, task: Task) -> None:
    target = replies(Eye(), task, task.train)
    target[3] = np.nan
    hard = np.where(target == target.max(axis=1, keepdims=True), 0.0, -1e9)
    student = prime(clip, task, images_of(task.train), task.train, hard)
    assert student.fit.rows == len(task.train)
    kept = [i for i in range(len(task.train)) if i != 3]
    samples = tuple(task.train[i] for i in kept)
    without = prime(clip, task, images_of(task.train), task.train, target)
    alone = prime(clip, task, images_of(samples), samples, target[kept])
    assert without.fit == alone.fit and without.fit.rows == len(kept)


def test_an_image_is_judged_by_a_head_that_has_not_seen_it(clip: ClipSurrogate, task: Task) -> None:
    """Random answers cannot be known out of fold; a head of all rows knows many of them."""
    rng = np.random.default_rng(0)
    answers = [str(rng.choice(task.labels or ())) for _ in task.train]
    samples = tuple(
        dataclasses.replace(s, answer=a) for s, a in zip(task.train, answers, strict=True)
    )
    one_hot = np.array(
        [[0.0 if label == a else -60.0 for label in task.labels or ()] for a in answers]
    )
    student = prime(clip, task, images_of(samples), samples, one_hot, ridges=(0.01,))
    strangers = tuple(dataclasses.replace(sample, id=f"other-{sample.id}") for sample in samples)
    honest, by_heart = (student.loss(images_of(rows), rows).mean() for rows in (samples, strangers))
    assert by_heart < 1.0 < np.log(4) < honest
    np.testing.assert_allclose(
        student.whole().loss(images_of(samples), samples).mean(), by_heart, rtol=1e-5
    )
    both = student.logprobs(images_of(samples[:3] + strangers[:3]), samples[:3] + strangers[:3])
    np.testing.assert_allclose(
        both[:3], student.logprobs(images_of(samples[:3]), samples[:3]), atol=1e-4
    )


def test_questions_that_differ_from_sample_to_sample(clip: ClipSurrogate, presence: Task) -> None:
    """One image, two objects asked about: two answers."""
    student = probe(clip, presence, presence.train)
    assert student.asks
    answers = student.predict(images_of(presence.test), presence.test)
    assert np.mean([a == s.answer for a, s in zip(answers, presence.test, strict=True)]) > 0.6
    image = presence.test[0]
    others = [
        dataclasses.replace(image, fields={"object": name})
        for name in ("rows", "columns", "checks")
    ]
    found = student.logprobs([image.pixels()] * 3, others)
    assert len(set(map(tuple, found.round(4).tolist()))) == 3
    guide = Guide(
        student, PromptSpace((Placement(0.6), Tone(), Frame("color")), 20), presence.train[:8]
    )
    assert guide(np.zeros(6))[0].any()


def test_a_guide_of_a_student_agrees_with_differences(clip: ClipSurrogate, task: Task) -> None:
    student = probe(clip, task, task.train)
    guide = Guide(
        student,
        PromptSpace((Placement(0.6), Tone()), 20),
        task.train[:24],
        terms=("task",),
        normalise=False,
    )
    z = np.array([0.3, -0.4, 0.2])
    h = 0.15
    exact = [(guide.values(z + s) - guide.values(z - s)).mean() / (2 * h) for s in h * np.eye(3)]
    found = guide(z)[0]
    assert found @ exact / np.linalg.norm(found) / np.linalg.norm(exact) > 0.95


def test_points_to_prime_at() -> None:
    where = PromptSpace((Placement(0.6), Tone(), Frame("color")), 20)
    base = np.arange(6.0)
    found = priming_points(where, 400, 0, kinds=("tone",), base=base)
    assert found.shape == (400, 6)
    assert np.array_equal(found[::4], np.tile(base, (100, 1)))
    assert np.array_equal(found[:, 3:], np.tile(base[3:], (400, 1)))
    moved = np.delete(found, np.s_[::4], axis=0)[:, :3] - base[:3]
    assert moved.std() == pytest.approx(0.8, abs=0.05)
    assert np.array_equal(found, priming_points(where, 400, 0, kinds=("tone",), base=base))
    assert not np.array_equal(priming_points(where, 2, 0), priming_points(where, 2, 1))
    for count, deviation in ((0, 1.0), (1, -1.0), (1, float("inf"))):
        with pytest.raises(UsageError, match="give at least 1"):
            priming_points(where, count, 0, deviation=deviation)


def test_what_cannot_be_primed_is_refused(clip: ClipSurrogate, task: Task) -> None:
    images = images_of(task.train)
    samples = task.train
    target = np.zeros((len(task.train), 4))
    with pytest.raises(UsageError, match="one column for each label"):
        prime(clip, task, images, samples, target[:, :3])
    with pytest.raises(UsageError, match="give n, n and"):
        prime(clip, task, images[:5], samples, target)
    with pytest.raises(UsageError, match="7 answered images to prime on"):
        prime(clip, task, images[:7], samples[:7], target[:7])
    with pytest.raises(UsageError, match="show one image"):
        prime(clip, task, images[:1] * 9, samples[:1] * 9, target[:9])
    with pytest.raises(UsageError, match="no finite value"):
        prime(clip, task, images, samples, np.full_like(target, -np.inf))
    with pytest.raises(UsageError, match="unknown student's inputs"):
        prime(clip, task, images, samples, target, inputs="cls")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ridges"):
        prime(clip, task, images, samples, target, ridges=())
    with pytest.raises(UsageError, match="no labels common"):
        prime(clip, dataclasses.replace(task, labels=None, metric="exact"), images, samples, target)


def test_an_ares_student_trains_a_frame_and_answers_alone(clip: ClipSurrogate, task: Task) -> None:
    target = replies(Eye(), task, task.train)
    made, again = (
        ares_student(clip, task, task.train, target, canvas=20, epochs=6, rate=0.3)
        for _ in range(2)
    )
    assert np.array_equal(made.z, again.z)
    guide = Guide(made.student, made.space, task.train, terms=("task",))
    assert guide.values(made.z).mean() < guide.values(np.zeros(made.space.dim)).mean()
    bare = made.predict(task.test, framed=False)
    framed = made.predict(task.test)
    assert len(bare) == len(framed) == len(task.test) and set(framed) <= set(task.labels or ())
    with pytest.raises(UsageError, match="must be above 0"):
        ares_student(clip, task, task.train, target, canvas=20, epochs=0)
