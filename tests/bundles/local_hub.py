"""A stand-in of the Hugging Face Hub on 127.0.0.1, for the real client.

It speaks what huggingface_hub needs to make a repository, upload files as plain Git objects in one
commit, and bring one back: https://huggingface.co/docs/hub/api. Large files (Xet, LFS) it has not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, final
from urllib.parse import unquote, urlsplit

import yaml

MAIN = "main"
LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "other")
"""Some of those at https://huggingface.co/docs/hub/repositories-licenses."""


class Refusal(NamedTuple):
    """An answer that is an error. code: the value of X-Error-Code. url: of what is in the way."""

    status: int
    code: str = ""
    url: str = ""


@final
class HubError(Exception):
    """Ends a request with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


NO_REPOSITORY = Refusal(404, "RepoNotFound")
NO_REVISION = Refusal(404, "RevisionNotFound")
NO_FILE = Refusal(404, "EntryNotFound")
NO_TOKEN = Refusal(401)


@final
@dataclass
class Repository:
    """Commits by their hash, each a whole tree of files; and branches by name."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, changes: dict[str, bytes]) -> str:
        files = {**self.commits.get(self.branches.get(branch, ""), {}), **changes}
        content = json.dumps(sorted((n, hashlib.sha1(d).hexdigest()) for n, d in files.items()))
        made = hashlib.sha1(f"{len(self.commits)} {content}".encode()).hexdigest()
        self.commits[made] = files
        self.branches[branch] = made
        return made

    def found(self, revision: str) -> str:
        commit = self.branches.get(revision, revision)
        if commit not in self.commits:
            raise HubError(NO_REVISION)
        return commit


@final
@dataclass
class LocalHub:
    """What the server holds. tokens: those that may write. refusals: by the name of a repository,
    how every request for it is refused. seen: method, path and Authorization of each request.
    """

    url: str = ""
    tokens: set[str] = field(default_factory=lambda: {"hf_writer"})
    repositories: dict[str, Repository] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    announced_size: int | None = None

    def files(self, repo: str, branch: str = MAIN) -> dict[str, bytes]:
        repository = self.repositories[repo]
        return repository.commits[repository.branches[branch]]

    def repository(self, name: str, token: str) -> Repository:
        if name in self.refusals:
            raise HubError(self.refusals[name])
        found = self.repositories.get(name)
        if found is None or (found.private and token not in self.tokens):
            raise HubError(NO_REPOSITORY if token else Refusal(401, "RepoNotFound"))
        return found


class Answer(NamedTuple):
    body: bytes
    headers: dict[str, str]


Route = tuple[str, re.Pattern[str], str]
NAME = r"(?P<repo>[^/]+/[^/]+)"
ROUTES: tuple[Route, ...] = (
    ("POST", re.compile("/api/repos/create"), "create"),
    ("POST", re.compile("/api/validate-yaml"), "validate"),
    ("POST", re.compile(rf"/api/models/{NAME}/preupload/(?P<revision>[^/]+)"), "preupload"),
    ("POST", re.compile(rf"/api/models/{NAME}/commit/(?P<revision>[^/]+)"), "commit"),
    ("GET", re.compile(rf"/api/models/{NAME}"), "info"),
    ("GET", re.compile(rf"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<file>.+)"), "resolve"),
)


class HubHandler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        authorization = self.headers.get("Authorization", "")
        self.hub.seen.append((self.command, path, authorization))
        try:
            found = self.routed(path, body, authorization.removeprefix("Bearer "))
        except HubError as error:
            said = as_json({"error": "refused", "url": error.refusal.url})
            headers = {**said.headers, "X-Error-Code": error.refusal.code}
            self.respond(error.refusal.status, Answer(said.body, headers))
        else:
            self.respond(200, found)

    do_GET = do_HEAD = do_POST = answer  # noqa: N815 - so named by http.server

    def routed(self, path: str, body: bytes, token: str) -> Answer:
        method = "GET" if self.command == "HEAD" else self.command
        for verb, pattern, name in ROUTES:
            found = pattern.fullmatch(path)
            if verb == method and found:
                parts = {key: unquote(value) for key, value in found.groupdict().items()}
                made: Answer = getattr(self, name)(body, token, **parts)
                return made
        raise HubError(Refusal(501))

    def respond(self, status: int, answer: Answer) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def create(self, body: bytes, token: str) -> Answer:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.refusals:
            raise HubError(self.hub.refusals[name])
        self.writer(token)
        if name in self.hub.repositories:
            raise HubError(Refusal(409, url=f"{self.hub.url}/{name}"))
        made = Repository(private=asked.get("visibility") == "private")
        made.commit(MAIN, {".gitattributes": b"*.bin filter=lfs\n"})
        self.hub.repositories[name] = made
        return as_json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def validate(self, body: bytes, token: str) -> Answer:
        """A card's metadata: YAML, with a licence that the Hub knows."""
        _, metadata, _ = json.loads(body)["content"].split("---\n", 2)
        licence = yaml.safe_load(metadata).get("license", "mit")
        errors = [] if licence in LICENCES else [{"message": f"unknown licence {licence}"}]
        if errors:
            raise HubError(Refusal(400))
        return as_json({"errors": errors, "warnings": []})

    def preupload(self, body: bytes, token: str, repo: str, revision: str) -> Answer:
        self.writer(token)
        self.hub.repository(repo, token).found(revision)
        files = json.loads(body)["files"]
        plain = {"uploadMode": "regular", "shouldIgnore": False}
        return as_json({"files": [{"path": file["path"], **plain} for file in files]})

    def commit(self, body: bytes, token: str, repo: str, revision: str) -> Answer:
        self.writer(token)
        repository = self.hub.repository(repo, token)
        repository.found(revision)
        changes = {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                value = line["value"]
                assert value["encoding"] == "base64"
                changes[value["path"]] = base64.b64decode(value["content"])
        made = repository.commit(revision, changes)
        url = f"{self.hub.url}/{repo}/commit/{made}"
        return as_json({"success": True, "commitOid": made, "commitUrl": url})

    def info(self, body: bytes, token: str, repo: str) -> Answer:
        commit = self.hub.repository(repo, token).found(MAIN)
        return as_json({"id": repo, "modelId": repo, "sha": commit, "siblings": []})

    def resolve(self, body: bytes, token: str, repo: str, revision: str, file: str) -> Answer:
        repository = self.hub.repository(repo, token)
        commit = repository.found(revision)
        data = repository.commits[commit].get(file)
        if data is None:
            raise HubError(NO_FILE)
        size = self.hub.announced_size if self.command == "HEAD" else None
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Content-Length": str(len(data) if size is None else size),
        }
        return Answer(data, headers)

    def writer(self, token: str) -> None:
        if not token:
            raise HubError(NO_TOKEN)
        if token not in self.hub.tokens:
            raise HubError(Refusal(403))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def as_json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode(), {"Content-Type": "application/json"})


@contextmanager
def local_hub() -> Iterator[LocalHub]:
    """The stand-in, while the block runs."""
    hub = LocalHub()
    handler = type("Handler", (HubHandler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
