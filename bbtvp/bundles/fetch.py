"""A file from a URL: `bbtvp bundle pull`, whose SHA-256 is known before, and registries.

The address is the caller's own, and may be in the caller's own network. Where its server sends us
on, it is not: a redirect goes to another server only if that one is on the public internet, and
never from https to http. Nothing is read as a bundle, or written, before the digest is right. One
deadline covers it all: heads, redirects and the body, however slowly their bytes come.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, final
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError

from bbtvp.core.addresses import public_address
from bbtvp.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

MOST_BYTES = 64 << 20
"""The most bytes of a bundle that is read; the most that is fetched, if the caller gives none."""

_REDIRECTS = 5
_MISSING_STATUSES = (404, 410)
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_SILENCE = 30.0
"""Seconds to connect, and between two pieces of an answer."""
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def fetch(url: str, sha256: str, *, limit: int = MOST_BYTES, seconds: float = 600) -> bytes:
    """The bytes at an http or https URL, if their SHA-256 is the given one.

    sha256: 64 hex digits, as `sha256sum` prints them, of the file as it is sent. limit: the most
    bytes. seconds: the most time. UsageError for a URL or a digest that is none; DataError, in one
    line without the URL's query, for all that a server can do.
    """
    _check_digits(sha256)
    try:
        data = _downloaded(_checked(url), limit, time.monotonic() + seconds)
    except _Missing as error:
        raise DataError(str(error)) from error
    check_sha256(data, sha256, _shown(url))
    return data


def download(url: str, *, limit: int, seconds: float) -> bytes | None:
    """The bytes at an http or https URL; None where the server says that nothing is there.

    limit: the most bytes. seconds: the most time. Raises as `fetch` does.
    """
    try:
        return _downloaded(_checked(url), limit, time.monotonic() + seconds)
    except _Missing:
        return None


def check_sha256(data: bytes, sha256: str, source: str) -> None:
    """Raise DataError unless the bytes have this SHA-256, and UsageError if it is none.

    source: what the error calls them.
    """
    _check_digits(sha256)
    found = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(found, sha256.lower()):
        raise DataError(
            f"{source}: the SHA-256 of what is there is {found}, not {sha256.lower()}; "
            "ask its author which is right"
        )


def _check_digits(sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise UsageError(f"{sha256!r} is no SHA-256; give its 64 hex digits, as sha256sum does")


def _downloaded(url: str, limit: int, deadline: float) -> bytes:
    first = urlsplit(url)
    for _ in range(_REDIRECTS + 1):
        own = _origin(urlsplit(url)) == _origin(first)
        adapter = _Adapter(None if own else _address(url))
        with (
            requests.Session() as session,
            _ended(adapter, deadline),
            _sent(session, adapter, url, deadline) as response,
        ):
            target = response.headers.get("location", "")
            if response.status_code not in _REDIRECT_STATUSES or not target:
                return _body(response, url, limit, deadline)
        url = _followed(url, target)
    raise DataError(f"{_shown(url)}: over {_REDIRECTS} redirects; ask for the file's own address")


def _checked(url: str) -> str:
    """The URL, if it can be asked for. UsageError for any other."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{url!r} is no address of a file; give one with https:// or hf://")
    if "@" in parts.netloc:
        raise UsageError(
            f"{_shown(url)}: give no password in an address, where others can read it; "
            "put it into ~/.netrc"
        )
    return url


def _followed(url: str, target: str) -> str:
    """Where a redirect leads. DataError if it is not to be followed."""
    try:
        found = _checked(urljoin(url, target))
    except (UsageError, ValueError) as error:
        raise DataError(
            f"{_shown(url)}: it redirects to what is no plain https address; "
            "ask for the file's own address"
        ) from error
    if url.startswith("https:") and not found.startswith("https:"):
        raise DataError(
            f"{_shown(url)}: it redirects from https to http; ask for the file's own address"
        )
    return found


def _address(url: str) -> str | None:
    """The numeric address to connect to, checked to be public; None where a proxy finds it."""
    if select_proxy(url, get_environ_proxies(url)):
        return None
    parts = urlsplit(url)
    try:
        return public_address(parts.hostname or "", parts.port or 443)
    except DataError as error:
        raise DataError(f"{_shown(url)}, to which it redirects: {error}") from error


