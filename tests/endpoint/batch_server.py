"""A server on 127.0.0.1 with the batch interfaces of OpenAI (files, batches) and Anthropic (message
batches).

It keeps the vendors' lifecycles: a batch is under way for a while, then ends, expires or is
cancelled, whole or in part; results come in another order than the requests, and those of OpenAI in
two files. What is answered is billed. Faults are scripted, each for one exchange, before or after
it has had its effect. `Client` runs batches against it.
"""

from __future__ import annotations

import email
import hashlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, final

from bbtvp.adapters.anthropic import Messages
from bbtvp.adapters.compatible import form_of
from bbtvp.adapters.openai import OpenAI
from bbtvp.adapters.openai_options import Options
from bbtvp.endpoint.access import Access
from bbtvp.endpoint.batch import BatchProgress, BatchRunner
from bbtvp.endpoint.provider import Json, ProviderApi
from bbtvp.endpoint.transport import Timeouts, Transport
from bbtvp.models import Reply
from bbtvp.models.store import ReplyStore, reply_key

KEY = "sk-test-0123456789"


class Fault(NamedTuple):
    """What happens to the first exchange that fits. status None: the connection is closed without
    an answer.

    after: only once the exchange has had its effect.
    """

    method: str
    path: str
    status: int | None = None
    body: bytes = b'{"error": {"code": "server_error", "message": "it happens"}}'
    headers: Mapping[str, str] = {}
    after: bool = False


class Item(NamedTuple):
    """One request of a batch."""

    name: str
    body: Json


@final
@dataclass
class Batch:
    """A batch: `fate` is how it will end."""

    name: str
    items: Sequence[Item]
    fate: str
    metadata: Json
    created: float = field(default_factory=time.time)
    ended: str | None = None
    outcomes: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return time.time() - self.created


def text_of(body: Json) -> str:
    """The answer to a body: always the same."""
    return "it is " + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


