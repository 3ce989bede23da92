"""Models deployed at Azure OpenAI.

    load_model("azure/my-deployment")
    load_model("azure/my-deployment", api_version="2024-10-21")  # the older, dated addresses

The key is read from AZURE_OPENAI_API_KEY, the address from AZURE_OPENAI_ENDPOINT. A deployment that
is named after its model is known as that model; of another the probe finds out whether it reasons
before it answers, or you say so with reasoning=true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, final
from urllib.parse import quote

from bbtvp.adapters.compatible import CompatibleApi, form_of
from bbtvp.adapters.openai_chat import filtered
from bbtvp.adapters.openai_options import OpenAIForm, Options
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.access import Service
from bbtvp.endpoint.provider import Json
from bbtvp.models import Model


@final
class Azure(CompatibleApi):
    """A deployment at Azure. Batches need deployments of their own, and are not offered."""

    at: ClassVar[Service] = Service(
        "azure",
        keys=("AZURE_OPENAI_API_KEY",),
        urls=("AZURE_OPENAI_ENDPOINT",),
        example="https://my-resource.openai.azure.com",
    )
    service: ClassVar[str] = at.name
    defaults: ClassVar[Mapping[str, Any]] = {"service": at.name, "detail": "high"}

    @classmethod
    def load(
        cls,
        name: str,
        *,
        api: str = "chat",
        base_url: str | None = None,
        key_env: str | None = None,
        spec: str | None = None,
        api_version: str | None = None,
        **options: Any,
    ) -> Model:
        """Load the deployment `name`.

        base_url: the resource's address, without a path. api_version: a date, for the dated
        addresses. All else as for `CompatibleApi.load`.
        """
        if api_version is not None and not _is_date(api_version):
            raise UsageError(f"api_version must be a date, such as 2024-10-21, got {api_version!r}")
        given = "token_field" in options
        asked = Options.taken_from(options, name, **cls.defaults)
        if api_version and not asked.thinks and not given:
            # Many dated deployments know no other field.
            asked = replace(asked, token_field="max_tokens")
        form = form_of(api, asked)
        access = cls.at.access(name, base_url=base_url, key_env=key_env, spec=spec)
        made = cls(access, form, url=url_of(access.base, form, api_version))
        return access.endpoint(made, **options)

    def authorization(self) -> dict[str, str]:
        return {"api-key": self.access.key}

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        """See `ProviderApi`. Names what the content filter objects to in a question."""
        code, message = super().error(status, reply)
        error = reply.get("error")
        inner = error.get("innererror") if isinstance(error, Mapping) else None
        if not isinstance(inner, Mapping):
            return code, message
        if code == "content_filter" or inner.get("code") == "ResponsibleAIPolicyViolation":
            return "content_filter", f"{filtered(inner.get('content_filter_result'))}; {message}"
        return code, message


def url_of(resource: str, form: OpenAIForm, version: str | None) -> str:
    """Return the URL of requests, in the new scheme or, given a version, in the dated one."""
    root = resource.removesuffix("/v1").removesuffix("/openai") + "/openai"
    if version is None:
        return f"{root}/v1{form.path}"
    deployment = ""
    if form.path == "/chat/completions":
        deployment = f"/deployments/{quote(form.model, safe='')}"
    return f"{root}{deployment}{form.path}?api-version={quote(version, safe='')}"


def _is_date(version: object) -> bool:
    return isinstance(version, str) and version[:4].isdecimal()


load = Azure.load
