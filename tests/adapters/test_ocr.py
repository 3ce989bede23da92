"""Readers of text as models, on signs that are drawn here. Each engine is tried where it is."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from bbtvp.adapters import ocr
from bbtvp.core.errors import UsageError
from bbtvp.models import Reply, Request, load_model

HERE = {
    "rapidocr": find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None,
    "tesseract": shutil.which("tesseract") is not None,
}
engines = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not here, reason=f"{name} is not installed"))
        for name, here in HERE.items()
    ],
)


def sign(word: str, side: int = 128) -> Request:
    image = Image.new("RGB", (side, side), "white")
    font = ImageFont.load_default(32)
    ImageDraw.Draw(image).text((side / 2, side / 2), word, "black", font, anchor="mm")
    return Request(np.asarray(image), "which word?", max_tokens=1)


@engines
def test_words_are_read_and_an_empty_image_is_an_empty_reply(name: str) -> None:
    model = load_model(f"ocr/{name}")
    outcomes = model.query([sign("STOP"), sign("HOTEL"), sign(""), sign("STOP")])
    assert [outcome.text for outcome in outcomes if isinstance(outcome, Reply)] == [
        "STOP",
        "HOTEL",
        "",
        "STOP",
    ]
    assert model.capabilities.deterministic and not model.capabilities.logprobs


@engines
def test_the_identity_holds_what_decides_the_text(name: str) -> None:
    option = {"side": 320} if name == "rapidocr" else {"psm": 7}
    first = load_model(f"ocr/{name}")
    assert first.spec == f"ocr/{name}"
    assert load_model(f"ocr/{name}").identity == first.identity
    assert load_model(f"ocr/{name}", **option).identity != first.identity
    with pytest.raises(UsageError, match="cannot take colour=red"):
        load_model(f"ocr/{name}", colour="red")


def test_an_engine_that_is_unknown_or_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown OCR engine 'rapid'; did you mean rapidocr"):
        load_model("ocr/rapid")
    monkeypatch.setattr(ocr.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="needs the program tesseract"):
        load_model("ocr/tesseract")
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(UsageError, match=r"pip install .*bbtvp\[ocr\]"):
        load_model("ocr/rapidocr")


@pytest.mark.skipif(find_spec("ddddocr") is None, reason="needs the extra ocr-line")
def test_a_line_that_fills_the_picture_is_read() -> None:
    model = load_model("ocr/ddddocr")
    lines = [sign(word).image[44:84, 12:116] for word in ("STOP", "HOME")]
    read = model.query([Request(line, "which word?") for line in lines])
    assert [one.text.upper() for one in read if isinstance(one, Reply)] == ["STOP", "HOME"]


def test_a_line_reader_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ddddocr", None)
    with pytest.raises(UsageError, match=r"pip install .*bbtvp\[ocr-line\]"):
        load_model("ocr/ddddocr")
