"""Structured output that allows only the given labels: its JSON schema, and how to read it back.

A reply is `{"answer": "rows"}`. Its text is then `rows`, and its tokens begin where the label
begins. The token that closes the string is kept, because it tells `row` from `rows`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from bbtvp.endpoint.provider import ApiFeatures, Json, Token
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
    start = "".join(token.text for token in tokens).find(stripped)
    if start < 0 or "\\" in found["value"]:
        return label, ()
    return label, _between(tokens, start + found.start("value"), start + found.end("value"))


def _between(tokens: Sequence[Token], first: int, last: int) -> tuple[Token, ...]:
    """Return the tokens that overlap characters first to last of the text that they spell.

    The part of the first token before that is cut off.
    """
    kept = []
    end = 0
    for token in tokens:
        begin = end
        end = end + len(token.text)
        if end > first and begin <= last:
            kept.append(_without(token, token.text[: max(first - begin, 0)]))
    return tuple(kept)


def _without(token: Token, head: str) -> Token:
    """Return a token without `head`, and those of its alternatives that begin with `head`."""
    top = {
        text.removeprefix(head): logprob
        for text, logprob in token.top.items()
        if text.startswith(head)
    }
    return Token(token.text.removeprefix(head), token.logprob, top)
