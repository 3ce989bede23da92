"""Replies that are not what they should be, made from good ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from bbtvp.endpoint.provider import Json, ParsedReply, ProviderApi

OTHERS: tuple[Any, ...] = (
    None,
    "",
    "word",
    3,
    -1.5,
    True,
    [],
    {},
    [None],
    ["word"],
    {"word": 1},
    [[]],
    [{}],
)


def damaged(reply: Json) -> Iterator[tuple[str, Json]]:
    """Yield what was done, and the reply with one node left out or replaced."""
    for path in _paths(reply):
        for other in (..., *OTHERS):
            changed = copy.deepcopy(reply)
            node: Any = changed
            for step in path[:-1]:
                node = node[step]
            if other is ...:
                del node[path[-1]]
            else:
                node[path[-1]] = copy.deepcopy(other)
            yield f"{path} → {other}", changed


def survives(api: ProviderApi, reply: Json) -> tuple[int, int]:
    """How many damaged replies are read, and how many refused, in the three ways that are allowed.

    Anything else that is raised passes through, with what was done in its notes.
    """
    read = refused = 0
    for what, changed in damaged(reply):
        try:
            parsed = api.parse(changed)
        except (LookupError, TypeError, ValueError):
            refused += 1
        except Exception as error:
            error.add_note(what)
            raise
        else:
            assert well_formed(parsed), f"{what}: {parsed}"
            read += 1
    return read, refused


def well_formed(parsed: ParsedReply) -> bool:
    """Whether everything in it is of the type that it says."""
    counts = (parsed.input_tokens, parsed.output_tokens)
    return (
        all(type(text) is str for text in parsed.texts)
        and all(
            type(token.text) is str and token.logprob <= 0 and token.text in token.top
            for token in parsed.tokens
        )
        and all(count is None or (type(count) is int and count >= 0) for count in counts)
        and (parsed.refusal is None or (type(parsed.refusal) is str and bool(parsed.refusal)))
        and type(parsed.truncated) is bool
    )


def _paths(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for step, value in inner:
        yield (*above, step)
        yield from _paths(value, (*above, step))
