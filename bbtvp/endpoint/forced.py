"""One of the given labels and nothing else: the schema that asks for it, and the label out of a
reply that obeyed.

A reply is `{"answer": "rows"}`; its text is `rows`, and its tokens begin where the label does. The
token that closes the string stays: it tells `row` from `rows`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from bbtvp.endpoint.dialect import Features, Json, Token
from bbtvp.models import Request

KEY = "answer"
WRAPPING = 16
"""Tokens that the wrapping takes, at most: 5 to 8 in the tokenizers that are known."""

_WRAPPED = re.compile(r'\{\s*"answer"\s*:\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*\}')


def schema(labels: Sequence[str]) -> Json:
    """JSON Schema, in the strict form that every vendor takes, of an object with one of the labels
    as its answer.
    """
    answer = {"type": "string", "enum": list(labels)}
    return {
        "type": "object",
        "properties": {KEY: answer},
        "required": [KEY],
        "additionalProperties": False,
    }


def most_tokens(request: Request, features: Features) -> int:
    """Longest reply in tokens: what the request allows, and room for the wrapping where its labels
    are forced.
    """
    return request.max_tokens + (WRAPPING if features.forced and request.labels else 0)


def unwrapped(text: str, tokens: Sequence[Token] = ()) -> tuple[str, tuple[Token, ...]]:
    """The label and its tokens, if the text is a wrapped label and nothing else; otherwise both as
    they came.

    No tokens where they do not spell the text, or where the label is written with escapes.
    """
    stripped = text.strip()
    found = _WRAPPED.fullmatch(stripped)
    try:
        label = json.loads(f'"{found["value"]}"') if found else None
    except ValueError:  # a line break, say, which JSON does not allow there
        label = None
    if found is None or label is None:
        return text, tuple(tokens)
    start = "".join(token.text for token in tokens).find(stripped)
    if start < 0 or "\\" in found["value"]:
        return label, ()
    return label, _between(tokens, start + found.start("value"), start + found.end("value"))


def _between(tokens: Sequence[Token], first: int, last: int) -> tuple[Token, ...]:
    """The tokens that overlap characters first…last of what they spell; what the first has before
    that is cut off.
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
    """The token and those of its alternatives that begin with `head`, without it."""
    top = {
        text.removeprefix(head): logprob
        for text, logprob in token.top.items()
        if text.startswith(head)
    }
    return Token(token.text.removeprefix(head), token.logprob, top)
