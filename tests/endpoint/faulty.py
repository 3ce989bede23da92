"""A server that fails as it is told, on 127.0.0.1: what real ones do on their bad days."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, final

Manner: TypeAlias = Literal["whole", "drip", "drip head", "reset", "cut", "unframed cut", "silence"]


@final
@dataclass(frozen=True)
class Step:
    """One reply. delay: seconds before it.

    manner: "drip": 10 bytes a second. "drip head": the same, from the status line on. "reset": half
    of the body, then a reset. "cut": half of the body, then the end. "unframed cut": so, without
    having announced a length. "silence": nothing, until the server stops.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    manner: Manner = "whole"

    @property
    def head(self) -> bytes:
        fields = {"Content-Type": "application/json", **self.headers}
        if self.manner == "unframed cut":
            fields["Connection"] = "close"
        else:
            fields.setdefault("Content-Length", str(len(self.body)))
        lines = [
            f"HTTP/1.1 {self.status} {responses.get(self.status, 'Odd')}",
            *(f"{k}: {v}" for k, v in fields.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@final
@dataclass(frozen=True)
class Seen:
    """A request as it arrived. at: monotonic seconds; number: of all requests, from 0."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Script: TypeAlias = Callable[[Seen], Step]


def reply(**fields: Any) -> Step:
    """A JSON reply of status 200."""
    return Step(body=json.dumps(fields).encode())


def error(status: int, code: str = "", message: str = "", **headers: str) -> Step:
    """An error as OpenAI words it; headers with _ for -."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Step(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def in_turn(steps: Iterable[Step], then: Step) -> Script:
    """The steps one after the other, whoever asks; `then` for ever after."""
    left = list(steps)
    return lambda seen: left[seen.number] if seen.number < len(left) else then


@final
class FaultyServer:
    """Serves `script` while in its `with` block. `seen`: the requests so far."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/answer"

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from the start."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http://127.0.0.1", "https://localhost")

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._server.shutdown()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # waits for the handlers
        self._thread.join()

    @property
    def keys(self) -> list[str]:
        """The Authorization headers that arrived."""
        return [seen.headers.get("Authorization", "") for seen in self.seen]

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            self.connections += 1

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def note(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Seen:
        with self._lock:
            self.seen.append(Seen(len(self.seen), method, path, headers, body, time.monotonic()))
            return self.seen[-1]

    def perform(self, step: Step, connection: socket.socket) -> bool:
        """Send the step; whether the connection lives on."""
        if self._stopped.wait(step.delay if step.manner != "silence" else None):
            return False
        whole = step.head + step.body
        half = step.head + step.body[: len(step.body) // 2]
        if step.manner in ("drip", "drip head"):
            start = 0 if step.manner == "drip head" else len(step.head)
            connection.sendall(whole[:start])
            for at in range(start, len(whole)):
                if self._stopped.wait(0.1):
                    return False
                connection.sendall(whole[at : at + 1])
            return True
        connection.sendall(whole if step.manner == "whole" else half)
        if step.manner == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return step.manner == "whole"


@final
class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that they are joined
    request_queue_size = 512


def _handler(faulty: FaultyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            faulty.opened(self.connection)

        def finish(self) -> None:
            faulty.closed(self.connection)
            super().finish()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen = faulty.note(self.command, self.path, dict(self.headers.items()), body)
            try:
                self.close_connection = not faulty.perform(faulty.script(seen), self.connection)
            except OSError:  # the client hung up
                self.close_connection = True

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - so named by http.server

        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
