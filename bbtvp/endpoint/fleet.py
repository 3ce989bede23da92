"""Several servers of one model: a request goes to the one with the fewest in flight.

A server that fails is left out, and its requests go to the others. After a pause, which doubles up
to a minute, it gets one request that has to be answered anyway, and returns with the first reply.
While all servers are down, all of them are asked.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final
from urllib.parse import urlsplit

from bbtvp.core.errors import ModelError
from bbtvp.endpoint.faults import FailureDecision
from bbtvp.endpoint.provider import HttpRequest, Json

_log = logging.getLogger("bbtvp")

FAULTS = 3
"""Failures in a row that choose a server down.

One failure is enough if nobody listens there, or if no request can succeed.
"""
FIRST_PAUSE = 1.0
"""Seconds until a server that is down is asked again for the first time."""
LONGEST_PAUSE = 60.0
"""Longest pause in seconds until a server that is down is asked again."""


@final
@dataclass(eq=False)
class _Server:
    """One server and its state.

    url: where requests go. turn: when it was chosen last. faults: failures in a row. due: when it
    is asked again, if it is down. age: how often it went down or came back; the failure of a
    request that was sent at another age is ignored. tried: a request is testing whether it is back.
    useless: no request can succeed there. why: the last failure.
    """

    url: str
    in_flight: int = 0
    turn: int = 0
    faults: int = 0
    pause: float = 0.0
    due: float = -math.inf
    age: int = 0
    tried: bool = False
    useless: bool = False
    why: str = ""

    @property
    def up(self) -> bool:
        return not self.pause

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


class ServerChoice(NamedTuple):
    """The server chosen for a request, and the age of that server at the time."""

    server: _Server
    age: int


@final
class Fleet:
    """Servers at these URLs, for any number of threads.

    Without any URL, requests go where they say, and every method does nothing. model: the name that
    is asked for. shown: removes secrets from what servers say. clock: seconds.
    """

    def __init__(
        self,
        urls: Sequence[str] = (),
        model: str = "",
        *,
        shown: Callable[[str], str] = str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = [_Server(url) for url in urls]
        self._wanted = model
        self._model = ""
        self._shown = shown
        self._clock = clock
        self._lock = threading.Lock()
        self._turns = 0

    def __len__(self) -> int:
        return len(self._servers)

    def choose(self, last: ServerChoice | None = None) -> ServerChoice | None:
        """Choose the server for a request; give it back with `release`.

        last: the server that the request tried before, which is avoided if possible.
        """
        with self._lock:
            if not self._servers:
                return None
            now = self._clock()
            ready = [
                each for each in self._servers if each.up or (now >= each.due and not each.tried)
            ]
            pool = ready or [each for each in self._servers if not each.useless] or self._servers
            others = [each for each in pool if last is None or each is not last.server] or pool
            server = min(others, key=lambda each: (each.in_flight, each.turn))
            self._turns += 1
            server.in_flight = server.in_flight + 1
            server.turn = self._turns
            server.tried = not server.up
            return ServerChoice(server, server.age)

    @staticmethod
    def at(choice: ServerChoice | None, request: HttpRequest) -> HttpRequest:
        """Redirect a request to the chosen server."""
        return request if choice is None else replace(request, url=choice.server.url)

    def release(self, choice: ServerChoice | None) -> None:
        """Note that the exchange is over, whatever its outcome."""
        if choice is not None:
            with self._lock:
                choice.server.in_flight -= 1
                choice.server.tried &= choice.age != choice.server.age

    def record(
        self, choice: ServerChoice | None, decision: FailureDecision | None, *, gone: bool = False
    ) -> FailureDecision | None:
        """Note the outcome of an exchange, and return the decision for the fleet.

        gone: nothing was sent, because nobody listened. Another attempt makes sense unless no
        request can succeed at any server.
        """
        if choice is None:
            return decision
        server = choice.server
        with self._lock:
            if decision is None or not (
                gone or decision.fatal or (decision.retry and not decision.throttled)
            ):
                self._well(server)
                return decision
            if server.host not in decision.reason:
                decision = decision._replace(reason=f"{server.host}: {decision.reason}")
            if choice.age == server.age:
                self._fault(server, decision, at_once=gone or decision.fatal)
            if decision.fatal and all(each.useless for each in self._servers):
                for each in self._servers:  # they agree, so the request is at fault, not a server
                    self._well(each, quietly=True)
                return decision
            others = any(each.up for each in self._servers if each is not server)
            return decision._replace(
                fatal=False, retry=decision.retry or decision.fatal or others, elsewhere=others
            )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Each server that is down, and why."""
        with self._lock:
            return tuple(f"left out for now: {each.why}" for each in self._servers if not each.up)

    # -- the model ---------------------------------------------------------------------------------
    def expect(self, model: str) -> None:
        """Set the name and fingerprint of the model that answered before.

        A server that gives a different name serves a different model.
        """
        with self._lock:
            self._model = model

    def recognise(self, choice: ServerChoice | None, reply: Json) -> FailureDecision | None:
        """Decide about a server whose replies name another model than the one asked for.

        None if the name is right. Raises ModelError where two servers differ and neither is known
        to be right.
        """
        told = reply.get("model")
        if choice is None or not isinstance(told, str) or not told:
            return None
        with self._lock:
            known = self._model = self._model or told
        if f"{known} ".startswith(f"{told} "):
            return None
        if f"{known} ".startswith(f"{self._wanted} "):
            reason = self._shown(f"it serves the model {told!r}, not {self._wanted!r}")
            return FailureDecision(reason, fatal=True)
        names = self._shown(f"{choice.server.host} as {told!r}, another as {known!r}")
        raise ModelError(
            f"the servers of {self._wanted} answer as different models: {names}; "
            "take the wrong one out of base_url, or start all under one name"
        )

    # -- up and down -------------------------------------------------------------------------------
    def _fault(self, server: _Server, decision: FailureDecision, *, at_once: bool) -> None:
        server.faults = server.faults + 1
        server.useless = decision.fatal
        server.why = decision.reason
        now = self._clock()
        if server.up and (at_once or server.faults >= FAULTS):
            server.pause = FIRST_PAUSE
            server.age = server.age + 1
            server.tried = False
            _log.warning("left out for now: %s", decision.reason)
        elif not server.up and now >= server.due:
            server.pause = min(2 * server.pause, LONGEST_PAUSE)
        else:
            return
        server.due = now + server.pause

    @staticmethod
    def _well(server: _Server, *, quietly: bool = False) -> None:
        if not server.up:
            server.pause = 0.0
            server.age = server.age + 1
            if not quietly:
                _log.warning("%s answers again", server.host)
        server.faults = 0
        server.useless = False
