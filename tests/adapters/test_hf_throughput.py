"""What runs at once in a local model, and that nothing of it shows in the answers."""

from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bbtvp.adapters.hf import HuggingFaceModel
from bbtvp.adapters.hf.batches import BatchSizer, is_full
from bbtvp.adapters.hf.inputs import Prompts, placed
from bbtvp.adapters.hf.prompts import prompt_text
from bbtvp.adapters.hf.scoring import Chain, chains
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import QueryFailed, Request
from bbtvp.zoo.families import FAMILIES
from tests.adapters.test_hf import QUESTIONS, images, load, reference_score, requests, scores, texts
from tests.benchmarks.sizes import drawn, qwen

Folder = Callable[[str], Path]
families = pytest.mark.parametrize("family", sorted(FAMILIES))

LABELS = (
    "red square",
    "red circle",
    "red",
    "a",
    "red circle at sea",
    "red circle at home",
    "red circle here",
    "two cats",
    "two",
    "three cats",
)
"""Ten: of one token and of several, with beginnings shared over one, two and more tokens."""


@pytest.fixture(scope="module")
def small_qwen() -> HuggingFaceModel:
    """A random Qwen2.5-VL, 48 wide: positions in three dimensions, and the last prefix's in the
    model itself.
    """
    text = {
        "vocab_size": 600,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "mrope_section": [2, 2, 2],
        "initializer_range": 0.4,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.4,
    }
    config, processor = qwen(text, vision, side=112)
    return HuggingFaceModel("test/qwen", drawn(config, "cpu", torch.float32), processor, 8)


class Passes:
    """Watches a model's forward passes: (sequences, tokens) of each; those of more than `most`
    sequences fail.
    """

    def __init__(
        self, model: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, most: float = float("inf")
    ) -> None:
        self.seen: list[tuple[int, int]] = []
        self.failed = 0
        self.most = most
        readers = [model.model] + (
            [model.model.language_model] if hasattr(model.model, "qformer") else []
        )
        for reader in readers:
            monkeypatch.setattr(
                reader, "forward", self._watched(reader.forward, count=reader is readers[-1])
            )

    def _watched(self, forward: Callable[..., Any], count: bool) -> Callable[..., Any]:
        @functools.wraps(forward)
        def watched(*args: Any, **given: Any) -> Any:
            read = next(
                v
                for k in ("decoder_input_ids", "inputs_embeds", "input_ids")
                if (v := given.get(k)) is not None
            )
            if len(read) > self.most:
                self.failed += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            if count:
                self.seen.append((len(read), read.shape[1]))
            return forward(*args, **given)

        return watched


# -- labels ----------------------------------------------------------------------------------------
def test_chains_are_what_must_be_read_and_each_label_is_scored_once() -> None:
    labels = [
        (1, 2, 3, 4),
        (1, 2, 3, 5),
        (1, 2, 6, 7),
        (1, 2, 8),
        (9,),
        (1, 5),
        (4, 4),
        (1, 2, 3, 4),
    ]
    found = chains(labels)
    assert {chain.ids for chain in found} == {(1, 2, 3), (1, 2, 6), (4,)}
    assert sorted(column for chain in found for column in chain.labels) == [0, 1, 2, 3, 5, 6, 7]
    for ids, columns in found:
        assert all(ids[: len(labels[c]) - 1] == labels[c][:-1] for c in columns)
    assert [len(chain.ids) for chain in found] == [3, 3, 1]
    assert chains([(1,), (2,)]) == [] and chains([(1, 2)]) == [Chain((1,), [0])]


