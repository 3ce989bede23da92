"""Replace strings and objects inside a JSON text, and leave every other byte as it is.

A body that is parsed and written again has other spaces, other escapes and another order of digits.
An endpoint that signs or caches bodies sees a different request. So strings are replaced where they
stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from bbtvp.core.errors import DataError

Path: TypeAlias = tuple[str | int, ...]
"""The keys and the positions that lead to a value, from the outermost."""

_DECODER = json.JSONDecoder()
_TOKEN = re.compile(r'[ \t\n\r]*([{}\[\],:"]|[^ \t\n\r{}\[\],:"]+)')


def parse(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises DataError for anything else, and for an object that has a key twice: readers differ in
    which of the two they take, so what an endpoint would read is not known.
    """
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"the body is not JSON that can be read ({_line(error)})") from error
    if not isinstance(found, dict):
        raise DataError("the body is not a JSON object")
    return found


def replaced(
    text: str, edits: Mapping[Path, Any], before: Mapping[Path, Sequence[Any]] | None = None
) -> str:
    """Replace values at some paths of a JSON text, and put items before objects of lists.

    text: valid JSON, as `parse` accepts it. edits: path of a string or an object to the new value.
    before: path of an object in a list to the items that go before it. Raises KeyError for a path
    without such a value.
    """
    left = {path: json.dumps(value) for path, value in edits.items()}
    for path, items in (before or {}).items():
        left[path] = "".join(f"{json.dumps(item, ensure_ascii=False)}, " for item in items)
    parts = []
    done = 0
    for path, start, end in _values(text):
        if path in left:
            parts += [text[done:start], left.pop(path)]
            is_object = path in edits and start == end
            done = _DECODER.raw_decode(text, start)[1] if is_object else end
            if not left:
                break
    if left:
        raise KeyError(next(iter(left)))
    return "".join([*parts, text[done:]])


def _values(text: str) -> Iterator[tuple[Path, int, int]]:
    """Yield each string, its path, and its start and end with the quotes; and each object.

    Of an object, start and end are where it begins. A loop with a stack, because a hostile body may
    be nested as deep as `json.loads` allows.
    """
    stack: list[str | int] = []  # for each open container, the key or the position that is read
    key_next = False
    at = 0
    while token := _TOKEN.match(text, at):
        at = token.end()
        mark = token[1]
        if mark == '"':
            start = at - 1
            value, at = _DECODER.raw_decode(text, start)
            if key_next:
                stack[-1] = value
            else:
                yield tuple(stack), start, at
        elif mark in "{[":
            if mark == "{":
                yield tuple(stack), token.start(1), token.start(1)
            stack.append("" if mark == "{" else 0)
            key_next = mark == "{"
        elif mark in "}]":
            stack.pop()
            key_next = False
        elif mark == ":":
            key_next = False
        elif mark == ",":
            key_next = _next_item(stack)


def _next_item(stack: list[str | int]) -> bool:
    """Go on to the next item of the innermost container; return whether a key comes next."""
    inner = stack[-1]
    if isinstance(inner, str):
        return True
    stack[-1] = inner + 1
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DataError("the body has a key twice in one object")
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
