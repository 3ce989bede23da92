"""Gemini behind Google's Gemini API (AI Studio).

    load_model("gemini/gemini-3.8-flash", thinking="minimal")
    load_model("gemini/gemini-2.5-flash-lite", thinking=0, media_resolution="high")

The key is read from GEMINI_API_KEY, or else GOOGLE_API_KEY. Thoughts count as part of the reply and
are billed with it: turn them off, or give max_tokens room for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, final
from urllib.parse import quote

from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.access import Service
from bbtvp.endpoint.forced import most_tokens, schema
from bbtvp.endpoint.known import known, reply_tokens
from bbtvp.endpoint.provider import (
    ApiFeatures,
    BatchApi,
    EncodedImage,
    HttpRequest,
    Json,
    ParsedReply,
    Parts,
    ProviderApi,
    Token,
    interleaved,
)
from bbtvp.endpoint.reading import (
    Completion,
    json_list,
    json_objects,
    json_text,
    logprob,
    optional_object,
    raise_reported_error,
    reasoned,
    served_by,
    token_total,
    usage_in,
)
from bbtvp.models import Model, Request

BASE = "https://generativelanguage.googleapis.com"
RESOLUTIONS = ("low", "medium", "high", "ultra_high")
LEVELS = ("minimal", "low", "medium", "high", "xhigh")
STATUS = {
    1: 408,
    3: 400,
    4: 504,
    5: 404,
    7: 403,
    8: 429,
    9: 400,
    11: 400,
    13: 500,
    14: 503,
    16: 401,
}
"""HTTP statuses for the gRPC codes of failed requests in a batch."""


@final
class GenerateContent(ProviderApi):
    """The generateContent method for one model."""

    at: ClassVar[Service] = Service(
        "gemini",
        BASE,
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        urls=("GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
    )
    service: ClassVar[str] = at.name
    top = 20
    can_force = True
    can_seed = True
    can_show = True
    can_repeat = True

    def __init__(
        self,
        model: str,
        key: str,
        base: str = BASE,
        version: str = "v1beta",
        *,
        thinking: int | str | None = None,
        media_resolution: str | None = None,
        enum: bool = False,
    ) -> None:
        if not re.fullmatch(r"v\d\w*", str(version)):
            raise UsageError(f"api_version must be such as v1 or v1beta, got {version!r}")
        if not isinstance(enum, bool):
            raise UsageError(f"enum must be true or false, got {enum!r}")
        if media_resolution not in (None, *RESOLUTIONS):
            raise unknown("media_resolution", str(media_resolution), RESOLUTIONS)
        self.spec = f"gemini/{model}"
        self.model = model
        self.root = base.rstrip("/").removesuffix(f"/{version}") + f"/{version}"
        path = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        self.place = f"{self.root}/{quote(path)}"
        self.url = f"{self.place}:generateContent"
        facts = known(self.service, model)
        self.can_sample = "temperature" not in facts.ignored
        self.thinking = _thinking(thinking, facts.levels or LEVELS, budget=not facts.levels)
        self.enum = enum
        self.resolution = (
            f"MEDIA_RESOLUTION_{media_resolution.upper()}" if media_resolution else None
        )
        self._key = key

    @classmethod
    def load(
        cls,
        name: str,
        *,
        base_url: str | None = None,
        api_version: str = "v1beta",
        thinking: int | str | None = None,
        media_resolution: str | None = None,
        enum: bool = False,
        **options: Any,
    ) -> Model:
        """Load the model that the Gemini API calls `name`.

        base_url: else GOOGLE_BASE_URL. thinking: a number of tokens, 0 for none, automatic, or a
        level from minimal to xhigh; by default the model's own. media_resolution: low, medium, high
        or ultra_high; it sets how many tokens an image costs. enum: force labels by text/x.enum
        instead of JSON, so that a reply is the bare label, where a model supports that. options:
        those of every endpoint. Raises UsageError for a bad option or a missing key.
        """
        access = cls.at.access(name, base_url=base_url)
        api = cls(
            name,
            access.key,
            access.base,
            api_version,
            thinking=thinking,
            media_resolution=media_resolution,
            enum=enum,
        )
        budget = api.thinking.get("thinkingBudget")
        told = bool(api.thinking) and budget != 0
        by_itself = known(api.service, name).thinks in ("always", "by default") and budget != 0
        if told or by_itself:
            room = reply_tokens(api.service, name)
            options.setdefault("max_tokens", room + max(budget or 0, 0))
        return access.endpoint(api, **options)

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        config: Json = {"maxOutputTokens": most_tokens(request, features)}
        if self.resolution and not self._by_part:
            config["mediaResolution"] = self.resolution
        config |= features.sampling
        if features.samples > 1:
            config["candidateCount"] = features.samples
        if features.top:
            config |= {"responseLogprobs": True, "logprobs": features.top}
        if features.forced and request.labels:
            config |= self._forced(request.labels)
        if self.thinking:
            config["thinkingConfig"] = self.thinking
        shown = interleaved(parts, self._picture, lambda text: {"text": text})
        return {"contents": [{"role": "user", "parts": shown}], "generationConfig": config}

    @property
    def _by_part(self) -> bool:
        """Whether the resolution exists for a part only."""
        return self.resolution == "MEDIA_RESOLUTION_ULTRA_HIGH"

    def _picture(self, image: EncodedImage) -> Json:
        part: Json = {"inlineData": {"mimeType": image.media, "data": image.base64}}
        if self._by_part:
            part["mediaResolution"] = {"level": self.resolution}
        return part

    def _forced(self, labels: Sequence[str]) -> Json:
        if self.enum:
            return {
                "responseMimeType": "text/x.enum",
                "responseSchema": {"type": "STRING", "enum": list(labels)},
            }
        return {"responseMimeType": "application/json", "responseJsonSchema": schema(labels)}

    def count_request(self, request: Request, parts: Parts) -> HttpRequest:
        asked = self.body(request, parts, ApiFeatures(temperature=None))
        model = self.place.removeprefix(f"{self.root}/")
        body = json.dumps({"generateContentRequest": {"model": model} | asked}).encode()
        return HttpRequest("POST", f"{self.place}:countTokens", self.headers(body), body)

    def about_request(self) -> HttpRequest:
        return HttpRequest("GET", self.place, self.headers(b""))

    @property
    def image_name(self) -> str:
        level = (self.resolution or "").removeprefix("MEDIA_RESOLUTION_").lower()
        return f"{self.model}@{level}" if level not in ("", "high") else self.model

    def headers(self, body: bytes) -> Mapping[str, str]:
        return {"Content-Type": "application/json", "x-goog-api-key": self._key}

    def parse(self, reply: Json) -> ParsedReply:
        raise_reported_error(reply)
        usage = usage_in(reply, "usageMetadata")
        blocked = optional_object(reply, "promptFeedback").get("blockReason")
        candidates = json_objects(reply.get("candidates") or [], "candidates")
        if not (candidates or usage or blocked):
            raise LookupError("no candidates")
        samples = [_sample(candidate) for candidate in candidates]
        answers = [sample for sample in samples if sample.text]
        refusals = [sample.refusal for sample in samples if sample.refusal]
        failures = [sample.failure for sample in samples if sample.failure]
        if blocked:
            refusals.insert(0, f"prompt blocked: {blocked}")
        written = token_total(usage, "candidatesTokenCount", "thoughtsTokenCount")
        return ParsedReply(
            texts=tuple(sample.text for sample in answers),
            tokens=answers[0].tokens if answers else (),
            refusal=refusals[0] if refusals and not answers else None,
            failure=failures[0] if failures and not (answers or refusals) else None,
            truncated=any(sample.truncated for sample in samples),
            input_tokens=token_total(usage, "promptTokenCount", "toolUsePromptTokenCount"),
            output_tokens=written or 0 if usage else None,  # the API leaves out a count of 0
            model=served_by(reply, "modelVersion"),
            thought=reasoned(usage) or any(map(_thought, candidates)),
            unspelt=answers[0].unspelt if answers else False,
        )

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        code, message = super().error(status, reply)
        error = reply.get("error")
        if not isinstance(error, Mapping):
            return code, message
        # The status in words says more than the number: a wrong key is a 400 like any bad request.
        details = error.get("details")
        listed = details if isinstance(details, list) else []
        reasons = [detail.get("reason") for detail in listed if isinstance(detail, Mapping)]
        if "API_KEY_INVALID" in reasons:
            return "API_KEY_INVALID", message
        return str(error.get("status") or code), message

    @property
    def batch(self) -> BatchApi:
        return InlineBatches(self)


@final
class InlineBatches(BatchApi):
    """Batches whose requests travel in the body, and whose replies come with the state.

    They cost half the price and take a day at most.
    """

    limit: ClassVar[int] = 10_000
    """No number is documented for requests in a body: their size is the limit."""
    size: ClassVar[int] = 20_000_000

    def __init__(self, api: GenerateContent) -> None:
        self._api = api

    def submit(self, bodies: Mapping[str, bytes]) -> Generator[HttpRequest, Json, str]:
        requests = [
            b'{"request":%b,"metadata":{"key":%b}}' % (body, json.dumps(name).encode())
            for name, body in bodies.items()
        ]
        batch = (
            b'{"batch":{"displayName":"bbtvp","inputConfig":{"requests":{"requests":[%b]}}}}'
            % b",".join(requests)
        )
        url = f"{self._api.place}:batchGenerateContent"
        reply = yield HttpRequest("POST", url, self._api.headers(batch), batch)
        return _batch_name(reply["name"])

    def status(self, batch: str) -> HttpRequest:
        return HttpRequest("GET", f"{self._api.root}/{_batch_name(batch)}", self._api.headers(b""))

    def read_status(self, reply: Json) -> tuple[bool, str, str | None]:
        state = str(reply["metadata"]["state"])
        done = state.endswith(("_SUCCEEDED", "_FAILED", "_CANCELLED", "_EXPIRED"))
        if not done or _output(reply) is None:
            return done, state, None
        return done, state, _batch_name(reply["name"])

    def results(self, where: str) -> Sequence[HttpRequest]:
        return [self.status(where)]

    def read_results(self, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        for body in bodies:
            for answer in _output(json.loads(body)) or []:
                name = answer["metadata"]["key"]
                error = optional_object(answer, "error")
                if error:
                    yield name, _status(error), {"error": error}
                else:
                    yield name, 200, answer["response"]


def _status(error: Json) -> int:
    code = int(error.get("code", 0))
    return STATUS.get(code, code if code >= 400 else 500)


def _batch_name(name: str) -> str:
    """Return a batch's name as it appears in URLs. Raises ValueError for anything else."""
    if not re.fullmatch(r"batches/[\w-]+", name):
        raise ValueError(f"{name!r} is no name of a batch")
    return name


