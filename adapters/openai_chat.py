"""Chat completions, as OpenAI, Azure and many other servers speak them: what is asked, and what a
reply says.
"""

from __future__ import annotations

import base64
import codecs
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Protocol, final

import numpy as np

from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.forced import most_tokens, schema, unwrapped
from bbtvp.endpoint.provider import ApiFeatures, EncodedImage, Json, ParsedReply, Token
from bbtvp.models import Request

REASONING = re.compile(r"o\d|gpt-5(?!.*chat)")
"""Names of OpenAI's models that think before they answer, and then have neither a temperature nor
log-probabilities.
"""

TOP = 20
"""Most alternatives per token that the API shows."""

DETAILS = ("auto", "low", "high", "original")
FORCED = ("schema", "choice")


class Offers(NamedTuple):
    """What a form has fields for; see `ProviderApi`."""

    top: int
    can_force: bool
    can_sample: bool
    can_seed: bool
    can_repeat: bool


class Form(Protocol):
    """A body and a reply: chat completions, or responses. path: after the base URL."""

    path: ClassVar[str]

    @property
    def model(self) -> str: ...
    @property
    def offers(self) -> Offers: ...
    def body(self, request: Request, picture: EncodedImage, features: ApiFeatures) -> Json: ...
    def parse(self, reply: Json) -> ParsedReply: ...


@final
@dataclass(frozen=True)
class Options:
    """What a user can set about the bodies. Raises UsageError for what cannot be.

    detail: of the image: auto, low, high; in responses original too. reasoning: whether the model
    thinks before it answers; by its name if None. reasoning_effort: in the vendor's words; none for
    a model that can do without. token_field: the name of the field for the longest reply. forced:
    how labels are forced, by a JSON "schema" or by vLLM's "choice". extra: fields to add to every
    body.
    """

    model: str
    detail: str | None = None
    reasoning: bool | None = None
    reasoning_effort: str | None = None
    token_field: str = "max_completion_tokens"
    forced: str = "schema"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.detail not in (None, *DETAILS):
            raise unknown("detail", str(self.detail), DETAILS)
        if self.forced not in FORCED:
            raise unknown("way to force labels", str(self.forced), FORCED)
        if self.reasoning not in (None, True, False):
            raise UsageError(f"reasoning must be true or false, got {self.reasoning!r}")

    @classmethod
    def taken_from(cls, options: dict[str, Any], model: str, **defaults: Any) -> Options:
        """Takes its own out of a loader's options, and leaves the rest, which is for the endpoint.

        A model that thinks gets 2048 tokens for it, unless the options say otherwise.
        """
        names = {each.name for each in fields(cls)} - {"model"}
        if isinstance(
            options.get("forced"), bool
        ):  # whether to force labels, which is the endpoint's affair
            names.remove("forced")
        taken = defaults | {name: options.pop(name) for name in names & options.keys()}
        if "extra" in taken:
            taken["extra"] = _object(taken["extra"])
        asked = cls(model, **taken)
        if asked.thinks:
            options.setdefault("max_tokens", 2048)
        return asked

    @property
    def thinks(self) -> bool:
        """Whether the model reasons, so that it has no temperature and shows no log-probabilities."""
        if self.reasoning_effort == "none":
            return False
        return bool(REASONING.match(self.model)) if self.reasoning is None else self.reasoning


def _object(given: object) -> Mapping[str, Any]:
    """A mapping, as it is or from JSON text. Raises UsageError for anything else."""
    try:
        made = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        made = None
    if not isinstance(made, Mapping):
        raise UsageError(f"extra must be a JSON object, such as '{{\"top_k\": 1}}', got {given!r}")
    return made


