"""Shadow mode: a prompted copy of a request goes to the upstream beside the plain one.

The client gets the plain reply only. When that reply has ended, the copy is sent in the background,
and both answers are compared: the same or not. Every copy is a request that the client's key pays
for, so their share, their number at a time and their number in all are bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import final

import httpx

from bbtvp.deploy.answers import MOST_BYTES, answer_of
from bbtvp.deploy.incoming import Handled
from bbtvp.deploy.routes import IncomingRequest
from bbtvp.deploy.telemetry import Telemetry

SECONDS = 120.0
"""For one copy, from the end of the plain reply."""


@final
@dataclass
class PlainReply:
    """What is kept of a reply, to compare it: nothing of one that is too long."""

    status: int = 0
    content_type: str = ""
    encoding: str = ""
    seconds: float = 0.0
    _parts: list[bytes] = field(default_factory=list, repr=False)
    _size: int = 0

    def add(self, part: bytes) -> None:
        """Keep one more part."""
        self._size += len(part)
        if self._size <= MOST_BYTES:
            self._parts.append(part)
        else:
            self._parts.clear()

    def answer(self, api: str) -> str | None:
        """Its words, None if they cannot be read."""
        body = b"".join(self._parts)
        return answer_of(api, body, content_type=self.content_type, encoding=self.encoding)


@final
class Shadow:
    """Sends prompted copies of requests, and counts whether they are answered the same.

    prompt: prompts a request. send: sends a prompted body in the place of a request's own. at_once:
    most copies at a time; a request that finds no place has no copy. most: copies in all.
    """

    def __init__(
        self,
        prompt: Callable[[IncomingRequest], Awaitable[Handled]],
        telemetry: Telemetry,
        *,
        at_once: int,
        most: int,
    ) -> None:
        self._prompt = prompt
        self._telemetry = telemetry
        self._free = at_once
        self._left = most
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, label: str) -> PlainReply | None:
        """Take a place for the copy of a request; None if there is none, which is counted."""
        if not (self._free and self._left):
            self._telemetry.shadow(label, "skipped")
            return None
        self._free -= 1
        self._left -= 1
        return PlainReply()

    def end(
        self,
        plain: PlainReply,
        incoming: IncomingRequest,
        label: str,
        send: Callable[[bytes], Awaitable[httpx.Response]],
    ) -> None:
        """Compare a copy with a plain reply that has ended, in the background."""
        task = asyncio.create_task(self._compared(plain, incoming, label, send))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def aclose(self, seconds: float = 10.0) -> None:
        """Wait for the copies under way, then end them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1

    async def _compared(
        self,
        plain: PlainReply,
        incoming: IncomingRequest,
        label: str,
        send: Callable[[bytes], Awaitable[httpx.Response]],
    ) -> None:
        if plain.status != httpx.codes.OK:
            self._left += 1  # nothing was sent
            self._telemetry.shadow(label, "plain-failed", status=plain.status)
            return
        handled = await self._prompt(incoming)
        if handled.body is None:
            self._left += 1
            self._telemetry.shadow(label, handled.outcome, why=handled.why)
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(SECONDS):
                status, answer = await _answered(await send(handled.body), incoming.api)
        except (httpx.HTTPError, TimeoutError) as error:
            self._telemetry.shadow(label, "copy-failed", why=type(error).__name__)
            return
        self._telemetry.shadow(
            label,
            _result(plain.answer(incoming.api), answer, status),
            status=status,
            plain_ms=round(plain.seconds * 1000),
            copy_ms=round((time.monotonic() - began) * 1000),
        )


async def _answered(reply: httpx.Response, api: str) -> tuple[int, str | None]:
    kept = PlainReply(
        reply.status_code,
        reply.headers.get("content-type", ""),
        reply.headers.get("content-encoding", ""),
    )
    try:
        async for part in reply.aiter_raw():
            kept.add(part)
    finally:
        await reply.aclose()
    return reply.status_code, kept.answer(api)


def _result(plain: str | None, prompted: str | None, status: int) -> str:
    if status != httpx.codes.OK:
        return "copy-failed"
    if plain is None or prompted is None:
        return "unread"
    return "same" if plain == prompted else "different"
