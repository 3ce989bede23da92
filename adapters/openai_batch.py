"""OpenAI's batch interface: upload a file of bodies, make a batch of it, download the replies."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, final

from urllib3.filepost import encode_multipart_formdata

from bbtvp.core.digest import digest
from bbtvp.endpoint.provider import HttpRequest, Json, SearchableBatchApi
from bbtvp.endpoint.reading import json_lines, json_object, json_objects, optional_object

ENDED = ("completed", "failed", "expired", "cancelled")
UNASKED = ("batch_expired", "batch_cancelled")
"""Codes of requests that were never answered, and cost nothing."""


@final
class OpenAIBatch(SearchableBatchApi):
    """OpenAI's batches carry a label, by which one with a lost identifier is found.

    base: the URL to which "/batches" is added. path: of the requests in it, such as
    "/v1/responses". auth: headers.
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
        uploaded = yield self._request("POST", "/files", form, kind)
        made: Json = {
            "completion_window": "24h",
            "endpoint": self.path,
            "input_file_id": str(uploaded["id"]),
            "metadata": {"label": _label(list(bodies))},
        }
        batch = yield self._request(
            "POST", "/batches", json.dumps(made).encode(), "application/json"
        )
        return str(batch["id"])

    def recent(self) -> HttpRequest:
        return self._request("GET", "/batches?limit=100")

    def find(self, reply: Json, names: Sequence[str], since: float) -> Sequence[str]:
        label = _label(names)
        listed = json_objects(reply["data"], "data")
        return [str(b["id"]) for b in listed if (b.get("metadata") or {}).get("label") == label]

    def status(self, batch: str) -> HttpRequest:
        return self._request("GET", f"/batches/{batch}")

    def read_status(self, reply: Json) -> tuple[bool, str, str | None]:
        """See `BatchApi`.

        The state includes the reason of a failure. A comma joins two files of results.
        """
        state = str(reply["status"])
        errors = json_objects(optional_object(reply, "errors").get("data") or (), "errors")
        why = "; ".join(str(error.get("message") or error.get("code")) for error in errors)
        files = [reply[name] for name in ("output_file_id", "error_file_id") if reply.get(name)]
        return state in ENDED, f"{state}: {why}" if why else state, ",".join(files) or None

    def results(self, where: str) -> Sequence[HttpRequest]:
        return [self._request("GET", f"/files/{file}/content") for file in where.split(",")]

    def read_results(self, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        for line in json_lines(bodies):
            result = json_object(line, "result")
            name = result["custom_id"]
            response = result.get("response")
            error = result.get("error")
            if response:
                yield (
                    name,
                    response["status_code"],
                    json_object(response["body"], "body of a result"),
                )
            else:
                reported = error or {"message": "neither a response nor an error"}
                code = json_object(reported, "error").get("code")
                yield name, 408 if code in UNASKED else 500, {"error": reported}

    def _request(
        self, method: Literal["GET", "POST"], path: str, body: bytes = b"", kind: str | None = None
    ) -> HttpRequest:
        headers = dict(self._auth)
        if kind:
            headers["Content-Type"] = kind
        return HttpRequest(method, self.base + path, headers, body)


def _label(names: Sequence[str]) -> str:
    """Return the label of a batch of these requests."""
    return digest(*map(str.encode, names))