@families
def test_labels_with_beginnings_in_common_score_as_alone(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    asked = requests(LABELS)[2:]
    expected = [[reference_score(model, request, label) for label in LABELS] for request in asked]
    np.testing.assert_allclose(scores(model.query(asked)), expected, atol=1e-5, rtol=1e-6)


def test_positions_kept_in_the_model_are_those_of_this_prefix(small_qwen: HuggingFaceModel) -> None:
    """Images of another shape in between: their positions must not be continued from."""
    asked = [Request(images(2, 56)[i], "what?", LABELS) for i in range(2)]
    asked += [
        Request(np.ascontiguousarray(images(2, 112)[i][:84]), "what digit is this?", LABELS)
        for i in range(2)
    ]
    found = scores(small_qwen.query(asked))
    expected = []
    for request in asked:
        text = prompt_text(small_qwen.processor, request.text)
        inputs = small_qwen.processor(
            [[Image.fromarray(request.image)]], [text], return_tensors="pt"
        )
        row = []
        for label in LABELS:
            tail = torch.tensor(
                [small_qwen.processor.tokenizer(f" {label}", add_special_tokens=False)["input_ids"]]
            )
            full = {**inputs, "input_ids": torch.cat([inputs["input_ids"], tail], 1)}
            full["attention_mask"] = torch.ones_like(full["input_ids"])
            full["mm_token_type_ids"] = torch.cat(
                [inputs["mm_token_type_ids"], torch.zeros_like(tail).int()], 1
            )
            with torch.inference_mode():
                logits = small_qwen.model(**full, use_cache=False).logits[
                    0, -tail.shape[1] - 1 : -1
                ]
            row.append(float(logits.float().log_softmax(-1).gather(-1, tail.T).sum()))
        expected.append(row)
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-6)


