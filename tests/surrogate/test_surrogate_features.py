"""FCA and TSE: what they are zero for, what bounds them, and what they cost (nothing)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bbtvp
from bbtvp.cli.optimize import optimize
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.prompt import preset
from bbtvp.search import LogProbReader, Objective
from bbtvp.surrogate import TEMPLATE, ClipSurrogate, load_surrogate, wording
from bbtvp.tasks import Sample
from tests.support import LABELS, SIDE, Eye, Flaky, Recorder, pattern, patterns


def images(n: int, seed: int = 0) -> list[Pixels]:
    rng = np.random.default_rng(seed)
    return [pattern(LABELS[i % 4], 0.3, rng) for i in range(n)]


def test_fca_is_zero_for_identical_images_and_positive_otherwise(clip: ClipSurrogate) -> None:
    one = clip.features(images(6))
    other = clip.features(images(6, seed=1))
    assert np.array_equal(clip.fca(one, one), np.zeros(6))
    assert clip.fca(one, other).shape == (6,)
    assert (clip.fca(one, other) > 0).all()


def test_fca_by_its_definition(clip: ClipSurrogate) -> None:
    """Mean distance of the tokens, in units of the mean norm of the unprompted tokens."""
    one = clip.features(images(3))
    other = clip.features(images(3, seed=1))
    prompted = one.tokens.double().numpy()
    unprompted = other.tokens.double().numpy()
    expected = (
        np.linalg.norm(prompted - unprompted, axis=-1).mean(-1)
        / np.linalg.norm(unprompted, axis=-1).mean()
    )
    assert clip.fca(one, other) == pytest.approx(expected, rel=1e-5)


def test_fca_grows_with_the_change(clip: ClipSurrogate) -> None:
    before = images(4)
    changed = [
        clip.features([(image * share).astype(np.uint8) for image in before])
        for share in (0.95, 0.7, 0.2)
    ]
    distances = [clip.fca(features, clip.features(before)).mean() for features in changed]
    assert distances == sorted(distances)


def test_tse_is_a_cosine(clip: ClipSurrogate) -> None:
    features = clip.features(images(8))
    for answer in LABELS:
        found = clip.tse(features, [answer] * 8)
        assert found.shape == (8,)
        assert (np.abs(found) <= 1 + 1e-6).all()
    assert np.linalg.norm(features.pooled.numpy(), axis=1) == pytest.approx(np.ones(8), rel=1e-5)
    assert not np.allclose(clip.tse(features, ["rows"] * 8), clip.tse(features, ["checks"] * 8))


def test_a_caption_comes_before_the_answer(clip: ClipSurrogate) -> None:
    image = images(1)[0]
    plain = Sample("a", "rows", image)
    captioned = Sample("b", "rows", image, {"caption": "the image of checks"})
    assert wording(plain) == TEMPLATE.format(answer="rows") == wording("rows")
    assert wording(captioned) == "the image of checks"
    assert wording(Sample("c", "rows", image, {"caption": ""})) == wording("rows")
    seen = clip.features([image, image])
    one, other = clip.tse(seen, [plain, captioned])
    assert one == clip.tse(seen, ["rows", "rows"])[0] != other
    assert other == pytest.approx(
        float((seen.pooled[0] * clip.embedded(["the image of checks"])[0]).sum())
    )


def test_a_text_longer_than_clip_reads_is_cut_and_keeps_its_end(clip: ClipSurrogate) -> None:
    found = clip.embedded(
        ["this is a photo " * 20, "this is a photo " * 21, "of the image " * 20]
    ).numpy()
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2])


def test_each_text_is_embedded_once(clip: ClipSurrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    inner = clip.model.text_model.forward
    monkeypatch.setattr(
        clip.model.text_model, "forward", lambda *a, **k: (seen.append(1), inner(*a, **k))[1]
    )
    clip.embedded(["the photo", "the photo", "a photo of yes"])
    clip.embedded(["the photo"])
    assert len(seen) == 2


def test_no_images_and_no_batch_are_refused(clip: ClipSurrogate) -> None:
    with pytest.raises(UsageError, match="no images"):
        clip.features([])
    with pytest.raises(UsageError, match="batch of 0"):
        ClipSurrogate("x", clip.model, clip.processor, batch=0)


def test_features_do_not_depend_on_the_batch(clip: ClipSurrogate) -> None:
    many = clip.features(images(9))
    alone = clip.features(images(9)[8:])
    assert many.tokens[8].numpy() == pytest.approx(alone.tokens[0].numpy(), abs=1e-5)


def test_the_terms_enter_the_objective_with_their_weights_and_cost_no_query(
    clip: ClipSurrogate,
) -> None:
    task = patterns()
    z = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    model = Recorder()
    weighted = Objective(
        task, preset("tone", SIDE), model, LogProbReader(), surrogate=clip, fca=0.5, tse=0.25
    )
    neutral, changed = weighted.evaluate(z, task.train[:5])
    assert len(model.asked) == 10
    assert neutral.fca == 0.0 < changed.fca
    for found in (neutral, changed):
        assert found.loss == pytest.approx(found.task + 0.5 * found.fca - 0.25 * found.tse)
    plain = Objective(task, preset("tone", SIDE), Eye(), LogProbReader()).evaluate(
        z, task.train[:5]
    )
    assert [e.task for e in plain] == [neutral.task, changed.task]


def test_the_terms_need_no_reply(clip: ClipSurrogate) -> None:
    """They are those of all the images, whether the model answered about them or not."""
    task = patterns()
    z = np.array([[2.0, 0.0, 0.0]])
    space = preset("tone", SIDE)
    samples = task.train[:8]
    prompted = [space.render(z[0], sample.pixels()) for sample in samples]
    refused = {pixels.tobytes() for pixels in prompted[:3]}
    model = Flaky(refuses=lambda request: request.image.tobytes() in refused)
    found = Objective(task, space, model, LogProbReader(), surrogate=clip, fca=1.0).evaluate(
        z, samples
    )[0]
    seen = clip.features(prompted)
    clean = clip.features([sample.pixels() for sample in samples])
    assert found.fca == pytest.approx(clip.fca(seen, clean).mean(), rel=1e-4)
    assert found.n_failed == 3


@pytest.mark.parametrize("spec", ["clip", "zoo/", ""])
def test_a_surrogate_needs_a_provider(spec: str) -> None:
    with pytest.raises(UsageError, match="needs a provider: zoo/clip"):
        load_surrogate(spec)


def test_unknown_surrogates_get_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="unknown surrogate provider 'zo'; did you mean zoo"):
        load_surrogate("zo/clip")
    with pytest.raises(UsageError, match="unknown surrogate 'zoo/clib'; did you mean zoo/clip"):
        load_surrogate("zoo/clib")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], None),
        (["zoo/clip"], "zoo/clip"),
        (["zoo/clip", "hf/./dino,features=pooled"], "zoo/clip + hf/./dino,features=pooled"),
    ],
)
def test_the_flag_may_be_repeated(given: list[str], expected: str | None) -> None:
    words = ["--task", "zoo/shapes", "--model", "zoo/llava"]
    words += [word for spec in given for word in ("--surrogate", spec)]
    assert optimize.make_context("optimize", words).params["surrogate"] == expected


def test_a_search_with_several_surrogates_takes_their_terms(tmp_path: Path) -> None:
    spec = "zoo/clip + zoo/clip,features=pooled"
    bbtvp.optimize(
        patterns(), Eye(), queries=120, surrogate=spec, fca=1.0, tse=1.0, out=tmp_path / "run"
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["surrogate"] == {"spec": spec, "options": {}}
