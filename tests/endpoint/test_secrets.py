"""Whatever goes wrong, no file, stream or exception holds the key."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import numpy as np
import pytest

from bbtvp.core.errors import BbtvpError
from bbtvp.models import (
    Budget,
    InMemoryCache,
    MeteredModel,
    QueryFailed,
    Request,
    load_model,
    probe_model,
)
from tests.endpoint.faulty import FaultyServer, Script, Seen, Step, in_turn
from tests.support import ROOT, folder_of_patterns

KEY = "sk-Kq7fJ2mN/8vX4bZ1c+Ty9Lw3=Q"
"""With the characters that look otherwise in a URL and in base64."""
LOUD = """
import logging, signal
# Interrupts are ignored where the tests run in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
logging.basicConfig(level=logging.DEBUG)
from bbtvp.cli import main
main()
"""
"""The command line with everything logged that any library has to say."""


def forms(key: str = KEY) -> set[bytes]:
    """All that gives the key away: it or half of it, plain or in URLs, JSON and base64."""
    found = {
        key,
        key[3:15],
        key[15:],
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        key.encode().hex(),
    }
    for before in range(3):  # bytes of something else in the same group of three
        data = b"\0" * before + key.encode()
        whole = len(data) // 3 * 4
        found |= {
            encode(data).decode()[4:whole]
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
        }
    return {form.encode() for form in found}


def leaks(where: str, data: bytes) -> list[str]:
    return [f"{form.decode()} in {where}" for form in forms() if form in data]


def leaks_of_files(folder: Path, *, but: Iterable[Path] = ()) -> list[str]:
    """In every file, unpacked where it is an archive; also in the names."""
    found: list[str] = []
    for path in folder.rglob("*"):
        found += leaks(f"the name of {path}", str(path).encode())
        if path.is_file() and path not in but:
            found += leaks(str(path), path.read_bytes())
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    found += [
                        leak
                        for name in archive.namelist()
                        for leak in leaks(name, archive.read(name))
                    ]
    return found


class Service(NamedTuple):
    """A vendor as a command names it; path: what follows the server's address in its base URL."""

    spec: str
    variable: str
    good: dict[str, Any]
    refusal: dict[str, Any]
    path: str = ""
    batch: bool = False


def _chat(text: str | None, refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    return {
        "object": "chat.completion",
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1},
    }


def _claude(text: str, **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 9, "output_tokens": 1}
    return {
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": usage,
    } | fields


def _gemini(text: str) -> dict[str, Any]:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 1}
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}


