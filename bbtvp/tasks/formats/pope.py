"""POPE (Li et al., EMNLP 2023): "is there a {object} in the image?".

The images are COCO val2014; absent objects are drawn in three ways.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import YES_NO, Contents, chosen, dataset
from bbtvp.tasks.formats.files import find, folder, lines, picture, value

SAMPLINGS = ("random", "popular", "adversarial")
_OBJECT = re.compile(r"is there an? (.+?) in the im(?:age|gae)\s*\??", re.IGNORECASE)


@dataset
def pope(place: str, *, sampling: str = "random", images: str = "") -> Contents:
    """POPE: coco_pope_{random,popular,adversarial}.json, and COCO's val2014 images.

    `images`: the folder of the images, if they are elsewhere.

    No split is published: images are split, the same way under all three samplings. Each question's
    fields are question, object, and caption (the objects that are there, as TVP's loader hands them
    on).
    """
    chosen("sampling", sampling, SAMPLINGS)
    root = folder(place)
    file = f"coco_pope_{sampling}.json"
    path = find(
        root,
        file,
        f"output/coco/{file}",
        f"coco/{file}",
        f"pope/{file}",
        get="get it from POPE's repository, folder output/coco",
    )
    pictures = folder(images) if images else _pictures(root)
    return Contents(
        f"pope-{sampling}", "{question}", YES_NO, _samples(path, pictures), by_image=True
    )


def _pictures(root: Path) -> Path:
    for name in ("val2014", "images/val2014", "images", "coco/val2014"):
        if (root / name).is_dir():
            return root / name
    return root


def _samples(path: Path, pictures: Path) -> list[Sample]:
    present: dict[str, list[str]] = defaultdict(list)
    found: dict[str, tuple[str, Path, str, dict[str, str]]] = {}
    for where, record in lines(path):
        image = value(record, "image", str, where)
        text = value(record, "text", str, where)
        answer = value(record, "label", str, where).strip().lower()
        if answer not in YES_NO:
            raise DataError(
                f"{where}: the label {answer!r} is neither yes nor no; is it another file?"
            )
        fields = {"question": text}
        named = _OBJECT.fullmatch(text.strip())
        if named:
            fields["object"] = named[1]
            present[image] += [named[1]] if answer == "yes" else []
        identity = f"{image}#{value(record, 'question_id', int, where)}"
        if identity in found:
            raise DataError(f"{where}: {identity} comes twice; get {path.name} again")
        found[identity] = (answer, picture(pictures, image, where), image, fields)
    if not found:
        raise DataError(f"{path} is empty; get it again")
    return [
        Sample(identity, answer, file, fields | _caption(present[image]))
        for identity, (answer, file, image, fields) in found.items()
    ]


def _caption(things: list[str]) -> dict[str, str]:
    return {"caption": f"this is a photo of {', '.join(things)}"} if things else {}
