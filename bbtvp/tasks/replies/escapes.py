r"""Escapes of JSON in a reply: `{"answer": "Gr\u00fcn"}` says "Grün".

Many programs write every letter beyond ASCII so, and models learned it from them.
"""

from __future__ import annotations

from collections.abc import Callable

import regex

_ESCAPE = regex.compile(
    r"""
    (?<!\\)(?:\\\\)*+\K                                       # not an escaped backslash
    (?:\\u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})
    |\\u(?P<code>(?![dD][89a-fA-F])[0-9a-fA-F]{4})
    |\\(?P<slash>/))
    """,
    regex.VERBOSE,
)
_KEPT = '"\\'
"""Characters that would end a JSON string, or begin another escape, if they stood there bare."""


def unescaped(text: str) -> str:
    r"""`text` with the letters that its escapes stand for.

    >>> unescaped(r'{"answer": "Gr\u00fcn"}')
    '{"answer": "Grün"}'
    """
    return _ESCAPE.sub(_character, text)


def original_place(text: str) -> Callable[[int], int]:
    r"""A function from a place in `unescaped(text)` to the same place in `text`.

    >>> original_place(r"Gr\u00fcn")(3)
    8
    """
    found = [(one.start(), one.end(), len(_character(one))) for one in _ESCAPE.finditer(text)]

    def place(index: int) -> int:
        longer = 0
        for start, end, length in found:
            if start - longer + length > index:
                break
            longer += end - start - length
        return index + longer

    return place


def _character(found: regex.Match[str]) -> str:
    if found["slash"]:
        return "/"
    if found["high"]:
        pair = bytes.fromhex(found["high"] + found["low"])
        return pair.decode("utf-16-be")
    letter = chr(int(found["code"], 16))
    if letter in _KEPT:
        return found.group()
    return letter if letter.isprintable() else " "
