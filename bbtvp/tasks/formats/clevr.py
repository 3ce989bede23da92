"""CLEVR (Johnson et al., CVPR 2017): counting, or its own questions.

Counting takes its answers from the scenes. The published validation images serve as test.

Its test split is published without scenes and without answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import YES_NO, Contents, chosen, dataset
from bbtvp.tasks.formats.files import find, folder, items, picture, value

GET = "get CLEVR_v1.0.zip and unpack it there"
PARTS = ("train", "val")
COUNTING = "how many objects are in the image?"

KINDS = (
    YES_NO,
    tuple(str(count) for count in range(11)),
    ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
    ("cube", "sphere", "cylinder"),
    ("rubber", "metal"),
    ("small", "large"),
)
"""All 28 answers of CLEVR, by what is asked for; a question's options are those of its kind."""


@dataset
def clevr(place: str, *, ask: str = "counting") -> Contents:
    """CLEVR: images/{train,val}, scenes/ and questions/.

    `ask`: "counting" (3 to 10 objects), or "questions" (CLEVR's own).

    All 850,000 questions are read, whatever the limit: about a minute and 1.4 GB.
    """
    chosen("ask", ask, ("counting", "questions"))
    root = folder(place)
    root = root / "CLEVR_v1.0" if (root / "CLEVR_v1.0").is_dir() else root
    if ask == "questions":
        train, test = (_questions(root, part) for part in PARTS)
        return Contents("clevr-questions", "{question}", None, train, test)
    train, test = (_scenes(root, part) for part in PARTS)
    counts = sorted({int(sample.answer) for sample in (*train, *test)})
    return Contents("clevr", COUNTING, tuple(map(str, counts)), train, test)


def _scenes(root: Path, part: str) -> list[Sample]:
    path = find(root, f"scenes/CLEVR_{part}_scenes.json", get=GET)
    images = find(root, f"images/{part}", get=GET)
    samples = []
    for where, scene in items(path, "scenes"):
        name = value(scene, "image_filename", str, where)
        things = value(scene, "objects", list, where)
        # The caption is what the surrogate's TSE draws a training image to: a count alone names
        # nothing to be seen.
        described = ", ".join(_described(thing, where) for thing in things)
        fields = {"caption": f"{len(things)} objects: {described}"}
        samples.append(
            Sample(f"{part}/{name}", str(len(things)), picture(images, name, where), fields)
        )
    return _some(samples, path)


def _described(thing: Any, where: str) -> str:
    try:
        return f"{thing['size']} {thing['color']} {thing['material']} {thing['shape']}"
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: an object of the scene lacks {error}; {GET}") from error


def _questions(root: Path, part: str) -> list[Sample]:
    path = find(root, f"questions/CLEVR_{part}_questions.json", get=GET)
    images = find(root, f"images/{part}", get=GET)
    options = {answer: kind for kind in KINDS for answer in kind}
    samples = []
    for where, record in items(path, "questions"):
        answer = value(record, "answer", str, where)
        name = value(record, "image_filename", str, where)
        if answer not in options:
            raise DataError(f"{where}: the answer {answer!r} is none of CLEVR's 28; {GET}")
        identity = f"{part}/{value(record, 'question_index', int, where)}"
        fields = {"question": value(record, "question", str, where)}
        samples.append(
            Sample(identity, answer, picture(images, name, where), fields, options[answer])
        )
    return _some(samples, path)


def _some(samples: list[Sample], path: Path) -> list[Sample]:
    if not samples:
        raise DataError(f"{path} is an empty list; {GET}")
    return samples
