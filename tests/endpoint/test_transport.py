"""One exchange: what it must end in, in time, and what may never be in an error."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.provider import HttpRequest
from bbtvp.endpoint.transport import ExchangeFailed, PlainHttpWarning, Timeouts, Transport
from tests.endpoint.faulty import FaultyServer, Manner, Step, reply

KEY = "sk-Kq7fJ2mN8vX4bZ1c"
QUICK = Timeouts(connect=1.0, attempt=0.5, total=5.0)
OK = reply(text="rows")


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(QUICK)
    yield made
    made.close()


def wire(url: str, body: bytes = b'{"question": "which?"}', key: str = KEY) -> HttpRequest:
    return HttpRequest(
        "POST", url, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}, body
    )


def broken(transport: Transport, url: str) -> ExchangeFailed:
    """How the exchange fails, having looked at all that its error carries."""
    with pytest.raises(ExchangeFailed) as caught:
        transport.send(wire(url))
    error = caught.value
    assert error.__cause__ is None and error.__context__ is None
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert "which?" not in repr(error)
    return error


def test_an_exchange_brings_status_headers_and_body(transport: Transport) -> None:
    with FaultyServer(lambda seen: Step(418, b"short", {"X-Kind": "teapot"}, delay=0.05)) as server:
        answer = transport.send(wire(server.url))
    assert (answer.status, answer.body, answer.headers["x-kind"]) == (418, b"short", "teapot")
    assert answer.seconds >= 0.05
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.json) == ("POST", "/v1/answer", {"question": "which?"})
    assert seen.headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_exchange_may_have_no_body(transport: Transport, method: str) -> None:
    with FaultyServer(lambda seen: OK) as server:
        transport.send(HttpRequest(method, server.url, {}))  # type: ignore[arg-type]
    assert (server.seen[0].method, server.seen[0].body) == (method, b"")


def test_a_connection_is_used_again(transport: Transport) -> None:
    with FaultyServer(lambda seen: OK) as server:
        for _ in range(5):
            transport.send(wire(server.url))
    assert server.connections == 1


def test_threads_of_a_later_call_take_over_the_connections(transport: Transport) -> None:
    with FaultyServer(lambda seen: Step(delay=0.05)) as server:
        for _ in range(3):
            threads = [
                threading.Thread(target=transport.send, args=(wire(server.url),)) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert server.connections == 4


def test_a_connection_that_the_server_dropped_is_opened_anew(transport: Transport) -> None:
    with FaultyServer(lambda seen: OK) as server:
        transport.send(wire(server.url))
        for connection in list(server._open):
            connection.shutdown(socket.SHUT_RDWR)
        time.sleep(0.05)
        assert transport.send(wire(server.url)).status == 200


# -- time ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("manner", ["drip", "drip head", "silence"])
@pytest.mark.parametrize("framing", [{}, {"Connection": "close"}], ids=["kept", "closing"])
def test_an_attempt_ends_on_time_however_slowly_bytes_drip(
    transport: Transport, manner: Manner, framing: dict[str, str]
) -> None:
    with FaultyServer(lambda seen: Step(body=b" " * 100, headers=framing, manner=manner)) as server:
        error = broken(transport, server.url)
    assert error.sent and "no complete answer" in error.reason and "0.5 s" in error.reason


def test_a_drip_without_an_announced_length_is_no_answer(transport: Transport) -> None:
    step = Step(
        body=b" " * 100,
        headers={"Connection": "close", "Transfer-Encoding": "identity"},
        manner="drip",
    )
    unframed = step.head.replace(b"Content-Length: 100\r\n", b"")

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(unframed)
            try:
                for _ in range(20):
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        error = broken(transport, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()
    assert error.sent and "no complete answer" in error.reason


def test_what_remains_of_the_total_limits_an_attempt(transport: Transport) -> None:
    with FaultyServer(lambda seen: Step(manner="silence")) as server:
        with pytest.raises(ExchangeFailed, match=r"within 0\.2 s"):
            transport.send(wire(server.url), remaining=0.2)
        with pytest.raises(ExchangeFailed, match="no time is left") as caught:
            transport.send(wire(server.url), remaining=0.0)
    assert not caught.value.sent and len(server.seen) == 1


def test_a_server_that_reads_nothing_is_given_up(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(ExchangeFailed, match="no complete answer"):
            transport.send(wire(url, body=b" " * (64 << 20)))


def test_the_line_of_an_exchange_that_was_given_up_serves_again(transport: Transport) -> None:
    with FaultyServer(lambda seen: Step(manner="silence") if seen.number == 0 else OK) as server:
        broken(transport, server.url)
        assert transport.send(wire(server.url)).status == 200


# -- what breaks -----------------------------------------------------------------------------------
@pytest.mark.parametrize("manner", ["reset", "cut"])
def test_half_a_reply_is_none(transport: Transport, manner: Manner) -> None:
    with FaultyServer(lambda seen: Step(body=b" " * 1000, manner=manner)) as server:
        error = broken(transport, server.url)
    assert error.sent and not error.lasting and "broke off" in error.reason


def test_a_refused_connection_was_never_sent(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = broken(transport, f"http://127.0.0.1:{port}/")
    assert not error.sent and not error.lasting
    assert error.reason.startswith(f"no connection to 127.0.0.1:{port}: Connection refused; check ")


def test_an_unknown_host_was_never_sent(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    error = broken(transport, "https://api.invalid/v1")
    assert not error.sent and error.reason.startswith("no address found for api.invalid")


def test_a_proxy_that_is_down_was_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    transport = Transport(QUICK)
    error = broken(transport, "https://api.invalid/v1")
    transport.close()
    assert not error.sent and "through the proxy" in error.reason


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer(lambda seen: OK) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        transport = Transport(QUICK)
        with pytest.warns(PlainHttpWarning):
            transport.send(wire("http://api.invalid/v1/answer"))
        transport.close()
    assert proxy.seen[0].path == "http://api.invalid/v1/answer"


# -- size ------------------------------------------------------------------------------------------
def test_a_huge_body_is_not_taken_in() -> None:
    transport = Transport(QUICK, limit=100_000)
    with FaultyServer(lambda seen: Step(body=b" " * 3_000_000)) as server:
        error = broken(transport, server.url)
        assert (
            error.sent
            and error.lasting
            and error.reason == "the reply is larger than 100,000 bytes"
        )
    with FaultyServer(lambda seen: Step(body=b" " * 100_000)) as server:
        assert len(transport.send(wire(server.url)).body) == 100_000
    transport.close()


def test_a_body_counts_as_what_it_unpacks_to() -> None:
    transport = Transport(Timeouts(attempt=10.0), limit=1_000_000)
    packed = gzip.compress(bytes(50_000_000), 1)
    assert len(packed) < 1_000_000
    with FaultyServer(
        lambda seen: Step(body=packed, headers={"Content-Encoding": "gzip"})
    ) as server:
        assert "larger" in broken(transport, server.url).reason
    transport.close()


def test_a_body_that_claims_to_be_packed_and_is_not(transport: Transport) -> None:
    with FaultyServer(
        lambda seen: Step(body=b"plain", headers={"Content-Encoding": "gzip"})
    ) as server:
        assert broken(transport, server.url).sent


# -- where the key goes ----------------------------------------------------------------------------
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(transport: Transport, status: int) -> None:
    with FaultyServer(lambda seen: OK) as other:
        moved = Step(status, b"moved", {"Location": other.url})
        with FaultyServer(lambda seen: moved) as server:
            answer = transport.send(wire(server.url))
    assert (answer.status, answer.headers["location"]) == (status, other.url)
    assert other.seen == [] and len(server.seen) == 1


def test_a_netrc_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    transport = Transport(QUICK)
    with FaultyServer(lambda seen: OK) as server:
        transport.send(wire(server.url))
        transport.send(HttpRequest("GET", server.url, {"x-api-key": KEY}))
    transport.close()
    assert server.keys == [f"Bearer {KEY}", ""]


def test_no_cookie_is_kept(transport: Transport) -> None:
    with FaultyServer(lambda seen: Step(headers={"Set-Cookie": "who=me"})) as server:
        transport.send(wire(server.url))
        transport.send(wire(server.url))
    assert "Cookie" not in server.seen[1].headers


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\nHost: other", f"{KEY}…"])
def test_a_key_that_is_no_header_is_not_shown(transport: Transport, key: str) -> None:
    with FaultyServer(lambda seen: OK) as server:
        headers = {"x-api-key": key}
        with pytest.raises(UsageError, match="environment variable of the key") as caught:
            transport.send(HttpRequest("POST", server.url, headers, b"{}"))
    assert (
        KEY not in "".join(traceback.format_exception(caught.value))
        and caught.value.__context__ is None
    )
    assert server.seen == []


@pytest.mark.parametrize(
    "url", ["api.example/v1", "ftp://api.example/v1", "http://", "https://[::1/v1"]
)
def test_a_url_that_is_none_is_a_usage_error(transport: Transport, url: str) -> None:
    with pytest.raises(UsageError, match="base URL"):
        transport.send(wire(url))


def test_plain_http_warns_once_away_from_this_machine(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.warns(PlainHttpWarning, match=r"api\.invalid is asked over plain http"):
        broken(transport, "http://api.invalid/v1")
    broken(transport, "http://api.invalid/v1")  # from here on a warning would be an error
    for host in ("localhost", "127.0.0.2", "[::1]"):
        broken(transport, f"http://{host}:9/v1")


# -- TLS -------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    pair = folder / "cert.pem", folder / "key.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    make += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-out",
        str(pair[0]),
    ]
    try:
        subprocess.run([*make, "-keyout", str(pair[1])], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    return pair


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[FaultyServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    drip = Step(body=b" " * 100, manner="drip")
    server = FaultyServer(lambda seen: drip if seen.path == "/drip" else OK)
    server.secure(context)
    with server:
        yield server


def test_a_certificate_that_nobody_vouches_for_is_refused(
    transport: Transport, secure: FaultyServer
) -> None:
    error = broken(transport, f"https://localhost:{secure.port}/")
    assert not error.sent and error.lasting
    assert "certificate" in error.reason and "REQUESTS_CA_BUNDLE" in error.reason
    assert secure.seen == []


def test_a_bundle_of_the_environment_is_honoured_and_names_are_checked(
    secure: FaultyServer, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    transport = Transport(QUICK)
    assert transport.send(wire(f"https://localhost:{secure.port}/")).status == 200
    assert (
        "certificate" in broken(transport, f"https://127.0.0.1:{secure.port}/").reason
    )  # made out to localhost
    assert "no complete answer" in broken(transport, f"https://localhost:{secure.port}/drip").reason
    assert transport.send(wire(f"https://localhost:{secure.port}/")).status == 200
    transport.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_read_is_told_by_its_name(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "company.pem"
    if content:
        bundle.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(UsageError, match=r"company\.pem: no certificates .*REQUESTS_CA_BUNDLE"):
        Transport(QUICK).send(wire("https://localhost:9/"))


# -- the end ---------------------------------------------------------------------------------------
def test_closing_ends_what_is_under_way() -> None:
    transport = Transport(Timeouts(attempt=60.0))
    caught: list[ExchangeFailed] = []

    def ask(url: str) -> None:
        with pytest.raises(ExchangeFailed) as error:
            transport.send(wire(url))
        caught.append(error.value)

    with FaultyServer(lambda seen: Step(manner="silence")) as server:
        thread = threading.Thread(target=ask, args=(server.url,))
        thread.start()
        while not server.seen:
            time.sleep(0.01)
        transport.close()
        thread.join(2)
        assert not thread.is_alive() and caught[0].sent
        with pytest.raises(ExchangeFailed, match="closed"):
            transport.send(wire(server.url))


def test_a_wire_shows_no_header() -> None:
    assert KEY not in repr(wire("https://api.example"))
