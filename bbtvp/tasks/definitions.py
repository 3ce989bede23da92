"""What the labels of a task mean: given as a mapping, as a file, or in a column of a table."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bbtvp.core.errors import DataError
from bbtvp.tasks.rows import Row

COLUMN = "definition"
"""The column of a table that says what the row's answer means."""

_FORM = 'give names and texts: circle = "a round shape"'


def definitions_of(
    given: Mapping[str, str] | Path | str | None, rows: Sequence[Row], labels: Sequence[str] | None
) -> dict[str, str]:
    """The definitions by label: those given, or else those of the column `definition`.

    given: a mapping, or a .toml or .json file of one. DataError for a file that holds none, and for
    rows that define one label in two ways. Without labels a column defines nothing.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if given is not None:
        return _read(Path(given).expanduser())
    found: dict[str, str] = {}
    for row in rows if labels is not None else ():
        said = row.sample.fields.get(COLUMN, "").strip()
        label = row.sample.answer
        if said and found.setdefault(label, said) != said:
            raise DataError(
                f"{row.where}: {label!r} is defined as {said!r} here and as {found[label]!r} in "
                "another row; write the same, or leave one empty"
            )
    return found


def _read(path: Path) -> dict[str, str]:
    read = tomllib.loads if path.suffix.lower() == ".toml" else json.loads
    try:
        found = read(path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"no such file of definitions: {path}; check the path") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_FORM}") from error
    if not isinstance(found, dict) or not all(isinstance(said, str) for said in found.values()):
        raise DataError(f"{path} holds no definitions; {_FORM}")
    return found
