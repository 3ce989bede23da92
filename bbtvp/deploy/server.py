"""The HTTP server of a proxy: uvicorn, with limits that hold against slow and many clients.

uvicorn waits without end for the rest of a request and for a client that does not read. Here the
head of a request must be complete within `HEAD_SECONDS`; a body must come at `SLOWEST` bytes a
second after `BODY_SECONDS`, as Apache's mod_reqtimeout has it; and a client that takes nothing for
`READ_SECONDS` while a reply waits for it is gone.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.deploy.proxy import Proxy, ProxySettings, proxy_app
from bbtvp.deploy.routes import Route

HEAD_SECONDS = 15.0
BODY_SECONDS = 20.0
SLOWEST = 500
READ_SECONDS = 60.0
CONNECTIONS = 2000
"""Most at a time; each takes two descriptors, one to the upstream."""
IDLE_SECONDS = 30
"""That a connection may wait for its next request."""
_TICK = 1.0


def serve(
    routes: Callable[[], Sequence[Route]],
    settings: ProxySettings,
    *,
    host: str,
    port: int,
    grace: int,
    ready: Callable[[int], None],
) -> None:
    """Run a proxy until a signal ends it.

    routes: reads the routes, now and with each SIGHUP. grace: seconds that streams under way get to
    end after SIGTERM or Ctrl-C, while new connections are refused. ready: told the port, once it is
    open. SIGUSR1 switches prompting off, SIGUSR2 on. Raises BundleError or UsageError for routes
    that cannot be read, UsageError for a port that cannot be had.
    """
    app = proxy_app(routes(), settings, begin=partial(_listen_to_signals, routes=routes))
    _allow_descriptors(2 * CONNECTIONS + 256)
    # uvicorn sends itself the signal again, once all has ended well.
    with _listener(host, port) as listener, suppress(KeyboardInterrupt):
        ready(listener.getsockname()[1])
        config = server_config(app, host=host, port=port, grace=grace)
        uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    """An open port. uvicorn would end the process where it can have none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{host}, port {port}, cannot be listened on ({why}); give another --port or --host"
        ) from error
    # asyncio does so for the ports that it opens itself: without it the end of a reply may wait
    # 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def server_config(app: Starlette, *, host: str, port: int, grace: int) -> uvicorn.Config:
    """Return how a proxy's server runs, with the limits of this module."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=grace,
    )


def _listen_to_signals(proxy: Proxy, routes: Callable[[], Sequence[Route]]) -> None:
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _switch, proxy, True)
    loop.add_signal_handler(signal.SIGUSR2, _switch, proxy, False)
    loop.add_signal_handler(signal.SIGHUP, _reload, proxy, routes)


def _switch(proxy: Proxy, off: bool) -> None:
    proxy.switched_off = off
    proxy.telemetry.line(prompting="off" if off else "on")


def _reload(proxy: Proxy, routes: Callable[[], Sequence[Route]]) -> None:
    try:
        proxy.reload(routes())
    except BbtvpError as error:
        proxy.telemetry.line(reload="failed, the old prompts stay", why=str(error))
    else:
        proxy.telemetry.line(reload="done", prompts=dict(proxy.prompts))


def _allow_descriptors(count: int) -> None:
    """Raise this process's own limit of descriptors, as far as it may."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@final
class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, with limits on time and on the number of connections."""

    _watch: asyncio.TimerHandle | None = None
    _since = 0.0
    _received = 0
    _served = False
    _full_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock; turn away a connection that is one too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._begin()
        self._watch = self.loop.call_later(_TICK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes in."""
        if not self._received:
            self._since = self.loop.time()
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Start the clock for the next request."""
        self._begin()
        self._served = True
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the place of an application that may be answering."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Note since when the client has not read."""
        self._full_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._full_since = None
        super().resume_writing()

    def _begin(self) -> None:
        self._since = self.loop.time()
        self._received = 0

    def _look(self) -> None:
        if self._too_slow():
            self.transport.abort()
            return
        self._watch = self.loop.call_later(_TICK, self._look)

    def _too_slow(self) -> bool:
        now = self.loop.time()
        if self._full_since is not None and now - self._full_since > READ_SECONDS:
            return True
        if self.flow.read_paused:  # we do not read, so that it cannot write
            self._since += _TICK
            return False
        waited = now - self._since
        if self.conn.their_state is h11.IDLE:
            # uvicorn itself closes a connection that brings no further request.
            return waited > HEAD_SECONDS and bool(self._received or not self._served)
        if self.conn.their_state is h11.SEND_BODY:
            return waited > BODY_SECONDS + self._received / SLOWEST
        return False
