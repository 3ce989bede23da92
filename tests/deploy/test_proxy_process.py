"""`bbtvp proxy` as a process: its workers, its signals and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from bbtvp.core.signing import generate_key
from bbtvp.deploy import transform_request
from bbtvp.deploy.server import _listener
from bbtvp.prompt import Prompt
from tests.adapters.recording import Recorder
from tests.deploy.running import CHAT, JSON, chat_body, counted
from tests.deploy.streams import Dripping

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fail after a minute."""
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/bbtvp/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def command(upstream: str, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The command as a process, with one worker, until the end of the block; and its address."""
    port = free_port()
    arguments = ["proxy", "--upstream", upstream, "--port", str(port), "--workers", "1", *options]
    with subprocess.Popen([sys.executable, "-m", "bbtvp.cli", *arguments]) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: answers(address))
            yield process, address
        finally:
            process.kill()


def test_a_worker_prompts_and_ends_with_its_proxy(
    upstream: Recorder, bundle: Path, prompt: Prompt, picture: str
) -> None:
    body = chat_body(picture)
    with command(upstream.url, "--bundle", str(bundle)) as (process, address):
        reply = httpx.post(f"{address}{CHAT}", content=body, headers=JSON)
        assert reply.headers["x-bbtvp-prompt"] == f"pets;{prompt.digest[:12]}"
        assert upstream.asked[-1].body == transform_request(body, "chat", prompt).body
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        workers = Path(children).read_text().split() if Path(children).exists() else []
        process.kill()
    eventually(lambda: not any(_runs(int(worker)) for worker in workers))


def _runs(process: int) -> bool:
    """Whether a process runs: it is there, and no zombie whose parent has yet to see its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_that_dies_costs_one_request_its_prompt(
    upstream: Recorder, bundle: Path, picture: str
) -> None:
    body = chat_body(picture)
    with command(upstream.url, "--bundle", str(bundle)) as (process, address):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("this kernel does not list the children of a process")
        for child in map(int, children.read_text().split()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
        sent = []
        for _ in range(3):
            reply = httpx.post(f"{address}{CHAT}", content=body, headers=JSON)
            assert reply.status_code == 200
            sent.append("x-bbtvp-prompt" in reply.headers)
        assert sent[-1]
        assert counted(address, "failed") == sent.count(False) <= 1


def test_the_switch_and_the_reload(
    upstream: Recorder, bundle: Path, prompt: Prompt, picture: str, tmp_path: Path
) -> None:
    changing = tmp_path / "changing.vprompt"
    changing.write_bytes(bundle.read_bytes())

    def marked(address: str) -> str:
        reply = httpx.post(f"{address}{CHAT}", content=chat_body(picture), headers=JSON)
        return reply.headers.get("x-bbtvp-prompt", "")

    with command(upstream.url, "--bundle", str(changing)) as (process, address):
        first = f"changing;{prompt.digest[:12]}"
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: marked(address) == "")
        assert upstream.asked[-1].body == chat_body(picture)
        assert httpx.get(f"{address}/bbtvp/health").json()["off"] is True
        process.send_signal(signal.SIGUSR2)
        eventually(lambda: marked(address) == first)
        changing.write_bytes(b"no bundle")
        process.send_signal(signal.SIGHUP)
        assert marked(address) == first
        other = Prompt(prompt.space, prompt.z * 0.5)
        other.save(changing)
        process.send_signal(signal.SIGHUP)
        eventually(lambda: marked(address) == f"changing;{other.digest[:12]}")
        assert upstream.asked[-1].body == transform_request(chat_body(picture), "chat", other).body


def test_the_end_lets_a_stream_end_and_takes_nobody_new(bundle: Path) -> None:
    source = Dripping()
    with command(source.url, "--bundle", str(bundle), "--grace", "30") as (process, address):
        with httpx.stream("POST", f"{address}{CHAT}", content=b"{}", headers=JSON) as reply:
            events = reply.iter_raw()
            source.go.release()
            assert next(events) == b"data: 0\n\n"
            process.send_signal(signal.SIGTERM)
            eventually(lambda: not answers(address))
            for i in (1, 2):
                source.go.release()
                assert next(events) == f"data: {i}\n\n".encode()
            source.end()
            assert list(events) == []
        assert process.wait(60) == 0
    source.close()


def refusal(*options: str) -> str:
    """The one line with which the command ends at once."""
    arguments = ["proxy", "--upstream", "http://127.0.0.1:9", *options]
    command = [sys.executable, "-m", "bbtvp.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    return line


def test_a_bundle_that_is_not_signed_is_not_let_in(bundle: Path, tmp_path: Path) -> None:
    key = generate_key(tmp_path / "key.pem")
    assert "is not signed" in refusal("--bundle", str(bundle), "--signed-by", key)


def test_a_port_that_is_taken_is_one_line(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refusal("--bundle", str(bundle), "--port", port)
    assert line.startswith(f"error: 127.0.0.1, port {port}, cannot be listened on")
    assert line.endswith("give another --port or --host")


def test_connections_send_what_is_written_at_once() -> None:
    """Else the end of each reply waits 40 ms for the client's acknowledgement."""
    with (
        _listener("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname(), timeout=10),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
