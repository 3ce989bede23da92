"""Requests through the proxy while the upstream and the clients misbehave: `python -m
tests.benchmarks.proxy_faults`.

The number of requests may be given as an argument; 10,000 take some minutes. Every picture is
another one, so one that went to the wrong place would be seen. Counted: bodies at the upstream
that are neither the prompted one nor, where the proxy says so, the plain one; replies that the
upstream sent whole and a client that stayed did not get; half replies that look whole; descriptors
that the proxy has open at the end beyond those at the start; memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bbtvp.deploy import transform_request
from tests.benchmarks.proxy_traffic import (
    CHAT,
    HOST,
    REPLY,
    Received,
    Running,
    Upstream,
    bbtvp_proxy,
    chat_request,
    head,
    in_thread,
    photo,
    prompt_of,
    whole,
)

AT_ONCE = 32
EVENTS = [f'data: {{"n": {i}}}\n\n'.encode() for i in range(5)]
STREAMED = b"".join(EVENTS)
UPSTREAM = (
    *("ok", "stream", "drip", "error-500", "error-429"),
    *("reset-first", "reset-half", "half-length", "half-chunked", "stall"),
)
SENT_WHOLE = {
    "ok": (200, REPLY),
    "stream": (200, STREAMED),
    "drip": (200, STREAMED),
    "error-500": (500, REPLY),
    "error-429": (429, REPLY),
}
"""What a client must get of an upstream that answers to the end."""
CLIENTS = (
    *("stays", "stays", "stays", "reads slowly"),
    *("leaves in the request", "leaves waiting", "leaves in the reply"),
)


async def answer(asked: Received, writer: asyncio.StreamWriter) -> bool:
    """Answer with the fault that the request names."""
    fault = asked.headers.get("x-fault", "ok")
    if fault in ("stream", "drip"):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in EVENTS:
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.02 if fault == "drip" else 0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
    if fault == "stall":
        await asyncio.sleep(1)
    if fault in ("stall", "reset-first"):
        writer.transport.abort()
        return False
    if fault == "half-chunked":
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"5\r\nhalf!\r\n")
        await writer.drain()
        return False
    status = {"error-500": "500 Broken", "error-429": "429 Slow Down"}.get(fault, "200 OK")
    reply = whole(REPLY, status)
    half = fault in ("reset-half", "half-length")
    writer.write(reply[: len(reply) - len(REPLY) // 2] if half else reply)
    await writer.drain()
    if fault == "reset-half":
        await asyncio.sleep(0.01)
        writer.transport.abort()
    return not half


@dataclass
class Case:
    """A request, how the upstream answers it, and what its client does."""

    number: int
    fault: str
    client: str
    body: bytes
    expected: str


async def exchange(port: int, case: Case) -> tuple[int, bytes, bool] | None:
    """Send a request; return the status, the body and whether it was whole.

    None if the client left.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    fields = {"x_fault": case.fault, "x_number": str(case.number), "connection": "close"}
    raw = head(CHAT, len(case.body), **fields) + case.body
    try:
        if case.client == "leaves in the request":
            writer.write(raw[: len(raw) // 2])
            await writer.drain()
            return None
        writer.write(raw)
        await writer.drain()
        if case.client == "leaves waiting":
            await asyncio.sleep(0.01)
            return None
        if case.client == "leaves in the reply":
            await reader.read(1)
            return None
        got = b""
        size = 7 if case.client == "reads slowly" else 65536
        while part := await asyncio.wait_for(reader.read(size), 60):
            got += part
            if size == 7 and len(got) % 70 == 0:
                await asyncio.sleep(0.002)
        return _parsed(got)
    except ConnectionError:
        return 0, b"", False
    finally:
        writer.transport.abort()


def _parsed(got: bytes) -> tuple[int, bytes, bool]:
    start, _, body = got.partition(b"\r\n\r\n")
    if not body and not start:
        return 0, b"", False
    status = int(start.split()[1])
    lines = start.lower().split(b"\r\n")
    lengths = [int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")]
    if lengths:
        return status, body, len(body) == lengths[0]
    plain = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if not size or int(size, 16) == 0:
            return status, plain, bool(size)
        plain += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return status, plain, False


def judged(case: Case, got: tuple[int, bytes, bool]) -> str:
    """What is wrong with the reply that a client got, "" if nothing."""
    status, body, complete = got
    if case.fault in SENT_WHOLE:
        return "" if complete and (status, body) == SENT_WHOLE[case.fault] else "lost reply"
    if complete and status < 500:
        return "half reply that looks whole"
    return ""


async def traffic(running: Running, cases: list[Case]) -> Counter[str]:
    """Send all requests, some at a time; count what is wrong."""
    faults: Counter[str] = Counter()
    waiting = iter(cases)

    async def sender() -> None:
        for case in waiting:
            got = await exchange(running.port, case)
            faults["left by the client" if got is None else judged(case, got)] += 1

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return faults


def cases_of(count: int) -> list[Case]:
    """Requests with as many pictures, each with a fault and a client."""
    prompt = prompt_of("default", 64)
    rng = random.Random(0)
    found = []
    for number in range(count):
        body = chat_request(photo(number, (48, 40), noise=9.0))
        done = transform_request(body, "chat", prompt)
        expected = hashlib.sha256(done.body).hexdigest()
        found.append(Case(number, rng.choice(UPSTREAM), rng.choice(CLIENTS), body, expected))
    return found


async def settled(proxy: Running) -> tuple[int, list[int]]:
    """Return the proxy's descriptors and its memory, once it has closed what it kept open.

    Connections to the upstream are kept for 5 s, and closed with the next request after that.
    """
    for number in (0, 1):
        body = chat_request(photo(number, (48, 40), noise=9.0))
        await exchange(proxy.port, Case(0, "ok", "stays", body, ""))
        await asyncio.sleep(6)
    return proxy.descriptors(), proxy.megabytes()


def _counts(name: str) -> bool:
    return name.startswith("bbtvp_requests_total") and 'outcome="failed"' in name


async def measured(count: int) -> None:
    """Print the table."""
    cases = cases_of(count)
    upstream = Upstream(answer)
    listening = await upstream.start()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "pets.vprompt")
        prompt_of("default", 64).save(bundle)
        log = Path(folder, "log")
        async with in_thread(bbtvp_proxy(upstream.url, bundle, log)) as proxy:
            await traffic(proxy, cases[:100])
            before = await settled(proxy)
            upstream.received.clear()
            faults = await traffic(proxy, cases)
            received = list(upstream.received)
            after = await settled(proxy)
            metrics = await asyncio.to_thread(proxy.metrics)
        errors = log.read_text().count("Traceback")
    listening.close()
    plain = sum(value for name, value in metrics.items() if _counts(name))
    wrong = unprompted = 0
    for asked in received:
        case = cases[int(asked.headers["x-number"])]
        if asked.body == hashlib.sha256(case.body).hexdigest():
            unprompted += 1
        elif asked.body != case.expected:
            wrong += 1
    print(f"{len(cases):,} requests, {len(received):,} reached the upstream")
    print(f"wrong image           {wrong}")
    print(f"lost reply            {faults['lost reply']}")
    print(f"half looked whole     {faults['half reply that looks whole']}")
    print(f"unprompted, counted   {unprompted} of {plain:.0f}")
    print(f"clients that left     {faults['left by the client']}")
    print(f"descriptors           {before[0]} before, {after[0]} after")
    print(f"memory, MB            {before[1]} before, {after[1]} after")
    print(f"tracebacks in the log {errors}")


if __name__ == "__main__":
    asyncio.run(measured(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
