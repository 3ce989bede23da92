"""Hugging Face `datasets` (an extra): a name on the Hub, or a folder that the library can read.

Nothing that is loaded runs: from version 5.2 on the library knows neither loading scripts nor
pickles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bbtvp.core.digest import digest_json
from bbtvp.core.errors import DataError, UsageError, unknown
from bbtvp.core.files import atomic_write
from bbtvp.tasks import Sample
from bbtvp.tasks.formats.contents import NAMED_OPTIONS, Contents, dataset

OLDEST = (5, 2)
HELD_OUT = ("test", "validation", "valid", "val")
"""Names of what is not train, the best for testing first."""


@dataset
def hf(
    place: str,
    *,
    config: str = "",
    revision: str = "",
    image: str = "",
    label: str = "",
    train: str = "train",
    validation: str = "",
    test: str = "",
) -> Contents:
    """A data set by its name on the Hub ("org/name"), or of a local folder ("./folder").

    config, revision: as the library takes them. image, label: columns; by default the only one of
    images and the only one of classes. train, validation, test: names of splits; by default the
    test split is "test", else "validation"; a data set of one split is split here. Images that are
    kept are written below the library's cache, where they are read when they are needed; the rest
    is never decoded.

    Raises UsageError if the extra is not installed, or for an unknown column or split; DataError if
    it cannot be read.
    """
    library = _library()
    parts = _load(library, place, config, revision)
    if train not in parts:
        raise unknown("split", train, parts)
    columns = _columns(library, parts[train], image, label)
    tested = test or next((name for name in HELD_OUT if name in parts and name != validation), "")
    held = validation or next(
        (name for name in HELD_OUT[1:] if name in parts and name != tested), ""
    )
    for name in filter(None, (tested, held)):
        if name not in parts:
            raise unknown("split", name, parts)
    names = _classes(parts, [name for name in (train, held, tested) if name], columns.label)
    cache = Path(library.config.HF_DATASETS_CACHE) / "bbtvp"
    folders = {
        name: cache / digest_json([place, name, str(rows._fingerprint)])[:24]
        for name, rows in parts.items()
    }
    taken = {
        name: _samples(name, parts[name], columns.label, names, folders[name])
        for name in (train, held, tested)
        if name
    }
    encoded = {
        name: parts[name].cast_column(columns.image, library.Image(decode=False)) for name in taken
    }
    name = Path(place).resolve().name if Path(place).is_dir() else place
    return Contents(
        f"hf:{name}",
        f"what is in the image? {NAMED_OPTIONS}",
        names,
        taken[train],
        taken.get(tested, ()),
        taken.get(held, ()) if tested else (),
        fetch=partial(_fetch, encoded, columns.image),
    )


@dataclasses.dataclass(frozen=True)
class Columns:
    """The names of the two columns that are read."""

    image: str
    label: str


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "hf: needs Hugging Face's datasets; pip install 'bbtvp[datasets]'"
        ) from error
    if tuple(int(part) for part in datasets.__version__.split(".")[:2]) < OLDEST:
        raise UsageError(
            f"hf: datasets {datasets.__version__} can run code from a data set; pip install "
            "'bbtvp[datasets]'"
        )
    return datasets


def _load(library: Any, place: str, config: str, revision: str) -> Mapping[str, Any]:
    """The splits by name."""
    try:
        if any((Path(place) / name).is_file() for name in ("dataset_dict.json", "state.json")):
            loaded = library.load_from_disk(place)
        else:
            loaded = library.load_dataset(place, config or None, revision=revision or None)
    except (OSError, ValueError, KeyError, TypeError, library.exceptions.DatasetsError) as error:
        raise DataError(f"hf:{place} cannot be loaded: {_line(error)}") from error
    return {"train": loaded} if isinstance(loaded, library.Dataset) else dict(loaded)


def _columns(library: Any, rows: Any, image: str, label: str) -> Columns:
    return Columns(
        _column(rows, "image", image, lambda feature: isinstance(feature, library.Image)),
        _column(rows, "label", label, lambda feature: isinstance(feature, library.ClassLabel)),
    )


def _column(rows: Any, option: str, name: str, fits: Callable[[Any], bool]) -> str:
    """The column that is named, else the only one that fits, else the one called as the option."""
    fitting = [column for column, feature in rows.features.items() if fits(feature)]
    chosen = name or (fitting[0] if len(fitting) == 1 else option)
    if chosen not in rows.features:
        raise UsageError(f"{unknown('column', chosen, rows.features)} (?{option}=COLUMN)")
    if option == "image" and chosen not in fitting:
        raise UsageError(
            f"the column {chosen!r} holds no images; name one that does: ?image=COLUMN"
        )
    return chosen


def _classes(parts: Mapping[str, Any], used: list[str], label: str) -> tuple[str, ...]:
    """The names of the classes; of a column of texts, all that occur, sorted."""
    feature = parts[used[0]].features[label]
    if hasattr(feature, "names"):
        return tuple(str(name).replace("_", " ") for name in feature.names)
    if getattr(feature, "dtype", "") not in ("string", "large_string"):
        raise DataError(
            f"the column {label!r} holds neither classes nor texts; name another: ?label=COLUMN"
        )
    return tuple(
        sorted({value for name in used for value in parts[name][label] if value is not None})
    )


def _samples(
    split: str, rows: Any, label: str, names: tuple[str, ...], folder: Path
) -> list[Sample]:
    """One sample per row; its image is a file that is not there yet."""
    samples = []
    for number, value in enumerate(rows[label]):
        answer = (
            value if isinstance(value, str) else names[value] if _is_place(value, names) else None
        )
        if answer is None:
            raise DataError(
                f"split {split}, row {number}: the label {value!r} is no class; name another split"
            )
        samples.append(Sample(f"{split}/{number:06d}", answer, folder / f"{number:06d}"))
    return samples


def _is_place(value: object, names: tuple[str, ...]) -> bool:
    return isinstance(value, int) and 0 <= value < len(names)


def _fetch(encoded: Mapping[str, Any], column: str, sample: Sample) -> Sample:
    """The sample with its image on disk, as it was encoded; written once, whole or not at all."""
    path = sample.image
    if not isinstance(path, Path) or path.is_file():
        return sample
    split, _, number = sample.id.rpartition("/")
    image = encoded[split][int(number)][column] or {}
    if image.get("bytes"):
        try:
            atomic_write(path, image["bytes"])
        except OSError as error:
            raise DataError(
                f"{path} cannot be written: {_line(error)}; set HF_HOME to a folder that can"
            ) from error
        return sample
    if image.get("path") and Path(image["path"]).is_file():
        return dataclasses.replace(sample, image=Path(image["path"]))
    raise DataError(f"split {split}, row {number}: no image; leave the row out")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
