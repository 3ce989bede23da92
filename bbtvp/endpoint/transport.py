"""One HTTP exchange: limits on time and size, no redirect followed, and nothing of it, keys least
of all, in an error.

Deliberately less than requests offers: no retries (the caller's one loop does them), no cookies, no
netrc, which would replace the key in `Authorization`. Proxies and a bundle of certificates from the
environment are honoured.
"""

from __future__ import annotations

import ipaddress
import math
import os
import socket
import ssl
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, final
from urllib.parse import urlsplit

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)

from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.endpoint.dialect import Wire

LIMIT = 32 << 20
"""Most bytes of a reply, decompressed."""
CHUNK = 1 << 16


class Timeouts(NamedTuple):
    """Seconds: `connect` to find and reach the server, `attempt` for one exchange from the first
    byte to the last.

    total: for one request, with all its attempts and the waits between them.
    """

    connect: float = 10.0
    attempt: float = 120.0
    total: float = 900.0


class Answer(NamedTuple):
    """What the server replied, whatever the status. headers: in any case of letters. seconds: the
    whole exchange.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@final
class Broken(BbtvpError):
    """An exchange without a usable answer.

    sent: the request may have reached the server, which may charge for it. lasting: another attempt
    would end alike.
    """

    def __init__(self, reason: str, *, sent: bool, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.lasting = lasting


class PlainHttpWarning(UserWarning):
    """Keys and images are about to cross a network unencrypted."""


@final
class Transport:
    """Makes exchanges, from any number of threads at once. Connections are kept for later, one per
    exchange under way.

    timeouts: see there. limit: most bytes of a reply. Close it in the end; that also ends exchanges
    under way.
    """

    def __init__(self, timeouts: Timeouts = Timeouts(), *, limit: int = LIMIT) -> None:  # noqa: B008 - immutable
        self.timeouts = timeouts
        self.limit = limit
        self._lock = threading.Lock()
        # Handed from thread to thread, one holder at a time: sessions kept by thread would be lost
        # with the threads of one call, and a search makes many calls. The latest is taken first, so
        # that the others can grow old.
        self._idle: defaultdict[str, list[_Line]] = defaultdict(list)
        """By origin: a connection serves one."""
        self._routes: dict[str, _Route] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._watch = _Watch()
        self._closed = False

    def send(self, wire: Wire, *, remaining: float | None = None) -> Answer:
        """Make the exchange, within the time for an attempt and, if given, the `remaining` seconds.

        Raises Broken if there is no answer, and UsageError for a URL or a header that cannot be
        sent at all.
        """
        seconds = min(
            self.timeouts.attempt, self.timeouts.total if remaining is None else remaining
        )
        if seconds <= 0:
            raise Broken("no time is left", sent=False)
        request = _prepared(wire)
        route = self._route(wire.url)
        origin = _origin(wire.url)
        line = self._take(origin)
        began = time.monotonic()
        try:
            with self._watch.over(line, seconds) as exchange:
                outcome = self._exchange(exchange, request, route, seconds)
        finally:
            self._put(line, origin)
        if exchange.over:
            outcome = Broken(
                f"no complete answer from {_host(wire.url)} within {seconds:.3g} s", sent=True
            )
        # Raised out here: what is raised where another error is caught carries that one, and with
        # it the whole request.
        if isinstance(outcome, BbtvpError):
            raise outcome
        return Answer(*outcome, time.monotonic() - began)

    def close(self) -> None:
        """Close every connection; no exchange can be made from now on."""
        with self._lock:
            self._closed = True
            idle = [line for lines in self._idle.values() for line in lines]
            self._idle.clear()
        for line in idle:
            line.close()
        self._watch.end_all()

    def _exchange(
        self, exchange: _Exchange, request: requests.PreparedRequest, route: _Route, seconds: float
    ) -> tuple[int, Mapping[str, str], bytes] | BbtvpError:
        timeout = (min(self.timeouts.connect, seconds), seconds + 1)  # the watch is to be first
        try:
            # Not through a session: that would read the body of a redirect, keep cookies, and look
            # into netrc.
            with exchange.line.send(
                request, stream=True, timeout=timeout, verify=route.verify, proxies=route.proxies
            ) as response:
                exchange.response = response.raw
                body = bytearray()
                for chunk in response.iter_content(CHUNK):
                    body += chunk
                    if len(body) > self.limit:
                        return Broken(
                            f"the reply is larger than {self.limit:,} bytes",
                            sent=True,
                            lasting=True,
                        )
                return response.status_code, response.headers, bytes(body)
        except requests.RequestException as error:
            return _broken(error, _host(request.url or ""), timeout[0])
        except UnicodeError:
            return UsageError(HEADER)

    def _take(self, origin: str) -> _Line:
        with self._lock:
            if self._closed:
                raise Broken("the connection to the model was closed", sent=False, lasting=True)
            return self._idle[origin].pop() if self._idle[origin] else _Line(self._context)

    def _put(self, line: _Line, origin: str) -> None:
        with self._lock:
            if not self._closed:
                self._idle[origin].append(line)
                return
        line.close()

    def _route(self, url: str) -> _Route:
        parts = urlsplit(url)
        origin = _origin(url)
        with self._lock:
            known = self._routes.get(origin)
        if known is not None:
            return known
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            warning = f"{parts.hostname} is asked over plain http: the key and the images can be read on the way; use https"
            warnings.warn(warning, PlainHttpWarning, stacklevel=3)
        with requests.Session() as session:
            found = session.merge_environment_settings(url, {}, True, None, None)
        route = _Route(dict(found["proxies"] or {}), found["verify"] or True)
        with self._lock:
            return self._routes.setdefault(origin, route)

    def _context(self, bundle: str) -> ssl.SSLContext:
        """Certificates are read once: for every connection anew they would cost more than the
        exchange.
        """
        with self._lock:
            if bundle not in self._contexts:
                folder = os.path.isdir(bundle)
                self._contexts[bundle] = ssl.create_default_context(
                    cafile=None if folder else bundle, capath=bundle if folder else None
                )
            return self._contexts[bundle]


HEADER = "a header cannot be sent; check the environment variable of the key for spaces, line breaks and odd letters"


class _Route(NamedTuple):
    """What the environment says about a server: its proxies, and the bundle of certificates (True:
    the usual one).
    """

    proxies: dict[str, str]
    verify: bool | str


@final
class _Line(HTTPAdapter):
    """requests' adapter with one connection, which can be hung up from outside."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.connection: Any = None
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, options
        bundle = verify if isinstance(verify, str) else str(DEFAULT_CA_BUNDLE_PATH)
        return host, {"cert_reqs": "CERT_REQUIRED", "ssl_context": self.context(bundle)}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the context has the certificates, and demands a valid one."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        self.connection = pool._get_conn()  # the pool holds one: this is what it will hand out next
        pool._put_conn(self.connection)
        return pool

    def hang_up(self, response: BaseHTTPResponse | None) -> None:
        """Shut the socket, so that whoever waits for it wakes."""
        with suppress(OSError, ValueError, RuntimeError):  # closed by now, which is as good
            if response is not None:
                response.shutdown()
            elif self.connection is not None and self.connection.sock is not None:
                plain = getattr(
                    self.connection.sock, "socket", self.connection.sock
                )  # TLS within TLS wraps it
                socket.socket.shutdown(plain, socket.SHUT_RDWR)


