"""One HTTP exchange, with limits on time and size.

No redirect is followed, and no error message contains a header or a key. This module deliberately
does less than requests: no retries (the caller's loop does them), no cookies, and no netrc, which
would replace the key in `Authorization`. Proxies and certificate bundles from the environment are
honoured.
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
from bbtvp.endpoint.provider import HttpRequest

REPLY_LIMIT = 32 << 20
"""Most bytes of a reply, after decompression."""
_CHUNK = 1 << 16


class Timeouts(NamedTuple):
    """Time limits in seconds.

    connect: to find and reach the server. attempt: for one exchange, from the first byte to the
    last. total: for one request, with all its attempts and the waits between them.
    """

    connect: float = 10.0
    attempt: float = 120.0
    total: float = 900.0


class HttpResponse(NamedTuple):
    """A server's response, whatever its status.

    headers: their names may be in any case. seconds: duration of the whole exchange.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@final
class ExchangeFailed(BbtvpError):
    """An exchange that brought no usable response.

    sent: the request may have reached the server, which may charge for it. lasting: another attempt
    would fail in the same way.
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
    """Makes exchanges, from any number of threads at once.

    Connections are kept for later exchanges; each carries one exchange at a time. timeouts: see
    `Timeouts`. limit: most bytes of a reply. `close` also ends the exchanges under way.
    """

    def __init__(self, timeouts: Timeouts = Timeouts(), *, limit: int = REPLY_LIMIT) -> None:  # noqa: B008 - immutable
        self.timeouts = timeouts
        self.limit = limit
        self._lock = threading.Lock()
        # Connections are handed from thread to thread. Kept by thread, they would be lost with the
        # threads of one call, and a search makes many calls. The latest is reused first, so that
        # the others can expire.
        self._idle: defaultdict[str, list[_Connection]] = defaultdict(list)
        """By origin, since a connection serves one origin only."""
        self._routes: dict[str, _ServerRoute] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._watch = _DeadlineWatch()
        self._closed = False

    def send(self, request: HttpRequest, *, remaining: float | None = None) -> HttpResponse:
        """Make the exchange, within the limit of an attempt and the `remaining` seconds, if given.

        Raises ExchangeFailed if there is no response, and UsageError for a URL or a header that
        cannot be sent at all, or for a certificate bundle that cannot be read.
        """
        seconds = min(
            self.timeouts.attempt, self.timeouts.total if remaining is None else remaining
        )
        if seconds <= 0:
            raise ExchangeFailed("no time is left", sent=False)
        prepared = _prepared(request)
        route = self._route(request.url)
        origin = _origin(request.url)
        connection = self._take(origin)
        began = time.monotonic()
        try:
            with self._watch.over(connection, seconds) as exchange:
                outcome = self._exchange(exchange, prepared, route, seconds)
        finally:
            self._put(connection, origin)
        if exchange.over:
            outcome = ExchangeFailed(
                f"no complete answer from {_host(request.url)} within {seconds:.3g} s", sent=True
            )
        # Raised outside the except block: an error raised inside it would carry the caught one, and
        # with it the whole request.
        if isinstance(outcome, BbtvpError):
            raise outcome
        return HttpResponse(*outcome, time.monotonic() - began)

    def close(self) -> None:
        """Close every connection. No exchange can be made from then on."""
        with self._lock:
            self._closed = True
            idle = [connection for lines in self._idle.values() for connection in lines]
            self._idle.clear()
        for connection in idle:
            connection.close()
        self._watch.end_all()

    def _exchange(
        self,
        exchange: _Exchange,
        request: requests.PreparedRequest,
        route: _ServerRoute,
        seconds: float,
    ) -> tuple[int, Mapping[str, str], bytes] | BbtvpError:
        timeout = (min(self.timeouts.connect, seconds), seconds + 1)  # the watch acts first
        try:
            # A session would read the body of a redirect, keep cookies, and look into netrc.
            with exchange.connection.send(
                request, stream=True, timeout=timeout, verify=route.verify, proxies=route.proxies
            ) as response:
                exchange.response = response.raw
                body = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    body += chunk
                    if len(body) > self.limit:
                        return ExchangeFailed(
                            f"the reply is larger than {self.limit:,} bytes",
                            sent=True,
                            lasting=True,
                        )
                return response.status_code, response.headers, bytes(body)
        except requests.RequestException as error:
            return _failure(error, _host(request.url or ""), timeout[0])
        except UnicodeError:
            return UsageError(_BAD_HEADER)

    def _take(self, origin: str) -> _Connection:
        with self._lock:
            if self._closed:
                raise ExchangeFailed(
                    "the connection to the model was closed", sent=False, lasting=True
                )
            return self._idle[origin].pop() if self._idle[origin] else _Connection(self._context)

    def _put(self, connection: _Connection, origin: str) -> None:
        with self._lock:
            if not self._closed:
                self._idle[origin].append(connection)
                return
        connection.close()

    def _route(self, url: str) -> _ServerRoute:
        parts = urlsplit(url)
        origin = _origin(url)
        with self._lock:
            known = self._routes.get(origin)
        if known is not None:
            return known
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            warning = (
                f"{parts.hostname} is asked over plain http: "
                "the key and the images can be read on the way; use https"
            )
            warnings.warn(warning, PlainHttpWarning, stacklevel=3)
        with requests.Session() as session:
            found = session.merge_environment_settings(url, {}, True, None, None)
        route = _ServerRoute(dict(found["proxies"] or {}), found["verify"] or True)
        with self._lock:
            return self._routes.setdefault(origin, route)

    def _context(self, bundle: str) -> ssl.SSLContext:
        """Return the TLS context of a certificate bundle.

        Contexts are cached: reading the certificates for every connection would cost more than the
        exchange.
        """
        with self._lock:
            if bundle not in self._contexts:
                folder = os.path.isdir(bundle)
                try:
                    self._contexts[bundle] = ssl.create_default_context(
                        cafile=None if folder else bundle, capath=bundle if folder else None
                    )
                except OSError as error:  # ssl.SSLError is one
                    raise UsageError(
                        f"{bundle}: no certificates can be read ({error.strerror or error}); "
                        "check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
                    ) from error
            return self._contexts[bundle]


_BAD_HEADER = (
    "a header cannot be sent; check the environment variable of the key "
    "for spaces, line breaks and odd letters"
)


class _ServerRoute(NamedTuple):
    """What the environment says about a server.

    proxies: by scheme. verify: the path of the certificate bundle, True for the usual one.
    """

    proxies: dict[str, str]
    verify: bool | str


@final
class _Connection(HTTPAdapter):
    """An HTTPAdapter of one connection, which another thread can close."""

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
        """Do nothing: the TLS context holds the certificates and requires a valid one."""

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        # The pool holds one connection, so this is the one that it hands out next.
        self.connection = pool._get_conn()
        pool._put_conn(self.connection)
        return pool

    def hang_up(self, response: BaseHTTPResponse | None) -> None:
        """Shut the socket down, so that a thread that waits for it wakes up."""
        with suppress(OSError, ValueError, RuntimeError):  # it is closed already
            if response is not None:
                response.shutdown()
            elif self.connection is not None and self.connection.sock is not None:
                # TLS within TLS wraps the socket.
                plain = getattr(self.connection.sock, "socket", self.connection.sock)
                socket.socket.shutdown(plain, socket.SHUT_RDWR)


@final
@dataclass(eq=False)
class _Exchange:
    """An exchange under way.

    due: its deadline on the monotonic clock. over: it was ended at the deadline.
    """

    connection: _Connection
    due: float
    response: BaseHTTPResponse | None = None
    over: bool = False


@final
class _DeadlineWatch:
    """Ends exchanges that take too long.

    Socket timeouts do not suffice, because each byte that arrives resets them. The thread runs
    while there is an exchange to watch.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[_Exchange] = set()
        self._running = False
        self._next = math.inf

    @contextmanager
    def over(self, connection: _Connection, seconds: float) -> Iterator[_Exchange]:
        exchange = _Exchange(connection, time.monotonic() + seconds)
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
            # The lock waits for a hang-up in progress: the connection may be reused next.
            with self._changed:
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
                        exchange.connection.hang_up(exchange.response)
                # An exchange that is over but still listed had no socket yet: try again soon.
                self._next = min(max(exchange.due, now + 0.1) for exchange in self._open)
                self._changed.wait(self._next - now)
            self._running = False


