"""BLIVA against what the authors' code says of equal weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

from bbtvp.adapters import hf
from bbtvp.adapters.hf.convert import bliva
from bbtvp.core.errors import ModelError
from bbtvp.models import Reply, Request
from tests.paper import published
from tests.paper.support import EXPECTED, scores


def converted(files: Path, out: Path) -> hf.HuggingFaceModel:
    bliva.convert(
        llm=files / "llm",
        checkpoint=files / "bliva_vicuna7b.pth",
        vit=files / "eva_vit_g.pth",
        bert=str(files / "bert"),
        out=out,
        vision_layers=published.LAYERS,
    )
    model = hf.load(str(out))
    assert isinstance(model, hf.HuggingFaceModel)
    return model


def test_it_scores_as_the_authors_code_does(files: Path, tmp_path: Path) -> None:
    model = converted(files, tmp_path / "out")
    np.testing.assert_allclose(scores(model), EXPECTED["bliva"], rtol=0, atol=1e-4)


def test_the_prompt_is_queries_and_patches_then_the_question(files: Path, tmp_path: Path) -> None:
    model = converted(files, tmp_path / "out")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(files / "llm/tokenizer.model"))
    ids = model.processor(images=published.images()[0], text="what?")["input_ids"][0]
    image = [0] * (published.QUERIES + (published.SIDE // published.PATCH) ** 2)
    assert ids == [*image, 2, *pieces.encode("what?")]


def test_it_writes_what_it_scores_highest(files: Path, tmp_path: Path) -> None:
    model = converted(files, tmp_path / "out")
    request = Request(published.images()[0], "what is in the image?", max_tokens=1)
    inputs = model.processor(images=request.image, text=request.text, return_tensors="pt")
    with torch.no_grad():
        best = model.model(**inputs).logits[0, -1].argmax()
    (reply,) = model.query([request])
    assert isinstance(reply, Reply)
    assert reply.text == model.processor.tokenizer.decode(best).strip()


def test_a_file_of_another_project_is_told(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none of vl-vicuna\.pth, .* give --checkpoint"):
        bliva.convert(
            llm=files / "llm",
            checkpoint=files / "vl-vicuna.pth",
            vit=files / "eva_vit_g.pth",
            bert=str(files / "bert"),
            out=tmp_path / "out",
            vision_layers=published.LAYERS,
        )
