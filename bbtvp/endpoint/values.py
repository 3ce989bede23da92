"""Other values for a field whose value a server refused, in the words of its error.

A server that takes at most five alternatives answers a request for twenty with status 400 or 422,
as one that knows no such field does. The message tells the two apart, and often says what is
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ATTEMPTS = 3
"""Most other values of one field that are tried."""

_REFUSED = re.compile(r"HTTP 4(?:00|22)\b(?P<said>.*)", re.DOTALL)
_UNKNOWN = re.compile(
    r"(?i)\b(?:un(?:known|recogni[sz]ed|expected|supported)|extra|no such|does(?: not|n.t) support"
    r"|not (?:a valid (?:field|parameter)|allowed|available|enabled|implemented|permitted)"
    r"|not supported)"
)
_NEVER_KNOWN = re.compile(r"(?i)extra_forbidden|extra (?:inputs|fields)|unrecogni[sz]ed|unknown")
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])")

_FEWER = (5, 2)
_FEWEST = 2
_LEAST_TEMPERATURE = 0.01


def fewer(message: str, asked: int) -> Sequence[int]:
    """Return smaller numbers of alternatives to ask for, that which the message names first.

    Then comes the next lower one, since a bound may be meant as exclusive. One alternative is of no
    use.
    """
    said = _said(message)
    if said is None:
        return ()
    most = max((int(number) for number in _numbers(said) if _FEWEST <= number < asked), default=0)
    if not most and _is_unknown(said, asked):
        return ()
    named = [most, most - 1] if most else []
    tried = [*named, *(number for number in _FEWER if number < (most or asked))]
    return tuple(dict.fromkeys(number for number in tried if number >= _FEWEST))[:ATTEMPTS]


def warmer(message: str) -> Sequence[float]:
    """Return temperatures above zero, close to it: for a server that refuses zero itself.

    There are none for one that takes its default alone.
    """
    said = _said(message)
    if said is None or "default" in said.lower() or _is_unknown(said, 0):
        return ()
    named = sorted(number for number in _numbers(said) if 0 < number < 1)
    return tuple(dict.fromkeys([*named[:1], _LEAST_TEMPERATURE]))


def other_seeds(message: str) -> Sequence[int]:
    """Return seeds above zero, for a server that refuses zero."""
    said = _said(message)
    return () if said is None or _is_unknown(said, 0) else (1,)


def names_length(message: str) -> bool:
    """Whether a refusal is about the name of the field for the longest reply."""
    said = _said(message)
    return said is not None and re.search(r"\bmax_(completion_)?tokens\b", said) is not None


def _said(message: str) -> str | None:
    """Return what a server said about the request that it refused, None for other failures."""
    found = _REFUSED.search(message)
    return found["said"] if found else None


def _numbers(said: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(said)]


def _is_unknown(said: str, asked: float) -> bool:
    """Whether the server knows no such field. One that repeats the value may know the field."""
    if _NEVER_KNOWN.search(said):
        return True
    return _UNKNOWN.search(said) is not None and asked not in _numbers(said)