@families
def test_ten_labels_are_a_third_of_the_plain_work_at_most(
    family: str, untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tokens that the language model reads, its encoder's too, against one pass of prefix and
    label per label.
    """
    model = load(untrained(family))
    passes = Passes(model, monkeypatch)
    asked = [Request(image, QUESTIONS[0], LABELS) for image in images(8)]
    model.query(asked)
    width = model._prompts.widths(asked[0])[0]
    work = sum(rows * read for rows, read in passes.seen) + (
        8 * width if model.encoder_decoder else 0
    )
    tokens = [len(model._ids_of(QUESTIONS[0], label)) for label in LABELS]
    assert 3 * work <= 8 * sum(width + n - 1 for n in tokens)
    assert passes.seen[0][0] == 8 and len(passes.seen) <= 4


# -- inputs ----------------------------------------------------------------------------------------
@families
def test_inputs_are_the_processors_to_the_bit(
    family: str, untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = load(untrained(family)).processor
    prompts = Prompts(processor, encoder_decoder=False)
    asked = [request for request in requests() if request.text == QUESTIONS[0]]
    texts = [prompt_text(processor, request.text) for request in asked]
    pictures = [[Image.fromarray(request.image)] for request in asked]
    expected = dict(processor(images=pictures, text=texts, return_tensors="pt", padding=True))
    expected.pop("labels", None)
    prompts.widths(asked[0])
    monkeypatch.setattr(type(processor), "__call__", None)  # from here on the question is known
    found = prompts.inputs(asked)
    assert found.keys() == expected.keys()
    assert all(
        found[key].dtype == expected[key].dtype and torch.equal(found[key], expected[key])
        for key in expected
    )


def test_a_processor_that_changes_the_pixels_itself_is_asked_as_a_whole(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = load(untrained("llava")).processor
    call = type(processor).__call__

    def brighter(self: Any, *args: Any, **given: Any) -> Any:
        inputs = call(self, *args, **given)
        inputs["pixel_values"] = inputs["pixel_values"] + 1
        return inputs

    asked = requests()[:1]
    before = Prompts(processor, encoder_decoder=False).inputs(asked)["pixel_values"]
    monkeypatch.setattr(type(processor), "__call__", brighter)
    after = Prompts(processor, encoder_decoder=False).inputs(asked)["pixel_values"]
    assert torch.equal(after, before + 1)


def test_only_floating_point_takes_the_models_dtype() -> None:
    inputs = {
        "pixel_values": torch.ones(2),
        "input_ids": torch.ones(2, dtype=torch.long),
        "sizes": [torch.ones(1)],
    }
    found = placed(inputs, torch.device("cpu"), torch.bfloat16)
    assert [found["pixel_values"].dtype, found["input_ids"].dtype] == [torch.bfloat16, torch.long]
    assert found["sizes"][0].dtype == torch.bfloat16


# -- how much at once ------------------------------------------------------------------------------
@pytest.mark.parametrize("tokens", [1, 70, 130, 1000])
def test_sequences_are_packed_to_a_budget_of_tokens(
    tokens: int, untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "is there a red circle in the image? " * 4
    asked = [
        Request(image, text, LABELS)
        for image, text in zip(images(10), ("what?", long) * 5, strict=True)
    ]
    expected = scores(load(untrained("llava")).query(asked))
    model = load(untrained("llava"), batch=4, tokens=tokens)
    widths = {
        text: model._prompts.widths(Request(images(1)[0], text, LABELS))[0]
        for text in ("what?", long)
    }
    passes = Passes(model, monkeypatch)
    np.testing.assert_allclose(scores(model.query(asked)), expected, atol=1e-5)
    read = {
        width: [rows for rows, seen in passes.seen if seen == width] for width in widths.values()
    }
    assert {width: max(rows) for width, rows in read.items()} == {
        width: max(1, min(4, tokens // width)) for width in widths.values()
    }
    shortest = min(widths.values())
    assert all(
        rows * (seen + shortest / 4) <= max(tokens, max(widths.values()) + seen + 1)
        for rows, seen in passes.seen
        if seen < shortest
    )
    assert sum(map(sum, read.values())) == len(asked)


def test_a_reply_in_words_counts_towards_the_budget(untrained: Folder) -> None:
    asked = [Request(image, "what?", None, max_tokens=40) for image in images(4)]
    short = [Request(image, "what?", None, max_tokens=1) for image in images(4)]
    model = load(untrained("llava"), tokens=120)
    assert [len(b) for b in model.batches(asked)] == [1] * 4
    assert [len(b) for b in model.batches(short)] == [2, 2]


@pytest.mark.parametrize(
    "options", [{"tokens": 0}, {"tokens": "many"}, {"batch": True}, {"tokens": 1.5}]
)
def test_a_budget_is_a_positive_number(options: dict[str, Any], untrained: Folder) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        load(untrained("llava"), **options)


# -- out of memory ---------------------------------------------------------------------------------
@families
@pytest.mark.parametrize("labels", [LABELS, None], ids=["labels", "text"])
def test_out_of_memory_halves_what_runs_at_once_and_goes_on(
    family: str,
    labels: Any,
    untrained: Folder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = [Request(image, QUESTIONS[0], labels, max_tokens=4) for image in images(11)]
    expected = load(untrained(family)).query(asked)
    model = load(untrained(family), batch=16)
    passes = Passes(model, monkeypatch, most=3)
    with caplog.at_level(logging.WARNING):
        found = model.query(asked)
        again = model.query(asked)
    if labels:
        np.testing.assert_allclose(scores(found), scores(expected), atol=1e-5, rtol=1e-6)
        np.testing.assert_allclose(scores(again), scores(expected), atol=1e-5, rtol=1e-6)
    else:
        assert texts(found) == texts(again) == texts(expected)
    assert max(rows for rows, _ in passes.seen) <= 3
    assert 2 <= passes.failed <= 4, "eleven, five, and once for the labels"
    said = [record.getMessage() for record in caplog.records]
    assert (
        len(said) == 1
        and "out of memory" in said[0]
        and "going on with 2" in said[0]
        and "tokens=" in said[0]
    )


def test_what_does_not_fit_alone_is_a_failed_query(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(untrained("idefics3"), batch=4)
    forward = model.model.forward

    def failing(**given: Any) -> Any:
        if given.get("pixel_values") is not None and float(given["pixel_values"].max()) > 0.99:
            raise RuntimeError(
                "MPS backend out of memory (MPS allocated: 17.97 GB, other allocations: 1.2 GB)"
            )
        return forward(**given)

    monkeypatch.setattr(model.model, "forward", failing)
    dark = [Request(image // 2, "what?", ("one", "two")) for image in images(6)]
    bright = Request(np.full((64, 64, 3), 255, np.uint8), "what?", ("one", "two"))
    found = model.query([*dark[:3], bright, *dark[3:]])
    assert [isinstance(outcome, QueryFailed) for outcome in found] == [False] * 3 + [True] + [
        False
    ] * 3
    assert isinstance(found[3], QueryFailed) and found[3].reason.startswith("out of memory")
    assert isinstance(model.query([bright])[0], QueryFailed), (
        "the model has answered others: it goes on"
    )


def test_a_model_for_which_nothing_fits_is_a_model_error(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(untrained("llava"))
    Passes(model, monkeypatch, most=0)
    with pytest.raises(ModelError, match=r"out of memory for one image query; try dtype=bfloat16"):
        model.query(requests())


def test_continuations_shrink_before_the_batch_does(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(untrained("llava"), batch=1)
    expected = scores(model.query(requests(LABELS)))
    passes = Passes(model, monkeypatch, most=1)
    np.testing.assert_allclose(scores(model.query(requests(LABELS))), expected, atol=1e-5)
    assert {rows for rows, _ in passes.seen} == {1} and 1 <= passes.failed <= 2


def test_errors_of_another_kind_are_not_taken_for_memory(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(untrained("llava"))

    def failing(**given: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(model.model, "forward", failing)
    with pytest.raises(ModelError, match=r"cannot be asked \(RuntimeError: mat1"):
        model.query(requests())


def test_the_cpus_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_full(caught.value)
    assert is_full(MemoryError()) and not is_full(
        RuntimeError("CUDA error: device-side assert triggered")
    )


def test_room_is_kept_for_prompts_of_every_length() -> None:
    """Sixteen of a hundred tokens do not fit: eight do, and as much of any other length."""
    sizer = BatchSizer("test", 64)
    fits = [QueryFailed("")]

    def answer(part: Any) -> Any:
        if len(part) > 8:
            raise torch.OutOfMemoryError
        return fits * len(part)

    asked = requests()[:1] * 16
    assert sizer.run(asked, 100, answer) == fits * 16
    assert [sizer.rows(width) for width in (50, 100, 200, 10, 5000)] == [16, 8, 4, 64, 1]


# -- precision, threads, revision ------------------------------------------------------------------
@pytest.mark.parametrize("family", ["llava", "blip2", "paligemma"])
def test_a_callers_autocast_changes_nothing(family: str, untrained: Folder) -> None:
    model = load(untrained(family))
    expected = model.query(requests(LABELS))
    written = model.query(requests(None, max_tokens=4))
    inputs = placed(model._prompts.inputs(requests()[:1]), torch.device("cpu"), torch.float32)
    starts = (
        {"decoder_input_ids": torch.zeros((1, 1), dtype=torch.long)}
        if model.encoder_decoder
        else {}
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.model(**inputs, **starts).logits.dtype == torch.bfloat16, "the control"
        assert model.query(requests(LABELS)) == expected
        assert model.query(requests(None, max_tokens=4)) == written


def asked_in_threads(model: HuggingFaceModel, jobs: list[list[Request]]) -> list[Any]:
    begin = threading.Barrier(len(jobs))

    def job(part: list[Request]) -> Any:
        begin.wait()
        return [model.query(part) for _ in range(2)]

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(job, jobs))


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@families
def test_threads_share_a_model(family: str, untrained: Folder, one_torch_thread: None) -> None:
    """From cold caches: every thread meets questions, labels and images that none has seen."""
    jobs = [[*requests(LABELS), *requests(None, max_tokens=3)][start::4] for start in range(4)]
    expected = [load(untrained(family)).query(job) for job in jobs]
    assert asked_in_threads(load(untrained(family)), jobs) == [
        [outcome] * 2 for outcome in expected
    ]


def test_threads_take_turns_where_the_model_keeps_state(
    small_qwen: HuggingFaceModel, one_torch_thread: None
) -> None:
    sides = (28, 56, 84, 112)
    jobs = [[Request(image, "what?", LABELS) for image in images(3, side)] for side in sides]
    expected = [small_qwen.query(job) for job in jobs]
    assert asked_in_threads(small_qwen, jobs) == [[outcome] * 2 for outcome in expected]


def test_a_revision_is_that_of_the_files(untrained: Folder, damaged: Folder) -> None:
    folder = damaged("llava")
    revision = load(folder).capabilities.revision
    assert len(revision) == 12 and revision == load(untrained("llava")).capabilities.revision
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(
        {name: tensor * 1.01 for name, tensor in tensors.items()}, file, metadata={"format": "pt"}
    )
    trained = load(folder).capabilities.revision
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"]["image_mean"] = [0.5, 0.5, 0.5]
    (folder / "processor_config.json").write_text(json.dumps(settings))
    assert len({revision, trained, load(folder).capabilities.revision}) == 3


def test_a_revision_of_the_hub_is_its_commit(
    untrained: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bbtvp.adapters.hf.loading import revision_of

    model = load(untrained("llava")).model
    monkeypatch.setattr(model.config, "_commit_hash", "deadbeef" * 5, raising=False)
    assert revision_of("org/name", model) == "deadbeef" * 5
    monkeypatch.setattr(model.config, "_commit_hash", None)
    assert revision_of("org/name", model) == ""


@pytest.mark.gpu
@families
def test_a_gpu_scores_as_the_cpu_does(family: str, untrained: Folder) -> None:
    expected = scores(load(untrained(family)).query(requests(LABELS)))
    found = scores(load(untrained(family), device="cuda").query(requests(LABELS)))
    np.testing.assert_allclose(found, expected, atol=1e-3)
