"""Responses, OpenAI's newer form: what is asked, and what a reply says. It has no seed and gives
one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from bbtvp.adapters.openai_chat import (
    TOP,
    Offers,
    Options,
    billed,
    data_url,
    entry,
    read_tokens,
    refuse_error,
    sequence,
    served_by,
    word,
)
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.forced import most_tokens, schema, unwrapped
from bbtvp.endpoint.provider import ApiFeatures, EncodedImage, Json, ParsedReply
from bbtvp.models import Request

LEAST = 16
"""Fewest tokens that `max_output_tokens` may allow."""


@final
@dataclass(frozen=True)
class Responses:
    """Bodies for, and replies from, `/responses`. Nothing is kept by the vendor, nothing is
    streamed.
    """

    path: ClassVar[str] = "/responses"
    options: Options

    def __post_init__(self) -> None:
        if self.options.forced != "schema":
            raise UsageError(
                f"forced={self.options.forced} exists only in chat completions; leave out -M api=responses"
            )

    @property
    def model(self) -> str:
        return self.options.model

    @property
    def offers(self) -> Offers:
        thinks = self.options.thinks
        return Offers(0 if thinks else TOP, True, not thinks, False, False)

    def body(self, request: Request, picture: EncodedImage, features: ApiFeatures) -> Json:
        options = self.options
        image = {
            "type": "input_image",
            "image_url": data_url(picture),
            "detail": options.detail or "auto",
        }
        content = [image, {"type": "input_text", "text": request.text}]
        body: Json = {"model": options.model, "input": [{"role": "user", "content": content}]}
        body["max_output_tokens"] = max(most_tokens(request, features), LEAST)
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

    def parse(self, reply: Json) -> ParsedReply:
        refuse_error(reply)
        status = reply["status"]
        if status not in ("completed", "incomplete"):
            raise ValueError(f"the response is {status}, not completed")
        items = [entry(item, "output item") for item in sequence(reply["output"], "output")]
        parts = [
            entry(part, "part of a message")
            for item in items
            if item.get("type") == "message"
            for part in sequence(item["content"], "content")
        ]
        usage = billed(entry(reply.get("usage") or {}, "usage"), "input_tokens", "output_tokens")
        model = served_by(reply, "model")
        cut = entry(reply.get("incomplete_details") or {}, "incomplete_details").get("reason")
        refusal = "".join(word(part["refusal"]) for part in parts if part.get("type") == "refusal")
        if refusal or cut == "content_filter":
            return ParsedReply(("",), (), refusal or "content filter", False, *usage, model)
        said = [part for part in parts if part.get("type") == "output_text"]
        tokens = [token for part in said for token in read_tokens(part.get("logprobs") or ())]
        text, kept = unwrapped("".join(word(part["text"]) for part in said), tokens)
        return ParsedReply((text,), kept, None, status == "incomplete", *usage, model)
