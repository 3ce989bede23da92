"""The labels of a table or a folder: given, stated in the rows, or inferred from few answers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks.columns import is_number
from bbtvp.tasks.rows import Row
from bbtvp.tasks.task import label_key

MOST = 20
"""The most distinct answers that are taken as labels."""

ROWS_EACH = 3
"""Rows that each answer has on average, at least, where answers are taken as labels."""

_FEWEST = 2
"""Rows of the rarest answer that is taken as a label."""

_LONGEST = 60
"""Characters of the longest answer that is taken as a label."""

FREE = "none"
"""The word for answers that are free."""


@final
class Labelled(NamedTuple):
    """The task's labels, or None; the rows, of which none repeats them; and what was chosen."""

    labels: tuple[str, ...] | None
    rows: list[Row]
    notes: tuple[str, ...]


def parse_labels(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Labels as they are given: "a,b,c", "a|b|c" or a sequence; "none" gives no labels, ().

    None if none are given. UsageError if there is only one.
    """
    if given is None:
        return None
    if isinstance(given, str):
        parts = given.split("|" if "|" in given else ",")
        given = [part.strip() for part in parts if part.strip()]
    labels = tuple(map(str, given))
    if not labels or (len(labels) == 1 and labels[0].casefold() == FREE):
        return ()
    if len(labels) < 2:
        raise UsageError(
            f"one label, {labels[0]!r}, leaves nothing to choose; give two or more as a,b, "
            f"or {FREE} for free answers"
        )
    return labels


def settle_labels(path: Path, rows: list[Row], given: tuple[str, ...] | None) -> Labelled:
    """The labels of these rows.

    Those given; else the options that every row has in common; else, if no row states options, the
    answers themselves if they are few. given: () for free answers, unless rows state options.
    """
    stated = {row.sample.labels for row in rows}
    if given:
        return _with_labels(given, rows)
    if len(stated) > 1:
        return Labelled(None, rows, ())
    shared = stated.pop()
    if shared is not None:
        return Labelled(shared, [row.without_labels() for row in rows], ())
    if given == ():
        return Labelled(None, rows, ())
    return _inferred(path, rows)


def _with_labels(labels: tuple[str, ...], rows: list[Row]) -> Labelled:
    """The labels that were given; an answer that reads like one of them is that one."""
    by_key = {_key(label): label for label in labels}
    found = []
    changed = 0
    for row in rows:
        answer = row.sample.answer
        label = answer if answer in labels else by_key.get(_key(answer), answer)
        changed += label != answer
        found.append(row.answered(label).without_labels())
    note = f"{changed} answers are written otherwise than their label, and are taken as it"
    return Labelled(labels, found, (note,) if changed else ())


def _inferred(path: Path, rows: list[Row]) -> Labelled:
    """The distinct answers as labels, if they are few and each occurs several times."""
    if any(len(set(row.sample.accepted)) > 1 for row in rows):
        return Labelled(None, rows, ("answers are free: some rows accept several",))
    counts = Counter(row.sample.answer for row in rows)
    why = _why_free(counts, len(rows)) or _why_not_in_train(rows, counts)
    if why is not None:
        return Labelled(None, rows, (f"answers are free, compared as a whole: {why}",))
    _check_alike(path, counts)
    numbers = all(map(is_number, counts))
    labels = tuple(sorted(counts, key=(lambda one: (float(one), one)) if numbers else None))
    note = f"labels are inferred from the {len(labels)} distinct answers (--labels {FREE}: free)"
    return Labelled(labels, rows, (note,))


def _why_free(counts: Mapping[str, int], rows: int) -> str | None:
    """Why answers are no labels; None if they are."""
    rarest = min(counts, key=lambda answer: counts[answer])
    if len(counts) < 2:
        return f"there is one answer, {rarest!r}"
    if len(counts) > MOST or rows < ROWS_EACH * len(counts):
        return f"{len(counts):,} distinct ones in {rows:,} rows are too many for labels"
    if counts[rarest] < _FEWEST:
        return f"{rarest!r} occurs once, which may be a slip; correct it, or give --labels"
    if any(len(answer) > _LONGEST or "\n" in answer for answer in counts):
        return f"some are longer than {_LONGEST} characters"
    return None


def _why_not_in_train(rows: Sequence[Row], counts: Mapping[str, int]) -> str | None:
    """Why answers are no labels where the rows state splits: a label needs training images."""
    if all(row.split is None for row in rows):
        return None
    trained = {row.sample.answer for row in rows if row.split == "train"}
    absent = next((answer for answer in counts if answer not in trained), None)
    return None if absent is None else f"{absent!r} has no row in train"


def _check_alike(path: Path, counts: Mapping[str, int]) -> None:
    """Answers that read the same cannot both be labels."""
    seen: dict[str | float, str] = {}
    for answer in counts:
        other = seen.setdefault(_key(answer), answer)
        if other != answer:
            raise DataError(
                f"{path}: the answers {other!r} ({counts[other]} rows) and {answer!r} "
                f"({counts[answer]} rows) read the same; write one of them throughout, "
                f"or give --labels with the one that is meant"
            )


def _key(answer: str) -> str | float:
    """What answers that read the same have in common; a number is read by its value."""
    return float(answer) if is_number(answer) else label_key(answer)


def fill_labels(row: Row, column: str, options: str) -> Row:
    """The row with the labels in the place of {labels} in its own question."""
    fields = row.sample.fields
    if "{labels}" not in fields[column]:
        return row
    asked = fields[column].replace("{labels}", options)
    sample = dataclasses.replace(row.sample, fields={**fields, column: asked})
    return row._replace(sample=sample)