@final
class BatchServer(ThreadingHTTPServer):
    """Use as a context manager. `url` ends without a slash.

    delay: seconds that a batch takes. hold: while set, none ends. fate: how the next batches end
    (completed, expired, cancelled, failed). outcome: of a request by its name: ok, errored,
    unanswered (expired with its batch) or missing.
    """

    daemon_threads = True

    def __init__(
        self, *, delay: float = 0.0, outcome: Callable[[str], str] = lambda name: "ok"
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.delay = delay
        self.outcome = outcome
        self.fate = "completed"
        self.hold = threading.Event()
        self.billed: Counter[str] = Counter()
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> BatchServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""

    # -- lifecycle ---------------------------------------------------------------------------------
    def accept(
        self, prefix: str, items: Sequence[Item], metadata: Json | None = None, fate: str = ""
    ) -> Batch:
        batch = Batch(f"{prefix}_{next(self._numbers)}", items, fate or self.fate, metadata or {})
        self.batches[batch.name] = batch
        return batch

    def settle(self, batch: Batch) -> Batch:
        """End the batch if it is time, and bill what was answered."""
        if batch.ended is None and not self.hold.is_set() and batch.seconds >= self.delay:
            batch.ended = batch.fate
            for item in batch.items:
                outcome = "missing" if batch.fate == "failed" else self.outcome(item.name)
                batch.outcomes[item.name] = outcome
                self.billed[item.name] += outcome == "ok"
        return batch

    def cancel(self, batch: Batch) -> Batch:
        if batch.ended is None:
            batch.fate = "cancelled"
        return batch

    def keep_file(self, data: bytes) -> str:
        name = f"file-{next(self._numbers)}"
        self.files[name] = data
        return name

    # -- OpenAI ------------------------------------------------------------------------------------
    def openai_batch(self, made: Json) -> Json:
        lines = [json.loads(line) for line in self.files[made["input_file_id"]].splitlines()]
        names = [line["custom_id"] for line in lines]
        good = all(line["method"] == "POST" and line["url"] == made["endpoint"] for line in lines)
        good = good and len(set(names)) == len(names) and max(map(len, names)) <= 64
        items = [Item(line["custom_id"], line["body"]) for line in lines]
        return self.openai_state(
            self.accept("batch", items, made.get("metadata"), "" if good else "failed")
        )

    def openai_state(self, batch: Batch) -> Json:
        state: Json = {"id": batch.name, "object": "batch", "created_at": int(batch.created)}
        state |= {"metadata": batch.metadata, "request_counts": {"total": len(batch.items)}}
        if self.settle(batch).ended is None:
            return state | {
                "status": "validating" if batch.seconds < self.delay / 4 else "in_progress"
            }
        if batch.ended == "failed":
            return state | {
                "status": "failed",
                "errors": {"data": [{"code": "invalid", "message": "line 1 is bad"}]},
            }
        answered, failed = self._openai_lines(batch)
        for name, lines in (("output_file_id", answered), ("error_file_id", failed)):
            state[name] = self.keep_file(b"\n".join(lines) + b"\n") if lines else None
        return state | {"status": batch.ended}

    def _openai_lines(self, batch: Batch) -> tuple[list[bytes], list[bytes]]:
        answered = []
        failed = []
        for item in reversed(batch.items):
            outcome = batch.outcomes[item.name]
            line: Json = {
                "id": f"r-{item.name}",
                "custom_id": item.name,
                "response": None,
                "error": None,
            }
            if outcome == "ok":
                line["response"] = {
                    "status_code": 200,
                    "request_id": "r",
                    "body": completion(item.body),
                }
                answered.append(json.dumps(line).encode())
            elif outcome == "errored":
                error = {"error": {"code": "invalid_image", "message": "the image cannot be read"}}
                line["response"] = {"status_code": 400, "request_id": "r", "body": error}
                failed.append(json.dumps(line).encode())
            elif outcome == "unanswered":
                line["error"] = {
                    "code": "batch_expired",
                    "message": "this request could not be executed in time",
                }
                failed.append(json.dumps(line).encode())
        return answered, failed

    # -- Anthropic ---------------------------------------------------------------------------------
    def anthropic_batch(self, made: Json) -> Json:
        return self.anthropic_state(
            self.accept("msgbatch", [Item(r["custom_id"], r["params"]) for r in made["requests"]])
        )

    def anthropic_state(self, batch: Batch) -> Json:
        state = (
            "ended"
            if self.settle(batch).ended
            else "canceling"
            if batch.fate == "cancelled"
            else "in_progress"
        )
        url = f"{self.url}/v1/messages/batches/{batch.name}/results" if batch.ended else None
        return {
            "id": batch.name,
            "type": "message_batch",
            "processing_status": state,
            "results_url": url,
        }

    def anthropic_results(self, batch: Batch) -> bytes:
        results: dict[str, Callable[[Item], Json]] = {
            "ok": lambda item: {"type": "succeeded", "message": message(item.body)},
            "errored": lambda item: {
                "type": "errored",
                "error": {
                    "type": "error",
                    "error": {"type": "invalid_request_error", "message": "unreadable image"},
                },
            },
            "unanswered": lambda item: {
                "type": "canceled" if batch.ended == "cancelled" else "expired"
            },
        }
        given = [
            (item, results[outcome])
            for item in reversed(batch.items)
            if (outcome := batch.outcomes[item.name]) != "missing"
        ]
        return b"".join(
            json.dumps({"custom_id": i.name, "result": make(i)}).encode() + b"\n"
            for i, make in given
        )


def completion(body: Json) -> Json:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text_of(body)},
        "finish_reason": "stop",
    }
    return {
        "object": "chat.completion",
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
    }


def message(body: Json) -> Json:
    content = [{"type": "text", "text": text_of(body)}]
    usage = {"input_tokens": 9, "output_tokens": 4}
    return {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage}


