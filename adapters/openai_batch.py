"""OpenAI's batch interface: a file of bodies goes up, a batch is made of it, a file of replies
comes down.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, final

from urllib3.filepost import encode_multipart_formdata

from bbtvp.adapters.openai_chat import entry, sequence
from bbtvp.core.digest import digest
from bbtvp.endpoint.batch import SearchableBatchApi
from bbtvp.endpoint.provider import BatchApi, HttpRequest, Json

ENDED = ("completed", "failed", "expired", "cancelled")
UNASKED = ("batch_expired", "batch_cancelled")
"""What became of a request that nobody answered, and that costs nothing."""


@final
class OpenAIBatch(BatchApi, SearchableBatchApi):
    """A batch carries a label, by which one whose identifier was lost is found.

    base: the URL to which "/batches" is added. path: of the requests in it, "/v1/responses" say.
    auth: headers.
    """

    limit: ClassVar[int] = 50_000
    size: ClassVar[int] = 200_000_000

    def __init__(self, base: str, path: str, auth: Mapping[str, str]) -> None:
        self.base = base
        self.path = path
        self._auth = dict(auth)

    def submit(self, bodies: Mapping[str, bytes]) -> Generator[HttpRequest, Json, str]:
        to = json.dumps(self.path).encode()
        lines = [
            b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}\n'
            % (json.dumps(name).encode(), to, body)
            for name, body in bodies.items()
        ]
        file = ("batch.jsonl", b"".join(lines), "application/jsonl")
        form, kind = encode_multipart_formdata({"purpose": "batch", "file": file})
        uploaded = yield self._wire("POST", "/files", form, kind)
        made: Json = {
            "completion_window": "24h",
            "endpoint": self.path,
            "input_file_id": str(uploaded["id"]),
        }
        made["metadata"] = {"label": _label(list(bodies))}
        batch = yield self._wire("POST", "/batches", json.dumps(made).encode(), "application/json")
        return str(batch["id"])

    def recent(self) -> HttpRequest:
        return self._wire("GET", "/batches?limit=100")

    def find(self, reply: Json, names: Sequence[str], since: float) -> Sequence[str]:
        listed = [entry(batch, "batch") for batch in sequence(reply["data"], "data")]
        return [
            str(b["id"]) for b in listed if (b.get("metadata") or {}).get("label") == _label(names)
        ]

    def status(self, batch: str) -> HttpRequest:
        return self._wire("GET", f"/batches/{batch}")

    def read_status(self, reply: Json) -> tuple[bool, str, str | None]:
        """See `BatchApi`. A failure's reason is part of its word; a comma joins two files of
        results.
        """
        state = str(reply["status"])
        faults = sequence(entry(reply.get("errors") or {}, "errors").get("data") or (), "errors")
        why = "; ".join(
            str(entry(fault, "error").get("message") or fault.get("code")) for fault in faults
        )
        files = [reply[name] for name in ("output_file_id", "error_file_id") if reply.get(name)]
        return state in ENDED, f"{state}: {why}" if why else state, ",".join(files) or None

    def results(self, where: str) -> Sequence[HttpRequest]:
        return [self._wire("GET", f"/files/{file}/content") for file in where.split(",")]

    def read_results(self, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        for line in (line for body in bodies for line in body.splitlines() if line.strip()):
            result = entry(json.loads(line), "result")
            name = result["custom_id"]
            response = result.get("response")
            error = result.get("error")
            if response:
                yield name, response["status_code"], entry(response["body"], "body of a result")
            else:
                said = entry(error or {"message": "neither a response nor an error"}, "error")
                yield name, 408 if said.get("code") in UNASKED else 500, {"error": said}

    def cancel(self, batch: str) -> HttpRequest:
        return self._wire("POST", f"/batches/{batch}/cancel")

    def _wire(
        self, method: Literal["GET", "POST"], path: str, body: bytes = b"", kind: str | None = None
    ) -> HttpRequest:
        return HttpRequest(
            method, self.base + path, self._auth | ({"Content-Type": kind} if kind else {}), body
        )


def _label(names: Sequence[str]) -> str:
    """Of a batch of these requests."""
    return digest(*map(str.encode, names))
