"""Hostile requests at the proxy: `python -m tests.benchmarks.proxy_hostile`.

The number of requests may be given as an argument; 10,000 take some minutes. Beside them a few
hundred connections send their heads and bodies a byte at a time. Counted: crashes of the proxy and
of its workers, requests that were not ended within 30 s, times when a good request was not served
within 10 s, and what reached the upstream changed: another target, another body than the one that
was sent or its prompted form, a request that nobody sent. The kinds are in `KINDS`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bbtvp.deploy import transform_request
from bbtvp.prompt import Prompt
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

AT_ONCE = 24
SLOW = 300
LARGE = 100 << 20
Chance = random.Random


@dataclass
class Attack:
    """Bytes that are sent. body: what an upstream may get of it, None if it may get nothing.

    filler: bytes that follow, sent in parts. whole: of one request that is valid, whose target and
    body are known.
    """

    raw: bytes
    body: bytes | None
    target: str = CHAT
    filler: int = 0


def _valid(rng: Chance) -> bytes:
    return chat_request(photo(rng.randrange(50), (48, 40), noise=9.0))


def _post(body: bytes, number: int, target: str = CHAT, **headers: str) -> Attack:
    raw = head(target, len(body), x_number=str(number), connection="close", **headers)
    return Attack(raw + body, body, target)


def fuzzed(rng: Chance, number: int) -> Attack:
    """Bytes of a valid body changed, cut, doubled or put in."""
    body = bytearray(_valid(rng))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(body))
        how = rng.randrange(4)
        if how == 0:
            body[at] = rng.randrange(256)
        elif how == 1:
            del body[at : at + rng.randrange(40)]
        elif how == 2:
            body[at:at] = body[at : at + rng.randrange(40)]
        else:
            body[at:at] = rng.choice((b'"', b"{", b"[", b"\\", b"\\ud800", b"\x00", b"\xff", b","))
        if not body:
            body = bytearray(b"{")
    return _post(bytes(body), number)


def json_oddities(rng: Chance, number: int) -> Attack:
    """JSON that readers differ about, around a valid picture."""
    body = _valid(rng)
    odd = rng.choice(
        (
            body[:-1] + b', "messages": []}',
            body[:-1] + b', "a": 1e400, "b": -0, "c": 1E-999}',
            body[:-1] + b', "a": NaN}',
            b"\xef\xbb\xbf" + body,
            body.decode().encode("utf-16"),
            body + b" \n\t ",
            body + body,
            body.replace(b'"image_url"', b'"image\\u005furl"'),
            body.replace(b"messages", b"messages\\u0000"),
            body[:-1] + b', "\\ud800": "\\udfff"}',
            body.replace(b"user", rng.choice((b"USER", b"system", b"tool", b"user\\n"))),
            body[:-1] + b', "n": ' + b"9" * rng.randrange(1, 9000) + b"}",
            body[:-1] + b', "t": "' + "𝔘é\u2028".encode() * 50 + b'"}',
        )
    )
    return _post(odd, number)


def deep(rng: Chance, number: int) -> Attack:
    """Nesting as deep as a parser gives up at, and deeper."""
    depth = rng.choice((100, 900, 1100, 5000, 200_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    nested = opened * depth + b"1" + closed * depth
    return _post(_valid(rng)[:-1] + b', "x": ' + nested + b"}", number)


def bomb(rng: Chance, number: int) -> Attack:
    """Pictures that are small as files and large as pixels, or not what they say."""
    how = rng.randrange(4)
    if how == 0:
        side = rng.choice((3000, 7900, 8100, 60_000))
        image = _flat_png(side)
    elif how == 1:
        file = io.BytesIO()
        frames = [Image.new("P", (500, 500), i) for i in range(20)]
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        image = file.getvalue()
    elif how == 2:
        image = bytearray(photo(rng.randrange(50), (48, 40)))  # type: ignore[assignment]
        for _ in range(9):
            image[rng.randrange(len(image))] = rng.randrange(256)  # type: ignore[index]
    else:
        image = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + rng.randbytes(99)
    return _post(chat_request(bytes(image)), number)


def _flat_png(side: int) -> bytes:
    """A white PNG of side x side px; its rows are compressed once, so it costs us nothing."""
    deflate = zlib.compressobj(9)
    row = b"\x00" + b"\xff" * ((side + 7) // 8)
    data = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", data)]
    written = b"\x89PNG\r\n\x1a\n"
    for name, content in [*parts, (b"IEND", b"")]:
        crc = struct.pack(">I", zlib.crc32(name + content))
        written += struct.pack(">I", len(content)) + name + content + crc
    return written


def smuggled(rng: Chance, number: int) -> Attack:
    """Heads that two readers might cut at different places."""
    hidden = f"POST /smuggled HTTP/1.1\r\nhost: x\r\nx-number: {number}\r\n\r\n".encode()
    start = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    start += f"x-number: {number}\r\n"
    length = str(len(hidden))
    lines = rng.choice(
        (
            f"content-length: {length}\r\ntransfer-encoding: chunked\r\n",
            f"content-length: {length}\r\ncontent-length: 0\r\n",
            "content-length: 5, 6\r\n",
            f"content-length: +{length}\r\n",
            "content-length: -1\r\n",
            f"content-length: {length}\r\ntransfer-encoding : chunked\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
            f"content-length: {length}\r\nx: a\rb\r\n",
            f"content-length: {length}\r\nx: a\r\n\ttransfer-encoding: chunked\r\n",
            f"content-length: {length}\r\nx: a\x00b\r\n",
            f"x y: 1\r\ncontent-length: {length}\r\n",
            f": 1\r\ncontent-length: {length}\r\n",
            f"host: y\r\ncontent-length: {length}\r\n",
            f"connection: content-length\r\ncontent-length: {length}\r\n",
        )
    )
    raw = (start + lines + "\r\n").encode("latin-1") + rng.choice((b"0\r\n\r\n", b"")) + hidden
    return Attack(raw, None)


def targets(rng: Chance, number: int) -> Attack:
    """Targets that behind the upstream's address would be another host, or are no path."""
    target = rng.choice(
        (
            "http://127.0.0.2:9/v1/chat/completions",
            "@127.0.0.2/v1/chat/completions",
            ".example.org/v1/chat/completions",
            ":80/v1/chat/completions",
            "//127.0.0.2/v1/chat/completions",
            "/../../v1/chat/completions",
            "/v1/%2e%2e/%2fchat/completions?a=%zz&b=[{}]",
            "/v1/chat/completions#/v1/other",
            "/v1/chat/completions;a=b?%00",
            "*",
            "/\\evil",
            "/" + "a" * rng.choice((10, 7000, 70_000)),
        )
    )
    return _post(_valid(rng), number, target)


