"""What the measurements of the proxy share: pictures, a scripted upstream, and the processes.

All listens on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bbtvp.core.rng import stream
from bbtvp.prompt import Prompt, preset

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
CHAT = "/v1/chat/completions"
REPLY = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "rows"},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


def prompt_of(name: str, canvas: int) -> Prompt:
    """A prompt of a preset whose layers all work, but for restoration.

    That takes longer than all else together, and is a choice that the search may not take.
    """
    space = preset(name, canvas)
    for draw in range(1000):
        z = 0.5 * stream(draw, "proxy", name).standard_normal(space.dim)
        prompt = Prompt(space, z)
        if set(prompt.theta.get("restore", {}).values()) <= {"none"}:
            return prompt
    raise RuntimeError(f"every prompt of {name} restores")


def photo(seed: int, size: tuple[int, int], noise: float = 0.0, quality: int = 85) -> bytes:
    """A JPEG like a photo: smooth shapes with grain. 1,024 x 768 with noise 13 has 300 kB."""
    rng = stream(seed, "photo")
    width, height = size
    coarse = rng.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image) + rng.normal(0, noise, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def chat_request(image: bytes, **more: Any) -> bytes:
    """A body of chat completions with one JPEG."""
    url = "data:image/jpeg;base64," + base64.b64encode(image).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Which pattern is this?"},
    ]
    return json.dumps({"messages": [{"role": "user", "content": content}], **more}).encode()


def head(path: str, length: int, **headers: str) -> bytes:
    """The head of a POST request of JSON."""
    lines = [f"POST {path} HTTP/1.1", f"host: {HOST}", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join([*lines, f"content-length: {length}"]) + "\r\n\r\n").encode()


# -- the upstream ----------------------------------------------------------------------------------
@dataclass
class Received:
    """A request that arrived at the upstream. body: SHA-256."""

    target: str
    headers: dict[str, str]
    body: str
    length: int


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[bool]]
"""Answers a request; returns whether the connection goes on."""


@dataclass
class Upstream:
    """A vendor that keeps what it is sent, for a check, and answers as a script says.

    keeps: whether it keeps anything; without, it only reads and answers.
    """

    answer: Answer
    keeps: bool = True
    received: list[Received] = field(default_factory=list)
    url: str = ""

    async def start(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._serve, HOST, 0, backlog=1024, limit=1 << 22)
        self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await read_request(reader, digests=self.keeps)
                if self.keeps:
                    self.received.append(asked)
                if not await self.answer(asked, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader, *, digests: bool = True) -> Received:
    """Read one request, strictly: a length that is not there is no body."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").split("\r\n")
    target = first.split(" ", 1)[1].rpartition(" ")[0]
    headers = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    digest = hashlib.sha256()
    length = 0
    async for part in _body(reader, headers):
        if digests:
            digest.update(part)
        length += len(part)
    return Received(target, headers, digest.hexdigest(), length)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> Any:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return
    left = int(headers.get("content-length", "0"))
    while left:
        part = await reader.read(min(left, 1 << 20))
        if not part:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(part)
        yield part


def whole(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A reply with its length."""
    lines = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return lines.encode() + body


# -- processes -------------------------------------------------------------------------------------
def free_port() -> int:
    """A port that nobody listens on, now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A server as a process."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pids(self) -> list[int]:
        """Its process, and those that it started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())]

    def descriptors(self) -> int:
        """How many descriptors its first process has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def megabytes(self) -> list[int]:
        """The resident memory of each process."""
        found = []
        for pid in self.pids:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            sizes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]
            found.append(sizes[0] // 1024 if sizes else 0)
        return found

    def metrics(self) -> dict[str, float]:
        """The proxy's counters by name and labels."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/bbtvp/metrics", timeout=30) as got:
            lines = got.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


@contextmanager
def server(
    command: Sequence[str], port: int, ready: str, environment: Mapping[str, str], log: Path
) -> Iterator[Running]:
    """Run a command that serves on a port until the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://{HOST}:{port}{ready}", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(log.read_text()[-2000:]) from None
                time.sleep(0.1)
        yield Running(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def bbtvp_proxy(upstream: str, bundle: Path, log: Path, *options: str) -> Iterator[Running]:
    """Run `bbtvp proxy` before an upstream."""
    port = free_port()
    command = [sys.executable, "-m", "bbtvp.cli", "proxy", "--bundle", str(bundle)]
    command += ["--upstream", upstream, "--port", str(port), "--grace", "5", *options]
    with server(command, port, "/bbtvp/health", {"OMP_NUM_THREADS": "1"}, log) as running:
        yield running


@asynccontextmanager
async def in_thread(block: AbstractContextManager[Running]) -> AsyncIterator[Running]:
    """Enter and leave a block in a thread, so that servers of this process go on meanwhile."""
    running = await asyncio.to_thread(block.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(block.__exit__, None, None, None)
