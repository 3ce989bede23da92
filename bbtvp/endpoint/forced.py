"""Structured output that allows only the given labels: its JSON schema, and how to read it back.

A reply is `{"answer": "rows"}`. Its text is then `rows`, and its tokens begin where the label
begins. The token that closes the string is kept, because it tells `row` from `rows`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import accumulate

from bbtvp.endpoint.provider import ApiFeatures, Json, Token
from bbtvp.endpoint.spelling import tokens_from
from bbtvp.models import Request

KEY = "answer"
WRAPPING = 16
"""Most tokens of the JSON around a label: known tokenizers need 5 to 8."""

_WRAPPED = re.compile(r'\{\s*"answer"\s*:\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*\}')


def schema(labels: Sequence[str]) -> Json:
    """Return the JSON Schema of an object whose answer is one of the labels.

    It is written in the strict form that every vendor accepts.
    """
    answer = {"type": "string", "enum": list(labels)}
    return {
        "type": "object",
        "properties": {KEY: answer},
        "required": [KEY],
        "additionalProperties": False,
    }


def most_tokens(request: Request, features: ApiFeatures) -> int:
    """Return the longest reply in tokens, with room for the JSON where labels are forced."""
    return request.max_tokens + (WRAPPING if features.forced and request.labels else 0)


def unwrapped(text: str, tokens: Sequence[Token] = ()) -> tuple[str, tuple[Token, ...]]:
    """Return the label and its tokens, if the text is one label in its JSON and nothing else.

    Otherwise the text and the tokens are returned unchanged. There are no tokens where they do not
    spell the text, or where the label is written with escapes.
    """
    stripped = text.strip()
    found = _WRAPPED.fullmatch(stripped)
    try:
        label = json.loads(f'"{found["value"]}"') if found else None
    except ValueError:  # such as a line break, which JSON does not allow in a string
        label = None
    if found is None or label is None:
        return text, tuple(tokens)
    start = "".join(token.text for token in tokens).rfind(stripped)
    if start < 0 or "\\" in found["value"]:
        return label, ()
    kept = tokens_from(tokens, start + found.start("value"))
    ends = accumulate(len(token.text) for token in kept)
    begins = [0, *ends]
    closing = len(found["value"])
    return label, tuple(
        token for token, begin in zip(kept, begins, strict=False) if begin <= closing
    )
