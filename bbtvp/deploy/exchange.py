"""One request at the proxy and its reply, on the side of the client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, final

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Send

from bbtvp.deploy.incoming import Handled
from bbtvp.deploy.shadow import PlainReply
from bbtvp.deploy.transport import HEADER

GONE = 499
"""The status of a request whose client left before the reply ended, as nginx counts it."""

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers of one connection, which a proxy does not hand on (RFC 9110, 7.6.1)."""


class RequestBody(NamedTuple):
    """The body of a request: as far as it was read, and the rest of it, if any is left."""

    start: bytes
    rest: AsyncIterator[bytes] | None

    def content(self) -> bytes | AsyncIterator[bytes]:
        """What is sent."""
        return self.start if self.rest is None else _joined(self.start, self.rest)


@final
class Exchange:
    """One request and its reply on the side of the client.

    kept: what is kept of the reply for a comparison. status: what the client got. cut: whether the
    upstream did not end its reply.
    """

    def __init__(self, request: Request, send: Send, handled: Handled) -> None:
        self.request = request
        self.handled = handled
        self.kept: PlainReply | None = None
        self.status = GONE
        self.cut = False
        self._send = send

    async def refuse(self, status: int, reason: str) -> None:
        """Answer in the place of the upstream."""
        self.status = status
        await refusal(status, reason)(self.request.scope, self.request.receive, self._send)

    async def relay(self, reply: httpx.Response, mark: str) -> None:
        """Hand a reply on, part by part. mark: names the prompt of a prompted request."""
        if not 200 <= reply.status_code < 600:
            await self.refuse(502, f"the upstream answered with status {reply.status_code}")
            return
        headers = handed_on(reply.headers.raw)
        if self.handled.outcome == "prompted":
            headers.append((HEADER.encode(), mark.encode("latin-1", "replace")))
        kept = self.kept
        if kept is not None:
            kept.content_type = reply.headers.get("content-type", "")
            kept.encoding = reply.headers.get("content-encoding", "")
        start = {"type": "http.response.start", "status": reply.status_code, "headers": headers}
        await self._send(start)
        # Raw: what the upstream compressed stays compressed.
        async for part in reply.aiter_raw():
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
            if kept is not None:
                kept.add(part)
        await self._send({"type": "http.response.body", "body": b""})
        self.status = reply.status_code
        if kept is not None:
            kept.status = reply.status_code


def handed_on(
    headers: Sequence[tuple[bytes, bytes]], without: tuple[bytes, ...] = ()
) -> list[tuple[bytes, bytes]]:
    """Return the headers that are not of one connection, in their order."""
    named = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    # A length that is named there by mistake, or with intent, is still the body's.
    dropped = {*(named - {b"content-length"}), *without, *_HOP_BY_HOP}
    return [(key, value) for key, value in headers if key.lower() not in dropped]


def refusal(status: int, message: str) -> JSONResponse:
    """Return an answer of our own; the connection ends with it, since a body may not be read."""
    content = {"error": {"type": "bbtvp_proxy", "message": message}, "message": message}
    return JSONResponse(content, status, headers={"connection": "close"})


async def _joined(start: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for part in rest:
        yield part
