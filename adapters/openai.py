"""OpenAI's own models, by chat completions or responses.

    load_model("openai/gpt-4.1-mini")
    load_model("openai/gpt-5.1", api="responses", reasoning_effort="none")

The key is read from OPENAI_API_KEY, the address from OPENAI_BASE_URL or OPENAI_API_BASE.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, final

from bbtvp.adapters.environment import address, key
from bbtvp.adapters.openai_batch import OpenAIBatch
from bbtvp.adapters.openai_chat import Chat, Form, Options
from bbtvp.adapters.openai_responses import Responses
from bbtvp.core.errors import unknown
from bbtvp.endpoint.provider import (
    ApiFeatures,
    BatchApi,
    EncodedImage,
    Json,
    ParsedReply,
    ProviderApi,
)
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Model, Request

HOME = "https://api.openai.com/v1"
APIS = ("chat", "responses")


def load(
    name: str,
    *,
    api: str = "chat",
    base_url: str | None = None,
    key_env: str = "OPENAI_API_KEY",
    spec: str | None = None,
    **options: Any,
) -> Model:
    """The model `name` at OpenAI.

    api: chat or responses. base_url: of another address that speaks the same. key_env: the variable
    that holds the key. options: of the bodies, see `openai_chat.Options`; the others are those of
    every endpoint. Raises UsageError for a bad option or a missing key.
    """
    spec = spec or f"openai/{name}"
    form = form_of(api, Options.taken_from(options, name))
    base = address(base_url, ("OPENAI_BASE_URL", "OPENAI_API_BASE"), HOME, spec, HOME)
    secret = key(key_env, spec)
    return Endpoint.of(
        OpenAI(spec, form, base, secret), key_variable=key_env, secrets=[secret], **options
    )


def form_of(api: str, options: Options) -> Form:
    """Chat or responses. Raises UsageError for another name, or options that the form does not
    have.
    """
    if api not in APIS:
        raise unknown("api", str(api), APIS)
    return Chat(options) if api == "chat" else Responses(options)


@final
class OpenAI(ProviderApi):
    """OpenAI at a base URL. Requests of a batch may be either form."""

    service: ClassVar[str] = "openai"

    def __init__(self, spec: str, form: Form, base: str, secret: str) -> None:
        self.spec = spec
        self.model = form.model
        self.form = form
        self.base = base
        self.url = base + form.path
        self.top, self.can_force, self.can_sample, self.can_seed, self.can_repeat = form.offers
        accounts = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
        named = {
            header: os.environ[variable]
            for header, variable in accounts.items()
            if os.environ.get(variable)
        }
        self._auth = {"Authorization": f"Bearer {secret}"} | named

    def body(self, request: Request, picture: EncodedImage, features: ApiFeatures) -> Json:
        return self.form.body(request, picture, features)

    def headers(self, body: bytes) -> Mapping[str, str]:
        return self._auth | {"Content-Type": "application/json"}

    def parse(self, reply: Json) -> ParsedReply:
        return self.form.parse(reply)

    @property
    def batch(self) -> BatchApi:
        return OpenAIBatch(self.base, f"/v1{self.form.path}", self._auth)
