"""What becomes of a request: which route it takes, and its body with the prompt applied.

This is the part of a proxy that costs time. It runs beside the event loop, in threads or in
processes (`bbtvp.deploy.workers`), so all that goes in and out of it can be sent between processes.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from bbtvp.deploy.bodies import api_of
from bbtvp.deploy.routes import IncomingRequest, Route
from bbtvp.deploy.transform import linked_images, transform_request

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Handled:
    """What becomes of a request.

    outcome: prompted, control, shadow, left, off, failed or other. label: the route's. body: the
    prompted body, None where the request stays as it is. why: in words, of one that was left.
    links: addresses of images; the request is to be handled again once they are fetched.
    """

    outcome: str = "other"
    label: str = ""
    body: bytes | None = None
    images: int = 0
    why: str = ""
    links: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Handler:
    """Decides about requests, and prompts them.

    format, quality: of the prompted images. fetches: whether images that are given by their address
    are asked for (`Handled.links`).
    """

    routes: Sequence[Route]
    format: str = "png"
    quality: int = 90
    fetches: bool = False

    def __call__(
        self,
        incoming: IncomingRequest,
        fetched: Mapping[str, bytes] | None = None,
        copy: bool = False,
    ) -> Handled:
        """Decide about a request, and prompt it if it is to be prompted.

        fetched: images by their address. copy: whether this is the copy of a request in shadow
        mode, which is prompted whatever the shares are. Never raises: what is wrong on our side
        must not be the application's.
        """
        try:
            return self._handled(incoming, fetched, copy)
        except Exception as error:  # noqa: BLE001
            # Without the error's own words, which may quote the request.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("a request could not be prompted, and passes unchanged, at\n%s", where)
            return Handled("failed", why=type(error).__name__)

    def _handled(
        self, incoming: IncomingRequest, fetched: Mapping[str, bytes] | None, copy: bool
    ) -> Handled:
        route = next((route for route in self.routes if route.matches(incoming)), None)
        if route is None:
            return Handled()
        kind = "prompted" if copy else route.drawn(incoming)
        if kind != "prompted":
            return Handled(kind, route.label)
        if self.fetches and fetched is None:
            links = linked_images(incoming.body, incoming.api)
            if links:
                return Handled("left", route.label, links=links)
        done = transform_request(
            incoming.body,
            incoming.api,
            route.prompt,
            format=self.format,
            quality=self.quality,
            fetched=fetched,
        )
        if done.left:
            return Handled("left", route.label, why=done.left)
        if not done.images:
            return Handled("other", route.label)
        return Handled("prompted", route.label, done.body, done.images)


@final
@dataclass(frozen=True)
class Examined:
    """Whether a request can be prompted at all, by its head. api: None if not; why: in words."""

    api: str | None = None
    why: str = ""
    refused: str = ""


def examined(method: str, path: str, headers: Mapping[str, str]) -> Examined:
    """Look at the head of a request. path: as it came, escaped. headers: names in lower case.

    `refused` is set for a request that no proxy can pass on: Amazon's signature covers the host and
    the body.
    """
    api = api_of(path.replace("%3A", ":").replace("%3a", ":"))
    if api is None or method != "POST":
        return Examined()
    if "content-encoding" in headers:
        return Examined(why="the body is compressed")
    if headers.get("authorization", "").startswith("AWS4-"):
        return Examined(refused=SIGNED)
    if not headers.get("content-type", "").lower().startswith("application/json"):
        return Examined(why="the body is not declared as JSON")
    return Examined(api)


SIGNED = (
    "this request is signed for its host and body (AWS Signature 4), so no proxy can pass it on; "
    "change the body before it is signed, or send a Bedrock API key (docs/deploy.md)"
)
"""Why Amazon's signed requests are refused."""
