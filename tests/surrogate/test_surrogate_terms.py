"""The heads: what CLIP's zero-shot classifier is, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.surrogate import ClipSurrogate, ZeroShot
from bbtvp.surrogate.features import token_distance, wording
from bbtvp.surrogate.terms import MAX_LABELS
from bbtvp.tasks import Sample, Task
from tests.support import LABELS

torch = pytest.importorskip("torch")


def test_the_task_loss_is_clips_zero_shot_cross_entropy(clip: ClipSurrogate, task: Task) -> None:
    samples = task.train[:6]
    images = [sample.pixels() for sample in samples]
    logits = clip.logit_scale * (
        clip.features(images).pooled @ clip.embedded([wording(a) for a in LABELS]).T
    )
    true = torch.tensor([LABELS.index(sample.answer) for sample in samples])
    head = ZeroShot(clip, task)
    wanted = torch.nn.functional.cross_entropy(logits, true, reduction="none")
    np.testing.assert_allclose(head.loss(images, samples), wanted.numpy(), rtol=1e-5)
    assert head.predict(images, samples) == [LABELS[i] for i in logits.argmax(1).tolist()]
    np.testing.assert_allclose(np.exp(head.logprobs(images, samples)).sum(axis=1), 1)


def test_the_logit_scale_is_the_models(clip: ClipSurrogate) -> None:
    assert clip.logit_scale == pytest.approx(float(clip.model.logit_scale.detach().exp()), rel=1e-6)


def test_samples_with_options_of_their_own(clip: ClipSurrogate, task: Task) -> None:
    image = task.train[0].pixels()
    two = Sample("two", "columns", image, labels=("columns", "rows"))
    four = Sample("four", "rows", image, labels=LABELS)
    head = ZeroShot(clip, task)
    found = head.logprobs([image, image], [two, four])
    assert found.shape == (2, 4) and np.isneginf(found[0, 2:]).all()
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    assert np.isfinite(head.loss([image, image], [two, four])).all()
    assert head.predict([image], [two])[0] in ("columns", "rows")


def test_words_of_ones_own(clip: ClipSurrogate, presence: Task) -> None:
    def words(sample: Sample, label: str) -> str:
        return f"{'there is' if label == 'yes' else 'no'} {sample.fields['object']}"

    samples = presence.train[:4]
    images = [sample.pixels() for sample in samples]
    head = ZeroShot(clip, presence, wording=words)
    texts = [clip.embedded([words(sample, label) for label in ("yes", "no")]) for sample in samples]
    wanted = [
        clip.logit_scale * (pooled @ text.T)
        for pooled, text in zip(clip.features(images).pooled, texts, strict=True)
    ]
    np.testing.assert_allclose(
        head.logprobs(images, samples), torch.stack(wanted).log_softmax(-1), rtol=1e-4
    )


def test_free_answers_too_many_labels_and_strangers_are_refused(
    clip: ClipSurrogate, task: Task
) -> None:
    free = dataclasses.replace(task, labels=None, metric="exact")
    with pytest.raises(UsageError, match="free answers"):
        ZeroShot(clip, free)
    many = tuple(f"label {i}" for i in range(MAX_LABELS + 1))
    crowd = dataclasses.replace(task.train[0], answer=many[0], labels=many)
    with pytest.raises(UsageError, match="401 labels"):
        ZeroShot(clip, dataclasses.replace(task, train=(*task.train[1:], crowd)))
    stranger = dataclasses.replace(task.train[0], answer="waves")
    with pytest.raises(UsageError, match="none of the surrogate's labels"):
        ZeroShot(clip, task).loss([stranger.pixels()], [stranger])
    with pytest.raises(UsageError, match="0 images for 1 samples"):
        ZeroShot(clip, task).loss([], [stranger])


def test_rounding_between_batches_has_no_slope() -> None:
    before = torch.ones(1, 2, 3)
    after = (before + torch.tensor([[[1e-6], [0.5]]])).requires_grad_()
    (slope,) = torch.autograd.grad(token_distance(after, before, 1.0).sum(), after)
    assert slope[0, 0].abs().sum() == 0 < slope[0, 1].abs().sum()
