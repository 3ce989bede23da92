"""OpenAI's own models, by chat completions or responses.

    load_model("openai/gpt-6-luna", reasoning_effort="none")
    load_model("openai/gpt-6.1-sol", api="responses", reasoning_effort="low")

Images are sent with detail=high: the models of 2026 take "auto" for the original size, which costs
many times more.

The key is read from OPENAI_API_KEY, the address from OPENAI_BASE_URL or OPENAI_API_BASE.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, final
from urllib.parse import quote

from bbtvp.adapters.compatible import CompatibleApi
from bbtvp.adapters.openai_batch import OpenAIBatch
from bbtvp.adapters.openai_responses import Responses
from bbtvp.endpoint.access import Service
from bbtvp.endpoint.provider import ApiFeatures, BatchApi, HttpRequest, Parts
from bbtvp.models import Request

HOME = "https://api.openai.com/v1"
_ACCOUNTS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
"""Headers that name the account, and the variables that hold their values."""


@final
class OpenAI(CompatibleApi):
    """OpenAI at a base URL. Requests of a batch may have either form."""

    at: ClassVar[Service] = Service("openai", HOME, urls=("OPENAI_BASE_URL", "OPENAI_API_BASE"))
    service: ClassVar[str] = at.name
    defaults: ClassVar[Mapping[str, Any]] = {"service": at.name, "detail": "high"}

    def authorization(self) -> dict[str, str]:
        values = {header: os.environ.get(variable) for header, variable in _ACCOUNTS.items()}
        return super().authorization() | {name: value for name, value in values.items() if value}

    def count_request(self, request: Request, parts: Parts) -> HttpRequest:
        options = replace(self.form.options, forced="schema", extra={})
        asked = Responses(options).body(request, parts, ApiFeatures(temperature=None))
        kept = {name: asked[name] for name in ("model", "input", "reasoning") if name in asked}
        body = json.dumps(kept, ensure_ascii=False).encode()
        url = f"{self.access.base}/responses/input_tokens"
        return HttpRequest("POST", url, self.headers(body), body)

    def about_request(self) -> HttpRequest:
        url = f"{self.access.base}/models/{quote(self.model, safe='')}"
        return HttpRequest("GET", url, self._authorization)

    @property
    def batch(self) -> BatchApi:
        return OpenAIBatch(self.access.base, f"/v1{self.form.path}", self._authorization)


load = OpenAI.load
