"""What an upstream replies, by API: the word 'rows', whole and as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

REPLIES: dict[str, dict[str, Any]] = {
    "chat": {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "rows"},
            }
        ],
    },
    "responses": {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "type": "message",
                "id": "o",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "rows", "annotations": []}],
            }
        ],
    },
    "messages": {
        "id": "a",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "rows"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "rows"}]}, "finishReason": "STOP"}
        ]
    },
    "converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "rows"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    },
}


def _stream(events: Iterable[dict[str, Any]], *, named: bool = False) -> str:
    lines = []
    for event in events:
        name = f"event: {event['type']}\n" if named else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n")
    return "".join(lines)


def _delta(words: str) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": words}, "finish_reason": None}],
    }


def _part(words: str) -> dict[str, Any]:
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": words},
    }


def _output(words: str, number: int) -> dict[str, Any]:
    return {
        "type": "response.output_text.delta",
        "sequence_number": number,
        "item_id": "o",
        "output_index": 0,
        "content_index": 0,
        "logprobs": [],
        "delta": words,
    }


def _candidate(words: str) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [{"text": words}]}}]}


STREAMS = {
    "chat": _stream(map(_delta, ("ro", "ws"))) + "data: [DONE]\n\n",
    "responses": _stream([_output("ro", 1), _output("ws", 2)], named=True),
    "messages": _stream(
        [
            {"type": "message_start", "message": {**REPLIES["messages"], "content": []}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            _part("ro"),
            _part("ws"),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 1},
            },
            {"type": "message_stop"},
        ],
        named=True,
    ),
    "gemini": _stream(map(_candidate, ("ro", "ws"))),
}
"""The same as a stream of events."""
