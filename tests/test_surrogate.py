"""FCA and TSE: what they are zero for, what bounds them, and what they cost (nothing)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError
from bbtvp.objective import LogProbReader, Objective
from bbtvp.prompt import preset
from bbtvp.surrogate import Surrogate, load_surrogate
from tests.support import LABELS, SIDE, Eye, Flaky, Recorder, pattern, patterns

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor

WORDS = ("this", "is", "a", "photo", "of", *LABELS)


@pytest.fixture(scope="module")
def clip() -> Surrogate:
    """A CLIP of transformers' own classes with random weights, and a processor made on the spot."""
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tiny_model()
    return Surrogate("hf/tiny", model.eval(), tiny_processor(), batch=4)


def tiny_model() -> CLIPModel:
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**shared, "vocab_size": len(WORDS) + 2, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**shared, "image_size": SIDE, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


def tiny_processor() -> CLIPProcessor:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPImageProcessorPil, CLIPProcessor, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<s>", "</s>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    size = {"height": SIDE, "width": SIDE}
    return CLIPProcessor(CLIPImageProcessorPil(size=size, crop_size=size), fast)


def images(n: int, seed: int = 0) -> list[Pixels]:
    rng = np.random.default_rng(seed)
    return [pattern(LABELS[i % 4], 0.3, rng) for i in range(n)]


def test_fca_is_zero_for_identical_images_and_positive_otherwise(clip: Surrogate) -> None:
    one, other = clip.features(images(6)), clip.features(images(6, seed=1))
    assert np.array_equal(clip.fca(one, one), np.zeros(6))
    assert clip.fca(one, other).shape == (6,)
    assert (clip.fca(one, other) > 0).all()


def test_fca_by_its_definition(clip: Surrogate) -> None:
    """Mean distance of the tokens, in units of the mean norm of the unprompted tokens."""
    one, other = clip.features(images(3)), clip.features(images(3, seed=1))
    prompted, unprompted = one.tokens.double().numpy(), other.tokens.double().numpy()
    expected = np.linalg.norm(prompted - unprompted, axis=-1).mean(-1) / np.linalg.norm(unprompted, axis=-1).mean()
    assert clip.fca(one, other) == pytest.approx(expected, rel=1e-5)


def test_fca_grows_with_the_change(clip: Surrogate) -> None:
    before = images(4)
    changed = [clip.features([(image * share).astype(np.uint8) for image in before]) for share in (0.95, 0.7, 0.2)]
    distances = [clip.fca(features, clip.features(before)).mean() for features in changed]
    assert distances == sorted(distances)


def test_tse_is_a_cosine(clip: Surrogate) -> None:
    features = clip.features(images(8))
    for answer in LABELS:
        found = clip.tse(features, [answer] * 8)
        assert found.shape == (8,)
        assert (np.abs(found) <= 1 + 1e-6).all()
    assert np.linalg.norm(features.pooled.numpy(), axis=1) == pytest.approx(np.ones(8), rel=1e-5)
    assert not np.allclose(clip.tse(features, ["rows"] * 8), clip.tse(features, ["checks"] * 8))


def test_features_do_not_depend_on_the_batch(clip: Surrogate) -> None:
    many, alone = clip.features(images(9)), clip.features(images(9)[8:])
    assert many.tokens[8].numpy() == pytest.approx(alone.tokens[0].numpy(), abs=1e-5)


def test_the_terms_enter_the_objective_with_their_weights_and_cost_no_query(clip: Surrogate) -> None:
    task, z = patterns(), np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    model = Recorder()
    weighted = Objective(task, preset("tone", SIDE), model, LogProbReader(), surrogate=clip, fca=0.5, tse=0.25)
    neutral, changed = weighted.evaluate(z, task.train[:5])
    assert len(model.asked) == 10
    assert neutral.fca == 0.0 < changed.fca
    for found in (neutral, changed):
        assert found.loss == pytest.approx(found.task + 0.5 * found.fca - 0.25 * found.tse)
    plain = Objective(task, preset("tone", SIDE), Eye(), LogProbReader()).evaluate(z, task.train[:5])
    assert [e.task for e in plain] == [neutral.task, changed.task]


def test_the_terms_of_failed_queries_are_left_out(clip: Surrogate) -> None:
    task, z = patterns(), np.array([[2.0, 0.0, 0.0]])
    refused = {preset("tone", SIDE).render(z[0], sample.pixels()).tobytes() for sample in task.train[:3]}
    model = Flaky(refuses=lambda request: request.image.tobytes() in refused)
    objective = Objective(task, preset("tone", SIDE), model, LogProbReader(), surrogate=clip, fca=1.0)
    some = objective.evaluate(z, task.train[:8])[0]
    rest = clip.features([preset("tone", SIDE).render(z[0], sample.pixels()) for sample in task.train[3:8]])
    whole = clip.features([sample.pixels() for sample in task.train[:8]])
    scale = float(whole.tokens.norm(dim=-1).mean() / whole.tokens[3:].norm(dim=-1).mean())
    clean = clip.features([sample.pixels() for sample in task.train[3:8]])
    assert some.fca == pytest.approx(clip.fca(rest, clean).mean() / scale, rel=1e-4)
    assert some.n_failed == 3


@pytest.mark.parametrize("spec", ["clip", "zoo/", ""])
def test_a_surrogate_needs_a_provider(spec: str) -> None:
    with pytest.raises(UsageError, match="needs a provider: zoo/clip"):
        load_surrogate(spec)


def test_unknown_surrogates_get_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="unknown surrogate provider 'zo'; did you mean zoo"):
        load_surrogate("zo/clip")
    with pytest.raises(UsageError, match="unknown surrogate 'zoo/clib'; did you mean zoo/clip"):
        load_surrogate("zoo/clib")