@final
@dataclass(eq=False)
class _Exchange:
    """An exchange under way. due: on the monotonic clock. over: it was hung up on."""

    line: _Line
    due: float
    response: BaseHTTPResponse | None = None
    over: bool = False


@final
class _Watch:
    """Hangs up on exchanges that take too long. A drip of bytes resets every timeout that a socket
    has.

    Its thread runs while it has something to watch.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[_Exchange] = set()
        self._running = False
        self._next = math.inf

    @contextmanager
    def over(self, line: _Line, seconds: float) -> Iterator[_Exchange]:
        exchange = _Exchange(line, time.monotonic() + seconds)
        with self._changed:
            self._open.add(exchange)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="bbtvp-watch", daemon=True).start()
            elif exchange.due < self._next:
                self._changed.notify()
        try:
            yield exchange
        finally:
            with (
                self._changed
            ):  # not before a hang-up in progress is done: the line may serve another exchange next
                self._open.discard(exchange)

    def end_all(self) -> None:
        with self._changed:
            for exchange in self._open:
                exchange.due = 0.0
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._open:
                now = time.monotonic()
                for exchange in self._open:
                    if exchange.due <= now:
                        exchange.over = True
                        exchange.line.hang_up(exchange.response)
                # One that is over and still here had no socket yet: soon again.
                self._next = min(max(exchange.due, now + 0.1) for exchange in self._open)
                self._changed.wait(self._next - now)
            self._running = False


def _prepared(wire: Wire) -> requests.PreparedRequest:
    """The request, without what a session would add. Raises UsageError, which says nothing of any
    header.
    """
    request = requests.PreparedRequest()
    problem = ""
    headers = {
        "User-Agent": "bbtvp",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        **wire.headers,
    }
    try:
        request.prepare(method=wire.method, url=wire.url, headers=headers, data=wire.body or None)
    except requests.exceptions.InvalidHeader:
        problem = HEADER
    except (requests.RequestException, ValueError):
        request.url = None
    if urlsplit(request.url or "").scheme not in ("http", "https") and not problem:
        problem = "the base URL is not one: it begins with https:// (or http:// on this machine)"
    if problem:
        raise UsageError(problem)
    return request


def _origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _host(url: str) -> str:
    """The host and port, without a user's name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _broken(error: requests.RequestException, host: str, connect: float) -> Broken:
    """What went wrong, in words of our own: those of the libraries quote whole URLs and headers."""
    cause = error.args[0] if error.args else error
    cause = cause.reason if isinstance(cause, MaxRetryError) else cause
    root = _root(cause)
    if isinstance(root, ssl.SSLCertVerificationError):
        why = f"the certificate of {host} is not valid ({root.verify_message}); if you trust it, name its file in "
        return Broken(why + "REQUESTS_CA_BUNDLE", sent=False, lasting=True)
    if isinstance(cause, ProxyError):
        return Broken(
            f"no connection to {host} through the proxy; check HTTPS_PROXY and NO_PROXY", sent=False
        )
    if isinstance(cause, NameResolutionError):
        return Broken(
            f"no address found for {host}; check the base URL and the network", sent=False
        )
    if isinstance(cause, NewConnectionError):
        return Broken(f"no connection to {host}: {_said(root)}", sent=False)
    if isinstance(cause, ConnectTimeoutError):
        return Broken(f"no connection to {host} within {connect:g} s", sent=False)
    return Broken(f"the exchange with {host} broke off: {_said(root)}", sent=True)


def _root(error: object) -> object:
    """The innermost exception, which libraries keep in their arguments or as the cause."""
    for _ in range(8):
        inside = [a for a in getattr(error, "args", ()) if isinstance(a, Exception)]
        inner = inside[-1] if inside else getattr(error, "__cause__", None)
        if inner is None:
            break
        error = inner
    return error


def _said(error: object) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
