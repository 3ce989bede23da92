"""Tables of samples: .csv with a header, or .jsonl with one object a line.

Every error names the file and the line.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bbtvp.core.digest import digest_json
from bbtvp.core.errors import DataError, unknown
from bbtvp.tasks.rows import Row, split_named
from bbtvp.tasks.task import Sample

_NEEDED = ("image", "answer")
_OWN = frozenset({*_NEEDED, "split", "labels", "id"})


class _Record(NamedTuple):
    """One row: stripped text by column, no empty ones; `labels` already apart."""

    line: int
    values: Mapping[str, str]
    labels: tuple[str, ...] | None


def read_csv(path: Path) -> list[Row]:
    """The rows of a comma-separated table whose first line names the columns.

    Options in one cell are separated by "|".
    """
    return _rows(path, _csv_records(path))


def read_jsonl(path: Path) -> list[Row]:
    """The rows of a file with one JSON object a line.

    Options are a list; null is the same as absent.
    """
    return _rows(path, _json_records(path))


def _csv_records(path: Path) -> Iterator[_Record]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    columns: list[str] = []
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            where = f"{path} line {reader.line_num}"
            if not any(cells):
                continue
            if not columns:
                columns = _header(cells, where)
                continue
            if len(cells) != len(columns):
                raise DataError(
                    f"{where}: {len(cells)} cells, {len(columns)} columns; put cells with commas "
                    "in quotes"
                )
            values = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
            options = values.pop("labels", None)
            labels = (
                None if options is None else tuple(option.strip() for option in options.split("|"))
            )
            yield _Record(reader.line_num, values, labels)
    except csv.Error as error:
        raise DataError(
            f"{path} line {reader.line_num}: not CSV ({error}); check the quotes"
        ) from error


def _header(cells: Sequence[str], where: str) -> list[str]:
    for column in _NEEDED:
        _check_column(column, cells, where)
    for position, name in enumerate(cells):
        if not name or name in cells[:position]:
            raise DataError(
                f"{where}: column {position + 1} is {name!r}; give every column a name of its own"
            )
    return list(cells)


def _check_column(column: str, columns: Sequence[str], where: str) -> None:
    if column not in columns:
        raise DataError(
            f"{where}: no column {column!r} (found: {', '.join(columns)}); "
            f"{_nearest(column, columns)}"
        )


def _nearest(column: str, columns: Sequence[str]) -> str:
    hint = str(unknown("column", column, columns)).partition("; ")[2]
    return hint if hint.startswith("did you mean") else "add it"


def _json_records(path: Path) -> Iterator[_Record]:
    # Not splitlines: JSON text may hold U+2028 and others that it takes for line ends.
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        where = f"{path} line {line}"
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error}); write one object per line") from error
        if not isinstance(value, dict):
            raise DataError(
                f"{where}: a {type(value).__name__}, not an object; "
                'write {"image": …, "answer": …}'
            )
        labels = _json_labels(value.pop("labels", None), where)
        values = {
            name.strip(): _json_text(name, cell, where)
            for name, cell in value.items()
            if cell is not None
        }
        for column in _NEEDED:
            _check_column(column, list(values), where)
        yield _Record(line, {name: cell for name, cell in values.items() if cell}, labels)


def _json_text(name: str, value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: {name!r} is {json.dumps(value)}; write a text or a number")
    return str(value).strip()


def _json_labels(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(
            f'{where}: \'labels\' is {json.dumps(value)}; write a list such as ["yes", "no"]'
        )
    return tuple(_json_text("labels", label, where) for label in value)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} line {line}: not UTF-8; save the file as UTF-8") from error


def _rows(path: Path, records: Iterator[_Record]) -> list[Row]:
    rows: list[Row] = []
    lines: dict[str, int] = {}
    for record in records:
        row = _row(path, record)
        first = lines.setdefault(row.sample.id, record.line)
        if first != record.line:
            raise DataError(
                f"{row.where}: repeats line {first} (sample {row.sample.id!r}); remove one"
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{path} has no rows; write one per sample, with at least image and answer")
    return rows


def _row(path: Path, record: _Record) -> Row:
    where = f"{path} line {record.line}"
    for column in _NEEDED:
        if column not in record.values:
            raise DataError(f"{where}: {column!r} is empty; fill it in or remove the row")
    relative = record.values["image"].replace("\\", "/")
    # Normalised as text: two spellings of one path are one image, and no link is followed.
    image = Path(os.path.normpath(path.parent / relative))
    # os.path.isfile is False for a name that is too long, where Path.is_file would raise.
    if not os.path.isfile(image):
        raise DataError(f"{where}: no image {image}; paths are relative to the table's folder")
    fields = {name: value for name, value in record.values.items() if name not in _OWN}
    stated = record.values.get("split")
    split = None if stated is None else split_named(stated, where)
    identity = record.values.get("id") or _identity(relative, fields)
    return Row(
        Sample(identity, record.values["answer"], image, fields, record.labels), split, where
    )


def _identity(relative: str, fields: Mapping[str, str]) -> str:
    """The id of a row that states none.

    One image may be asked about several times, so the fields are part of the id. The line is not.
    """
    path = os.path.normpath(relative).replace("\\", "/")
    return f"{path}#{digest_json(dict(fields))[:12]}" if fields else path
