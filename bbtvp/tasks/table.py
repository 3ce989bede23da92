"""Tables of samples: text with a header (.csv, .tsv), or .jsonl with one object a line.

Every error names the file and the line; all lines that cannot be used are named at once.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, final

from bbtvp.core.digest import digest_json
from bbtvp.core.errors import DataError, unknown
from bbtvp.tasks.columns import (
    are_whole_floats,
    columns_of,
    is_missing,
    json_text,
    looks_missing,
    question_column,
    without_fraction,
)
from bbtvp.tasks.rows import Row, split_named
from bbtvp.tasks.task import Sample

_NEEDED = ("image", "answer")
_SEPARATORS: Mapping[str, str] = MappingProxyType(
    {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the encodings that they announce."""

_NAMED = 5
"""Lines of a table that are named with what is wrong in them; of the others only the numbers."""

_COUNTED = 20
"""Lines whose numbers are given."""


@final
class TableRows(NamedTuple):
    """The rows of a table, how they were read, and the column of questions, if there is one."""

    rows: list[Row]
    notes: tuple[str, ...]
    question: str | None


class _Record(NamedTuple):
    """One row: stripped text by column, no empty ones; labels and several answers already apart."""

    line: int
    values: Mapping[str, str]
    labels: tuple[str, ...] | None
    answers: tuple[str, ...] = ()


class _ReadTable(NamedTuple):
    """What was read of a file: its records, what each column is for, and notes."""

    records: list[_Record]
    columns: Mapping[str, str]
    notes: list[str]


