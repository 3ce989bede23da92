"""Reading JSON replies that may be damaged: checked types, and what most vendors' replies share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bbtvp.endpoint.endings import Ending, ending_of, failure_of
from bbtvp.endpoint.forced import unwrapped
from bbtvp.endpoint.provider import Json, ParsedReply, Token
from bbtvp.endpoint.spelling import aligned


class Completion(NamedTuple):
    """One of the answers in a reply.

    tokens: those that spell the text; empty without log-probabilities, or where none spell it.
    refusal: the reason, if the model or a filter would not answer. truncated: the answer ended at
    the limit of tokens. unspelt: log-probabilities came, but of tokens that do not spell the text.
    failure: why the server did not finish it. With a refusal or a failure there is no text.
    """

    text: str
    tokens: tuple[Token, ...] = ()
    refusal: str | None = None
    truncated: bool = False
    unspelt: bool = False
    failure: str | None = None

    @classmethod
    def of(
        cls,
        text: str,
        tokens: Sequence[Token] = (),
        *,
        ended: object,
        refusal: str | None = None,
        thought: str = "",
    ) -> Completion:
        """A sample whose text may be a forced label in its JSON.

        tokens: all that came with it. ended: the server's word for how it ended. refusal: the
        reason that goes with a refusal; by default the word. thought: what the reply gives apart
        from its text.
        """
        ending = ending_of(ended)
        if ending is Ending.REFUSED:
            return cls("", refusal=refusal or str(ended))
        if failure := failure_of(ended):
            return cls("", failure=failure)
        spelling = aligned(tokens, text, thought)
        unspelt = bool(tokens) and not spelling and bool(text.strip())
        return cls(*unwrapped(text, spelling), None, ending is Ending.CUT, unspelt)


def json_object(value: object, what: str) -> Json:
    """Return a JSON object, or raise TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"{what} is {type(value).__name__}, not an object")
    return value


def json_list(value: object, what: str) -> Sequence[Any]:
    """Return a JSON list, or raise TypeError."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{what} is {type(value).__name__}, not a list")
    return value


def json_objects(value: object, what: str) -> list[Json]:
    """Return a JSON list of objects, or raise TypeError."""
    return [json_object(item, f"an item of {what}") for item in json_list(value, what)]


def json_text(value: object) -> str:
    """Return a text, or raise TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def json_lines(bodies: Sequence[bytes]) -> Iterator[Any]:
    """Yield the values of JSON Lines files, one file after the other."""
    for body in bodies:
        for line in body.splitlines():
            if line.strip():
                yield json.loads(line)


def logprob(value: object) -> float:
    """Return a log-probability, at most 0: rounding may have put it slightly above.

    Minus infinity is one, and so is its text in JSON that has no infinity. Raises TypeError or
    ValueError for anything else.
    """
    if value in _NEVER:
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a log-probability is {type(value).__name__}, not a number")
    if not value < 1e-3:  # NaN too
        raise ValueError(f"{value} is no log-probability")
    return min(float(value), 0.0)


_NEVER = ("-Infinity", "-inf")


def alternative_logprob(value: object) -> float:
    """Return the log-probability of an alternative; minus infinity where it is null.

    Some servers write null for minus infinity. Raises what `logprob` raises.
    """
    return -math.inf if value is None else logprob(value)


def reasoned(usage: Json) -> bool:
    """Whether the usage of a reply counts tokens of reasoning, under any vendor's names."""
    details = (usage.get("completion_tokens_details"), usage.get("output_tokens_details"))
    counts = [
        held.get(name)
        for held in (usage, *details)
        if isinstance(held, Mapping)
        for name in ("reasoning_tokens", "thinking_tokens", "thoughtsTokenCount")
    ]
    return any(isinstance(count, int) and count > 0 for count in counts)


def raise_reported_error(reply: Json) -> None:
    """Raise ValueError with the message, if a reply of status 200 reports an error."""
    error = json_object(reply, "the reply").get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise ValueError(f"answered 200 with an error: {message or error}")


def served_by(reply: object, *names: str) -> str:
    """Join the texts under these names of a JSON object; those that are missing are left out."""
    found = [reply.get(name) for name in names] if isinstance(reply, Mapping) else []
    return " ".join(text for text in found if isinstance(text, str) and text)


def optional_object(reply: Json, name: str) -> Json:
    """Return the object under a name, {} if there is none; or raise TypeError."""
    return json_object(reply.get(name) or {}, name)


def usage_in(reply: Json, name: str) -> Json:
    """Return the object that counts the tokens; {} if it is none, which costs no answer."""
    found = reply.get(name)
    return found if isinstance(found, dict) else {}


def token_total(usage: Json, *names: str) -> int | None:
    """Return the sum of the token counts under these names.

    None if none of them is given, or if one is no count: the reply is then charged at its bound.
    """
    counts = [usage[name] for name in names if usage.get(name) is not None]
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    return sum(counts) if counts else None


def single_answer(
    text: str, *, ended: object, refusal: str | None = None, **facts: Any
) -> ParsedReply:
    """Return the content of a reply with one answer and no log-probabilities.

    ended, refusal: as for `Completion.of`. facts: further fields of ParsedReply.
    """
    found = Completion.of(text, ended=ended, refusal=refusal)
    return ParsedReply(
        (found.text,) if found.text else (),
        refusal=found.refusal,
        truncated=found.truncated,
        failure=found.failure,
        **facts,
    )
