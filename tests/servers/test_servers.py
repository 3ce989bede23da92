"""That servers are started, told of, and stopped, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.servers.servers import Environment, free_port, serving

ROOT = Path(__file__).parents[2]


def command(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).ok
    except requests.RequestException:  # it may be killed in the middle of a reply
        return False


def wait_until_silent(port: int) -> None:
    until = time.monotonic() + 10
    while answers(port):
        assert time.monotonic() < until, "the server is still there"
        time.sleep(0.05)


def test_a_server_lives_as_long_as_its_block(tmp_path: Path) -> None:
    port = free_port()
    with serving(command(port), port, tmp_path, ready="/", environment={}) as server:
        assert requests.get(server.url, timeout=5).ok
        assert server.count("GET / ") == 2
    wait_until_silent(port)


def test_an_error_stops_the_server_too(tmp_path: Path) -> None:
    port = free_port()

    def failing() -> None:
        with serving(command(port), port, tmp_path, ready="/", environment={}):
            raise KeyError(port)

    with pytest.raises(KeyError):
        failing()
    wait_until_silent(port)


def test_a_server_dies_with_whoever_started_it(tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import sys, time; from pathlib import Path; from tests.servers.servers import serving\n"
        f"with serving({command(port)!r}, {port}, Path({str(tmp_path)!r}), ready='/', "
        f"environment={{}}):\n"
        "    print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        assert answers(port)
        child.send_signal(signal.SIGKILL)
    wait_until_silent(port)


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(pytest.fail.Exception, match=r"(?s)has ended; it wrote:.*no such model"),
        serving(broken, free_port(), tmp_path, ready="/", environment={}),
    ):
        pass


def test_the_environment_of_the_user_is_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user")
    shown = [sys.executable, "-c", "import os; raise SystemExit(str(sorted(os.environ)))"]
    with (
        pytest.raises(pytest.fail.Exception) as caught,
        serving(shown, free_port(), tmp_path, ready="/", environment={"OWN": "1"}),
    ):
        pass
    assert "OWN" in str(caught.value)
    assert "OPENAI_API_KEY" not in str(caught.value)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Environment("BBTVP_NONE_PYTHON", ("no_such_module",), "no-such-package")
    monkeypatch.delenv("BBTVP_NONE_PYTHON", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match=r"pip install no-such-package.*BBTVP_NONE_PYTHON="
    ):
        missing.python()
    for wrong in (str(tmp_path / "none"), sys.executable):
        monkeypatch.setenv("BBTVP_NONE_PYTHON", wrong)
        with pytest.raises(pytest.fail.Exception, match="BBTVP_NONE_PYTHON"):
            missing.python()
    assert (
        Environment("BBTVP_NONE_PYTHON", ("os",), "nothing").python()
        == os.environ["BBTVP_NONE_PYTHON"]
    )
