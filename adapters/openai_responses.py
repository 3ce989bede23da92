"""Responses, OpenAI's newer form of request: bodies and replies.

It has no seed and gives one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from bbtvp.adapters.openai_chat import billed, filtered, read_tokens
from bbtvp.adapters.openai_options import OpenAIForm
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.endings import Ending, ending_of, failure_of
from bbtvp.endpoint.forced import most_tokens, schema
from bbtvp.endpoint.provider import (
    ApiFeatures,
    EncodedImage,
    Json,
    ParsedReply,
    Parts,
    interleaved,
)
from bbtvp.endpoint.reading import (
    Completion,
    json_objects,
    json_text,
    optional_object,
    raise_reported_error,
    reasoned,
    served_by,
    usage_in,
)
from bbtvp.models import Request

FEWEST_TOKENS = 16
"""Fewest tokens that `max_output_tokens` may allow."""


@final
@dataclass(frozen=True)
class Responses(OpenAIForm):
    """Bodies for, and replies from, `/responses`. The vendor stores and streams nothing."""

    path: ClassVar[str] = "/responses"
    can_seed: ClassVar[bool] = False
    can_repeat: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.options.forced != "schema":
            raise UsageError(
                f"forced={self.options.forced} exists only in chat completions; "
                "leave out -M api=responses"
            )

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        options = self.options
        content = interleaved(
            parts, self._picture, lambda text: {"type": "input_text", "text": text}
        )
        body: Json = {"model": options.model, "input": [{"role": "user", "content": content}]}
        body["max_output_tokens"] = max(most_tokens(request, features), FEWEST_TOKENS)
        body |= {"store": False, "stream": False}
        if features.temperature is not None:
            body["temperature"] = features.temperature
        if features.top:
            body |= {"include": ["message.output_text.logprobs"], "top_logprobs": features.top}
        if options.reasoning_effort:
            body["reasoning"] = {"effort": options.reasoning_effort}
        if features.forced and request.labels:
            named = {
                "type": "json_schema",
                "name": "answer",
                "strict": True,
                "schema": schema(request.labels),
            }
            body["text"] = {"format": named}
        return body | dict(options.extra)

    def _picture(self, image: EncodedImage) -> Json:
        detail = self.options.detail or "auto"
        return {"type": "input_image", "image_url": image.data_url, "detail": detail}

    def parse(self, reply: Json) -> ParsedReply:
        raise_reported_error(reply)
        items = json_objects(reply["output"], "output")
        messages = [item for item in items if item.get("type") == "message"]
        thoughts = [item for item in items if item.get("type") == "reasoning"]
        parts = [part for item in messages for part in json_objects(item["content"], "content")]
        usage = usage_in(reply, "usage")
        inputs, outputs = billed(usage, "input_tokens", "output_tokens")
        facts: dict[str, Any] = {
            "input_tokens": inputs,
            "output_tokens": outputs,
            "model": served_by(reply, "model"),
            "thought": reasoned(usage) or any(item.get("summary") for item in thoughts),
        }
        ended = _ending(reply)
        refusal = "".join(
            json_text(part["refusal"]) for part in parts if part.get("type") == "refusal"
        )
        if refusal or ending_of(ended) is Ending.REFUSED:
            return ParsedReply(("",), refusal=refusal or filtered(None, ended), **facts)
        if failure := failure_of(ended):
            return ParsedReply(("",), failure=failure, **facts)
        written = [part for part in parts if part.get("type") == "output_text"]
        tokens = [token for part in written for token in read_tokens(part.get("logprobs") or ())]
        text = "".join(json_text(part["text"]) for part in written)
        found = Completion.of(text, tokens, ended=ended)
        return ParsedReply(
            (found.text,),
            found.tokens,
            truncated=found.truncated,
            unspelt=found.unspelt,
            **facts,
        )


def _ending(reply: Json) -> str:
    """Return the word for how a response ended: its reason if it is incomplete, else its status."""
    reason = optional_object(reply, "incomplete_details").get("reason")
    return str(reason or reply["status"])