NO = f"I will not, says Bearer {KEY}"
CHAT = _chat("rows"), _chat(None, NO)
SERVICES = {
    "openai": Service("openai/gpt-4o", "OPENAI_API_KEY", *CHAT, "/v1", True),
    "openai-api": Service("openai-api/shop/eye", "SHOP_API_KEY", *CHAT, "/v1"),
    "azure": Service("azure/gpt-4o", "AZURE_OPENAI_API_KEY", *CHAT),
    "anthropic": Service(
        "anthropic/claude-sonnet-4-5",
        "ANTHROPIC_API_KEY",
        _claude("rows"),
        _claude("", stop_reason="refusal", stop_details={"category": "other", "explanation": NO}),
        batch=True,
    ),
    "gemini": Service(
        "gemini/gemini-2.5-flash",
        "GEMINI_API_KEY",
        _gemini("rows"),
        {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": NO}},
        batch=True,
    ),
}


def said() -> str:
    """What a careless server tells of a request: the key as it came, quoted and packed."""
    packed = base64.b64encode(f"Bearer {KEY}".encode()).decode()
    return f"you sent {KEY} (Bearer {KEY}; ?key={quote(KEY, safe='')}; {quote_plus(KEY)}; {packed})"


def error(status: int, code: str = "odd") -> Step:
    body = json.dumps(
        {"error": {"code": code, "type": code, "status": code, "message": said()}}
    ).encode()
    return Step(status, body, {"X-Echo": KEY, "Retry-After-Ms": "5"})


def faults(elsewhere: str) -> dict[str, Step]:
    """Ways to fail; elsewhere: the address of another host."""
    broken = json.dumps({"choices": said(), "content": said(), "candidates": said()}).encode()
    return {
        "401": error(401, "invalid_api_key"),
        "403": error(403, "permission_denied"),
        "404": error(404, "model_not_found"),
        "400": error(400, "invalid_request_error"),
        "429": error(429, "rate_limit_exceeded"),
        "no money": error(429, "insufficient_quota"),
        "500": error(500),
        "error in 200": Step(200, error(500).body),
        "another API": Step(200, broken),
        "truncated": Step(200, broken[:-9]),
        "a page": Step(502, f"<html><title>{said()}</title><p>{said()}".encode()),
        "text": Step(200, said().encode()),
        "reset": Step(200, broken, manner="reset"),
        "redirect": Step(307, said().encode(), {"Location": f"{elsewhere}/v1/chat/completions"}),
    }


FAULTS = [*faults(""), "refusal"]


@pytest.fixture
def elsewhere() -> Iterator[FaultyServer]:
    """Another host, which is to hear nothing."""
    with FaultyServer(lambda seen: Step()) as other:
        yield other
        assert other.seen == []


def script(service: Service, fault: str, elsewhere: FaultyServer, *, good: int = 0) -> Script:
    """So many good answers, then the fault for ever."""
    answer, refusal = (
        Step(body=json.dumps(reply).encode()) for reply in (service.good, service.refusal)
    )
    then = (faults(f"http://localhost:{elsewhere.port}") | {"refusal": refusal, "none": answer})[
        fault
    ]
    return in_turn([answer] * good, then)


def came(server: FaultyServer) -> bool:
    """Whether the key went out, where it belongs."""
    return any(KEY in value for seen in server.seen for value in seen.headers.values())


def base(server: FaultyServer, service: Service) -> str:
    return f"http://127.0.0.1:{server.port}{service.path}"


OPTIONS: dict[str, Any] = {"retries": 1, "stop_after": 3, "total": 5.0, "timeout": 2.0}


def requests(count: int) -> list[Request]:
    images = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)
    return [Request(image, "which pattern is this?") for image in images]