def heads(rng: Chance, number: int) -> Attack:
    """Heads that are too large or no HTTP."""
    start = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n".encode()
    raw = rng.choice(
        (
            start + b"x: " + b"a" * rng.choice((70_000, 2_000_000)) + b"\r\n\r\n",
            start + b"x: 1\r\n" * rng.choice((300, 60_000)) + b"\r\n",
            rng.randbytes(rng.randrange(1, 3000)),
            b"\x16\x03\x01\x02\x00\x01\x00" + rng.randbytes(500),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
            b"GET\r\n\r\n",
            b"\r\n" * 5000,
            start + b"content-length: 99999999999999999999\r\n\r\nx",
            start + b"expect: 100-continue\r\ncontent-length: 10\r\n\r\n",
            start + b"transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFF\r\nx",
            start + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        )
    )
    return Attack(raw, None)


def large(rng: Chance, number: int) -> Attack:
    """A body of 100 MB: a picture in base64 that never ends."""
    size = LARGE + rng.randrange(1000)
    fields = {"x_number": str(number), "connection": "close"}
    return Attack(head(CHAT, size, **fields), b"", filler=size)


Kind = Callable[[Chance, int], Attack]
KINDS: dict[Kind, int] = {
    fuzzed: 300,
    json_oddities: 200,
    smuggled: 200,
    targets: 120,
    heads: 120,
    deep: 40,
    bomb: 18,
    large: 2,
}
"""Kinds of requests, and how many of 1,000 there are."""


