"""A reader of text (OCR) as a model: it answers every question with the text in the image.

    load_model("ocr/rapidocr")  # pip install 'bbtvp[ocr]'; its weights come with it
    load_model("ocr/tesseract", psm=7, lang="deu")  # where the program tesseract is installed
    load_model("ocr/ddddocr")  # one line that fills the picture: pip install 'bbtvp[ocr-line]'

The labels of a task are then words on signs, labels or displays, or the answers are free.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from PIL import Image

from bbtvp.adapters.exec import Program
from bbtvp.core.errors import UsageError, unknown
from bbtvp.models import FunctionModel, Model


def load(name: str, **options: Any) -> Model:
    """The engine of this name, `rapidocr`, `tesseract` or `ddddocr`, as a model.

    Raises UsageError for another name, for an option that the engine does not take, and where the
    engine is not installed.
    """
    if name not in _ENGINES:
        raise unknown("OCR engine", name, _ENGINES)
    return _ENGINES[name](**options)


def rapidocr(*, side: int = 736) -> Model:
    """RapidOCR on ONNX Runtime, with the weights of PP-OCR that its wheel brings.

    side: an image whose longer side has more pixels is shrunk to it before text is looked for; a
    smaller one is taken as it is.
    """
    try:
        import onnxruntime  # noqa: F401
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UsageError(
            f"ocr/rapidocr needs RapidOCR ({error}): pip install -c constraints.txt 'bbtvp[ocr]'"
        ) from error
    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Det.limit_type": "max",
            "Det.limit_side_len": side,
            # more threads wait for each other in a loop: three times the work for one small image
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        }
    )

    def read(image: Image.Image) -> str:
        return " ".join(engine(image).txts or ())

    versions = f"rapidocr {version('rapidocr')}, onnxruntime {version('onnxruntime')}, side {side}"
    return FunctionModel(read, name="ocr/rapidocr", version=versions, deterministic=True)


def tesseract(
    *, psm: int = 6, lang: str = "eng", concurrency: int = 1, timeout: float = 60.0
) -> Model:
    """The program tesseract.

    psm: its page segmentation mode, 0 to 13; 6 is a block of text, 7 a line, 8 a word, 11 text
    anywhere. lang: languages of the text, such as `deu+eng`. concurrency: programs at once.
    timeout: seconds for one image.
    """
    if shutil.which("tesseract") is None:
        raise UsageError(
            "ocr/tesseract needs the program tesseract in PATH: apt-get install tesseract-ocr"
        )
    words = ["tesseract", "{image}", "stdout", "--psm", str(psm), "-l", lang]
    program = Program(words, "ocr/tesseract", timeout, silent=True)

    def read(image: Image.Image) -> str:
        return " ".join(program(image, "").split())

    told = subprocess.run(["tesseract", "--version"], capture_output=True, text=True, check=False)
    release = (told.stdout or told.stderr).partition("\n")[0]
    return FunctionModel(
        read,
        name="ocr/tesseract",
        version=f"{release}, psm {psm}, {lang}",
        concurrency=concurrency,
        deterministic=True,
        timeout=None if concurrency == 1 else timeout + 60,
    )


def ddddocr() -> Model:
    """ddddocr on ONNX Runtime, with the weights that its wheel brings.

    It was made for captchas and looks for no text: a picture is one line that fills it, and case is
    often lost.
    """
    try:
        import ddddocr as library
    except ImportError as error:
        raise UsageError(
            f"ocr/ddddocr needs ddddocr ({error}): pip install -c constraints.txt 'bbtvp[ocr-line]'"
        ) from error
    engine = library.DdddOcr(show_ad=False)

    def read(image: Image.Image) -> str:
        return str(engine.classification(image))

    versions = f"ddddocr {version('ddddocr')}, onnxruntime {version('onnxruntime')}"
    return FunctionModel(read, name="ocr/ddddocr", version=versions, deterministic=True)


_ENGINES: dict[str, Callable[..., Model]] = {
    "ddddocr": ddddocr,
    "rapidocr": rapidocr,
    "tesseract": tesseract,
}
