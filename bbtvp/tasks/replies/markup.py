"""Marks of layout, taken out of a reply before it is read: Markdown, HTML, LaTeX, end tokens.

Every function gives back a text of the same length, with spaces for what is taken out.
"""

from __future__ import annotations

import regex

_MARKS = regex.compile(
    r"""
    ~~[^~\n]+~~                                   # struck out: taken back
    |\*\*+|__+(?!\w)|(?<!\w)__+|`+|~~             # bold, code
    |(?<!\w)\*(?=[^*\s][^*\n]*\*)|(?<=\S)\*(?!\w)(?<=(?<!\w)\*[^*\n]*\S\*)
    |(?<!\w)_(?=\w)|(?<=\w)_(?!\w)
    |^[ \t]*(?:\#{1,6}(?=\s)|>+(?=\s)|[-*+\u2022](?=\s)|---+$)
    |</?[A-Za-z][^<>\n]*>                         # HTML
    |<\|[^|<>\n]{1,40}\|>|<\|?(?:end|eot|eos|bos)\w*\|?>|\[/?(?:INST|BEGIN\sFINAL\sRESPONSE|END\sFINAL\sRESPONSE)\]
    |\\(?:text(?:bf|it|rm|tt)?|mathrm|mathbf|mathit|operatorname|displaystyle|quad)\b
    |\\[()\[\],;!]|\\\$|\$\$|\$(?!\s?\d)
    |[{}]|[-=]+>|[→⇒➜]
    |[✅✔✓☑🎯👉]\ufe0f?
    """,
    regex.VERBOSE | regex.MULTILINE,
)
_SPEAKER = regex.compile(
    r"\A\s*(?:assistant|ai|bot|model|gpt|claude|gemini)(?:\s*:|[ \t]*\n)", regex.IGNORECASE
)
_BOLD = regex.compile(r"\*\*(?=\S)([^*\n]+?)(?<=\S)\*\*|__(?=\S)([^_\n]+?)(?<=\S)__")


def without_marks(text: str) -> str:
    """`text` with its marks of layout as spaces, and apostrophes and quotes as typed.

    >>> without_marks("**Answer:** `red`")
    '  Answer:    red '
    """
    text = text.translate(_SAME)
    text = _SPEAKER.sub(_spaces, text)
    return _MARKS.sub(_spaces, text)


_SAME = {ord("\u2019"): "'", ord("\u2018"): "'", ord("\u02bc"): "'"}


def _spaces(found: regex.Match[str]) -> str:
    return " " * len(found.group())


def bold(text: str) -> list[tuple[int, int]]:
    """Where bold text stands, in Markdown."""
    return [found.span(1 if found[1] is not None else 2) for found in _BOLD.finditer(text)]
