"""Lists of built-in tasks by one name, which stands wherever a list of tasks is taken.

suite/old       ten tasks with the first five shifts: each subject under two of them
suite/wide      26 tasks with thirteen shifts that no layer had been made for, two subjects each
suite/wide-dev  thirteen other tasks: each of the same shifts with one other subject
suite/far       18 tasks with nine more shifts, on which nothing is tuned; two subjects each

`suite/wide` is for figures, `suite/wide-dev` for tuning; they share shifts, never a task.
`suite/far` is for figures alone: none of its shifts is ever tuned on. Subjects go round in turn, so
no pair was chosen by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NoReturn

from bbtvp.core.errors import UsageError, unknown
from bbtvp.zoo.shifts import FAR, WIDE
from bbtvp.zoo.shifts.strengths import SUBJECTS

PREFIX = "suite/"

OLD = (
    "digits-low-contrast",
    "digits-noise",
    "shapes-dark",
    "shapes-blur",
    "counting-low-contrast",
    "counting-noise",
    "reasoning-bright",
    "reasoning-noise",
    "hallucination-low-contrast",
    "hallucination-blur",
)
"""Half of them have shifts (noise, blur) that no single layer of a prompt undoes."""


def _in_turn(shifts: Iterable[str], *places: int) -> tuple[str, ...]:
    """Each shift with the subjects at these places, counted from the shift's own number."""
    return tuple(
        f"{SUBJECTS[(number + place) % len(SUBJECTS)]}-{shift}"
        for number, shift in enumerate(shifts)
        for place in places
    )


SUITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        f"{PREFIX}{suite}": tuple(f"zoo/{name}" for name in names)
        for suite, names in (
            ("old", OLD),
            ("wide", _in_turn(WIDE, 0, 2)),
            ("wide-dev", _in_turn(WIDE, 1)),
            ("far", _in_turn(FAR, 0, 2)),
        )
    }
)
"""The tasks of each suite, as specs."""


def expanded(specs: Iterable[str]) -> list[str]:
    """The specs, with the tasks of a suite in place of its name.

    UsageError, with the nearest names, for an unknown suite.
    """
    found: list[str] = []
    for spec in specs:
        if not spec.startswith(PREFIX):
            found.append(spec)
        elif spec in SUITES:
            found += SUITES[spec]
        else:
            raise unknown("suite", spec, SUITES)
    return found


def load(name: str) -> NoReturn:
    """Raise UsageError: a suite stands for many tasks where one is asked for."""
    tasks = expanded([PREFIX + name])
    raise UsageError(
        f"{PREFIX}{name} is a list of {len(tasks)} tasks, and here goes one, such as {tasks[0]}; "
        "bbtvp bench --tasks and a grid of bbtvp run take the list"
    )
