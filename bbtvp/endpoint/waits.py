"""How long a server asks to wait: read from headers and bodies, in every form that is in use.

The functions are pure: the time is an argument. A length may be written in seconds ("2.5"), as a
span ("1m30s", "6ms") or with words ("20 seconds"); a point in time as an HTTP date, in RFC 3339, or
as Unix time in seconds, milliseconds, microseconds or nanoseconds. A point in time is taken against
the server's own clock, where its `Date` header shows it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from types import MappingProxyType
from typing import Any

LONGEST_WAIT = 3600.0
"""Seconds. A server's hint of a longer wait is cut to this."""


def wait_hint(status: int, headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Return the seconds that the server asks to wait, at most LONGEST_WAIT, or None.

    None means that the server does not say, or asks for 0 or less. now: seconds since 1970. The
    hints are, in this order: retry-after-ms, Retry-After, the body, and, for status 429, the times
    at which the exhausted limits are reset.
    """
    now = _clock_of(headers, now)
    reply = parse_json(body)
    resets = _resets({**headers, **_inner_headers(reply)}, now) if status == 429 else ()
    hints = chain(_retry_after(headers, now), _from_body(reply, now), resets)
    positive = (hint for hint in hints if hint is not None and hint > 0)
    first = next(positive, None)
    return None if first is None else min(first, LONGEST_WAIT)


def _clock_of(headers: Mapping[str, str], now: float) -> float:
    """Return the time by the server's clock, in seconds since 1970; `now` if it shows none."""
    shown = _moment(header(headers, "date"))
    return now if shown is None else shown


def _retry_after(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    milliseconds = _number(header(headers, "retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    for name in ("retry-after", "x-retry-after", "x-ratelimit-retry-after"):
        yield read_wait(header(headers, name), now)


_RESET = re.compile(r"(?:[a-z]+-)*rate-?limit\w*-(?:.+-)?reset(?:-.+)?")
_IETF = re.compile(r"(?:^|[;,])\s*(?:t|reset)=(\d+)")
"""In the header `RateLimit` of the IETF's drafts: `"default";r=0;t=5`."""


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    """Yield the longest reset time of the exhausted limits; of all limits if none is marked so."""
    found: list[tuple[bool, float]] = []
    for name in map(str.lower, headers):
        if not _RESET.fullmatch(name):
            continue
        seconds = read_wait(header(headers, name), now)
        left = _number(header(headers, name.replace("reset", "remaining")))
        if seconds is not None and seconds > 0:
            found.append((left is not None and left <= 0, seconds))
    ietf = _IETF.search(header(headers, "ratelimit"))
    if ietf and not found:
        found.append((True, float(ietf[1])))
    used_up = [seconds for empty, seconds in found if empty] or [seconds for _, seconds in found]
    yield max(used_up, default=None)


def _inner_headers(reply: Any) -> dict[str, str]:
    """Return the headers that OpenRouter puts into the body of an error."""
    for step in ("error", "metadata", "headers"):
        reply = reply.get(step) if isinstance(reply, dict) else None
    return {str(name): str(value) for name, value in (reply or {}).items()} if reply else {}


def _from_body(reply: Any, now: float) -> Iterator[float | None]:
    """Yield the waits in fields of the error, then the one in a message.

    Such a field is RetryInfo's `"retryDelay": "30s"`; such a message "Please retry in 3.2s".
    """
    error = reply.get("error") if isinstance(reply, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for place in (*(details if isinstance(details, list) else ()), error, reply):
        if isinstance(place, dict):
            yield from (
                read_wait(_text(place.get(name)), now)
                for name in ("retryDelay", "retry_after", "retryAfter", "estimated_time")
            )
    message = error.get("message") if isinstance(error, dict) else error
    asked = _ASKED.search(str(message))
    if asked:
        yield read_wait(asked[1], now)


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


_AMOUNT = r"\d[\d.]* ?[a-z]+"
_ASKED = re.compile(rf"(?i)(?:retry|try again) (?:in|after) ({_AMOUNT}(?: ?{_AMOUNT})*)")
_LONG_UNIT = re.compile(r"(?i) ?(milliseconds?|seconds?|secs?|minutes?|mins?|hours?)\b")
_UNIT_OF = MappingProxyType({"mil": "ms", "sec": "s", "min": "m", "hou": "h"})
_UNITS = MappingProxyType(
    {
        "ns": 1e-9,
        "us": 1e-6,
        "\u00b5s": 1e-6,
        "\u03bcs": 1e-6,
        "ms": 1e-3,
        "s": 1.0,
        "m": 60.0,
        "h": 3600.0,
        "d": 86400.0,
    }
)
_PART = rf"(\d+(?:\.\d*)?|\.\d+) ?({'|'.join(sorted(_UNITS, key=len, reverse=True))})"
_EARLIEST = 1e9
"""A number of seconds from here on is a point in time: as a length it would be 31 years."""


def read_wait(text: str, now: float) -> float | None:
    """Return the seconds that a text asks to wait, from `now` in seconds since 1970.

    None for what is no length and no point in time. Negative for a point that is past.
    """
    number = _number(text)
    if number is not None and number >= _EARLIEST:
        while number >= 100 * _EARLIEST:  # milliseconds, microseconds or nanoseconds
            number /= 1000
        return number - now
    if number is not None:
        return number
    if (span := _span(text)) is not None:
        return span
    moment = _moment(text)
    return None if moment is None else moment - now


def _span(text: str) -> float | None:
    """Read a time span in seconds: "1m30s", "120ms", "3.2s", "20 seconds". None for other texts."""
    text = _LONG_UNIT.sub(lambda unit: _UNIT_OF[unit[1][:3].lower()], text).lower()
    if not re.fullmatch(f"(?:{_PART} ?)+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))


def _moment(text: str) -> float | None:
    """Return the seconds since 1970 of an HTTP date or an RFC 3339 time. None for other texts."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = read(text)
            # Both formats mean UTC where no zone is given.
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def header(headers: Mapping[str, str], name: str) -> str:
    """Return a header, in whatever case it is written; "" if it is missing."""
    found = headers.get(name)
    if found is None:
        found = next((value for key, value in headers.items() if key.lower() == name), "")
    return found.strip()


def parse_json(body: bytes) -> Any:
    """Parse a body as JSON. None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
