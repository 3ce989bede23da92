"""Any server that speaks OpenAI's chat completions: vLLM, SGLang, llama.cpp, Ollama, LM Studio,
OpenRouter, Together.

    load_model("openai-api/ollama/qwen3-vl:8b")
    load_model("openai-api/serve//models/llava", base_url="http://127.0.0.1:8000/v1")
    load_model("openai-api/openrouter/qwen/qwen3-vl-235b-a22b-instruct")

`openai-api/<service>/<model>`: the address is read from <SERVICE>_BASE_URL, the key from
<SERVICE>_API_KEY; a server that wants no key needs none. A model's name may contain slashes, and
begin with one.

Several addresses with commas between them are a fleet: servers that serve one model, asked in turn
(`endpoint.fleet`). A fleet is known by its service and model: answers are the same whichever server
gave them, and the list may change.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from bbtvp.adapters.environment import address, key
from bbtvp.adapters.openai import form_of
from bbtvp.adapters.openai_chat import Form, Options
from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import ApiFeatures, EncodedImage, Json, ParsedReply, ProviderApi
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import Model, Request

HOSTED = {"openrouter": "https://openrouter.ai/api/v1", "together": "https://api.together.xyz/v1"}
"""Addresses of services that want a key."""

LOCAL = {
    "llamacpp": "http://127.0.0.1:8080/v1",
    "lmstudio": "http://127.0.0.1:1234/v1",
    "ollama": "http://127.0.0.1:11434/v1",
    "sglang": "http://127.0.0.1:30000/v1",
    "vllm": "http://127.0.0.1:8000/v1",
}
"""Where servers listen that were started without a word about it."""

EXAMPLE = "http://127.0.0.1:8000/v1"


def load(
    name: str,
    *,
    api: str = "chat",
    base_url: str | Sequence[str] | None = None,
    key_env: str | None = None,
    spec: str | None = None,
    **options: Any,
) -> Model:
    """The model of a service, from `<service>/<model>`.

    api: chat or responses. base_url: with its "/v1"; a list, or commas, for a fleet, whose rpm, tpm
    and concurrency are those of all servers together. key_env: the variable that holds the key.
    options: of the bodies, see `openai_chat.Options` (token_field is max_tokens here, and
    forced=choice is vLLM's); the others are those of every endpoint. Raises UsageError for a bad
    option, a missing address, or a missing key where one is needed.
    """
    spec = spec or f"openai-api/{name}"
    service, slash, model = name.partition("/")
    if not slash or not service or not model:
        raise UsageError(
            f"{spec!r} must be openai-api/<service>/<model>, such as openai-api/vllm/my-model"
        )
    form = form_of(
        api, Options.taken_from(options, model, reasoning=False, token_field="max_tokens")
    )
    prefix = re.sub(r"\W", "_", service).upper()
    bases, fleet = _addresses(base_url, f"{prefix}_BASE_URL", service, spec)
    variable = key_env or f"{prefix}_API_KEY"
    secret = key(variable, spec, needed=bool(key_env) or HOSTED.get(service) in bases)
    dialect = Compatible(
        spec, form, f"fleet:{service}" if fleet else bases[0], secret, bases if fleet else ()
    )
    return Endpoint.of(
        dialect, key_variable=variable, secrets=[secret] if secret else [], **options
    )


def _addresses(
    given: str | Sequence[str] | None, variable: str, service: str, spec: str
) -> tuple[list[str], bool]:
    """The base URLs, and whether they are a fleet's: one alone is where a list or a comma says so."""
    given = given or os.environ.get(variable) or (HOSTED | LOCAL).get(service) or ""
    fleet = not isinstance(given, str) or "," in given
    listed = given.split(",") if isinstance(given, str) else given
    found = [address(one, (variable,), None, spec, EXAMPLE) for one in listed if one.strip()]
    return list(dict.fromkeys(found)) or [address(None, (variable,), None, spec, EXAMPLE)], fleet


@final
class Compatible(ProviderApi):
    """A server at a base URL. What it makes of the fields is anybody's guess, and the probe's to
    find out.
    """

    service: ClassVar[str] = "openai-api"

    def __init__(
        self, spec: str, form: Form, base: str, secret: str = "", servers: Sequence[str] = ()
    ) -> None:
        self.spec = spec
        self.model = form.model
        self.form = form
        self.url = base + form.path
        self.servers = tuple(server + form.path for server in servers)
        self.top, self.can_force, self.can_sample, self.can_seed, self.can_repeat = form.offers
        self._auth = {"Authorization": f"Bearer {secret}"} if secret else {}

    def body(self, request: Request, picture: EncodedImage, features: ApiFeatures) -> Json:
        return self.form.body(request, picture, features)

    def headers(self, body: bytes) -> Mapping[str, str]:
        return self._auth | {"Content-Type": "application/json"}

    def parse(self, reply: Json) -> ParsedReply:
        return self.form.parse(reply)
