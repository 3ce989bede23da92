"""What the tests of the endpoint adapters share: a server that keeps what it is sent, and a request
to send.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias, final, get_type_hints

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from bbtvp.core.arrays import Pixels
from bbtvp.endpoint.access import Access
from bbtvp.endpoint.provider import EncodedImage, EncodedPart, HttpRequest
from bbtvp.models import Request, Shown

LABELS = ("rows", "columns", "checks")
QUESTION = "Which pattern is this? Réponds en un mot."
Answer: TypeAlias = "dict[str, Any] | list[Any] | str | bytes"


@final
@dataclass(frozen=True)
class Asked:
    """One HTTP request as it came in. path: with its query string. headers: names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@final
@dataclass
class Recorder:
    """What a server was asked, and what it answers to everything: JSON, or a function from a
    request to JSON.

    Text and bytes are sent as they are. status, kind: status and media type of the next answers.
    """

    url: str
    answer: Answer | Callable[[Asked], Answer]
    status: int = 200
    kind: str = "application/json"
    asked: list[Asked] = field(default_factory=list)

    def reply(self, asked: Asked) -> bytes:
        self.asked.append(asked)
        answer = self.answer(asked) if callable(self.answer) else self.answer
        if isinstance(answer, bytes):
            return answer
        return (answer if isinstance(answer, str) else json.dumps(answer)).encode()


@final
class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # callers at once, so that none is turned away at the door


@contextmanager
def recorder(answer: Answer | Callable[[Asked], Answer] = "{}") -> Iterator[Recorder]:
    """A server on the loopback interface, gone at the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5.0

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = kept.reply(Asked(self.command, self.path, headers, body))
            self.send_response(kept.status)
            self.send_header("content-type", kept.kind)
            self.send_header("content-length", str(len(reply)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 – the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # so that leaving the block waits for them
        kept = Recorder(f"http://127.0.0.1:{server.server_port}", answer)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()


def request(
    *, labels: Sequence[str] | None = LABELS, text: str = QUESTION, red: int = 0, **fields: Any
) -> Request:
    """An image query for an 8 × 6 picture of noise whose red is at least `red`."""
    image = np.random.default_rng(7).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    image[..., 0] = image[..., 0].clip(red)
    return Request(image, text, None if labels is None else tuple(labels), **fields)


def example_request() -> Request:
    """An image query that shows two images before its own, the first with an answer after it."""
    first, second = (np.full((4, 5, 3), level, np.uint8) for level in (50, 200))
    return replace(request(), context=(Shown(first, "Answer: rows"), Shown(second, "")))


def files_of(asked: Request) -> list[str]:
    """The images of a request as base64 text, in order."""
    return [part.image.base64 for part in parts_of(asked)]


def parts_of(asked: Request, kind: str = "png") -> list[EncodedPart]:
    """The request's images as files, each with its text."""
    shown = [*asked.context, Shown(asked.image, asked.text)]
    return [EncodedPart(_file(image, kind), text) for image, text in shown]


def _file(pixels: Pixels, kind: str) -> EncodedImage:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return EncodedImage(file.getvalue(), f"image/{kind}")


def access(spec: str, base: str, key: str) -> Access:
    """What a service is called with, as its loader would find it."""
    return Access(spec, spec.partition("/")[2], base, "SOME_API_KEY", key)


def compact(body: dict[str, Any]) -> bytes:
    """A body as JSON in UTF-8, without spaces."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def asked_by(wire: HttpRequest) -> Asked:
    """What a server would see of a request, to compare it with what an SDK sent."""
    scheme, _, rest = wire.url.partition("://")
    assert scheme in ("http", "https")
    headers = {name.lower(): value for name, value in wire.headers.items()}
    return Asked(wire.method, "/" + rest.partition("/")[2], headers, wire.body)


def conforms(kind: Any, body: Any) -> None:
    """Raises ValidationError or KeyError unless a body is of a TypedDict from a vendor's SDK.

    pydantic leaves nested iterables unread, and passes over unknown keys: here the one is read, the
    other refused.
    """
    unknown = body.keys() - get_type_hints(kind).keys()
    if unknown:
        raise KeyError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    adapter = TypeAdapter(kind)  # pydantic crashes where it is gone before all is read
    _read(adapter.validate_python(body))


def _read(value: Any) -> None:
    if isinstance(value, dict):
        for part in value.values():
            _read(part)
    elif not isinstance(value, str | bytes) and isinstance(value, Iterable):
        for part in value:
            _read(part)
