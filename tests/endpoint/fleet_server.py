"""One server of a fleet, in a process of its own that can be killed: it reads the number in a
question back.

    python -m tests.endpoint.fleet_server PORT SLOTS SECONDS LOG

Works on SLOTS requests at once, SECONDS each. A line of LOG for each reply that went out: the
number. Prints its port, and ends when its standard input does. Nothing but the standard library: it
must be back soon after a kill.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

ROOT = Path(__file__).parents[2]


def answer(body: bytes, model: str) -> dict[str, Any]:
    """The reply to a question with a number in it."""
    asked = json.loads(body)
    number = re.search(r"\d+", asked["messages"][0]["content"][1]["text"])
    message = {"role": "assistant", "content": f"number {number[0] if number else '-'}"}
    return {"model": model, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


@final
class Numbers:
    """A server in a child process; `kill` and `start` as often as wanted, always at one port."""

    def __init__(self, log: Path, *, slots: int = 4, seconds: float = 0.02) -> None:
        self.log = log
        self.slots = slots
        self.seconds = seconds
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        words = map(str, (self.port, self.slots, self.seconds, self.log))
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.endpoint.fleet_server", *words],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._child.stdout.readline())  # type: ignore[union-attr]

    def kill(self) -> None:
        self._child.kill()
        self._child.communicate()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def answered(self) -> Counter[int]:
        """How often each number was answered, as far as the server knows."""
        return Counter(map(int, self.log.read_text().split())) if self.log.exists() else Counter()


def serve(port: str, slots: str, seconds: str, log: str) -> None:
    room = threading.Semaphore(int(slots))
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with room:
                time.sleep(float(seconds))
            reply = json.dumps(answer(body, "numbers")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)
            os.write(file, re.findall(rb"number (\d+)", reply)[0] + b"\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", int(port)), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    serve(*sys.argv[1:])
