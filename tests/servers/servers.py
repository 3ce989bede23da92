"""Servers that we did not write, as child processes on 127.0.0.1: started, waited for, stopped
whatever happens.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, final

import pytest
import requests

HOST = "127.0.0.1"
KEEPER = '("$@"; kill -KILL -$$) & read -r _; kill -KILL -$$'
"""A shell that ends with its server, and ends the server once nobody holds its standard input any
more: this process may be killed, the server goes with it.
"""


@final
class Environment(NamedTuple):
    """Where a server's packages are: `variable` names the Python that has them; by default it is
    this one.

    modules: what must be there. install: what pip must be given.
    """

    variable: str
    modules: tuple[str, ...]
    install: str

    def python(self) -> str:
        """The Python. Skips the test, saying what to install, if there is none; fails it if the
        variable is wrong.
        """
        named = os.environ.get(self.variable)
        if named is None:
            if all(importlib.util.find_spec(module) for module in self.modules):
                return sys.executable
            pytest.skip(
                f"no {', '.join(self.modules)} here: python -m venv servers && servers/bin/pip "
                f"install {self.install}, "
                f"then {self.variable}=servers/bin/python"
            )
        look = (
            "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, "
            f"{self.modules!r})))"
        )
        # A relative path is seen from where pytest was started; the tests run elsewhere.
        path = str(Path(os.environ.get("PWD", "."), named))
        if not Path(path).is_file() or subprocess.run([path, "-c", look], check=False).returncode:
            pytest.fail(f"{self.variable}={named} is no Python with {self.install}")
        return path


@final
class Server(NamedTuple):
    """A server that answers. url: without a slash at its end. log: what it has written so far."""

    url: str
    log: Path

    def count(self, line: str) -> int:
        """How often it has written this."""
        return self.log.read_text("utf-8", "replace").count(line)


def free_port() -> int:
    """A port that nobody listens on, now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    folder: Path,
    *,
    ready: str,
    environment: Mapping[str, str],
    patience: float = 120,
) -> Iterator[Server]:
    """Run a command that serves on a port of 127.0.0.1 until the block is left.

    folder: where it runs and writes. ready: the path that answers 200 once it is up. environment:
    all it gets, besides the search path: no key of the user's, and no home. patience: seconds to
    wait for it. Fails with the end of its log.
    """
    server = Server(f"http://{HOST}:{port}", folder / "log")
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with (
        server.log.open("wb") as log,
        subprocess.Popen(
            ["sh", "-c", KEEPER, "sh", *command],
            cwd=folder,
            env=own | dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as keeper,
    ):
        try:
            _wait(server, keeper, ready, time.monotonic() + patience)
            yield server
        finally:
            assert keeper.stdin
            keeper.stdin.close()
            keeper.wait(timeout=30)


def _wait(server: Server, keeper: subprocess.Popen[bytes], ready: str, until: float) -> None:
    while keeper.poll() is None and time.monotonic() < until:
        try:
            if requests.get(server.url + ready, timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    ended = "does not answer" if keeper.poll() is None else "has ended"
    pytest.fail(
        f"the server {ended}; it wrote:\n{server.log.read_text('utf-8', 'replace')[-3000:]}"
    )
