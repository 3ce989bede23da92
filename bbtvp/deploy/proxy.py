"""An HTTP proxy that prompts images on their way to a vendor (extra `bbtvp[proxy]`).

An application points its base URL here and stays as it is. Whatever comes in goes to one upstream,
and the reply comes back as it is, streams included; only requests to the five chat APIs whose
images a route prompts are changed. If anything fails on our side, the request passes unchanged and
is counted. Keys pass through. Neither they nor images nor words are stored or logged.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import anyio
import httpx
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from bbtvp.core.addresses import public_address
from bbtvp.core.errors import DataError
from bbtvp.deploy.exchange import Exchange, RequestBody, handed_on, refusal
from bbtvp.deploy.fetching import ImageFetcher
from bbtvp.deploy.incoming import Handled, Handler, examined
from bbtvp.deploy.routes import IncomingRequest, Route
from bbtvp.deploy.shadow import Shadow
from bbtvp.deploy.telemetry import Telemetry
from bbtvp.deploy.workers import Workers

OWN = "/bbtvp"
"""Where the proxy answers itself: OWN/health and OWN/metrics."""


@final
@dataclass(frozen=True)
class ProxySettings:
    """How a proxy runs.

    upstream: base URL of the vendor. off_file: while this file exists, nothing is prompted.
    max_body: most bytes of a request that is prompted; a larger one passes as it is. timeout:
    seconds without a byte from the upstream. workers: processes that prompt images, 0 for threads
    of this one. fetch_images: whether images that are given by their address are fetched. resolve:
    the address to fetch from, for a host and a port. shadow_at_once, shadow_most: copies in shadow
    mode, at a time and in all.
    """

    upstream: str
    format: str = "png"
    quality: int = 90
    off_file: Path | None = None
    max_body: int = 64 << 20
    timeout: float = 600.0
    workers: int = 0
    fetch_images: bool = False
    resolve: Callable[[str, int], str] = public_address
    shadow_at_once: int = 4
    shadow_most: int = 10_000


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
        self.settings = settings
        self.telemetry = Telemetry()
        self.switched_off = False
        self.prompts: Mapping[str, str] = {}
        self._workers = self._loaded(routes)
        self._fetcher = ImageFetcher(settings.resolve)
        self._shadow = Shadow(
            lambda incoming: self._prompted(incoming, copy=True),
            self.telemetry,
            at_once=settings.shadow_at_once,
            most=settings.shadow_most,
        )
        self._upstream = httpx.URL(settings.upstream)
        self._timeout = httpx.Timeout(30.0, read=settings.timeout, write=settings.timeout)
        self._client = httpx.AsyncClient(
            transport=transport,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            follow_redirects=False,
            trust_env=False,
        )

    @property
    def off(self) -> bool:
        """Whether nothing is prompted: by the signal, or by the file."""
        file = self.settings.off_file
        return self.switched_off or bool(file and file.exists())

    def _loaded(self, routes: Sequence[Route]) -> Workers:
        self.prompts = {route.label: route.prompt.digest[:12] for route in routes}
        settings = self.settings
        handler = Handler(tuple(routes), settings.format, settings.quality, settings.fetch_images)
        return Workers(handler, settings.workers)

    async def start(self) -> None:
        """Start the workers."""
        await self._workers.warm()

    def reload(self, routes: Sequence[Route]) -> None:
        """Take other routes for the requests to come. Raises BundleError, and keeps the old ones.

        Requests under way end with the old ones.
        """
        old = self._workers
        self._workers = self._loaded(routes)
        old.close()

    async def aclose(self) -> None:
        """End the copies under way, and close the connections to the upstream."""
        await self._shadow.aclose()
        await self._client.aclose()
        await self._fetcher.aclose()
        self._workers.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one HTTP request on; the ASGI interface."""
        request = Request(scope, receive)
        raw: bytes = scope["raw_path"]
        # Only a path goes on to the upstream. "@other.host/" or "http://other.host/" behind its
        # address would be another host, which would get the client's key.
        if not raw.startswith(b"/") or b"#" in raw + scope["query_string"]:
            await refusal(400, "the target of a request must be a path")(scope, receive, send)
            return
        if {"content-length", "transfer-encoding"} <= set(request.headers):
            await refusal(400, "a request has two lengths")(scope, receive, send)
            return
        with suppress(ClientDisconnect):
            await self._answer(request, send)

    async def _answer(self, request: Request, send: Send) -> None:
        path = str(request.scope["raw_path"], "ascii")
        head = examined(request.method, path, request.headers)
        if head.refused and request.headers.get("host") != self._upstream.netloc.decode():
            await refusal(400, head.refused)(request.scope, request.receive, send)
            return
        body = await self._body(request, whole=head.api is not None)
        why = head.why or head.refused
        handled = Handled("left", why=why) if why else Handled()
        incoming = None
        started = time.monotonic()
        if head.api is not None and body.rest is not None:
            handled = Handled("left", why=f"over {self.settings.max_body:,} bytes")
        elif head.api is not None:
            incoming = IncomingRequest(head.api, path, dict(request.headers), body.start)
            handled = await self._prompted(incoming)
        added = time.monotonic() - started
        exchange = Exchange(request, send, handled)
        if handled.outcome == "shadow" and incoming is not None:
            exchange.kept = self._shadow.begin(handled.label)
        if handled.body is not None:
            body = RequestBody(handled.body, None)
        try:
            async with anyio.create_task_group() as group:
                await self._passed_on(exchange, body, group)
                group.cancel_scope.cancel()
        finally:
            self.telemetry.request(
                request.method,
                path,
                handled,
                status=exchange.status,
                added=added,
                cut=exchange.cut,
            )
            if exchange.kept is not None and incoming is not None:
                send_copy = partial(self._copy, request)
                self._shadow.end(exchange.kept, incoming, handled.label, send_copy)

    async def _body(self, request: Request, *, whole: bool) -> RequestBody:
        """Read the body of a request that may be prompted, up to the limit; of others nothing."""
        if not {"content-length", "transfer-encoding"} & set(request.headers):
            return RequestBody(b"", None)
        stream = request.stream()
        parts = []
        size = 0
        if whole:
            async for part in stream:
                parts.append(part)
                size += len(part)
                if size > self.settings.max_body:
                    break
            else:
                return RequestBody(b"".join(parts), None)
        return RequestBody(b"".join(parts), stream)

    async def _prompted(self, incoming: IncomingRequest, *, copy: bool = False) -> Handled:
        if self.off:
            return Handled("off")
        handled = await self._workers.handle(incoming, None, copy)
        if not handled.links:
            return handled
        try:
            fetched = await self._fetcher.fetch(handled.links)
        except DataError as error:
            self.telemetry.fetched("failed")
            return replace(handled, why=str(error), links=())
        self.telemetry.fetched("fetched")
        return await self._workers.handle(incoming, fetched, True)

    async def _passed_on(self, exchange: Exchange, body: RequestBody, group: TaskGroup) -> None:
        """Send the request to the upstream, and its reply to the client.

        group: where the wait for the client's leaving runs. Nothing else may read from the client
        then, so it begins when the body was read.
        """
        request = exchange.request
        watch = partial(_cancelled_on_disconnect, request.receive, group.cancel_scope.cancel)
        began = time.monotonic()
        try:
            if body.rest is None:
                group.start_soon(watch)
            reply = await self._client.send(self._outgoing(request, body), stream=True)
            if body.rest is not None:
                group.start_soon(watch)
        except ClientDisconnect:  # in the middle of a body that is passed on as it comes
            return
        except httpx.HTTPError as error:
            reason = f"the upstream cannot be reached ({type(error).__name__})"
            await exchange.refuse(502, reason)
            return
        try:
            await exchange.relay(reply, self._mark(exchange.handled))
            if exchange.kept is not None:
                exchange.kept.seconds = time.monotonic() - began
        except httpx.HTTPError:
            # The client must not take a half reply for a whole one: its connection is closed.
            exchange.cut = True
        finally:
            with anyio.CancelScope(shield=True):
                await reply.aclose()

    def _mark(self, handled: Handled) -> str:
        return f"{handled.label};{self.prompts.get(handled.label, '')}"

    async def _copy(self, request: Request, body: bytes) -> httpx.Response:
        """Send a prompted copy of a request, without what would compress its reply."""
        outgoing = self._outgoing(request, RequestBody(body, None))
        outgoing.headers["accept-encoding"] = "identity"
        return await self._client.send(outgoing, stream=True)

    def _outgoing(self, request: Request, body: RequestBody) -> httpx.Request:
        # The target goes to the upstream as it came, escapes too: it is not written anew.
        target = self._upstream.raw_path.rstrip(b"/") + request.scope["raw_path"]
        query = request.scope["query_string"]
        without = (b"host",) if body.rest is not None else (b"host", b"content-length")
        return httpx.Request(
            request.method,
            self._upstream,
            headers=handed_on(request.headers.raw, without),
            content=body.content() if _has_body(request) else None,
            extensions={
                "timeout": self._timeout.as_dict(),
                "target": target + (b"?" + query if query else b""),
            },
        )