@final
class _Handler(BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.log.append(f"{self.command} {self.path}")
            fault = next(
                (f for f in self.server.faults if f.method == self.command and f.path in self.path),
                None,
            )
            if fault is not None:
                self.server.faults.remove(fault)
            if fault is not None and not fault.after:
                answer: bytes | Json | None = None
            elif (
                KEY not in (self.headers.get("Authorization", ""))[7:]
                and self.headers.get("x-api-key") != KEY
            ):
                self._reply(
                    401, b'{"error": {"code": "invalid_api_key", "message": "wrong key"}}', {}
                )
                return
            else:
                answer = self._route(body)
        if fault is not None and fault.status is None:
            self.close_connection = True
        elif fault is not None:
            self._reply(fault.status or 0, fault.body, fault.headers)
        elif answer is None:
            self._reply(404, b'{"error": {"code": "not_found", "message": "no such thing"}}', {})
        else:
            self._reply(
                200, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), {}
            )

    def _route(self, body: bytes) -> bytes | Json | None:
        """The answer, None for 404."""
        server = self.server
        parts = self.path.partition("?")[0].strip("/").split("/")[1:]
        match self.command, parts:
            case "POST", ["files"]:
                form: Any = email.message_from_bytes(
                    f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + body
                )
                fields = {
                    part.get_param("name", header="content-disposition"): part
                    for part in form.get_payload()
                }
                if fields["purpose"].get_payload() != "batch":
                    return None
                return {
                    "id": server.keep_file(fields["file"].get_payload(decode=True)),
                    "object": "file",
                }
            case "GET", ["files", name, "content"]:
                return server.files.get(name)
            case "POST", ["batches"]:
                return server.openai_batch(json.loads(body))
            case "GET", ["batches"]:
                return {
                    "data": [
                        server.openai_state(batch) for batch in reversed(server.batches.values())
                    ]
                }
            case "POST", ["messages", "batches"]:
                return server.anthropic_batch(json.loads(body))
        anthropic = parts[:1] == ["messages"]
        batch = (
            server.batches.get(parts[2 if anthropic else 1]) if len(parts) > 1 + anthropic else None
        )
        if batch is None:
            return None
        if parts[-1] == "cancel":
            server.cancel(batch)
        if parts[-1] == "results":
            return server.anthropic_results(batch)
        return server.anthropic_state(batch) if anthropic else server.openai_state(batch)

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(body))} | dict(headers)
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


# -- clients ---------------------------------------------------------------------------------------
@final
@dataclass
class Client:
    """One process's way to the server. Time is told, not waited for; `asleep` is called in every
    pause.
    """

    vendor: str
    server: BatchServer
    store: ReplyStore
    asleep: Callable[[Client], None] = lambda client: None
    slept: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    progress: list[BatchProgress] = field(default_factory=list)
    got: dict[str, tuple[int, str]] = field(default_factory=dict)

    def run(self, bodies: Mapping[str, bytes], **options: Any) -> dict[str, str]:
        vendor = self.vendor.removesuffix("+list")
        url = self.server.url
        api: ProviderApi = Messages("m", KEY, url)
        if vendor == "openai":
            form = form_of("chat", Options.taken_from({}, "m"))
            api = OpenAI(Access("openai/m", "m", f"{url}/v1", "OPENAI_API_KEY", KEY), form)
        batch = api.batch
        assert batch is not None

        def read(key: str, status: int, reply: Json) -> None:
            assert key not in self.got  # every result comes once
            text = api.parse(reply).texts[0] if status == 200 else api.error(status, reply)[1]
            self.got[key] = (status, text)
            if status == 200:
                self.store.keep(key, Reply(text), model=api.spec)

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.asleep(self)

        transport = Transport(Timeouts(5, 5, 5), limit=options.pop("limit", 32 << 20))
        settings: dict[str, Any] = {"sleep": sleep, "clock": lambda: sum(self.slept), **options}
        runner = BatchRunner(
            batch,
            transport,
            self.store,
            model=api.spec,
            explain=api.error,
            secrets=[KEY],
            key_variable="VENDOR_API_KEY",
            say=self.said.append,
            progress=self.progress.append,
            **settings,
        )
        try:
            return runner.run(bodies, read)
        finally:
            transport.close()

    def texts(self) -> dict[str, str]:
        return {key: text for key, (status, text) in self.got.items() if status == 200}

    def left(self) -> tuple[int, int]:
        """Batches and intents that the store still knows of."""
        spec = "anthropic/m" if self.vendor == "anthropic" else "openai/m"
        return len(self.store.open_batches(spec)), len(self.store.intents(spec))


def bodies_of(count: int, first: int = 0) -> dict[str, bytes]:
    bodies = [
        json.dumps({"model": "m", "question": i}).encode() for i in range(first, first + count)
    ]
    return {reply_key("u", body, 0, "1"): body for body in bodies}


def answers(bodies: Mapping[str, bytes]) -> dict[str, str]:
    return {key: text_of(json.loads(body)) for key, body in bodies.items()}