def _sent(session: requests.Session, adapter: _Adapter, url: str, deadline: float) -> Response:
    """The head of the answer."""
    session.mount(url, adapter)
    headers = {"Accept-Encoding": "identity", "Host": urlsplit(url).netloc}
    try:
        return session.get(
            url, headers=headers, stream=True, allow_redirects=False, timeout=_SILENCE
        )
    except requests.exceptions.SSLError as error:
        raise DataError(
            f"{_shown(url)}: its certificate is not trusted; check the address"
        ) from error
    except (requests.RequestException, UnicodeError, ValueError) as error:
        _check_time(url, deadline)
        raise DataError(
            f"{_shown(url)}: no answer ({type(error).__name__}); check the address and the network"
        ) from error


def _body(response: Response, url: str, limit: int, deadline: float) -> bytes:
    status = response.status_code
    if status != 200:
        raise (_Missing if status in _MISSING_STATUSES else DataError)(
            f"{_shown(url)}: the server answers {status}; "
            "check the address, and that it needs no login"
        )
    body = bytearray()
    for chunk in _chunks(response, url, deadline):
        body += chunk
        if len(body) > limit:
            raise DataError(f"{_shown(url)}: it is over {limit:,} bytes, more than it may have")
        _check_time(url, deadline)
    _check_time(url, deadline)  # a connection that was ended looks like the end of a file
    return bytes(body)


def _check_time(url: str, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise DataError(f"{_shown(url)}: it was not complete in time; try again later")


def _chunks(response: Response, url: str, deadline: float) -> Iterator[bytes]:
    """What arrives, piece by piece, as it was sent: nothing is decompressed."""
    try:
        while piece := response.raw.read1(_CHUNK, decode_content=False):
            yield piece
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        _check_time(url, deadline)
        raise DataError(f"{_shown(url)}: the answer broke off; try again") from error


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme, parts.hostname or "", parts.port


def _shown(url: str) -> str:
    """The URL for messages: its query may hold a key, and what stands before an @ a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@final
class _Missing(DataError):
    """The server says that there is no such file."""


@contextmanager
def _ended(adapter: _Adapter, deadline: float) -> Iterator[None]:
    """End the exchange of an adapter at the deadline, whatever it waits for.

    A timeout of the socket does not do, because each byte that comes begins it anew.
    """
    done = threading.Event()

    def watch() -> None:
        done.wait(max(0.0, deadline - time.monotonic()))
        while not done.wait(0.1):  # again, as there may have been no connection yet
            adapter.hang_up()

    thread = threading.Thread(target=watch, name="bbtvp-fetch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@final
class _Adapter(HTTPAdapter):
    """An adapter of one connection, which another thread can end.

    address: a numeric one to connect to, where the certificate of the URL's name is expected; None
    for what the URL's name stands for.
    """

    def __init__(self, address: str | None) -> None:
        self._pinned = address
        self._connection: Any = None
        self._response: Any = None
        super().__init__(pool_maxsize=1)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        self._connection = pool._get_conn()  # the only one, so the next that the pool hands out
        pool._put_conn(self._connection)
        return pool

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        self._response = resp
        return super().build_response(req, resp)

    def close(self) -> None:
        """Close the connection too, which the pool would leave to the garbage collector."""
        super().close()
        if self._connection is not None:
            self._connection.close()

    def hang_up(self) -> None:
        """Shut the connection down, so that a thread that waits for it wakes up."""
        with suppress(OSError, ValueError, RuntimeError):  # it is closed already
            if self._response is not None:
                self._response.shutdown()
                return
            open_socket = getattr(self._connection, "sock", None)
            if open_socket is None:
                return
            # TLS within TLS wraps the socket.
            plain = getattr(open_socket, "socket", open_socket)
            socket.socket.shutdown(plain, socket.SHUT_RDWR)

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if self._pinned is None:
            return host, pool
        name = {"server_hostname": host["host"], "assert_hostname": host["host"]}
        return (
            {**host, "host": self._pinned},
            {**pool, **(name if host["scheme"] == "https" else {})},
        )
