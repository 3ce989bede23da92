"""The words of a reply, whole or as a stream, to compare two of them.

Only shadow mode reads replies, and only to count whether two are the same. The words are kept
nowhere.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

MOST_BYTES = 1 << 20
"""Of a reply that is compared, before and after decompression."""


def answer_of(api: str, body: bytes, *, content_type: str, encoding: str = "") -> str | None:
    """Return the words of a reply of one of the five APIs; None where they cannot be read.

    encoding: the header content-encoding; gzip and deflate are understood. Amazon's binary streams
    are not. Differences of spaces and of case are removed.
    """
    plain = _decompressed(body, encoding.strip().lower())
    if plain is None or len(plain) > MOST_BYTES:
        return None
    try:
        text = plain.decode("utf-8")
        events = _events(text) if "event-stream" in content_type else [json.loads(text)]
        words = "".join(word for event in events for word in _WORDS[api](event))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    return " ".join(words.casefold().split()) or None


def _decompressed(body: bytes, encoding: str) -> bytes | None:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        return None
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either of the two, by its header
    try:
        return decoder.decompress(body, MOST_BYTES + 1)
    except zlib.error:
        return None


def _events(text: str) -> Iterator[Any]:
    """Yield the data of server-sent events, whose lines end with CR, LF or both.

    `str.splitlines` also breaks at U+2028 and others, which JSON strings may hold as they are.
    """
    for line in re.split(r"\r\n|\r|\n", text):
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def _chat(event: Any) -> Iterator[str]:
    for choice in event.get("choices", [])[:1]:
        part = choice.get("message") or choice.get("delta") or {}
        yield part.get("content") or ""


def _responses(event: Any) -> Iterator[str]:
    if event.get("type") == "response.output_text.delta":
        yield event["delta"]
    for item in event.get("output", []):
        for part in item.get("content") or []:
            yield part.get("text", "")


def _messages(event: Any) -> Iterator[str]:
    if event.get("type") == "content_block_delta":
        yield event["delta"].get("text", "")
    content = event.get("content", [])
    for part in content if isinstance(content, list) else []:
        yield part.get("text", "")


def _gemini(event: Any) -> Iterator[str]:
    for reply in event if isinstance(event, list) else [event]:
        for candidate in reply.get("candidates", [])[:1]:
            for part in candidate.get("content", {}).get("parts", []):
                yield part.get("text", "")


def _converse(event: Any) -> Iterator[str]:
    for part in event["output"]["message"]["content"]:
        yield part.get("text", "")


_WORDS: dict[str, Callable[[Any], Iterator[str]]] = {
    "chat": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
    "converse": _converse,
}