class _Faults:
    """The lines of a table that cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, what: str) -> None:
        self._found.append((line, what))

    def check(self) -> None:
        """Raise one DataError for all of them."""
        found = sorted(self._found)
        if not found:
            return
        if len(found) == 1:
            raise DataError(f"{self._path} line {found[0][0]}: {found[0][1]}")
        named = [f"line {line}: {what}" for line, what in found[:_NAMED]]
        rest = [str(line) for line, _ in found[_NAMED:]]
        if rest:
            more = ", …" if len(rest) > _COUNTED else ""
            named.append(f"likewise lines {', '.join(rest[:_COUNTED])}{more}")
        raise DataError(f"{self._path}: {len(found):,} lines cannot be used: {' | '.join(named)}")


def read_csv(path: Path, *, labels: Iterable[str] = ()) -> TableRows:
    """The rows of a table whose first line names the columns.

    Cells are separated by commas, semicolons, tabs or bars: by the first of these that separates a
    column of images from one of answers. Options in one cell are separated by "|". labels: answers
    that are allowed, even if they read like a missing value.
    """
    return _rows(path, _csv_table(path), labels)


def read_jsonl(path: Path, *, labels: Iterable[str] = ()) -> TableRows:
    """The rows of a file with one JSON object a line.

    Options are a list; null is the same as absent. labels: as of `read_csv`.
    """
    return _rows(path, _json_table(path), labels)


# -- tables of text --------------------------------------------------------------------------------
def _csv_table(path: Path) -> _ReadTable:
    text, skipped = _without_separator_line(_text(path))
    separator = skipped or _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    before = 1 if skipped else 0
    header: list[str] = []
    columns: dict[str, str] = {}
    records: list[_Record] = []
    faults = _Faults(path)
    try:
        for raw in reader:
            cells = [cell.strip() for cell in raw]
            line = reader.line_num + before
            if not any(cells):
                continue
            if not header:
                header = cells
                columns = _header(cells, f"{path} line {line}")
            elif len(cells) != len(header):
                faults.add(
                    line,
                    f"{len(cells)} cells, {len(header)} columns; put cells with "
                    f"{_SEPARATORS[separator]} in quotes",
                )
            else:
                records.append(_csv_record(line, header, cells, columns))
    except csv.Error as error:
        raise DataError(
            f"{path} line {reader.line_num + before}: not CSV ({error}); check the quotes"
        ) from error
    faults.check()
    notes = [f"cells are separated by {_SEPARATORS[separator]}"] if separator != "," else []
    unnamed = [str(place) for place, name in enumerate(header, start=1) if not name]
    if unnamed:
        notes.append(f"columns without a name are not read: {', '.join(unnamed)}")
    return _ReadTable(records, columns, notes)


def _csv_record(
    line: int, header: Sequence[str], cells: Sequence[str], columns: Mapping[str, str]
) -> _Record:
    values = {name: cell for name, cell in zip(header, cells, strict=True) if cell and name}
    labels = _parts(values.pop(columns.get("labels", "labels"), None))
    answers = _parts(values.pop(columns.get("answers", ""), None)) or ()
    if answers:
        values.setdefault(columns["answer"], _commonest(answers))
    return _Record(line, values, labels, answers)


def _parts(cell: str | None) -> tuple[str, ...] | None:
    return None if cell is None else tuple(one.strip() for one in cell.split("|"))


def _commonest(answers: Sequence[str]) -> str:
    """The commonest answer, of equals the first."""
    return Counter(answers).most_common(1)[0][0]


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """The table without the line "sep=;" that Excel reads, and the separator that it names."""
    first, _, rest = text.partition("\n")
    word = first.strip('\r" ')
    if word.casefold().startswith("sep=") and word[4:] in _SEPARATORS:
        return rest, word[4:]
    return text, None


def _separator(text: str) -> str:
    """The separator that gives the columns which are needed, else the one that gives most."""
    widths = {}
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            cells = next((raw for raw in reader if any(cell.strip() for cell in raw)), [])
        except csv.Error:
            continue
        if set(_NEEDED) <= columns_of([cell.strip() for cell in cells]).keys():
            return separator
        widths[separator] = len(cells)
    return max(widths, key=lambda one: widths[one], default=",")


def _header(cells: Sequence[str], where: str) -> dict[str, str]:
    """What each column is for.

    DataError if one that is needed is missing, or a name comes twice.
    """
    named = [name for name in cells if name]
    columns = columns_of(named)
    for column in _NEEDED:
        _check_column(column, columns, named, where)
    for position, name in enumerate(cells):
        if name and name in cells[:position]:
            raise DataError(
                f"{where}: column {position + 1} is {name!r}; give every column a name of its own"
            )
    return columns


def _check_column(
    column: str, columns: Mapping[str, str], names: Sequence[str], where: str
) -> None:
    if column not in columns:
        raise DataError(
            f"{where}: no column {column!r} (found: {', '.join(names)}); {_nearest(column, names)}"
        )


def _nearest(column: str, names: Sequence[str]) -> str:
    hint = str(unknown("column", column, names)).partition("; ")[2]
    return hint if hint.startswith("did you mean") else "add it"


# -- tables of JSON --------------------------------------------------------------------------------
def _json_table(path: Path) -> _ReadTable:
    records: list[_Record] = []
    columns: dict[str, str] = {}
    faults = _Faults(path)
    # Not splitlines: JSON text may hold U+2028 and others that it takes for line ends.
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            faults.add(line, f"not JSON ({error}); write one object per line")
            continue
        if not isinstance(value, dict):
            kind = type(value).__name__
            faults.add(line, f'a {kind}, not an object; write {{"image": …, "answer": …}}')
            continue
        found = columns_of([name.strip() for name in value])
        try:
            records.append(_json_record(path, line, value, found))
        except DataError as error:
            faults.add(line, str(error))
        columns = {**found, **columns}
    faults.check()
    return _ReadTable(records, columns, [])


def _json_record(
    path: Path, line: int, value: dict[str, Any], columns: Mapping[str, str]
) -> _Record:
    """DataError, without the line, for a value that is none."""
    cells = {name.strip(): cell for name, cell in value.items()}
    for column in _NEEDED:
        if column not in columns:
            raise DataError(
                f"no column {column!r} (found: {', '.join(cells)}); {_nearest(column, list(cells))}"
            )
    labels = _json_labels(cells.pop(columns.get("labels", "labels"), None))
    answers = _json_answers(cells.pop(columns.get("answers", ""), None))
    answer = cells.get(columns["answer"])
    if isinstance(answer, list):
        answers = answers or _json_answers(answer)
        answer = None
    if answer is None and answers:
        answer = _commonest(answers)
    cells[columns["answer"]] = _json_number(answer)
    texts = {name: _json_text(name, cell) for name, cell in cells.items() if cell is not None}
    return _Record(line, {name: text for name, text in texts.items() if text}, labels, answers)


def _json_answers(value: Any) -> tuple[str, ...]:
    """All accepted answers: a list of texts, or of VQA's objects with the key "answer"."""
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    plain = [one.get("answer") if isinstance(one, dict) else one for one in listed]
    texts = (_json_text("answers", _json_number(one)) for one in plain if one is not None)
    return tuple(text for text in texts if text)