def _prepared(request: HttpRequest) -> requests.PreparedRequest:
    """Prepare a request, without the additions of a session.

    Raises UsageError, which does not show any header.
    """
    prepared = requests.PreparedRequest()
    problem = ""
    headers = {
        "User-Agent": "bbtvp",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        **request.headers,
    }
    try:
        prepared.prepare(
            method=request.method, url=request.url, headers=headers, data=request.body or None
        )
    except requests.exceptions.InvalidHeader:
        problem = _BAD_HEADER
    except (requests.RequestException, ValueError):
        prepared.url = None
    if urlsplit(prepared.url or "").scheme not in ("http", "https") and not problem:
        problem = (
            "the base URL is not valid: it must begin with https:// (or http:// on this machine)"
        )
    if problem:
        raise UsageError(problem)
    return prepared


def _origin(url: str) -> str:
    """Return the scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _host(url: str) -> str:
    """Return the host and port of a URL, without a user name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _failure(error: requests.RequestException, host: str, connect: float) -> ExchangeFailed:
    """Describe what went wrong; the libraries' own messages contain whole URLs and headers."""
    cause = error.args[0] if error.args else error
    cause = cause.reason if isinstance(cause, MaxRetryError) else cause
    root = _root(cause)
    if isinstance(root, ssl.SSLCertVerificationError):
        why = (
            f"the certificate of {host} is not valid ({root.verify_message}); "
            "if you trust it, name its file in REQUESTS_CA_BUNDLE"
        )
        return ExchangeFailed(why, sent=False, lasting=True)
    if isinstance(cause, ProxyError):
        return ExchangeFailed(
            f"no connection to {host} through the proxy; check HTTPS_PROXY and NO_PROXY", sent=False
        )
    if isinstance(cause, NameResolutionError):
        return ExchangeFailed(
            f"no address found for {host}; check the base URL and the network", sent=False
        )
    if isinstance(cause, NewConnectionError):
        why = f"{_described(root)}; check the base URL, and that the server runs"
        return ExchangeFailed(f"no connection to {host}: {why}", sent=False)
    if isinstance(cause, ConnectTimeoutError):
        return ExchangeFailed(f"no connection to {host} within {connect:g} s", sent=False)
    return ExchangeFailed(f"the exchange with {host} broke off: {_described(root)}", sent=True)


def _root(error: object) -> object:
    """Return the innermost exception: libraries keep it in their arguments or as the cause."""
    for _ in range(8):
        inside = [a for a in getattr(error, "args", ()) if isinstance(a, Exception)]
        inner = inside[-1] if inside else getattr(error, "__cause__", None)
        if inner is None:
            break
        error = inner
    return error


def _described(error: object) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or type(error).__name__
