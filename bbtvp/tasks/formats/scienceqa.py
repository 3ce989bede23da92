"""ScienceQA (Lu et al., NeurIPS 2022): multiple choice, the questions that have an image."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import Contents, dataset
from bbtvp.tasks.formats.files import find, folder, picture, read_json, value

QUESTION = (
    "{context}{question}\n{options}\n"
    "Answer with the option's letter from the given choices directly."
)
"""LLaVA's wording (Liu et al., 2023)."""


@dataset
def scienceqa(place: str) -> Contents:
    """ScienceQA: problems.json, pid_splits.json, images/{train,val,test}/{id}/image.png.

    Questions without an image are left out.

    A sample's own labels are the letters of its choices: choices may differ in nothing but a
    capital (FF, Ff).
    """
    root = folder(place)
    root = root / "data" / "scienceqa" if (root / "data" / "scienceqa").is_dir() else root
    get = "get ScienceQA and put problems.json, pid_splits.json and the folders of images there"
    path, splits = (find(root, f"{name}.json", get=get) for name in ("problems", "pid_splits"))
    problems = read_json(path)
    parts = read_json(splits)
    train, validation, test = (
        _samples(root, part, value(parts, part, list, str(splits)), problems, path)
        for part in ("train", "val", "test")
    )
    return Contents("scienceqa", QUESTION, None, train, test, validation)


def _samples(
    root: Path, part: str, ids: list[Any], problems: Mapping[str, Any], path: Path
) -> list[Sample]:
    images = root / "images" / part if (root / "images" / part).is_dir() else root / part
    samples = []
    for identity in map(str, ids):
        where = f"{path}: problem {identity!r}"
        problem = value(problems, identity, dict, str(path))
        if problem.get("image"):
            samples.append(_sample(images, f"{part}/{identity}", problem, where))
    if not samples:
        raise DataError(f"{path}: no problem of {part} has an image; get ScienceQA again")
    return samples


def _sample(images: Path, identity: str, problem: Mapping[str, Any], where: str) -> Sample:
    choices = value(problem, "choices", list, where)
    answer = value(problem, "answer", int, where)
    if not 2 <= len(choices) <= len(string.ascii_uppercase) or not all(
        isinstance(each, str) for each in choices
    ):
        raise DataError(f"{where}: 'choices' is no list of 2 to 26 texts; get ScienceQA again")
    if not 0 <= answer < len(choices):
        raise DataError(
            f"{where}: the answer is number {answer} of {len(choices)} choices; get ScienceQA again"
        )
    letters = tuple(string.ascii_uppercase[: len(choices)])
    options = "\n".join(
        f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True)
    )
    hint = problem.get("hint")
    context = f"Context: {hint}\n" if isinstance(hint, str) and hint.strip() else ""
    fields = {
        "question": value(problem, "question", str, where),
        "options": options,
        "context": context,
    }
    file = picture(
        images, f"{identity.partition('/')[2]}/{value(problem, 'image', str, where)}", where
    )
    return Sample(identity, letters[answer], file, fields, letters)
