"""An HTTP proxy that prompts images on their way to a vendor (extra `bbtvp[proxy]`).

An application points its base URL here and stays as it is. Whatever comes in goes to one upstream,
and the reply comes back as it is, streams included; only requests to the five chat APIs whose
images a route prompts are changed. If anything fails on our side, the request passes unchanged and
is counted. Keys pass through. Neither they nor images nor words are stored or logged.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import anyio
import anyio.to_thread
import httpx
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from bbtvp.deploy.bodies import api_of
from bbtvp.deploy.routes import IncomingRequest, Route
from bbtvp.deploy.transform import TransformedRequest, transform_request
from bbtvp.deploy.transport import HEADER

OWN = "/bbtvp"
"""Where the proxy answers itself: OWN/health and OWN/metrics."""

GONE = 499
"""The status of a request whose client left before the reply ended, as nginx counts it."""

_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers of one connection, which a proxy does not hand on (RFC 9110, 7.6.1)."""

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class ProxySettings:
    """How a proxy runs.

    upstream: base URL of the vendor. off_file: while this file exists, nothing is prompted.
    max_body: most bytes of a request. timeout: seconds without a byte from the upstream.
    """

    upstream: str
    format: str = "png"
    quality: int = 90
    off_file: Path | None = None
    max_body: int = 64 << 20
    timeout: float = 600.0


@final
@dataclass(frozen=True)
class _Handled:
    """What becomes of a request. outcome: prompted, control, left, off, failed or other."""

    body: bytes
    outcome: str = "other"
    route: Route | None = None
    images: int = 0
    why: str = ""

    @property
    def label(self) -> str:
        return self.route.label if self.route else ""


