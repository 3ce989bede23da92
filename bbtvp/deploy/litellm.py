"""A callback that prompts images inside LiteLLM's proxy (extra `bbtvp[litellm]`).

In a file beside LiteLLM's config.yaml, which then names `bbtvp_callback.prompts`:

    from bbtvp.deploy.litellm import PromptCallback

    prompts = PromptCallback("pets.vprompt")

LiteLLM hands over requests as they came, parsed: OpenAI's two, Anthropic's and Google's. What has
no image, or cannot be prompted, stays the object that it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, final

from litellm.integrations.custom_logger import CustomLogger

from bbtvp.core.errors import UsageError
from bbtvp.deploy.incoming import Handled, Handler
from bbtvp.deploy.routes import IncomingRequest, Route, read_routes

_log = logging.getLogger(__name__)


class _Call(NamedTuple):
    """An API, and the key of the turns in its body."""

    api: str
    turns: str


_CALLS = {
    "completion": _Call("chat", "messages"),
    "acompletion": _Call("chat", "messages"),
    "responses": _Call("responses", "input"),
    "aresponses": _Call("responses", "input"),
    "anthropic_messages": _Call("messages", "messages"),
    "aanthropic_messages": _Call("messages", "messages"),
    "generate_content": _Call("gemini", "contents"),
    "agenerate_content": _Call("gemini", "contents"),
    "generate_content_stream": _Call("gemini", "contents"),
    "agenerate_content_stream": _Call("gemini", "contents"),
}
"""LiteLLM's types of calls."""


@final
class PromptCallback(CustomLogger):  # type: ignore[misc]  # Any where LiteLLM is not installed
    """Prompts the images of requests before LiteLLM routes them.

    outcomes: requests by what became of them: prompted, control, left, off, failed or other.
    """

    def __init__(
        self,
        bundle: Path | str | None = None,
        *,
        routes: Path | str | None = None,
        off_file: Path | str | None = None,
        format: str = "png",
        quality: int = 90,
    ) -> None:
        """Load all prompts. Give one bundle, or a file of routes (docs/deploy.md).

        off_file: while this file exists, nothing is prompted. format, quality: of the prompted
        images. Raises UsageError or BundleError for what cannot be read. Shadow shares of routes
        are for `bbtvp proxy`; here they are refused.
        """
        super().__init__()
        self.outcomes: Counter[str] = Counter()
        self._handler = Handler(_loaded(bundle, routes), format, quality)
        self._off_file = None if off_file is None else Path(off_file)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(4, "bbtvp-litellm")

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any] | None:
        """Return the request with its images prompted, None to leave it as it is.

        LiteLLM's interface. Images are prompted in threads.
        """
        call = _CALLS.get(call_type)
        if call is None or not isinstance(data.get(call.turns), list):
            return None
        loop = asyncio.get_running_loop()
        handled = await loop.run_in_executor(self._threads, self._handled, call, data)
        with self._lock:
            self.outcomes[handled.outcome] += 1
        if handled.why:
            _log.warning("a request went through without the prompt: %s", handled.why)
        if handled.body is None:
            return None
        return {**data, call.turns: json.loads(handled.body)[call.turns]}

    def _handled(self, call: _Call, data: Mapping[str, Any]) -> Handled:
        if self._off_file is not None and self._off_file.exists():
            return Handled("off")
        asked = {"model": data.get("model", ""), call.turns: data[call.turns]}
        try:
            body = json.dumps(asked, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError) as error:
            return Handled("left", why=f"the request is not JSON ({type(error).__name__})")
        return self._handler(IncomingRequest(call.api, "", _headers(data), body))


def _headers(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request, which LiteLLM keeps beside its body."""
    request = data.get("proxy_server_request")
    headers = request.get("headers") if isinstance(request, Mapping) else None
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _loaded(bundle: Path | str | None, routes: Path | str | None) -> Sequence[Route]:
    if (bundle is None) == (routes is None):
        raise UsageError("give one bundle, or a file of routes with routes=")
    if routes is not None:
        found = read_routes(Path(routes))
    else:
        found = [Route.model_validate({"bundle": bundle})]
    if any(route.shadow for route in found):
        raise UsageError("a shadow share needs bbtvp proxy; LiteLLM's callback has share only")
    for route in found:
        _ = route.prompt  # read now, not with the first request
    return found