# -- in process -----------------------------------------------------------------------------------
def test_the_forms_are_found_wherever_they_begin() -> None:
    for before in ("", "a", "ab", "abc", "Bearer ", "user:"):
        assert leaks("", base64.b64encode(f"{before}{KEY} and more".encode()))
    assert (
        leaks("", quote(f"x {KEY}").encode())
        and leaks("", f"…{KEY[:16]}…".encode())
        and not leaks("", b"sk-***")
    )


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SERVICES)
def test_no_error_shows_the_key(
    name: str,
    fault: str,
    elsewhere: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = SERVICES[name]
    shown = ""
    monkeypatch.setenv(service.variable, KEY)
    caplog.set_level(logging.DEBUG)
    with FaultyServer(script(service, fault, elsewhere)) as server:
        options = OPTIONS | {"retries": int(name == "openai")}  # each takes a second
        model = load_model(service.spec, base_url=base(server, service), **options)
        for ask in (
            lambda: probe_model(model, Budget()),
            lambda: MeteredModel(model, InMemoryCache(), budget=Budget(40)).query(requests(6)),
        ):
            try:
                outcomes = ask()
            except BbtvpError as caught:
                shown += (
                    "".join(traceback.format_exception(caught)) + repr(caught) + repr(vars(caught))
                )
                shown += repr(caught.__cause__) + repr(caught.__context__)
            else:
                shown += repr(outcomes)
                failed = [outcome for outcome in outcomes or () if isinstance(outcome, QueryFailed)]
                assert failed or "Probe" in repr(outcomes)
        assert came(server)
    shown += (
        repr(model) + repr(vars(model)["api"]) + caplog.text + "".join(map(repr, caplog.records))
    )
    assert leaks("what was said", shown.encode()) + leaks_of_files(tmp_path) == []


@pytest.mark.parametrize("fault", ["401", "400", "500", "text", "another API", "redirect", "reset"])
@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service.batch])
def test_no_error_of_a_batch_shows_the_key(
    name: str,
    fault: str,
    elsewhere: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = SERVICES[name]
    monkeypatch.setenv(service.variable, KEY)
    caplog.set_level(logging.DEBUG)
    with FaultyServer(script(service, fault, elsewhere)) as server:
        model = load_model(
            service.spec, base_url=base(server, service), batch=True, poll=0.001, **OPTIONS
        )
        with pytest.raises(BbtvpError) as caught:
            MeteredModel(model, InMemoryCache(), budget=Budget(40)).query(requests(6))
        assert came(server)
    shown = (
        "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + caplog.text
    )
    assert leaks("what was said", shown.encode()) + leaks_of_files(tmp_path) == []


@pytest.mark.parametrize("kind", ["400", "refusal", "another API", "unasked", "failed"])
def test_no_result_of_a_batch_shows_the_key(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = SERVICES["openai"]
    replies = {
        "400": (400, json.loads(error(400).body)),
        "refusal": (200, service.refusal),
        "another API": (200, {}),
    }
    replies["another API"][1].update(
        choices=[{"message": {}, "finish_reason": said(), said(): said()}]
    )
    names: list[str] = []

    def answer(seen: Seen) -> Step:
        if seen.path.endswith("/files"):
            names.extend(re.findall(r'"custom_id":"(\w+)"', seen.body.decode("utf-8", "replace")))
        if seen.path.endswith("/content"):
            status, body = replies.get(kind, (0, {}))
            result = {
                "response": {"status_code": status, "body": body} if status else None,
                "error": {"message": said()},
            }
            return Step(
                body="\n".join(json.dumps({"custom_id": name} | result) for name in names).encode()
            )
        batch = {"id": "b", "status": "completed", "output_file_id": "out"}
        if kind == "failed":
            batch = {"id": "b", "status": "failed", "errors": {"data": [{"message": said()}]}}
        return Step(body=json.dumps(batch).encode())

    monkeypatch.setenv(service.variable, KEY)
    caplog.set_level(logging.DEBUG)
    with FaultyServer(answer) as server:
        model = load_model(
            service.spec, base_url=base(server, service), batch=True, poll=0.001, **OPTIONS
        )
        outcomes = model.query(requests(3))
        assert came(server) and len(names) == 3
    assert all(isinstance(outcome, QueryFailed) for outcome in outcomes)
    assert (
        leaks("what was said", (repr(outcomes) + caplog.text).encode()) + leaks_of_files(tmp_path)
        == []
    )


# -- the command line, a process of its own --------------------------------------------------------
class Ended(NamedTuple):
    """How a command ended, and where the key was seen."""

    code: int
    said: str
    leaks: list[str]


def command(
    folder: Path,
    service: Service,
    server: FaultyServer,
    *arguments: object,
    stop: bool = False,
    env_file: bool = False,
) -> Ended:
    """Run bbtvp with everything logged. stop: interrupt it once it is asking."""
    options = [
        f"-M{key}={value}" for key, value in (OPTIONS | {"base_url": base(server, service)}).items()
    ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if "KEY" not in name and "BBTVP" not in name
    }
    environment |= {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    secret = folder / "keys.env"
    first = []
    if env_file:
        secret.write_text(f"{service.variable}={KEY}\n")
        first = ["--env-file", str(secret)]
    else:
        environment[service.variable] = KEY
    line = [
        sys.executable,
        "-c",
        LOUD,
        *first,
        arguments[0],
        "--model",
        service.spec,
        *options,
        *arguments[1:],
    ]
    with subprocess.Popen(
        list(map(str, line)),
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        while stop and len(server.seen) < 12:
            assert process.poll() is None
            time.sleep(0.01)
        if stop:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert came(server), out + err
    found = (
        leaks("stdout", out.encode())
        + leaks("stderr", err.encode())
        + leaks_of_files(folder, but=[secret])
    )
    return Ended(process.returncode, out + err, found)


def optimize(folder: Path, *arguments: object) -> list[object]:
    task = folder_of_patterns(folder / "task", per_class=12)
    return [
        "optimize",
        "--task",
        task,
        "--queries",
        200,
        "--prompt",
        "tone",
        "--out",
        folder / "run",
        *arguments,
    ]


def every(
    fast: Iterable[tuple[str, str]], names: Iterable[str], faults: Iterable[str]
) -> list[Any]:
    """All pairs, of which all but a few are slow."""
    chosen = set(fast)
    pairs = [(name, fault) for name in names for fault in faults]
    return [
        pair if pair in chosen else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs
    ]


@pytest.mark.parametrize(("name", "fault"), every([("gemini", "401")], SERVICES, FAULTS))
def test_a_run_that_fails_midway_writes_no_key(
    name: str, fault: str, elsewhere: FaultyServer, tmp_path: Path
) -> None:
    service = SERVICES[name]
    with FaultyServer(script(service, fault, elsewhere, good=9)) as server:
        ended = command(
            tmp_path, service, server, *optimize(tmp_path, "-Mprobe=false", "-Mconcurrency=2")
        )
        assert len(server.seen) > 9 and (tmp_path / "run" / "journal.jsonl").exists()
    assert ended.leaks == []
    assert ended.code in (1, 2, 3), ended.said


@pytest.mark.parametrize(
    ("name", "fault"), every([("openai", "401")], SERVICES, ["401", "none", "500", "redirect"])
)
def test_a_doctor_with_a_key_from_a_file_tells_no_key(
    name: str, fault: str, elsewhere: FaultyServer, tmp_path: Path
) -> None:
    service = SERVICES[name]
    with FaultyServer(script(service, fault, elsewhere)) as server:
        ended = command(tmp_path, service, server, "doctor", "--probe", env_file=True)
    assert ended.leaks == []
    assert ended.code == (0 if fault == "none" else 1), ended.said


@pytest.mark.parametrize(("name", "fault"), every([("anthropic", "none")], SERVICES, ["none"]))
def test_an_interrupted_run_writes_no_key(
    name: str, fault: str, elsewhere: FaultyServer, tmp_path: Path
) -> None:
    service = SERVICES[name]
    answers = script(service, fault, elsewhere)

    def slowly(seen: Seen) -> Step:
        return Step(body=answers(seen).body, delay=0.3)

    with FaultyServer(slowly) as server:
        ended = command(tmp_path, service, server, *optimize(tmp_path, "-Mprobe=false"), stop=True)
    assert ended.code == 130 and "interrupted" in ended.said
    assert ended.leaks == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_a_run_out_of_budget_writes_no_key(
    name: str, elsewhere: FaultyServer, tmp_path: Path
) -> None:
    """Retries use up what was meant for the search."""
    service = SERVICES[name]
    good = script(service, "none", elsewhere)
    bad = script(service, "500", elsewhere)
    with FaultyServer(lambda seen: good(seen) if seen.number % 3 == 0 else bad(seen)) as server:
        more = "-Mprobe=false", "-Mretries=9", "-Mstop_after=500"
        ended = command(tmp_path, service, server, *optimize(tmp_path, *more))
        assert 100 < len(server.seen) <= 200
    assert ended.leaks == []
    assert ended.code in (0, 3), ended.said


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["401", "500", "text"])
@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service.batch])
def test_a_run_by_batches_that_fails_writes_no_key(
    name: str, fault: str, elsewhere: FaultyServer, tmp_path: Path
) -> None:
    service = SERVICES[name]
    with FaultyServer(script(service, fault, elsewhere)) as server:
        more = "-Mprobe=false", "-Mbatch=true", "-Mpoll=0.01"
        ended = command(tmp_path, service, server, *optimize(tmp_path, *more))
    assert ended.leaks == []
    assert ended.code == 1, ended.said
