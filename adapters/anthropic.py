"""Claude behind Anthropic's Messages API. The key is read from ANTHROPIC_API_KEY.

    load_model("anthropic/claude-haiku-5-5")
    load_model("anthropic/claude-sonnet-4-6", api_version="2023-06-01")

Version 2026-10-21 of the API has no temperature, so equal requests may get different replies. No
version has log-probabilities or a seed.
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
from bbtvp.endpoint.known import known
from bbtvp.endpoint.provider import (
    ApiFeatures,
    BatchApi,
    EncodedImage,
    HttpRequest,
    Json,
    ParsedReply,
    Parts,
    ProviderApi,
    interleaved,
)
from bbtvp.endpoint.reading import (
    json_lines,
    json_objects,
    raise_reported_error,
    reasoned,
    served_by,
    single_answer,
    token_total,
    usage_in,
)
from bbtvp.models import Model, Request

BASE = "https://api.anthropic.com"
CHANGED = "2026-10-21"
"""The version that removed the sampling fields, and made the key a bearer token."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")
THINKING = ("adaptive", "between_tools", "disabled")
THOUGHTS = ("thinking", "redacted_thinking")
"""Types of the blocks of a reply that are no answer."""
LEAST_THINKING = 1024
"""Fewest tokens that can be given to thinking, by the API's documentation."""
ROOM = 1024
"""Tokens for an answer after the thinking, unless max_tokens says otherwise."""
STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # Never asked, so not billed: to be asked again.
    "canceled": 408,
    "expired": 408,
}
"""HTTP statuses of the outcomes of a request in a batch."""


@final
class Messages(ProviderApi):
    """The Messages API for one model."""

    at: ClassVar[Service] = Service("anthropic", BASE)
    service: ClassVar[str] = at.name
    top = 0
    can_force = True
    can_seed = False
    can_show = True
    can_repeat = False

    def __init__(
        self,
        model: str,
        key: str,
        base: str = BASE,
        version: str = CHANGED,
        *,
        thinking: int | str | None = None,
        effort: str | None = None,
    ) -> None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(version)):
            raise UsageError(f"api_version must be a date such as {CHANGED}, got {version!r}")
        if effort not in (None, *EFFORTS):
            raise unknown("effort", str(effort), EFFORTS)
        self.spec = f"anthropic/{model}"
        self.model = model
        self.url = base.rstrip("/").removesuffix("/v1") + "/v1/messages"
        self.version = version
        self.effort = effort
        self.can_sample = version < CHANGED
        self.thinking = _thinking(thinking)
        self._key = key

    @classmethod
    def load(
        cls,
        name: str,
        *,
        base_url: str | None = None,
        api_version: str = CHANGED,
        thinking: int | str | None = None,
        effort: str | None = None,
        **options: Any,
    ) -> Model:
        """Load the model that Anthropic calls `name`.

        base_url: else ANTHROPIC_BASE_URL. api_version: versions before 2026-10-21 have a
        temperature. thinking: disabled, adaptive, or a number of tokens, at least 1024; by default
        the model's own. Thinking counts as part of the reply, so max_tokens leaves room for it.
        effort: low to max. options: those of every endpoint. Raises UsageError for a bad option or
        a missing key.
        """
        access = cls.at.access(name, base_url=base_url)
        api = cls(name, access.key, access.base, api_version, thinking=thinking, effort=effort)
        told = api.thinking.get("type")
        by_itself = known(api.service, name).thinks in ("always", "by default")
        if told not in (None, "disabled", "between_tools") or (told is None and by_itself):
            budget = api.thinking.get("budget_tokens", LEAST_THINKING)
            options.setdefault("max_tokens", budget + ROOM)
        return access.endpoint(api, **options)

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        most = most_tokens(request, features)
        budget = self.thinking.get("budget_tokens", 0)
        if budget >= most:
            raise UsageError(
                f"thinking={budget} leaves no room for an answer; give max_tokens={budget + ROOM}"
            )
        body: Json = {
            "model": self.model,
            "max_tokens": most,
            "messages": [{"role": "user", "content": self._content(parts)}],
        }
        if self.can_sample and features.temperature is not None:
            body["temperature"] = features.temperature
        if self.thinking:
            body["thinking"] = self.thinking
        output: Json = {"effort": self.effort} if self.effort else {}
        if features.forced and request.labels:
            output["format"] = {"type": "json_schema", "schema": schema(request.labels)}
        return body | ({"output_config": output} if output else {})

    @staticmethod
    def _content(parts: Parts) -> list[Json]:
        return interleaved(parts, _picture, lambda text: {"type": "text", "text": text})

    def headers(self, body: bytes) -> Mapping[str, str]:
        key = (
            {"x-api-key": self._key}
            if self.version < CHANGED
            else {"Authorization": f"Bearer {self._key}"}
        )
        return {"Content-Type": "application/json", "anthropic-version": self.version, **key}

    def parse(self, reply: Json) -> ParsedReply:
        raise_reported_error(reply)
        blocks = json_objects(reply["content"], "content")
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        stopped = reply["stop_reason"]
        usage = usage_in(reply, "usage")
        return single_answer(
            text,
            ended=stopped,
            refusal=_refusal(reply.get("stop_details")),
            input_tokens=token_total(
                usage, "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"
            ),
            output_tokens=token_total(usage, "output_tokens"),
            model=served_by(reply, "model"),
            thought=any(block["type"] in THOUGHTS for block in blocks) or reasoned(usage),
        )

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        code, message = super().error(status, reply)
        error = reply.get("error")
        details = error.get("details") if isinstance(error, Mapping) else None
        # A reached spend limit and a rate limit are both a 429 of one type: only this code tells
        # them apart.
        cause = details.get("error_code") if isinstance(details, Mapping) else None
        return (cause if isinstance(cause, str) else code), message

    def count_request(self, request: Request, parts: Parts) -> HttpRequest:
        return self._counting(self._content(parts))

    def whole_request(self, request: Request, parts: Parts) -> HttpRequest:
        content = self._content(parts)
        content[0]["transformations"] = {"oversized_image": "error"}
        return self._counting(content)

    def _counting(self, content: list[Json]) -> HttpRequest:
        asked = {"model": self.model, "messages": [{"role": "user", "content": content}]}
        body = json.dumps(asked, ensure_ascii=False).encode()
        return HttpRequest("POST", f"{self.url}/count_tokens", self.headers(body), body)

    def about_request(self) -> HttpRequest:
        url = f"{self.url.removesuffix('/messages')}/models/{quote(self.model, safe='')}"
        return HttpRequest("GET", url, self.headers(b""))

    @property
    def batch(self) -> BatchApi:
        return MessageBatches(self)