@final
@dataclass(frozen=True)
class Chat:
    """Bodies for, and replies from, `/chat/completions`."""

    path: ClassVar[str] = "/chat/completions"
    options: Options

    def __post_init__(self) -> None:
        if self.options.detail == "original":
            raise UsageError("detail=original exists only in responses; add -M api=responses")

    @property
    def model(self) -> str:
        return self.options.model

    @property
    def offers(self) -> Offers:
        thinks = self.options.thinks
        return Offers(0 if thinks else TOP, True, not thinks, True, True)

    def body(self, request: Request, picture: EncodedImage, features: ApiFeatures) -> Json:
        options = self.options
        image: Json = {"url": data_url(picture)}
        if options.detail:
            image["detail"] = options.detail
        content = [
            {"type": "image_url", "image_url": image},
            {"type": "text", "text": request.text},
        ]
        body: Json = {"model": options.model, "messages": [{"role": "user", "content": content}]}
        bare = options.forced == "choice"
        body[options.token_field] = request.max_tokens if bare else most_tokens(request, features)
        if features.temperature is not None:
            body["temperature"] = features.temperature
        if features.seed is not None:
            body["seed"] = features.seed
        if features.samples > 1:
            body["n"] = features.samples
        if features.top:
            body |= {"logprobs": True, "top_logprobs": features.top}
        if options.reasoning_effort:
            body["reasoning_effort"] = options.reasoning_effort
        if features.forced and request.labels:
            body |= self._force(request.labels)
        return body | dict(options.extra)

    def _force(self, labels: Sequence[str]) -> Json:
        if self.options.forced == "choice":
            return {"structured_outputs": {"choice": list(labels)}}
        named = {"name": "answer", "strict": True, "schema": schema(labels)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def parse(self, reply: Json) -> ParsedReply:
        refuse_error(reply)
        choices = sequence(reply["choices"], "choices")
        if not choices:
            raise ValueError("the reply has no choices")
        said = [_said(entry(choice, "choice")) for choice in choices]
        usage = entry(reply.get("usage") or {}, "usage")
        return ParsedReply(
            tuple(each.text for each in said),
            said[0].tokens,
            said[0].refusal if all(each.refusal for each in said) else None,
            any(each.truncated for each in said),
            *billed(usage, "prompt_tokens", "completion_tokens"),
            served_by(reply, "model", "system_fingerprint"),
        )


class Said(NamedTuple):
    """One sample of a reply."""

    text: str
    tokens: tuple[Token, ...]
    refusal: str | None
    truncated: bool


def _said(choice: Json) -> Said:
    refuse_error(choice)  # OpenRouter tells here what became of the server behind it
    message = entry(choice["message"], "message")
    text, refusal = _content(message.get("content"))
    ended = choice.get("finish_reason")
    refusal = message.get("refusal") or refusal
    if ended == "content_filter":
        refusal = refusal or filtered(choice.get("content_filter_results"))
    if refusal:
        return Said("", (), str(refusal), False)
    shown = choice.get("logprobs")
    content = entry(shown, "logprobs").get("content") if shown else None
    return Said(*unwrapped(text, read_tokens(content or ())), None, ended == "length")


def _content(content: object) -> tuple[str, str | None]:
    """(text, refusal) of a message's content: text, parts, or nothing. Parts of other kinds
    (thoughts) are left out.
    """
    if content is None or isinstance(content, str):
        return content or "", None
    parts = [entry(part, "part of the content") for part in sequence(content, "content")]
    refusal = "".join(word(part["refusal"]) for part in parts if part.get("type") == "refusal")
    return "".join(
        word(part["text"]) for part in parts if part.get("type") == "text"
    ), refusal or None


def filtered(results: object) -> str:
    """The reason in words, from Azure's verdict by category if there is one."""
    verdicts = results if isinstance(results, Mapping) else {}
    named = [
        f"{name.replace('_', ' ')} ({verdict['severity']})"
        if verdict.get("severity")
        else name.replace("_", " ")
        for name, verdict in verdicts.items()
        if isinstance(verdict, Mapping) and verdict.get("filtered")
    ]
    return f"content filter: {', '.join(named)}" if named else "content filter"


# -- tokens ----------------------------------------------------------------------------------------
def read_tokens(content: object) -> tuple[Token, ...]:
    """Tokens with their alternatives from a `logprobs.content`. Tokens that are parts of a
    character are joined.
    """
    tokens: list[Token] = []
    raw = b""
    logprob = 0.0
    top = dict[str, float]()
    for item in sequence(content, "logprobs.content"):
        shown = entry(item, "token")
        if not raw:
            top = _alternatives(shown.get("top_logprobs") or ())
            logprob = 0.0
        raw += _bytes(shown)
        logprob += number(shown["logprob"])
        text, read = codecs.utf_8_decode(raw, "replace", False)
        if read == len(raw):
            tokens.append(Token(text, logprob, {text: logprob} | top))
            raw = b""
    if raw:  # the reply was cut within a character
        tokens.append(Token(raw.decode(errors="replace"), logprob, top))
    return tuple(tokens)


def _alternatives(shown: object) -> dict[str, float]:
    """Log-probability by text; tokens that are parts of a character are left out, those of equal
    text added up.
    """
    found: dict[str, float] = {}
    for item in sequence(shown, "top_logprobs"):
        other = entry(item, "alternative")
        try:
            text = _bytes(other).decode()
        except UnicodeDecodeError:
            continue
        found[text] = min(
            float(np.logaddexp(found.get(text, -math.inf), number(other["logprob"]))), 0.0
        )
    return found


def _bytes(token: Json) -> bytes:
    """What the token stands for: `bytes` where the server tells, since a part of a character is no
    text.
    """
    text = word(token["token"])
    return (
        bytes(sequence(token["bytes"], "bytes"))
        if token.get("bytes")
        else text.encode(errors="replace")
    )


# -- checks ----------------------------------------------------------------------------------------
def data_url(picture: EncodedImage) -> str:
    """The image in the text of a URL."""
    return f"data:{picture.media};base64,{base64.b64encode(picture.data).decode()}"


def entry(value: object, what: str) -> Json:
    """A JSON object, or TypeError."""
    if not isinstance(value, dict):
        raise TypeError(f"{what} is {type(value).__name__}, not an object")
    return value


def sequence(value: object, what: str) -> Sequence[Any]:
    """A JSON list, or TypeError."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{what} is {type(value).__name__}, not a list")
    return value


def word(value: object) -> str:
    """A text, or TypeError."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def number(value: object) -> float:
    """A log-probability, at most 0; rounding may have put it a little above."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a log-probability is {type(value).__name__}, not a number")
    if not value < 1e-3:  # NaN too
        raise ValueError(f"{value} is no log-probability")
    return min(float(value), 0.0)


def refuse_error(reply: Json) -> None:
    """Raises ValueError with the message, if a reply of status 200 reports an error."""
    error = entry(reply, "the reply").get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise ValueError(f"answered 200 with an error: {message or error}")


def served_by(reply: object, *names: str) -> str:
    """The texts under these names of a JSON object, those that are there: what answered is told,
    never relied upon.
    """
    told = [reply.get(name) for name in names] if isinstance(reply, Mapping) else []
    return " ".join(text for text in told if isinstance(text, str) and text)


def billed(usage: Json, asked: str, written: str) -> tuple[int | None, int | None]:
    """(input, output) tokens, None for what is no count. Reasoning, billed as output, may be in the
    total alone.
    """
    counts = [usage.get(name) for name in (asked, written, "total_tokens")]
    inputs, outputs, total = (
        count if type(count) is int and count >= 0 else None for count in counts
    )
    if inputs is not None and total is not None:
        outputs = max(outputs or 0, total - inputs)
    return inputs, outputs
