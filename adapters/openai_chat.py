"""Chat completions, as OpenAI, Azure and many other servers speak them: bodies and replies."""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from bbtvp.adapters.openai_options import OpenAIForm
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.endings import Ending, ending_of
from bbtvp.endpoint.forced import most_tokens, schema
from bbtvp.endpoint.provider import (
    ApiFeatures,
    EncodedImage,
    Json,
    ParsedReply,
    Parts,
    Token,
    interleaved,
)
from bbtvp.endpoint.reading import (
    Completion,
    alternative_logprob,
    json_list,
    json_object,
    json_objects,
    json_text,
    logprob,
    optional_object,
    raise_reported_error,
    reasoned,
    served_by,
    usage_in,
)
from bbtvp.models import Request

THOUGHTS = ("thinking", "reasoning", "thought")
"""Types of the parts of a content that are no answer."""

_LENGTH_FIELDS = ("max_tokens", "max_completion_tokens")


@final
@dataclass(frozen=True)
class Chat(OpenAIForm):
    """Bodies for, and replies from, `/chat/completions`."""

    path: ClassVar[str] = "/chat/completions"
    can_seed: ClassVar[bool] = True
    can_repeat: ClassVar[bool] = True
    can_rename_length: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.options.detail == "original":
            raise UsageError("detail=original exists only in responses; add -M api=responses")

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        options = self.options
        content = interleaved(parts, self._picture, lambda text: {"type": "text", "text": text})
        body: Json = {"model": options.model, "messages": [{"role": "user", "content": content}]}
        bare = options.forced == "choice"
        field = options.token_field
        if features.other_length and field in _LENGTH_FIELDS:
            field = _LENGTH_FIELDS[1 - _LENGTH_FIELDS.index(field)]
        body[field] = request.max_tokens if bare else most_tokens(request, features)
        body |= features.sampling
        if features.samples > 1:
            body["n"] = features.samples
        if features.top:
            body |= {"logprobs": True, "top_logprobs": features.top}
        if options.reasoning_effort:
            body["reasoning_effort"] = options.reasoning_effort
        if features.forced and request.labels:
            body |= self._force(request.labels)
        return body | dict(options.extra)

    def _picture(self, image: EncodedImage) -> Json:
        url: Json = {"url": image.data_url}
        if self.options.detail:
            url["detail"] = self.options.detail
        return {"type": "image_url", "image_url": url}

    def _force(self, labels: Sequence[str]) -> Json:
        if self.options.forced == "choice":
            return {"structured_outputs": {"choice": list(labels)}}
        named = {"name": "answer", "strict": True, "schema": schema(labels)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def parse(self, reply: Json) -> ParsedReply:
        raise_reported_error(reply)
        choices = json_objects(reply["choices"], "choices")
        if not choices:
            raise ValueError("the reply has no choices")
        samples = [_sample(choice) for choice in choices]
        usage = usage_in(reply, "usage")
        inputs, outputs = billed(usage, "prompt_tokens", "completion_tokens")
        return ParsedReply(
            texts=tuple(sample.text for sample in samples),
            tokens=samples[0].tokens,
            refusal=samples[0].refusal if all(sample.refusal for sample in samples) else None,
            failure=samples[0].failure,
            truncated=any(sample.truncated for sample in samples),
            input_tokens=inputs,
            output_tokens=outputs,
            model=served_by(reply, "model", "system_fingerprint"),
            thought=reasoned(usage) or any(map(_thought, choices)),
            unspelt=samples[0].unspelt,
        )


def _sample(choice: Json) -> Completion:
    ended = _ending(choice)
    if ending_of(ended) is Ending.REFUSED:
        return _refused(choice, ended)
    raise_reported_error(choice)  # OpenRouter reports errors of the server behind it here
    message = json_object(choice["message"], "message")
    text, refusal = _content(message.get("content"))
    refusal = message.get("refusal") or refusal
    if refusal:
        return Completion("", refusal=str(refusal))
    shown = optional_object(choice, "logprobs")
    return Completion.of(
        text,
        read_tokens(shown.get("content") or _in_columns(shown)),
        thought=_thought(choice),
        ended=ended,
    )


def _thought(choice: Json) -> str:
    """Return the thought that a choice gives apart from its content, "" for none.

    It is under one of several names, or in parts of their own.
    """
    message = optional_object(choice, "message")
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(message.get(name), str) and message[name].strip():
            return str(message[name])
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return "".join(map(_thought_in, parts))


def _thought_in(part: object) -> str:
    """Return the thought in a part of the content: a text, or parts of its own."""
    if not isinstance(part, Mapping) or not (part.get("type") in THOUGHTS or part.get("thought")):
        return ""
    found = part.get(str(part.get("type"))) or part.get("text") or ""
    if isinstance(found, str):
        return found
    inner = [each.get("text") for each in found if isinstance(each, Mapping)]
    return "".join(text for text in inner if isinstance(text, str))


def _ending(choice: Json) -> object:
    """Return the word for how a choice ended.

    A gateway may translate the word of the server behind it to "stop", whatever it was; OpenRouter
    and LiteLLM then show the original too, which counts if it is a refusal or a failure.
    """
    places = (choice, choice.get("provider_specific_fields"))
    for place in places:
        native = place.get("native_finish_reason") if isinstance(place, Mapping) else None
        if ending_of(native) in (Ending.REFUSED, Ending.FAILED):
            return native
    return choice.get("finish_reason")


def _refused(choice: Json, ended: object) -> Completion:
    """Return the refusal in a choice, which may have no message."""
    message = choice.get("message")
    said = message.get("refusal") if isinstance(message, Mapping) else None
    why = filtered(choice.get("content_filter_results"), ended)
    return Completion("", refusal=str(said or why))


def _content(content: object) -> tuple[str, str | None]:
    """Return (text, refusal) of a message's content: text, parts, or nothing.

    Parts of other kinds, such as thoughts, are left out.
    """
    if content is None or isinstance(content, str):
        return content or "", None
    parts = json_objects(content, "content")
    refusal = "".join(json_text(part["refusal"]) for part in parts if part.get("type") == "refusal")
    text = "".join(
        json_text(part["text"])
        for part in parts
        if part.get("type") == "text" and not part.get("thought")
    )
    return text, refusal or None


def filtered(results: object, ended: object = "content_filter") -> str:
    """Return the reason of a content filter in words, from Azure's categories if there are any.

    ended: the server's word for the end of the reply, which is shown if it says more.
    """
    categories = results if isinstance(results, Mapping) else {}
    named = []
    for name, found in categories.items():
        if isinstance(found, Mapping) and found.get("filtered"):
            severity = f" ({found['severity']})" if found.get("severity") else ""
            named.append(name.replace("_", " ") + severity)
    why = f"content filter: {', '.join(named)}" if named else "content filter"
    return why if ended == "content_filter" else f"{why} ({ended})"


# -- tokens ----------------------------------------------------------------------------------------
def read_tokens(content: object) -> tuple[Token, ...]:
    """Return the tokens of a `logprobs.content`, with their alternatives.

    Tokens that are parts of one character are joined.
    """
    tokens: list[Token] = []
    raw = b""
    share = 0.0
    top = dict[str, float]()
    for shown in json_objects(content, "logprobs.content"):
        if not raw:
            top = _alternatives(shown.get("top_logprobs") or ())
            share = 0.0
        raw += _bytes(shown)
        share += logprob(shown["logprob"])
        text, read = codecs.utf_8_decode(raw, "replace", False)
        if read == len(raw):
            tokens.append(Token(text, share, {text: share} | top))
            raw = b""
    if raw:  # the reply was cut within a character
        tokens.append(Token(raw.decode(errors="replace"), share, top))
    return tuple(tokens)


def _in_columns(shown: Json) -> list[Json]:
    """Return the tokens of the older form of log-probabilities, which has a list for each field.

    Alternatives are then an object by text; there are none for a token that has null for them. A
    server that gives texts without numbers gives no log-probabilities.
    """
    texts = json_list(shown.get("tokens") or [], "tokens")
    logprobs = json_list(shown.get("token_logprobs") or [], "token_logprobs")
    if not logprobs:
        return []
    tops = json_list(shown.get("top_logprobs") or [None] * len(texts), "top_logprobs")
    return [
        {
            "token": text,
            "logprob": share,
            "top_logprobs": [
                {"token": other, "logprob": value}
                for other, value in json_object(top or {}, "top_logprobs").items()
            ],
        }
        for text, share, top in zip(texts, logprobs, tops, strict=True)
    ]


def _alternatives(shown: object) -> dict[str, float]:
    """Return the log-probability of each alternative, by text.

    Tokens that are parts of a character are left out. Those of equal text are added up.
    """
    found: dict[str, float] = {}
    for other in json_objects(shown, "top_logprobs"):
        try:
            text = _bytes(other).decode()
        except UnicodeDecodeError:
            continue
        together = np.logaddexp(
            found.get(text, -math.inf), alternative_logprob(other.get("logprob"))
        )
        found[text] = min(float(together), 0.0)
    return found


def _bytes(token: Json) -> bytes:
    """Return the bytes of a token, which may be part of a character."""
    text = json_text(token["token"])
    if token.get("bytes"):
        return bytes(json_list(token["bytes"], "bytes"))
    return text.encode(errors="replace")


def billed(usage: Json, asked: str, written: str) -> tuple[int | None, int | None]:
    """Return (input, output) tokens, None for anything that is no count.

    Reasoning is billed as output, and some servers count it in the total alone.
    """
    counts = [usage.get(name) for name in (asked, written, "total_tokens")]
    inputs, outputs, total = (
        count if type(count) is int and count >= 0 else None for count in counts
    )
    if inputs is not None and total is not None:
        outputs = max(outputs or 0, total - inputs)
    return inputs, outputs
