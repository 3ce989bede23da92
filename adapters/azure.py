"""Models deployed at Azure OpenAI.

    load_model("azure/my-deployment")
    load_model("azure/my-deployment", api_version="2024-10-21")  # the older, dated addresses

The key is read from AZURE_OPENAI_API_KEY, the address from AZURE_OPENAI_ENDPOINT. A deployment's
name need not tell that its model thinks before it answers: say so with reasoning=true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, final
from urllib.parse import quote

from bbtvp.adapters.environment import address, key
from bbtvp.adapters.openai import form_of
from bbtvp.adapters.openai_chat import Form, Options, filtered
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ApiFeatures, EncodedImage, Json, ParsedReply, ProviderApi
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Model, Request

EXAMPLE = "https://my-resource.openai.azure.com"


def load(
    name: str,
    *,
    api: str = "chat",
    api_version: str | None = None,
    base_url: str | None = None,
    key_env: str = "AZURE_OPENAI_API_KEY",
    spec: str | None = None,
    **options: Any,
) -> Model:
    """The deployment `name`.

    api: chat or responses. api_version: a date, for the dated addresses. base_url: the resource's
    address, without a path. key_env: the variable that holds the key. options: of the bodies, see
    `openai_chat.Options`; the others are those of every endpoint. Raises UsageError for a bad
    option, a missing key or a missing address.
    """
    spec = spec or f"azure/{name}"
    if api_version is not None and not (
        isinstance(api_version, str) and api_version[:4].isdecimal()
    ):
        raise UsageError(f"api_version must be a date, such as 2024-10-21, got {api_version!r}")
    given = "token_field" in options
    asked = Options.taken_from(options, name)
    if api_version and not asked.thinks and not given:
        asked = replace(asked, token_field="max_tokens")  # many dated deployments know no other
    form = form_of(api, asked)
    resource = address(base_url, ("AZURE_OPENAI_ENDPOINT",), None, spec, EXAMPLE)
    secret = key(key_env, spec)
    dialect = Azure(spec, form, url_of(resource, form, api_version), secret)
    return Endpoint.of(dialect, key_variable=key_env, secrets=[secret], **options)


def url_of(resource: str, form: Form, version: str | None) -> str:
    """Where requests go, in the new scheme or, given a version, in the dated one."""
    root = resource.removesuffix("/v1").removesuffix("/openai") + "/openai"
    if version is None:
        return f"{root}/v1{form.path}"
    deployment = (
        f"/deployments/{quote(form.model, safe='')}" if form.path == "/chat/completions" else ""
    )
    return f"{root}{deployment}{form.path}?api-version={quote(version, safe='')}"


@final
class Azure(ProviderApi):
    """A deployment at Azure. Batches need deployments of their own, and are not offered."""

    service: ClassVar[str] = "azure"

    def __init__(self, spec: str, form: Form, url: str, secret: str) -> None:
        self.spec = spec
        self.model = form.model
        self.form = form
        self.url = url
        self.top, self.can_force, self.can_sample, self.can_seed, self.can_repeat = form.offers
        self._auth = {"api-key": secret}

    def body(self, request: Request, picture: EncodedImage, features: ApiFeatures) -> Json:
        return self.form.body(request, picture, features)

    def headers(self, body: bytes) -> Mapping[str, str]:
        return self._auth | {"Content-Type": "application/json"}

    def parse(self, reply: Json) -> ParsedReply:
        return self.form.parse(reply)

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        """See `ProviderApi`. What the filter objects to in a question (400, `content_filter`) is named."""
        code, message = super().error(status, reply)
        error = reply.get("error")
        inner = error.get("innererror") if isinstance(error, Mapping) else None
        if isinstance(inner, Mapping) and (
            code == "content_filter" or inner.get("code") == "ResponsibleAIPolicyViolation"
        ):
            return "content_filter", f"{filtered(inner.get('content_filter_result'))}; {message}"
        return code, message
