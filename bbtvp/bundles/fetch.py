"""A file from a URL, whose SHA-256 is known before: `bbtvp bundle pull`.

The address is the caller's own, and may be in the caller's own network. Where its server sends us
on, it is not: a redirect goes to another server only if that one is on the public internet, and
never from https to http. Nothing is read as a bundle, or written, before the digest is right.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator
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
    data = _downloaded(_checked(url), limit, time.monotonic() + seconds)
    check_sha256(data, sha256, _shown(url))
    return data


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
        address = None if own else _address(url)
        with requests.Session() as session, _sent(session, url, address) as response:
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


def _sent(session: requests.Session, url: str, address: str | None) -> Response:
    """The head of the answer, from that address if one is given."""
    if address is not None:
        session.mount(url, _AddressAdapter(address))
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
        raise DataError(
            f"{_shown(url)}: no answer ({type(error).__name__}); check the address and the network"
        ) from error


def _body(response: Response, url: str, limit: int, deadline: float) -> bytes:
    if response.status_code != 200:
        raise DataError(
            f"{_shown(url)}: the server answers {response.status_code}; "
            "check the address, and that it needs no login"
        )
    body = bytearray()
    for chunk in _chunks(response, url):
        body += chunk
        if len(body) > limit:
            raise DataError(
                f"{_shown(url)}: it is over {limit:,} bytes, more than a bundle may have"
            )
        if time.monotonic() > deadline:
            raise DataError(f"{_shown(url)}: it was not complete in time; try again later")
    return bytes(body)


def _chunks(response: Response, url: str) -> Iterator[bytes]:
    """What arrives, piece by piece, as it was sent: nothing is decompressed."""
    try:
        while piece := response.raw.read1(_CHUNK, decode_content=False):
            yield piece
    except (HTTPError, OSError) as error:
        raise DataError(f"{_shown(url)}: the answer broke off; try again") from error


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme, parts.hostname or "", parts.port


def _shown(url: str) -> str:
    """The URL for messages: its query may hold a key, and what stands before an @ a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@final
class _AddressAdapter(HTTPAdapter):
    """Connects to one numeric address, and expects the certificate of the URL's name there."""

    def __init__(self, address: str) -> None:
        self._pinned = address
        super().__init__()

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        name = {"server_hostname": host["host"], "assert_hostname": host["host"]}
        return (
            {**host, "host": self._pinned},
            {**pool, **(name if host["scheme"] == "https" else {})},
        )