async def sent(port: int, attack: Attack) -> None:
    """Send an attack, and read until the proxy has answered or closed the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)

    async def write() -> None:
        writer.write(attack.raw)
        await writer.drain()
        for at in range(0, attack.filler, 1 << 20):
            writer.write(b"A" * min(1 << 20, attack.filler - at))
            await writer.drain()

    async def read() -> None:
        got = await reader.read(65536)
        with suppress(TimeoutError):  # it keeps the connection for the next request
            while got:
                got = await asyncio.wait_for(reader.read(65536), 2)

    try:
        await asyncio.gather(write(), read())
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


async def slow(port: int, number: int, stop: asyncio.Event) -> bool:
    """Send a byte a second, of a head or of a body; return whether the proxy ended it."""
    raw = head(CHAT, 10_000) if number % 2 else b"POST / HTTP/1.1\r\nhost: x\r\nx-a: "
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        if number % 2:
            writer.write(raw)
        ended = asyncio.create_task(reader.read())
        while not stop.is_set() and not ended.done():
            writer.write(b"a" if number % 2 else raw[:1] or b"a")
            raw = raw if number % 2 else raw[1:]
            await asyncio.sleep(1)
        done = ended.done()
        ended.cancel()
    except ConnectionError:
        return True
    else:
        return done
    finally:
        writer.transport.abort()


async def answer(_: Received, writer: asyncio.StreamWriter) -> bool:
    """Answer every request."""
    writer.write(whole(REPLY))
    await writer.drain()
    return True


@dataclass
class Findings:
    """What was wrong, by kind."""

    hung: Counter[str]
    changed: Counter[str]
    reached: Counter[str]
    unserved: int = 0
    slowest: float = 0.0


async def attacked(running: Running, attacks: list[tuple[str, Attack]], found: Findings) -> None:
    """Send all attacks, some at a time, and a good request every half second beside them."""
    waiting = iter(attacks)

    async def sender() -> None:
        for kind, attack in waiting:
            try:
                await asyncio.wait_for(sent(running.port, attack), 30)
            except TimeoutError:
                found.hung[kind] += 1

    async def good() -> None:
        while True:
            began = time.monotonic()
            try:
                body = chat_request(photo(0, (48, 40), noise=9.0))
                raw = head(CHAT, len(body), x_number="-1", connection="close") + body
                await asyncio.wait_for(sent(running.port, Attack(raw, body)), 10)
            except (TimeoutError, OSError):
                found.unserved += 1
            found.slowest = max(found.slowest, time.monotonic() - began)
            await asyncio.sleep(0.5)

    beside = asyncio.create_task(good())
    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    beside.cancel()


def check(
    received: list[Received], attacks: list[tuple[str, Attack]], prompt: Prompt, found: Findings
) -> None:
    """Compare what the upstream got with what was sent."""
    for asked in received:
        number = int(asked.headers.get("x-number", "-2"))
        if number == -1:
            continue
        kind, attack = attacks[number] if number >= 0 else ("unnumbered", Attack(b"", None))
        found.reached[kind] += 1
        if not _as_sent(asked, attack, prompt):
            found.changed[kind] += 1


def _as_sent(asked: Received, attack: Attack, prompt: Prompt) -> bool:
    if attack.filler:
        return asked.length == attack.filler
    if attack.body is None:
        # Of a head that can be read in one way only, its body alone; of `heads`, two have none.
        return asked.target in (CHAT, "/") and asked.body in _ways(attack.raw)
    done = transform_request(attack.body, "chat", prompt)
    allowed = {hashlib.sha256(body).hexdigest() for body in (attack.body, done.body)}
    return asked.target == attack.target and asked.body in allowed


def _ways(raw: bytes) -> set[str]:
    """Digests of the bodies that a strict reader may find in a request: a whole one, or none."""
    body = raw.partition(b"\r\n\r\n")[2]
    hidden = b"POST /smuggled" + body.partition(b"POST /smuggled")[2]
    return {hashlib.sha256(found).hexdigest() for found in (b"", body, hidden, body[: len(hidden)])}


async def measured(count: int) -> None:
    """Print the table."""
    rng = Chance(0)
    kinds = rng.choices(list(KINDS), list(KINDS.values()), k=count)
    attacks = [(kind.__name__, kind(rng, number)) for number, kind in enumerate(kinds)]
    prompt = prompt_of("default", 64)
    upstream = Upstream(answer)
    listening = await upstream.start()
    found = Findings(Counter(), Counter(), Counter())
    with tempfile.TemporaryDirectory() as folder:
        bundle, log = Path(folder, "pets.vprompt"), Path(folder, "log")
        prompt.save(bundle)
        async with in_thread(bbtvp_proxy(upstream.url, bundle, log)) as running:
            before, pids = running.megabytes(), running.pids
            stop = asyncio.Event()
            slows = [asyncio.create_task(slow(running.port, n, stop)) for n in range(SLOW)]
            await attacked(running, attacks, found)
            await asyncio.sleep(max(0, 45 - 0.01 * count))
            stop.set()
            ended = sum(await asyncio.gather(*slows))
            await asyncio.sleep(8)
            after = running.megabytes()
            alive = running.process.poll() is None
            same = running.pids == pids
            descriptors = running.descriptors()
        errors = log.read_text().count("Traceback")
    listening.close()
    check(upstream.received, attacks, prompt, found)
    print(f"{count:,} hostile requests: {dict(Counter(kind for kind, _ in attacks))}")
    print(f"reached the upstream   {dict(found.reached)}")
    print(f"crashed                {int(not alive)}; workers as before: {same}")
    print(f"hung over 30 s         {dict(found.hung)}")
    print(f"changed on the way     {dict(found.changed)}")
    print(f"slow connections ended {ended} of {SLOW}")
    print(f"good ones not served   {found.unserved}; the slowest took {found.slowest:.1f} s")
    print(f"memory, MB             {before} before, {after} after; {descriptors} descriptors")
    print(f"tracebacks in the log  {errors}")


if __name__ == "__main__":
    asyncio.run(measured(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
