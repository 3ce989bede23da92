"""A vendor who bills, in a process of its own: every answer is logged with its price, and some go
wrong on the way.

    python -m tests.endpoint.books_server LOG SHARE SEED

prints its port, and ends when its standard input does. One line of LOG for each request: see
`Line`.
"""

from __future__ import annotations

import base64
import io
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels

FREE = ("500", "429")
"""Faults that cost nothing: the vendor says so before it looks."""
LOSSY = ("reset", "cut", "error in 200")
"""Faults after the bill: the answer was made, and never arrives whole."""
LATENCY = 0.01
INPUT = 1.0
OUTPUT = 4.0
"""US dollars per million tokens."""
SIDE = 16


class Line(NamedTuple):
    """One request. number: the picture's; came, gone: seconds since 1970; fault: "" for none; usd:
    billed.
    """

    number: int
    came: float
    gone: float
    fault: str
    usd: float
    delivered: bool


def picture(number: int) -> Pixels:
    """An image that shows a number below 2^24: (16, 16, 3)."""
    image = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    image[0, 0] = number >> 16, number >> 8 & 255, number & 255
    return image


def seen(body: bytes) -> tuple[int, int]:
    """The number in the picture of a request, and the length of its question."""
    part, text = json.loads(body)["messages"][0]["content"]
    file = io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))
    red, green, blue = (int(value) for value in np.asarray(Image.open(file).convert("RGB"))[0, 0])
    return red << 16 | green << 8 | blue, len(text["text"])


def answer(number: int, characters: int) -> tuple[bytes, float]:
    """The reply and its cost, which varies and is below the most that it can be."""
    usage = {
        "prompt_tokens": 2500 + characters // 4 + 200 * (number % 7),
        "completion_tokens": 2 + number % 3,
    }
    message = {"role": "assistant", "content": f"number {number}", "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    reply = {
        "id": "chat",
        "object": "chat.completion",
        "created": 0,
        "model": "books",
        "choices": [choice],
    }
    usd = (INPUT * usage["prompt_tokens"] + OUTPUT * usage["completion_tokens"]) / 1e6
    return json.dumps(
        reply | {"usage": usage | {"total_tokens": sum(usage.values())}}
    ).encode(), usd


@final
class Vendor(ThreadingHTTPServer):
    """share: of the requests that go wrong, each kind of fault as often as another."""

    daemon_threads = False  # so that the log is whole when the server has ended
    request_queue_size = 512

    def __init__(self, log: Path, share: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), Clerk)
        self.share = share
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def fault(self) -> str:
        with self.lock:
            return self.random.choice(FREE + LOSSY) if self.random.random() < self.share else ""

    def note(self, line: Line) -> None:
        os.write(self.log, json.dumps(line).encode() + b"\n")


@final
class Clerk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30.0
    server: Vendor

    def do_POST(self) -> None:
        came = time.time()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) < int(self.headers["Content-Length"]):  # killed while it asked
            self.close_connection = True
            return
        number, characters = seen(body)
        fault = self.server.fault()
        reply, usd = answer(number, characters)
        delivered = False
        try:
            time.sleep(LATENCY)
            delivered = self._send(fault, reply)
        except OSError:  # whoever asked is gone
            self.close_connection = True
        finally:
            self.server.note(
                Line(number, came, time.time(), fault, 0.0 if fault in FREE else usd, delivered)
            )

    def _send(self, fault: str, reply: bytes) -> bool:
        """Whether it went out as it should."""
        failed = json.dumps(
            {"error": {"code": "server_error", "message": "upstream broke"}}
        ).encode()
        status = int(fault) if fault in FREE else 200
        whole = reply if not fault else failed
        sent = reply[: len(reply) // 2] if fault in ("reset", "cut") else whole
        head = [f"HTTP/1.1 {status} Said", "Content-Type: application/json"]
        head += [f"Content-Length: {len(reply if fault == 'reset' else sent)}"]
        head += ["Retry-After-Ms: 20"] if fault == "429" else []
        self.wfile.write("\r\n".join(head).encode() + b"\r\n\r\n" + sent)
        self.wfile.flush()
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        return not fault

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # a client that was killed
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(log: str, share: str, seed: str) -> None:
    with Vendor(Path(log), float(share), int(seed)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