def _output(batch: Json) -> list[Json] | None:
    """Return the results of a batch's requests, None if there are none.

    The API states them in two places, and not always in both.
    """
    for output in (batch["metadata"].get("output"), batch.get("response")):
        if output and "inlinedResponses" in output:
            found: list[Json] = output["inlinedResponses"]["inlinedResponses"]
            return found
    return None


def _thinking(thinking: int | str | None, levels: Sequence[str], *, budget: bool) -> Json:
    """Return the settings of thinking. Raises UsageError for what the model does not take.

    levels: that it takes. budget: it takes a number of tokens too.
    """
    if thinking is None:
        return {}
    if isinstance(thinking, int) and not isinstance(thinking, bool) and budget:
        return {"thinkingBudget": thinking}
    if thinking == "automatic" and budget:
        return {"thinkingBudget": -1}
    choices = ("automatic", "0", *levels) if budget else levels
    if thinking not in levels:
        raise unknown("thinking", str(thinking), choices)
    return {"thinkingLevel": str(thinking).upper()}


def _sample(candidate: Json) -> Completion:
    """Return a candidate as a sample. Thoughts are not part of its text."""
    ended = candidate.get("finishReason")
    message = candidate.get("finishMessage")
    content = optional_object(candidate, "content")
    parts = json_objects(content.get("parts") or [], "parts")
    text = "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
    return Completion.of(
        text,
        _tokens(optional_object(candidate, "logprobsResult")),
        thought=_thought(candidate),
        ended=ended,
        refusal=f"{ended}: {message}" if message else None,
    )


def _thought(candidate: Json) -> str:
    """Return the text of the parts of a candidate that are thoughts."""
    content = optional_object(candidate, "content")
    parts = json_objects(content.get("parts") or [], "parts")
    return "".join(json_text(part.get("text", "")) for part in parts if part.get("thought"))


def _tokens(result: Json) -> tuple[Token, ...]:
    chosen = _scored(result, "chosenCandidates")
    shown = json_objects(result.get("topCandidates") or [], "topCandidates")
    tops = [_scored(top, "candidates") for top in shown]
    # Alternatives come likeliest first; of two with equal text the likelier stays.
    return tuple(
        Token(*token, dict([*reversed(top), token]))
        for token, top in zip(chosen, tops or [[]] * len(chosen), strict=True)
    )


def _scored(result: Json, name: str) -> list[tuple[str, float]]:
    """Return the tokens under a name, with their log-probabilities."""
    return [
        (json_text(candidate["token"]), logprob(candidate["logProbability"]))
        for candidate in json_list(result.get(name) or [], name)
    ]


load = GenerateContent.load
