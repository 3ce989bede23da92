"""VisualGLM against what the authors' code says of equal weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch

from bbtvp.adapters import hf
from bbtvp.adapters.hf.convert import visualglm
from bbtvp.adapters.hf.convert.templates import VISUALGLM, VISUALGLM_TVP, PublishedPrompt
from bbtvp.core.errors import ModelError
from bbtvp.models import Reply, Request
from tests.paper import published
from tests.paper.support import EXPECTED, scores


def converted(
    files: Path, out: Path, prompt: PublishedPrompt = VISUALGLM, **options: Any
) -> hf.HuggingFaceModel:
    visualglm.convert(checkpoint=files / "visualglm-6b", out=out, prompt=prompt)
    model = hf.load(str(out), **options)
    assert isinstance(model, hf.HuggingFaceModel)
    return model


@pytest.mark.parametrize("cached", [True, False])
def test_it_scores_as_the_authors_code_does(cached: bool, files: Path, tmp_path: Path) -> None:
    model = converted(files, tmp_path / "out")
    assert model._scorer.cached
    model._scorer.cached = cached
    np.testing.assert_allclose(scores(model), EXPECTED["visualglm"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_not_taken_for_a_fault(dtype: str, files: Path, tmp_path: Path) -> None:
    model = converted(files, tmp_path / "out", dtype=dtype)
    np.testing.assert_allclose(scores(model), EXPECTED["visualglm"], rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("prompt", "before", "after"),
    [(VISUALGLM, "</img>问：", "<n>答："), (VISUALGLM_TVP, "</img> ", "")],
)
def test_the_prompt_has_the_published_tokens(
    prompt: PublishedPrompt, before: str, after: str, files: Path, tmp_path: Path
) -> None:
    model = converted(files, tmp_path / "out", prompt)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=published.glm_pieces())
    special = published.glm_ids()
    for question in (*published.QUESTIONS, "这是什么？\n a  b\tc"):
        marked = question.replace("\n", "<n>").replace("  ", "<|blank_2|>")
        marked = marked.replace("\t", "<|tab|>")
        asked = model._inputs([Request(published.images()[0], question, ("dog",))])
        assert asked["input_ids"][0].tolist() == [
            *pieces.encode("<img>"),
            *[pieces.unk_id()] * published.GLM_QUERIES,
            *pieces.encode(f"{before}{marked}{after}"),
            special["gmask_token_id"],
            special["bos_token_id"],
        ]
    assert list(model._ids_of(question, "dog")) == pieces.encode("dog")


def test_it_writes_what_it_scores_highest(files: Path, tmp_path: Path) -> None:
    model = converted(files, tmp_path / "out")
    request = Request(published.images()[0], "what is in the image?", max_tokens=4)
    inputs = model._inputs([request])
    ids = inputs["input_ids"]
    with torch.no_grad():
        written = model.model.generate(**inputs, max_new_tokens=4, do_sample=False)
        for _ in range(written.shape[1] - ids.shape[1]):
            best = model.model(**inputs | {"input_ids": ids}).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, best], 1)
    assert torch.equal(written, ids)
    assert isinstance(model.query([request])[0], Reply)


def test_text_comes_back_as_it_was(files: Path, tmp_path: Path) -> None:
    tokenizer = converted(files, tmp_path / "out").processor.tokenizer
    text = "a  b\n\tc" + " " * 90 + "é 漢"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", None),
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "llama"}'),
        ("config.json", b'{"model_type": "chatglm"}'),
        ("ice_text.model", None),
        ("ice_text.model", b"<html>"),
        ("pytorch_model-00001-of-00001.bin", None),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(
    name: str, content: bytes | None, files: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(files / "visualglm-6b", copy)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(ModelError) as error:
        visualglm.convert(checkpoint=copy, out=tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_shape_is_named(files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(files / "visualglm-6b", copy)
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"inner_hidden_size": 80}))
    with pytest.raises(ModelError, match=r"dense_h_to_4h.weight has the shape \(96, 64\)"):
        visualglm.convert(checkpoint=copy, out=tmp_path / "out")
