"""Image folders by class: any ImageFolder, ImageNette, EuroSAT.

ImageNette is by Howard (2019), EuroSAT by Helber et al. (2019).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from bbtvp.core.errors import DataError
from bbtvp.tasks import Sample
from bbtvp.tasks.folder import read_folder
from bbtvp.tasks.formats.contents import NAMED_OPTIONS, TVP_QUESTION, Contents, dataset
from bbtvp.tasks.formats.files import find, folder

IMAGENETTE_NAMES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}

EUROSAT_NAMES = {
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "herbaceous vegetation land",
    "Highway": "highway or road",
    "Industrial": "industrial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings",
    "River": "river",
    "SeaLake": "sea or lake",
}
"""The wording of CoOp (Zhou et al., IJCV 2022), in lower case, which BlackVIP and its successors
took over.
"""


@dataset
def imagefolder(place: str) -> Contents:
    """ROOT/CLASS/image, or ROOT/SPLIT/CLASS/image.

    Where there are only train and val, val serves as test, as is usual for ImageNet.
    """
    return _contents(folder(place), f"what is in the image? {NAMED_OPTIONS}", None)


@dataset
def imagenette(place: str) -> Contents:
    """ImageNette: train and val, with WordNet ids as class folders.

    No test split is published, so val serves as test.
    """
    root = folder(place)
    inner = ("imagenette2", "imagenette2-320", "imagenette2-160")
    root = next((root / name for name in inner if (root / name).is_dir()), root)
    for part in ("train", "val"):
        find(
            root,
            part,
            get="get imagenette2.tgz or its versions -320 and -160, and unpack it there",
        )
    return _contents(root, TVP_QUESTION, IMAGENETTE_NAMES, "imagenette")


@dataset
def eurosat(place: str) -> Contents:
    """EuroSAT, RGB: 27,000 images in ten class folders; no split is published."""
    root = folder(place)
    root = next(
        (root / name for name in ("2750", "EuroSAT/2750", "EuroSAT_RGB") if (root / name).is_dir()),
        root,
    )
    find(root, "AnnualCrop", get="get EuroSAT_RGB.zip (or EuroSAT.zip) and unpack it there")
    return _contents(
        root, f"what is in this satellite image? {NAMED_OPTIONS}", EUROSAT_NAMES, "eurosat"
    )


def _contents(
    root: Path, question: str, names: Mapping[str, str] | None, name: str = ""
) -> Contents:
    """The samples by split.

    `names`: class folder → class name, for all folders that may be there; None keeps the folder's
    name.
    """
    found = read_folder(root)
    parts: dict[str | None, list[Sample]] = defaultdict(list)
    classes: dict[str, None] = {}
    for row in found.rows:
        answer = row.sample.answer
        if names is not None and answer not in names:
            raise DataError(
                f"{root} has a class folder {answer!r}, unknown in {name}; remove it, or use "
                "imagefolder:"
            )
        classes[answer] = None
        called = answer if names is None else names[answer]
        parts[row.split].append(dataclasses.replace(row.sample, answer=called, labels=None))
    labels = tuple(sorted(classes)) if names is None else tuple(names.values())
    name = name or root.resolve().name
    if None in parts:
        return Contents(name, question, labels, parts[None], passed_over=found.passed_over)
    if "train" not in parts or len(parts) == 1:
        raise DataError(
            f"{root} has no images in train, or in nothing else; name the folder above train and "
            "val"
        )
    test = parts["test"]
    validation = parts["validation"]
    return Contents(
        name,
        question,
        labels,
        parts["train"],
        test or validation,
        validation if test else (),
        passed_over=found.passed_over,
    )
