"""Which column of a table is what, and what its cells mean.

Columns are found whatever the case of their names, and under the usual other names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "image": (
            *("image", "image_path", "img", "img_path", "path", "image_file", "image_name"),
            *("file", "filename", "file_name", "filepath", "file_path", "picture"),
        ),
        "answer": (
            *("answer", "label", "class", "target", "category"),
            *("class_name", "label_name", "ground_truth"),
        ),
        "split": ("split",),
        "answers": ("answers",),
        "labels": ("labels",),
        "group": ("group",),
    }
)
"""The columns that are read, and the names that each goes by, the first that is there winning."""

QUESTIONS = ("question", "prompt", "text")
"""Names of a column of questions, which is used where no question is given."""

_MISSING = frozenset(
    {"nan", "nat", "<na>", "#n/a", "#n/a n/a", "#na", "#value!", "#ref!", "#div/0!", "#name?"}
)
"""What Python, pandas and Excel write for a value that is not there, casefolded."""

_PERHAPS_MISSING = frozenset({"na", "n/a", "none", "null"})
"""What may also be a label; among numbers it is a missing value."""

_ASKS = re.compile("[?\uff1f]")
_WHOLE = re.compile(r"[-+]?\d+")
_WHOLE_FLOAT = re.compile(r"([-+]?\d+)\.0+")


def columns_of(names: Sequence[str]) -> dict[str, str]:
    """What each column is for → the name that it has in this table; a name is used once."""
    known: dict[str, str] = {}
    for name in names:
        known.setdefault(_folded(name), name)
    found = {}
    for role, aliases in ALIASES.items():
        of_role = (known[alias] for alias in aliases if alias in known)
        chosen = role if role in names else next(of_role, None)
        if chosen is not None:
            found[role] = chosen
    if "answers" in found:
        found.setdefault("answer", "answer")  # the commonest of them
    return found


def question_column(rows: Sequence[Mapping[str, str]]) -> str | None:
    """The column that holds a question in every row, if there is one.

    A column called "text" is one only if every cell of it asks.
    """
    known: dict[str, str] = {}
    for name in rows[0]:
        known.setdefault(_folded(name), name)
    for alias in QUESTIONS:
        column = known.get(alias)
        if column is None or not all(column in row for row in rows):
            continue
        if alias != "text" or all(_ASKS.search(row[column]) for row in rows):
            return column
    return None


def is_missing(text: str, answers: Iterable[str]) -> bool:
    """Whether an answer stands for none: "NaN" does, and "None" does in a column of numbers."""
    folded = text.casefold()
    if folded in _MISSING:
        return True
    if folded not in _PERHAPS_MISSING:
        return False
    rest = [one for one in answers if one.casefold() not in _PERHAPS_MISSING]
    return bool(rest) and all(is_number(one) for one in rest)


def looks_missing(text: str) -> bool:
    """Whether a label reads like a missing value, which should be said."""
    return text.casefold() in _PERHAPS_MISSING


def is_number(text: str) -> bool:
    """Whether a text is a finite number in digits."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def are_whole_floats(answers: Sequence[str]) -> bool:
    """Whether answers are whole numbers that were written as floats: "3.0".

    pandas does so with a column of whole numbers in which one was missing.
    """
    numbers = [one for one in answers if not looks_missing(one) and one.casefold() not in _MISSING]
    whole = all(_WHOLE.fullmatch(one) or _WHOLE_FLOAT.fullmatch(one) for one in numbers)
    return whole and any(_WHOLE_FLOAT.fullmatch(one) for one in numbers)


def without_fraction(text: str) -> str:
    """A whole number without the fraction that a float has: "3.0" is "3"."""
    match = _WHOLE_FLOAT.fullmatch(text)
    return match[1] if match else text


def json_text(value: Any) -> str | None:
    """A text or a number of JSON as a stripped text; None for NaN; TypeError for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value).strip()


def _folded(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().casefold())
