"""Any server that speaks OpenAI's chat completions, such as vLLM, Ollama or OpenRouter.

    load_model("openai-api/ollama/qwen3-vl:8b")
    load_model("openai-api/serve//models/llava", base_url="http://127.0.0.1:8000/v1")
    load_model("openai-api/openrouter/qwen/qwen3-vl-235b-a22b-instruct")

`openai-api/<service>/<model>`: the address is read from <SERVICE>_BASE_URL and the key from
<SERVICE>_API_KEY, if the server needs one. A model's name may contain slashes, and begin with one.

Several addresses with commas between them are a fleet: servers of one model that share the requests
(`endpoint.fleet`). A fleet is identified by its service and model, so its list of servers may
change.

A service with a name of its own is a subclass and an entry point in the group `bbtvp.models`:

    class Acme(CompatibleApi):
        at = Service("acme", url="https://api.acme.com/v1")
        service = at.name

    load = Acme.load
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from bbtvp.adapters.openai_chat import Chat
from bbtvp.adapters.openai_options import MOST_ALTERNATIVES, OpenAIForm, Options
from bbtvp.adapters.openai_responses import Responses
from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.access import Access, Service
from bbtvp.endpoint.provider import ApiFeatures, Json, ParsedReply, Parts, ProviderApi
from bbtvp.models import Model, Request

HOSTED = {"openrouter": "https://openrouter.ai/api/v1", "together": "https://api.together.xyz/v1"}
"""Base URLs of hosted services, which need a key."""

LOCAL = {
    "llamacpp": "http://127.0.0.1:8080/v1",
    "lmstudio": "http://127.0.0.1:1234/v1",
    "ollama": "http://127.0.0.1:11434/v1",
    "sglang": "http://127.0.0.1:30000/v1",
    "vllm": "http://127.0.0.1:8000/v1",
}
"""Default base URLs of servers on this machine."""

APIS = ("chat", "responses")
_EXAMPLE = "http://127.0.0.1:8000/v1"


class CompatibleApi(ProviderApi):
    """An OpenAI-style API at a base URL: subclass it for a service with a name of its own.

    at: where the service is found. defaults: of `openai_options.Options`, where the service
    differs. The probe finds out which fields the server honours; override `body`, `parse`, `error`
    or `headers` for the rest.
    """

    at: ClassVar[Service] = Service("openai-api")
    service: ClassVar[str] = "openai-api"
    can_show = True
    defaults: ClassVar[Mapping[str, Any]] = {"reasoning": False, "token_field": "max_tokens"}

    def __init__(
        self, access: Access, form: OpenAIForm, *, url: str = "", servers: Sequence[str] = ()
    ) -> None:
        """url: where requests go, if that is not the form's path after the base URL."""
        self.spec = access.spec
        self.model = form.model
        self.form = form
        self.access = access
        self.url = url or access.base + form.path
        self.servers = tuple(server + form.path for server in servers)
        thinks = form.options.thinks
        self.top = 0 if thinks else MOST_ALTERNATIVES
        self.can_force = True
        self.can_sample = not thinks
        self.can_seed = form.can_seed
        self.can_repeat = form.can_repeat
        self.can_rename_length = form.can_rename_length
        self._authorization = self.authorization()

    @classmethod
    def load(
        cls,
        name: str,
        *,
        api: str = "chat",
        base_url: str | None = None,
        key_env: str | None = None,
        spec: str | None = None,
        **options: Any,
    ) -> Model:
        """Load the model that the service calls `name`.

        api: chat or responses. base_url: another address that speaks the same API. key_env: the
        variable that holds the key. options: of the bodies, see `openai_options.Options`; the
        others are those of every endpoint. Raises UsageError for a bad option, a missing address or
        a missing key.
        """
        form = form_of(api, Options.taken_from(options, name, **cls.defaults))
        access = cls.at.access(name, base_url=base_url, key_env=key_env, spec=spec)
        return access.endpoint(cls(access, form), **options)

    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        return self.form.body(request, parts, features)

    @property
    def image_name(self) -> str:
        detail = self.form.options.detail
        return self.model if detail in (None, "high") else f"{self.model}@{detail}"

    def headers(self, body: bytes) -> Mapping[str, str]:
        return self._authorization | {"Content-Type": "application/json"}

    def authorization(self) -> dict[str, str]:
        """Return the headers that carry the key. Called once, when the model is loaded."""
        key = self.access.key
        return {"Authorization": f"Bearer {key}"} if key else {}

    def parse(self, reply: Json) -> ParsedReply:
        return self.form.parse(reply)


def form_of(api: str, options: Options) -> OpenAIForm:
    """Return the form of requests of an API: chat or responses.

    Raises UsageError for another name, or for options that the form does not have.
    """
    if api not in APIS:
        raise unknown("api", str(api), APIS)
    return Chat(options) if api == "chat" else Responses(options)


def load(
    name: str,
    *,
    api: str = "chat",
    base_url: str | Sequence[str] | None = None,
    key_env: str | None = None,
    spec: str | None = None,
    **options: Any,
) -> Model:
    """Load a model of any service, named `<service>/<model>`.

    api: chat or responses. base_url: with its "/v1"; a list, or commas, for a fleet, whose rpm, tpm
    and concurrency are those of all servers together. key_env: the variable that holds the key.
    options: of the bodies, see `openai_options.Options` (token_field is max_tokens here, and
    forced=choice is vLLM's); the others are those of every endpoint. Raises UsageError for a bad
    option, a missing address, or a missing key where one is needed.
    """
    spec = spec or f"openai-api/{name}"
    service, slash, model = name.partition("/")
    if not slash or not service or not model:
        raise UsageError(
            f"{spec!r} must be openai-api/<service>/<model>, such as openai-api/vllm/my-model"
        )
    form = form_of(api, Options.taken_from(options, model, **CompatibleApi.defaults))
    found = Service(service, (HOSTED | LOCAL).get(service), example=_EXAMPLE)
    bases, fleet = _addresses(base_url, found, spec)
    needed = bool(key_env) or HOSTED.get(service) in bases
    access = found.at_base(bases[0], spec=spec, model=model, key_env=key_env, needs_key=needed)
    if not fleet:
        return access.endpoint(CompatibleApi(access, form), **options)
    made = CompatibleApi(access, form, url=f"fleet:{service}{form.path}", servers=bases)
    return access.endpoint(made, **options)


def _addresses(
    given: str | Sequence[str] | None, service: Service, spec: str
) -> tuple[list[str], bool]:
    """Return the base URLs, and whether they are a fleet's: a list or a comma makes a fleet."""
    given = given or os.environ.get(service.url_variables[0]) or service.url or ""
    fleet = not isinstance(given, str) or "," in given
    listed = given.split(",") if isinstance(given, str) else given
    found = [service.base(one, spec) for one in listed if one.strip()]
    if not found:  # commas alone: the usual address of the service would be no fleet
        found = [replace(service, url=None).base(None, spec)]
    return list(dict.fromkeys(found)), fleet
