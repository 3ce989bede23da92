"""A transport that prompts the images of an official SDK on their way to the vendor.

    OpenAI(http_client=httpx2.Client(transport=PromptTransport(prompt, httpx2.HTTPTransport())))

It goes around a transport of httpx, or of httpx2, whichever the SDK takes, and needs neither
itself. Requests to other addresses than the five chat APIs go through as they are. So does a
request whose images cannot be prompted: `transport.log` counts it, and a warning says why.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from typing import Any, Self, final

from bbtvp.deploy.bodies import api_of
from bbtvp.deploy.transform import TransformedRequest, transform_request
from bbtvp.prompt import Prompt

HEADER = "x-bbtvp-prompt"
"""The header of a response whose request was prompted: the first 12 hex digits of the prompt."""

_LENGTHS = ("content-length", "transfer-encoding")

_log = logging.getLogger(__name__)


@final
@dataclass
class TransportLog:
    """What went through a transport, in requests. Safe to use from many threads.

    prompted: with all their images prompted. left: with images that could not be prompted. other:
    without images, or to other addresses.
    """

    prompted: int = 0
    left: int = 0
    other: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, done: TransformedRequest) -> None:
        """Count a request."""
        with self._lock:
            self.prompted += bool(done.images)
            self.left += bool(done.left)
            self.other += not (done.images or done.left)
        if done.left:
            _log.warning("a request went through without the prompt: %s", done.left)


class _Prompting:
    """What both transports share.

    inner: a transport of httpx or httpx2. format, quality: of the prompted images, see
    `transform_request`.
    """

    def __init__(
        self, prompt: Prompt, inner: Any, *, format: str = "png", quality: int = 90
    ) -> None:
        self.prompt = prompt
        self.inner = inner
        self.log = TransportLog()
        self._format = format
        self._quality = quality

    def _changed(self, request: Any) -> Any:
        """Return a request, whose body was read, with its images prompted."""
        done = self._transformed(request)
        self.log.add(done)
        if not done.images:
            return request
        headers = [
            (name, value)
            for name, value in request.headers.multi_items()
            if name.lower() not in _LENGTHS
        ]
        return type(request)(
            request.method,
            request.url,
            headers=headers,
            content=done.body,
            extensions=request.extensions,
        )

    def _transformed(self, request: Any) -> TransformedRequest:
        body: bytes = request.content
        kind = request.headers.get("content-type", "").lower()
        api = api_of(request.url.path)
        if api is None or request.method != "POST" or not kind.startswith("application/json"):
            return TransformedRequest(body)
        if "content-encoding" in request.headers:
            return TransformedRequest(body, left="the body is compressed")
        return transform_request(body, api, self.prompt, format=self._format, quality=self._quality)

    def _marked(self, response: Any, *, prompted: bool) -> Any:
        if prompted:
            response.headers[HEADER] = self.prompt.digest[:12]
        return response


@final
class PromptTransport(_Prompting):
    """Prompts the images of each request, then hands it to another transport."""

    def handle_request(self, request: Any) -> Any:
        """Send a request with its images prompted."""
        request.read()
        changed = self._changed(request)
        response = self.inner.handle_request(changed)
        return self._marked(response, prompted=changed is not request)

    def close(self) -> None:
        """Close the transport inside."""
        self.inner.close()

    def __enter__(self) -> Self:
        """Enter the transport inside."""
        self.inner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave the transport inside."""
        self.inner.__exit__(*error)


@final
class AsyncPromptTransport(_Prompting):
    """`PromptTransport` for an asynchronous client. Images are prompted in threads."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request with its images prompted."""
        await request.aread()
        changed = await asyncio.to_thread(self._changed, request)
        response = await self.inner.handle_async_request(changed)
        return self._marked(response, prompted=changed is not request)

    async def aclose(self) -> None:
        """Close the transport inside."""
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        """Enter the transport inside."""
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Leave the transport inside."""
        await self.inner.__aexit__(*error)
