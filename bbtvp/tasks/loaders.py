"""Tasks from files.

A folder with one sub-folder per class, or a table (.csv, .tsv, .jsonl) of images, answers and
fields.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks.definitions import definitions_of
from bbtvp.tasks.folder import read_folder
from bbtvp.tasks.labels import fill_labels, parse_labels, settle_labels
from bbtvp.tasks.loading import LoadReport, PassedOver
from bbtvp.tasks.rows import Row
from bbtvp.tasks.splits import Splits, published, split
from bbtvp.tasks.table import TableRows, read_csv, read_jsonl
from bbtvp.tasks.task import Sample, Task

_TABLES: Mapping[str, Callable[..., TableRows]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_jsonl,
}

TABLES = ", ".join(_TABLES)
"""The kinds of table that `load` reads, for messages."""

_WORKBOOKS = (".xlsx", ".xls", ".ods", ".numbers")


def load(
    spec: str | Path,
    *,
    question: str | None = None,
    labels: str | Sequence[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
    metric: str | None = None,
    definitions: Mapping[str, str] | Path | str | None = None,
) -> Task:
    """The task in a folder or a table file; images are checked to exist, and not yet decoded.

    A folder has one sub-folder per class, and may have train, validation (or val) and test above
    them. A table has the columns image (a path relative to the table) and answer, under any usual
    name (docs/data.md), or answers, all that are accepted ("a|b", in .jsonl a list); it may have
    split, group, labels (this row's options: "red|blue", in .jsonl a list) and id; every other
    column is a field for the question. Stated splits are kept; train gives up its share for
    validation if only that is missing. Otherwise `seed` and the images decide the splits, and
    samples of one group stay together.

    `question`: the template, in which {labels} stands for the labels; by default the column of
    questions, or else "what is in the image?" with the labels. `labels`: the answers allowed, as a
    sequence or as "a,b,c"; "none" for free answers; by default the class folders, or the options
    that all rows share, or the distinct answers of a table if they are few (`bbtvp.tasks.labels`),
    or else free answers. `limit`: at most so many samples per split, each answer in its proportion.
    `metric`: how replies are scored, by its name (a plug-in's too); by default "accuracy" with
    labels, or else "exact". `definitions`: what labels mean, as a mapping or as a .toml or .json
    file of one; by default the column `definition` of a table.

    Raises DataError with the file and the lines for anything that cannot be used, UsageError for a
    bad option.
    """
    if limit is not None and limit < 2:
        raise UsageError(
            f"a limit of {limit} leaves nothing to compare; use 2 or more samples per split"
        )
    path = Path(spec)
    given = parse_labels(labels)
    read = _read(path, given or ())
    found = settle_labels(path, read.rows, given)
    rows = found.rows
    template, rows = _asked(path, rows, found.labels, question or read.template)
    free = found.labels is None and any(row.sample.labels is None for row in rows)
    train, validation, test = (
        part[:limit] for part in _splits(path, rows, seed, stratify=found.labels is not None)
    )
    name = path.resolve().name.removesuffix(path.suffix if path.is_file() else "")
    scored = metric or ("exact" if free else "accuracy")
    task = Task(
        name,
        template,
        found.labels,
        train,
        validation,
        test,
        metric=scored,
        definitions=definitions_of(definitions, rows, found.labels),
    )
    report = LoadReport((*read.notes, *found.notes), read.passed_over)
    object.__setattr__(task, "loading", report)  # frozen for all others
    return task


def is_table(spec: str) -> bool:
    """Whether the name says that it is a table, be it there or not."""
    return spec.lower().endswith(tuple(_TABLES))


class _Files(NamedTuple):
    """What was read: the rows, and the question of a column that has one in every row."""

    rows: list[Row]
    template: str | None = None
    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()


def _read(path: Path, labels: Sequence[str]) -> _Files:
    if path.is_dir():
        found = read_folder(path)
        return _Files(found.rows, passed_over=found.passed_over)
    reader = _TABLES.get(path.suffix.lower())
    if not path.exists():
        raise _missing(path)
    if reader is None:
        if path.suffix.lower() in _WORKBOOKS:
            raise UsageError(f"{path} is a workbook; save its sheet as CSV UTF-8, and give that")
        if path.suffix.lower() == ".json":
            raise UsageError(
                f"{path} is no task; write its samples one on each line, "
                'as {"image": …, "answer": …}, into a .jsonl file, or name its data set: '
                "DATA SET:FOLDER (docs/data.md)"
            )
        raise UsageError(
            f"{path} is no task; give a folder with one sub-folder per class, or a table: {TABLES}"
        )
    table = reader(path, labels=labels)
    if table.question is None:
        return _Files(table.rows, notes=table.notes)
    named = () if table.question == "question" else (f"questions are read from {table.question!r}",)
    return _Files(table.rows, f"{{{table.question}}}", (*table.notes, *named))


def _missing(path: Path) -> DataError:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {path.with_name(near[0])}?" if near else "check the path"
    return DataError(f"no such file or folder: {path}; {hint}")


def _asked(
    path: Path, rows: list[Row], labels: tuple[str, ...] | None, question: str | None
) -> tuple[str, list[Row]]:
    """The template of the question, with the labels in it, and the rows with the labels in theirs.

    Rows with options of their own have them filled in when they are asked about.
    """
    question = question or _default(path, rows, labels)
    if labels is None:
        return question, rows
    options = ", ".join(labels)
    column = question[1:-1]
    if question == f"{{{column}}}" and all(column in row.sample.fields for row in rows):
        return question, [fill_labels(row, column, options) for row in rows]
    return question.replace("{labels}", options.replace("{", "{{").replace("}", "}}")), rows


def _default(path: Path, rows: Sequence[Row], labels: tuple[str, ...] | None) -> str:
    if labels is None and any(row.sample.labels is None for row in rows):
        raise UsageError(
            f"{path} has no question, and its answers are too many to be labels; give --question, "
            "or a column 'question' with one in every row, or --labels"
        )
    return "what is in the image? answer with one of: {labels}"


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