def _picture(image: EncodedImage) -> Json:
    source = {"type": "base64", "media_type": image.media, "data": image.base64}
    return {"type": "image", "source": source}


@final
class MessageBatches(BatchApi):
    """Message batches, at half price.

    Results come in any order, most within the hour and all within a day.
    """

    limit: ClassVar[int] = 100_000
    size: ClassVar[int] = 256_000_000

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._url = f"{messages.url}/batches"

    def submit(self, bodies: Mapping[str, bytes]) -> Generator[HttpRequest, Json, str]:
        requests = [
            b'{"custom_id":%b,"params":%b}' % (json.dumps(name).encode(), body)
            for name, body in bodies.items()
        ]
        reply = yield self._request("POST", "", b'{"requests":[%b]}' % b",".join(requests))
        return str(reply["id"])

    def status(self, batch: str) -> HttpRequest:
        return self._request("GET", f"/{quote(batch, safe='')}")

    def read_status(self, reply: Json) -> tuple[bool, str, str | None]:
        state = str(reply["processing_status"])
        # Not the address that the reply names: the key goes nowhere but to our own host.
        return state == "ended", state, str(reply["id"]) if reply.get("results_url") else None

    def results(self, where: str) -> Sequence[HttpRequest]:
        return [self._request("GET", f"/{quote(where, safe='')}/results")]

    def read_results(self, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        for line in json_lines(bodies):
            yield line["custom_id"], *_result(line["result"])

    def _request(self, method: Any, path: str, body: bytes = b"") -> HttpRequest:
        return HttpRequest(method, self._url + path, self._messages.headers(body), body)


def _result(result: Json) -> tuple[int, Json]:
    """Return (HTTP status, reply) of one request of a batch."""
    kind = result["type"]
    if kind == "succeeded":
        return 200, result["message"]
    reply = (
        result["error"]
        if kind == "errored"
        else {"error": {"type": kind, "message": f"{kind} before it was asked"}}
    )
    return STATUS.get(reply["error"]["type"], 500), reply


def _thinking(thinking: int | str | None) -> Json:
    if isinstance(thinking, int):
        if thinking < LEAST_THINKING:
            raise UsageError(
                f"thinking must be at least {LEAST_THINKING} tokens, got {thinking}; "
                "or thinking=disabled"
            )
        return {"type": "enabled", "budget_tokens": thinking}
    if thinking not in (None, *THINKING):
        raise unknown("thinking", thinking, THINKING)
    return {"type": thinking} if thinking else {}


def _refusal(details: object) -> str:
    found = details if isinstance(details, Mapping) else {}
    parts = [found.get("category"), found.get("explanation")]
    return ": ".join(["refusal", *(str(part) for part in parts if part)])


load = Messages.load
