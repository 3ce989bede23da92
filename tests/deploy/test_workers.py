"""Requests that are handled in a process of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from bbtvp.deploy import transform_request
from bbtvp.deploy.incoming import Handled, Handler
from bbtvp.deploy.routes import IncomingRequest, Route
from bbtvp.deploy.workers import Workers
from bbtvp.prompt import Prompt
from tests.deploy.conftest import bodies
from tests.deploy.running import CHAT, chat_body


def handled(handler: Handler, *bodies: bytes, patience: float = 30.0) -> list[Handled]:
    async def all_of_them() -> list[Handled]:
        workers = Workers(handler, 1, patience)
        await workers.warm()
        found = [await workers.handle(IncomingRequest("chat", CHAT, {}, body)) for body in bodies]
        workers.close()
        return found

    return asyncio.run(all_of_them())


def test_a_process_gives_the_bytes_that_this_one_gives(
    bundle: Path, prompt: Prompt, picture: str
) -> None:
    route = Route.model_validate({"bundle": bundle})
    assert route.prompt.digest == prompt.digest  # read here, and sent there
    body = chat_body(picture)
    (done,) = handled(Handler([route]), body)
    assert done.body == transform_request(body, "chat", prompt).body


@pytest.mark.skipif(sys.platform == "win32", reason="no alarm")
def test_a_pattern_that_does_not_end_is_ended(bundle: Path, picture: str) -> None:
    """The words are the user's, and some patterns take exponential time on some words."""
    route = Route.model_validate({"bundle": bundle, "question": "^(a+)+$"})
    slow = json.dumps(bodies(picture, "a" * 40 + "b")["chat"]).encode()
    quick = json.dumps(bodies(picture, "a")["chat"]).encode()
    first, second = handled(Handler([route]), slow, quick, patience=2.0)
    assert first == Handled("failed", why="TimeoutError")
    assert second.outcome in ("prompted", "other")
