"""Tasks from files.

A folder with one sub-folder per class, or a .csv or .jsonl table of images, answers and fields.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks.folder import read_folder
from bbtvp.tasks.rows import Row
from bbtvp.tasks.splits import Splits, published, split
from bbtvp.tasks.table import read_csv, read_jsonl
from bbtvp.tasks.task import Sample, Task

_TABLES: Mapping[str, Callable[[Path], list[Row]]] = {".csv": read_csv, ".jsonl": read_jsonl}

TABLES = " or ".join(_TABLES)
"""The kinds of table that `load` reads, for messages."""


def load(
    spec: str | Path,
    *,
    question: str | None = None,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    metric: str | None = None,
) -> Task:
    """The task in a folder or a table file; images are checked to exist, and not yet decoded.

    A folder has one sub-folder per class, and may have train, validation (or val) and test above
    them. A table has the columns image (a path relative to the table) and answer; it may have
    split, labels (this row's options: "red|blue", in .jsonl a list) and id; every other column is a
    field for the question. Stated splits are kept; train gives up its share for validation if only
    that is missing. Otherwise `seed` and the images decide the splits.

    `question`: the template; by default the column "question", or else "what is in the image?" with
    the labels. `labels`: the answers allowed; by default the class folders, or the options that all
    rows share, or else free answers. `limit`: at most so many samples per split, each answer in its
    proportion. `metric`: how replies are scored, by its name (a plug-in's too); by default
    "accuracy" with labels, or else "exact".

    Raises DataError with the file and the line for anything that cannot be used, UsageError for a
    bad option.
    """
    if limit is not None and limit < 2:
        raise UsageError(
            f"a limit of {limit} leaves nothing to compare; use 2 or more samples per split"
        )
    path = Path(spec)
    rows = _read(path)
    labels, rows = _labels(rows, labels)
    question = question or _question(path, rows, labels)
    free = labels is None and any(row.sample.labels is None for row in rows)
    train, validation, test = (
        part[:limit] for part in _splits(path, rows, seed, stratify=labels is not None)
    )
    name = path.resolve().name.removesuffix(path.suffix if path.is_file() else "")
    scored = metric or ("exact" if free else "accuracy")
    return Task(name, question, labels, train, validation, test, metric=scored)


def is_table(spec: str) -> bool:
    """Whether the name says that it is a table, be it there or not."""
    return spec.lower().endswith(tuple(_TABLES))


def _read(path: Path) -> list[Row]:
    if path.is_dir():
        return read_folder(path)
    reader = _TABLES.get(path.suffix.lower())
    if not path.exists():
        raise _missing(path)
    if reader is None:
        raise UsageError(
            f"{path} is no task; give a folder with one sub-folder per class, or a {TABLES} file"
        )
    return reader(path)


def _missing(path: Path) -> DataError:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {path.with_name(near[0])}?" if near else "check the path"
    return DataError(f"no such file or folder: {path}; {hint}")


def _labels(
    rows: list[Row], labels: Sequence[str] | None
) -> tuple[tuple[str, ...] | None, list[Row]]:
    """The task's labels, and the rows without labels of their own.

    Those given, or else the options that every row has in common.
    """
    options = {row.sample.labels for row in rows}
    if labels is None and len(options) > 1:
        return None, rows
    return options.pop() if labels is None else tuple(labels), [
        row.without_labels() for row in rows
    ]


def _question(path: Path, rows: Sequence[Row], labels: tuple[str, ...] | None) -> str:
    if all("question" in row.sample.fields for row in rows):
        return "{question}"
    if labels is None:
        raise UsageError(
            f"{path} has no question; give one, or add a column 'question' with one in every row"
        )
    options = ", ".join(labels).replace("{", "{{").replace("}", "}}")
    return f"what is in the image? answer with one of: {options}"


def _splits(path: Path, rows: Sequence[Row], seed: int, stratify: bool) -> Splits:
    stated: dict[str | None, list[Sample]] = defaultdict(list)
    for row in rows:
        stated[row.split].append(row.sample)
    if stated.keys() == {None}:
        return split(stated[None], seed=seed, stratify=stratify)
    for row in rows:
        if row.split is None:
            raise DataError(
                f"{row.where}: no split, and other rows state one; fill it in on every row or on "
                "none"
            )
    for name in ("train", "test"):
        if name not in stated:
            raise DataError(
                f"{path} states splits and has no {name} images; add some, or state no splits at "
                "all"
            )
    train = stated["train"]
    validation = stated["validation"]
    test = stated["test"]
    return published(train, validation, test, seed=seed, name=str(path), stratify=stratify)