@final
class Proxy:
    """The proxy's state: routes, metrics and the client to the upstream."""

    def __init__(
        self,
        routes: Sequence[Route],
        settings: ProxySettings,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Load all prompts, so that a bad bundle ends the start and no request.

        transport: to the upstream, by default httpx's own.
        """
        self.routes = tuple(routes)
        self.settings = settings
        self.prompts = {route.label: route.prompt.digest[:12] for route in routes}
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bbtvp_requests", "Requests by outcome.", ("outcome", "route"), registry=self.registry
        )
        self._images = Counter(
            "bbtvp_images", "Images that were prompted.", ("route",), registry=self.registry
        )
        self._added = Histogram(
            "bbtvp_added_seconds", "Time that the proxy adds.", registry=self.registry
        )
        self._replies = Counter(
            "bbtvp_upstream_replies", "Replies by status.", ("status",), registry=self.registry
        )
        self._timeout = httpx.Timeout(30.0, read=settings.timeout, write=settings.timeout)
        self._client = httpx.AsyncClient(
            transport=transport,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            follow_redirects=False,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections to the upstream."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one HTTP request on; the ASGI interface."""
        request = Request(scope, receive)
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return
        if body is None:
            await _error(413, f"a request of over {self.settings.max_body:,} bytes")(
                scope, receive, send
            )
            return
        started = time.monotonic()
        handled = await anyio.to_thread.run_sync(self._handled_or_not, request, body)
        added = time.monotonic() - started
        status = GONE
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancelled_on_disconnect, receive, group.cancel_scope.cancel)
                status = await self._passed_on(request, handled, send)
                group.cancel_scope.cancel()
        finally:
            self._note(request, handled, status, added)

    async def _body(self, request: Request) -> bytes | None:
        """Return the whole body, None if it is too large."""
        parts = []
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self.settings.max_body:
                return None
            parts.append(part)
        return b"".join(parts)

    def _handled_or_not(self, request: Request, body: bytes) -> _Handled:
        # Whatever is wrong on our side, the application's request must not fail for it.
        try:
            return self._handled(request, body)
        except Exception as error:  # noqa: BLE001
            # Without the error's own words, which may quote the request.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("a request could not be prompted, and passes unchanged, at\n%s", where)
            return _Handled(body, "failed", why=type(error).__name__)

    def _handled(self, request: Request, body: bytes) -> _Handled:
        path = request.url.path
        api = api_of(path)
        if api is None or request.method != "POST":
            return _Handled(body)
        if "content-encoding" in request.headers:
            return _Handled(body, "left", why="the body is compressed")
        incoming = IncomingRequest(api, path, dict(request.headers), body)
        route = next((route for route in self.routes if route.matches(incoming)), None)
        if route is None:
            return _Handled(body)
        if self.settings.off_file and self.settings.off_file.exists():
            return _Handled(body, "off", route)
        if not route.prompts(incoming):
            return _Handled(body, "control", route)
        return self._prompted(incoming, route)

    def _prompted(self, incoming: IncomingRequest, route: Route) -> _Handled:
        done: TransformedRequest = transform_request(
            incoming.body,
            incoming.api,
            route.prompt,
            format=self.settings.format,
            quality=self.settings.quality,
        )
        if done.left:
            return _Handled(incoming.body, "left", route, why=done.left)
        outcome = "prompted" if done.images else "other"
        return _Handled(done.body, outcome, route, done.images)

    async def _passed_on(self, request: Request, handled: _Handled, send: Send) -> int:
        """Send the request to the upstream, and its reply to the client; return the status."""
        outgoing = httpx.Request(
            request.method,
            self._url(request),
            headers=_handed_on(request.headers.raw, without=(b"host", b"content-length")),
            content=handled.body,
            extensions={"timeout": self._timeout.as_dict()},
        )
        try:
            reply = await self._client.send(outgoing, stream=True)
        except httpx.HTTPError as error:
            reason = f"the upstream cannot be reached ({type(error).__name__})"
            await _error(502, reason)(request.scope, request.receive, send)
            return 502
        try:
            await self._relayed(reply, handled, send)
        finally:
            with anyio.CancelScope(shield=True):
                await reply.aclose()
        return reply.status_code

    def _url(self, request: Request) -> str:
        """Return the upstream's URL for a request: its path and query as they came, escapes too."""
        path = str(request.scope["raw_path"], "ascii")
        query = request.url.query
        return self.settings.upstream.rstrip("/") + path + (f"?{query}" if query else "")

    async def _relayed(self, reply: httpx.Response, handled: _Handled, send: Send) -> None:
        headers = _handed_on(reply.headers.raw)
        if handled.outcome == "prompted":
            value = f"{handled.label};{self.prompts[handled.label]}"
            headers.append((HEADER.encode(), value.encode()))
        start = {"type": "http.response.start", "status": reply.status_code, "headers": headers}
        await send(start)
        # Raw: what the upstream compressed stays compressed.
        async for part in reply.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _note(self, request: Request, handled: _Handled, status: int, added: float) -> None:
        self._requests.labels(handled.outcome, handled.label).inc()
        self._images.labels(handled.label).inc(handled.images)
        self._replies.labels(str(status)).inc()
        self._added.observe(added)
        # The query of a URL may hold a key.
        line = {
            "method": request.method,
            "path": request.url.path,
            "outcome": handled.outcome,
            "route": handled.label,
            "images": handled.images,
            "why": handled.why,
            "status": status,
            "added_ms": round(added * 1000, 1),
        }
        _log.info(json.dumps({key: value for key, value in line.items() if value != ""}))


def proxy_app(
    routes: Sequence[Route],
    settings: ProxySettings,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Starlette:
    """Return the ASGI application of a proxy, with its health and its metrics.

    transport: to the upstream, by default httpx's own. Raises BundleError for a prompt that cannot
    be read.
    """
    proxy = Proxy(routes, settings, transport)

    async def health(_: Request) -> Response:
        off = bool(settings.off_file and settings.off_file.exists())
        return JSONResponse({"ok": True, "off": off, "prompts": proxy.prompts})

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(proxy.registry), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.aclose()

    own = [HttpRoute("/health", health), HttpRoute("/metrics", metrics)]
    return Starlette(routes=[Mount(OWN, routes=own), Mount("/", app=proxy)], lifespan=lifespan)


async def _cancelled_on_disconnect(receive: Receive, cancel: Callable[[], None]) -> None:
    """Cancel once the client is gone, so that nothing waits for an upstream in vain."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()


def _handed_on(
    headers: Sequence[tuple[bytes, bytes]], without: tuple[bytes, ...] = ()
) -> list[tuple[bytes, bytes]]:
    """Return the headers that are not of one connection, in their order."""
    named = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    dropped = {*named, *without, *(name.encode() for name in _HOP_BY_HOP)}
    return [(key, value) for key, value in headers if key.lower() not in dropped]


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"type": "bbtvp_proxy", "message": message}}, status)
