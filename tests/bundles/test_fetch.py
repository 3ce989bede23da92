"""What a server can do to a download that is pinned by its digest."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bbtvp.bundles import fetch as fetching
from bbtvp.bundles.fetch import download, fetch
from bbtvp.core.errors import BbtvpError, DataError, UsageError
from tests.endpoint.faulty import FaultyServer, Script, Seen, Step, in_turn

CONTENT = b"the file " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = Step(body=CONTENT)


def to(target: str, status: int = 302) -> Step:
    return Step(status, b"", {"Location": target})


def refused(url: str, **settings: Any) -> str:
    with pytest.raises(BbtvpError) as caught:
        fetch(url, SHA256, **settings)
    line = str(caught.value)
    assert "\n" not in line
    assert "secret" not in line
    return line


def served(script: Script, path: str = "/p.vprompt?key=secret") -> str:
    """How fetching from a server with this script is refused."""
    with FaultyServer(script) as server:
        return refused(f"http://127.0.0.1:{server.port}{path}")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Host names and the addresses that the network gives for them, in turn."""
    known: dict[str, list[str]] = {}

    def found(host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        addresses = known.get(host) or [host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return known


def test_what_is_there_comes_as_it_is_sent() -> None:
    with FaultyServer(lambda seen: FILE) as server:
        assert fetch(server.url, SHA256.upper()) == CONTENT
    (seen,) = server.seen
    assert seen.headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in seen.headers


def test_another_digest() -> None:
    said = served(lambda seen: Step(body=CONTENT + b"!"))
    assert SHA256 in said and "ask its author" in said


def test_nothing_is_decompressed() -> None:
    """A bomb stays as small as it was sent."""
    bomb = Step(body=gzip.compress(bytes(100 << 20)), headers={"Content-Encoding": "gzip"})
    assert "the SHA-256 of what is there is" in served(lambda seen: bomb)


@pytest.mark.parametrize("manner", ["whole", "unframed cut"])
def test_a_file_over_the_limit(manner: Any) -> None:
    with FaultyServer(lambda seen: Step(body=CONTENT * 2, manner=manner)) as server:
        assert "over 1,000 bytes" in refused(server.url, limit=1000)


def test_a_server_that_takes_its_time() -> None:
    with FaultyServer(lambda seen: Step(body=CONTENT, manner="drip")) as server:
        assert "not complete in time" in refused(server.url, seconds=0.3)


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_SILENCE", 0.2)
    assert "no answer" in served(lambda seen: Step(manner="silence"))


@pytest.mark.parametrize("manner", ["cut", "reset"])
def test_an_answer_that_breaks_off(manner: Any) -> None:
    assert "broke off" in served(lambda seen: Step(body=CONTENT, manner=manner))


@pytest.mark.parametrize("status", [401, 403, 404, 500, 304])
def test_a_status_that_is_no_answer(status: int) -> None:
    assert f"the server answers {status}" in served(lambda seen: Step(status))


def test_no_server_there() -> None:
    with FaultyServer(lambda seen: FILE) as server:
        url = server.url
    assert "no answer" in refused(url)


@pytest.mark.parametrize(
    "url", ["ftp://host/file", "file:///etc/passwd", "host/file", "https://", "http://h:x/", ""]
)
def test_addresses_of_no_file(url: str) -> None:
    assert "no address of a file" in refused(url)


def test_a_password_in_the_address() -> None:
    assert "~/.netrc" in refused("https://me:secret@host/file")


@pytest.mark.parametrize("digest", ["", "abc", SHA256[:-1], SHA256 + "0", "sha256:" + SHA256])
def test_texts_that_are_no_digest(digest: str) -> None:
    with pytest.raises(UsageError, match="is no SHA-256"):
        fetch("https://host/file", digest)


# -- redirects -------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_server_is_followed(status: int) -> None:
    script = in_turn([to("/other?x=1", status)], FILE)
    with FaultyServer(script) as server:
        assert fetch(server.url, SHA256) == CONTENT
    assert [seen.path for seen in server.seen] == ["/v1/answer", "/other?x=1"]


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/?key=secret",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_no_redirect_leads_into_the_own_network(target: str) -> None:
    assert "not on the public internet" in served(lambda seen: to(target), "/")


def test_a_public_name_of_a_private_address(names: dict[str, list[str]]) -> None:
    names["public.example"] = ["192.168.1.1"]
    assert "not on the public internet" in served(lambda seen: to("http://public.example/"))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/f", "http://a:b@h/"])
def test_no_redirect_to_another_kind_of_address(target: str) -> None:
    assert "redirects to what is no plain https address" in served(lambda seen: to(target))


def test_a_redirect_to_no_address() -> None:
    assert "no answer (ValueError)" in served(lambda seen: to("http://["))


def test_redirects_without_end() -> None:
    assert "over 5 redirects" in served(lambda seen: to(f"/{seen.number}"))


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means another server a moment later (DNS rebinding) gains nothing."""
    with FaultyServer(lambda seen: FILE) as checked, FaultyServer(lambda seen: FILE) as rebound:

        def public_address(host: str, port: int) -> str:
            assert (host, port) == ("public.example", checked.port)
            return "127.0.0.1"

        names["public.example"] = ["192.0.2.1"]
        monkeypatch.setattr(fetching, "public_address", public_address)
        target = f"http://public.example:{checked.port}/file"
        with FaultyServer(lambda seen: to(target)) as first:
            assert fetch(first.url, SHA256) == CONTENT
    (seen,) = checked.seen
    assert seen.headers["Host"] == f"public.example:{checked.port}"
    assert not rebound.seen


def test_a_proxy_of_the_environment_finds_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer(lambda seen: FILE) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with FaultyServer(lambda seen: to("http://files.example/p.vprompt")) as first:
            assert fetch(first.url, SHA256) == CONTENT
    (seen,) = proxy.seen
    assert seen.path == "http://files.example/p.vprompt"


# -- TLS -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for files.example, in one file."""
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    key = path.with_name("key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    name = ["-subj", "/CN=files.example", "-addext", "subjectAltName=DNS:files.example"]
    try:
        subprocess.run(
            [*command.split(), *name, "-out", str(path), "-keyout", str(key)],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Speaks TLS; what it sends is told by the path."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(fetching, "public_address", lambda host, port: "127.0.0.1")

    def script(seen: Seen) -> Step:
        return to("http://public.example/") if seen.path == "/plain" else FILE

    server = FaultyServer(script)
    server.secure(context)
    with server:
        yield server


def test_the_certificate_is_that_of_the_name(secure: FaultyServer) -> None:
    target = f"https://files.example:{secure.port}/file"
    with FaultyServer(lambda seen: to(target)) as first:
        assert fetch(first.url, SHA256) == CONTENT
    other = f"https://other.example:{secure.port}/file"
    assert "its certificate is not trusted" in served(lambda seen: to(other))


def test_no_redirect_from_https_to_http(secure: FaultyServer, names: dict[str, list[str]]) -> None:
    names["files.example"] = ["127.0.0.1"]
    said = refused(f"https://files.example:{secure.port}/plain")
    assert "from https to http" in said


def test_no_certificate_no_file(secure: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(DataError, match="its certificate is not trusted"):
        fetch(secure.url, SHA256)


# -- servers that never end ------------------------------------------------------------------------
OK = b"HTTP/1.1 200 OK\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /again\r\n"


def dripping(head: bytes, piece: bytes) -> Iterator[bytes]:
    """A beginning, and then the same piece for ever, slowly."""
    yield head
    while True:
        yield piece
        time.sleep(0.02)


def flooding(head: bytes, piece: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield piece


ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "status line": lambda: dripping(b"HTTP/1.1 200 ", b"O"),
    "header": lambda: dripping(OK + b"X-A: ", b"a"),
    "headers": lambda: dripping(OK, b"X-A: a\r\n"),
    "continue": lambda: flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "redirect": lambda: dripping(MOVED + b"X-A: ", b"a"),
    "body": lambda: dripping(OK + b"Content-Length: 1000000\r\n\r\n", b"a"),
    "body without a length": lambda: dripping(OK + b"Connection: close\r\n\r\n", b"a"),
    "chunk size": lambda: dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "chunks": lambda: dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "trailers": lambda: dripping(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n"),
}


@contextmanager
def endless(pieces: Callable[[], Iterator[bytes]]) -> Iterator[tuple[int, list[str]]]:
    """A server of such answers: its port, and how each ended. It gives up after 20 seconds."""
    ends: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            given_up = time.monotonic() + 20
            try:
                for piece in pieces():
                    connection.sendall(piece)
                    if time.monotonic() > given_up:
                        ends.append("the server gave up")
                        return
            except OSError:
                ends.append("the client went away")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1], ends
    thread.join()
    listening.close()


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_without_an_end_is_ended_at_the_deadline(kind: str) -> None:
    with endless(ENDLESS[kind]) as (port, ends):
        said = refused(f"http://127.0.0.1:{port}/p.vprompt?key=secret", seconds=0.4)
    assert "it was not complete in time; try again later" in said or kind == "headers"
    assert ends == ["the client went away"]


def test_heads_and_redirects_count_into_one_deadline() -> None:
    slow = Step(302, b"", {"Location": "/again"}, delay=0.15)
    with FaultyServer(lambda seen: slow) as server:
        assert "not complete in time" in refused(server.url, seconds=0.4)
    assert len(server.seen) < 6


@pytest.mark.parametrize(
    "head", [b"X-A: a\r\n" * 200, b"X-A: " + b"a" * 70_000 + b"\r\n", b"\xff" * 70_000]
)
def test_a_head_that_is_too_long(head: bytes) -> None:
    with endless(lambda: iter([OK + head])) as (port, _):
        assert "no answer" in refused(f"http://127.0.0.1:{port}/p.vprompt")


def test_what_is_not_there_is_none_to_who_asks_for_that() -> None:
    with FaultyServer(lambda seen: Step(404 if "gone" in seen.path else 500)) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert download(f"{url}/gone", limit=100, seconds=60) is None
        with pytest.raises(DataError, match="answers 500"):
            download(f"{url}/odd", limit=100, seconds=60)