def proxy_app(
    routes: Sequence[Route],
    settings: ProxySettings,
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    begin: Callable[[Proxy], None] = lambda _: None,
) -> Starlette:
    """Return the ASGI application of a proxy, with its health and its metrics.

    transport: to the upstream, by default httpx's own. begin: is called with the proxy once it
    runs. Raises BundleError for a prompt that cannot be read.
    """
    proxy = Proxy(routes, settings, transport)

    async def health(_: Request) -> Response:
        return JSONResponse({"ok": True, "off": proxy.off, "prompts": dict(proxy.prompts)})

    async def metrics(_: Request) -> Response:
        return Response(proxy.telemetry.text(), media_type="text/plain; version=0.0.4")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await proxy.start()
        begin(proxy)
        yield
        await proxy.aclose()

    own = [HttpRoute("/health", health), HttpRoute("/metrics", metrics)]
    return Starlette(routes=[Mount(OWN, routes=own), Mount("/", app=proxy)], lifespan=lifespan)


async def _cancelled_on_disconnect(receive: Receive, cancel: Callable[[], None]) -> None:
    """Cancel once the client is gone, so that nothing waits for an upstream in vain."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()


def _has_body(request: Request) -> bool:
    return bool({"content-length", "transfer-encoding"} & set(request.headers))
