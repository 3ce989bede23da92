"""Several servers of one model: a request goes to the one with the fewest in flight, and none to
one that is down.

A server that fails is left out and its requests go to the others. After a pause, which doubles up
to a minute, it is given one request that somebody wants answered, and returns with the first reply.
While all are down all are asked.
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
from bbtvp.endpoint.dialect import Json, Wire
from bbtvp.endpoint.faults import Verdict

_log = logging.getLogger("bbtvp")

FAULTS = 3
"""Failures in a row that take a server down. Where nobody listens, or no request can succeed, one
is enough.
"""
FIRST = 1.0
LONGEST = 60.0
"""Seconds until a server that is down is asked again: the first pause, and the longest."""


@final
@dataclass(eq=False)
class _Server:
    """url: where requests go. turn: when it was chosen last. faults: in a row. due: when it is
    asked again, if down.

    age: how often it has gone down or come back; what was sent at another age says nothing bad
    about it. tried: a request is finding out whether it is back. useless: no request can succeed
    there. why: the last fault.
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


class Turn(NamedTuple):
    """A request's way to a server. age: of the server, when it was chosen."""

    server: _Server
    age: int


@final
class Fleet:
    """Servers at these URLs, for any number of threads. Without one, requests go where they say,
    and nothing happens.

    model: the name that is asked for. shown: a text without secrets, for what servers say. clock:
    seconds.
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

    def take(self, last: Turn | None = None) -> Turn | None:
        """The server for a request, which last tried another if it can: to be given back by
        `leave`.
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
            return Turn(server, server.age)

    @staticmethod
    def at(turn: Turn | None, wire: Wire) -> Wire:
        """The exchange with the server of this turn."""
        return wire if turn is None else replace(wire, url=turn.server.url)

    def leave(self, turn: Turn | None) -> None:
        """The exchange is over, whatever came of it."""
        if turn is not None:
            with self._lock:
                turn.server.in_flight -= 1
                turn.server.tried &= turn.age != turn.server.age

    def judged(
        self, turn: Turn | None, verdict: Verdict | None, *, gone: bool = False
    ) -> Verdict | None:
        """Note what a server did. gone: nothing was sent, for nobody took it. Gives the verdict of
        the fleet.

        Another attempt makes sense as long as not every server is one where none can succeed.
        """
        if turn is None:
            return verdict
        server = turn.server
        with self._lock:
            if verdict is None or not (
                gone or verdict.fatal or (verdict.retry and not verdict.throttled)
            ):
                self._well(server)
                return verdict
            if server.host not in verdict.reason:
                verdict = verdict._replace(reason=f"{server.host}: {verdict.reason}")
            if turn.age == server.age:
                self._fault(server, verdict, at_once=gone or verdict.fatal)
            if verdict.fatal and all(each.useless for each in self._servers):
                for each in self._servers:  # all agree: the request is at fault, or all of it is
                    self._well(each, quietly=True)
                return verdict
            others = any(each.up for each in self._servers if each is not server)
            return verdict._replace(
                fatal=False, retry=verdict.retry or verdict.fatal or others, elsewhere=others
            )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Each server that is down, and why."""
        with self._lock:
            return tuple(f"left out for now: {each.why}" for each in self._servers if not each.up)

    # -- the model ---------------------------------------------------------------------------------
    def expect(self, model: str) -> None:
        """What answered before, by its own name, a fingerprint after it: whoever answers otherwise
        is another.
        """
        with self._lock:
            self._model = model

    def recognise(self, turn: Turn | None, reply: Json) -> Verdict | None:
        """A verdict on a server whose replies name another model than the one that was asked for;
        None if all is well.

        Raises ModelError where nobody can tell which of two models is the right one.
        """
        told = reply.get("model")
        if turn is None or not isinstance(told, str) or not told:
            return None
        with self._lock:
            known = self._model = self._model or told
        if f"{known} ".startswith(f"{told} "):
            return None
        if f"{known} ".startswith(f"{self._wanted} "):
            return Verdict(
                False,
                False,
                True,
                self._shown(f"it serves the model {told!r}, not {self._wanted!r}"),
                None,
            )
        names = self._shown(f"{turn.server.host} as {told!r}, another as {known!r}")
        raise ModelError(
            f"the servers of {self._wanted} answer as different models: {names}; take the wrong one out of base_url, "
            "or start all under one name"
        )

    # -- up and down -------------------------------------------------------------------------------
    def _fault(self, server: _Server, verdict: Verdict, *, at_once: bool) -> None:
        server.faults = server.faults + 1
        server.useless = verdict.fatal
        server.why = verdict.reason
        now = self._clock()
        if server.up and (at_once or server.faults >= FAULTS):
            server.pause = FIRST
            server.age = server.age + 1
            server.tried = False
            _log.warning("left out for now: %s", verdict.reason)
        elif not server.up and now >= server.due:
            server.pause = min(2 * server.pause, LONGEST)
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