def _json_number(value: Any) -> Any:
    """A float that is a whole number as one: pandas makes floats of whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json_text(name: str, value: Any) -> str:
    try:
        return json_text(value) or ""
    except TypeError as error:
        raise DataError(f"{name!r} is {json.dumps(value)}; write a text or a number") from error


def _json_labels(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise DataError(f'\'labels\' is {json.dumps(value)}; write a list such as ["yes", "no"]')
    return tuple(_json_text("labels", _json_number(label)) for label in value)


def _text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as Excel's "Unicode text" is."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} line {line}: not {encoding[:6].upper().rstrip('-')}; save the file as UTF-8 "
            '(in Excel: "CSV UTF-8")'
        ) from error
    if "\0" in text:
        raise DataError(f"{path} holds NUL characters, and is no UTF-8; save the file as UTF-8")
    return text


# -- rows ------------------------------------------------------------------------------------------
def _rows(path: Path, table: _ReadTable, labels: Iterable[str]) -> TableRows:
    if not table.records:
        raise DataError(f"{path} has no rows; write one per sample, with at least image and answer")
    answer = table.columns["answer"]
    answers = [record.values.get(answer, "") for record in table.records]
    whole = are_whole_floats([one for one in answers if one])
    cell = without_fraction if whole else str
    allowed = frozenset(labels)
    given = Counter(answers)
    missing = {one for one in given if one not in allowed and is_missing(one, filter(None, given))}
    rows: list[Row] = []
    first: dict[str, int] = {}
    faults = _Faults(path)
    for record in table.records:
        said = record.values.get(answer, "")
        if said in missing:
            faults.add(
                record.line,
                f"the answer is {said!r}, a missing value; fill it in or remove the row",
            )
            continue
        try:
            row = _row(path, record, table.columns, cell)
        except DataError as error:
            faults.add(record.line, str(error))
            continue
        line = first.setdefault(row.sample.id, record.line)
        if line != record.line:
            faults.add(record.line, f"repeats line {line} (sample {row.sample.id!r}); remove one")
        rows.append(row)
    faults.check()
    asked = question_column([record.values for record in table.records])
    notes = [*table.notes, *_notes(table.columns, given, whole, allowed)]
    without = [one.line for one in table.records if "question" not in one.values]
    if without and len(without) < len(table.records):
        notes.append(
            f"the column 'question' is not read: {len(without)} rows have none, line {without[0]} "
            "first"
        )
    return TableRows(rows, tuple(notes), asked)


def _notes(
    columns: Mapping[str, str], answers: Mapping[str, int], whole: bool, allowed: frozenset[str]
) -> Iterator[str]:
    """What was chosen in reading the columns and their cells."""
    renamed = [f"{name!r} as {role}" for role, name in columns.items() if name != role]
    if renamed:
        yield f"columns are read by other names: {', '.join(renamed)}"
    if whole:
        yield 'answers are whole numbers written as floats: "3.0" is read as "3"'
    for text, count in answers.items():
        if looks_missing(text) and text not in allowed:
            yield f"the answer {text!r} ({count} rows) is read as a text, not as a missing value"


def _row(
    path: Path, record: _Record, columns: Mapping[str, str], cell: Callable[[str], str]
) -> Row:
    """The row of a record. DataError, without the line, for one that cannot be used."""
    values = record.values
    for column in _NEEDED:
        if columns[column] not in values:
            raise DataError(f"{columns[column]!r} is empty; fill it in or remove the row")
    if "://" in values[columns["image"]]:
        raise DataError(
            f"the image {values[columns['image']]!r} is an address; download it, and name the file"
        )
    relative = values[columns["image"]].replace("\\", "/")
    # Normalised as text: two spellings of one path are one image, and no link is followed.
    image = Path(os.path.normpath(path.parent / relative))
    # os.path.isfile is False for a name that is too long, where Path.is_file would raise.
    if not os.path.isfile(image):
        raise DataError(f"no image {image}; paths are relative to the table's folder")
    # A group stays a field: it could be named in questions before it kept samples together.
    own = {*columns.values(), "id"} - {columns.get("group")}
    fields = {name: value for name, value in values.items() if name not in own}
    stated = values.get(columns.get("split", ""))
    split = None if stated is None else split_named(stated)
    identity = values.get("id") or _identity(relative, fields)
    options = None if record.labels is None else tuple(map(cell, record.labels))
    answer = cell(values[columns["answer"]])
    group = values.get(columns.get("group", ""))
    answers = tuple(map(cell, record.answers))
    sample = Sample(identity, answer, image, fields, options, group, answers)
    return Row(sample, split, f"{path} line {record.line}")


def _identity(relative: str, fields: Mapping[str, str]) -> str:
    """The id of a row that states none.

    One image may be asked about several times, so the fields are part of the id. The line is not.
    """
    path = os.path.normpath(relative).replace("\\", "/")
    return f"{path}#{digest_json(dict(fields))[:12]}" if fields else path
