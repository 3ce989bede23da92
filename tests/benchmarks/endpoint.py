"""What calling an endpoint costs, and how much of a rate limit is used, against a server in a
process of its own.

    python tests/benchmarks/endpoint.py [--rate 6000] [--seconds 60] [--latency 0.3]
        [--strays 0.01] [--knows given]
    python tests/benchmarks/endpoint.py --peer litellm --python other-venv/bin/python
    python tests/benchmarks/endpoint.py --fleet [--slots 16] [--seconds 10]

The server is a token bucket that holds a second's worth; it throttles a share of the requests
besides, at random, and speaks chat completions. Throughput is answers over what the limit allows
from the first request to the last answer; CPU is that of this process, PNG included; memory is of a
fresh process with 256 requests in flight, over idle. A peer asks the same requests of the same kind
of server, right after; it must be installed in the other environment.

--fleet: servers that work on so many requests at once and let the others wait: one alone, two, and
two of which one is three times slower, each beside what the servers can do together.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.request import urlopen

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

# Nothing of bbtvp up here: a peer's environment has only the peer.
CANVAS = 224
FLIGHT = 256


class Ran(NamedTuple):
    """answered: of so many that were asked; seconds, cpu: of the whole."""

    answered: int
    asked: int
    seconds: float
    cpu: float


# -- the server ------------------------------------------------------------------------------------
async def serve(args: argparse.Namespace) -> None:
    """Serve until standard input ends. The port goes to standard output."""
    rate = args.rate / 60
    rng = random.Random(0)
    level = rate
    at = time.monotonic()
    seen = {"attempts": 0, "throttled": 0}
    slots = asyncio.Semaphore(args.slots)
    message = {"role": "assistant", "content": "rows"}
    body: dict[str, Any] = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301},
    }
    told = f"x-ratelimit-limit-requests: {int(args.rate)}\r\n" if args.knows == "told" else ""

    def packed(status: str, content: dict[str, Any], headers: str = told) -> bytes:
        text = json.dumps(content)
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: "
            f"{len(text)}\r\n\r\n"
        )
        return (head + text).encode()

    answer = packed("200 OK", body)
    refusal = packed(
        "429 Too Many Requests",
        {"error": {"code": "rate_limit_exceeded", "message": "slow"}},
        f"Retry-After: 1\r\n{told}",
    )

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal level, at
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.split(b":", 1) for line in head.lower().split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields.get(b"content-length", 0)))
                if head.startswith(b"GET /seen"):
                    writer.write(packed("200 OK", seen))
                    continue
                now = time.monotonic()
                level = min(rate, level + (now - at) * rate)
                at = now
                seen["attempts"] += 1
                if level < 1 or rng.random() < args.strays:
                    seen["throttled"] += 1
                    writer.write(refusal)
                    continue
                level -= 1
                async with slots:
                    await asyncio.sleep(args.latency)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


@contextmanager
def server(args: argparse.Namespace, **changes: object) -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    options = {
        name: getattr(args, name) for name in ("rate", "latency", "strays", "knows", "slots")
    } | changes
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    child = subprocess.Popen(
        [sys.executable, __file__, "--role", "server", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/v1"  # type: ignore[union-attr]
        child.stdin.close()  # type: ignore[union-attr]


def seen(url: str) -> dict[str, int]:
    with urlopen(url.replace("/v1", "/seen")) as reply:
        return dict(json.load(reply))


# -- ours ------------------------------------------------------------------------------------------
def photo() -> Any:
    """(CANVAS, CANVAS, 3) uint8 that packs as a photograph does: smooth shapes and some noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:CANVAS, :CANVAS] / CANVAS
    waves = [np.sin(rng.uniform(2, 25) * x + rng.uniform(2, 25) * y + c) for c in range(3)]
    smooth = 128 + 60 * np.stack(waves, axis=2)
    return (smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)


def chat(png: bytes) -> dict[str, Any]:
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "which pattern is this?"},
    ]
    return {
        "model": "m",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 4,
        "temperature": 0,
    }


def ours(
    url: str,
    n: int,
    rate: float | None,
    *,
    fleet: Sequence[str] = (),
    during: Callable[[], None] | None = None,
) -> Ran:
    """Ask n requests through `Caller`; each encodes its image when its turn comes. fleet: addresses
    in place of one.
    """
    from bbtvp.endpoint.caller import Caller
    from bbtvp.endpoint.fleet import Fleet
    from bbtvp.endpoint.images import encode
    from bbtvp.endpoint.limiter import RateLimiter
    from bbtvp.endpoint.pending import PendingRequest
    from bbtvp.endpoint.provider import HttpRequest, Json
    from bbtvp.endpoint.transport import Timeouts, Transport
    from bbtvp.models import Budget

    pixels = photo()
    transport = Transport(Timeouts())

    class ChatRequest(PendingRequest):
        def http_request(self) -> HttpRequest:
            body = json.dumps(chat(encode(pixels).data)).encode()
            headers = {"Authorization": "Bearer sk-benchmark", "Content-Type": "application/json"}
            return HttpRequest("POST", f"{url}/chat/completions", headers, body)

        def read(self, reply: Json) -> float:
            return float(len(reply["choices"]))

    limiter = RateLimiter(requests=rate, most=FLIGHT)
    caller = Caller(
        transport,
        limiter,
        explain=lambda status, reply: ("", str(reply)),
        key_variable="OPENAI_API_KEY",
        secrets=[],
        fleet=Fleet([f"{base}/chat/completions" for base in fleet], "m"),
    )
    if during is not None:
        threading.Thread(target=during, daemon=True).start()
    began = time.perf_counter()
    cpu = time.process_time()
    requests = [ChatRequest(0.0, 300) for _ in range(n)]
    caller.run(requests, Budget())
    took = time.perf_counter() - began
    cpu = time.process_time() - cpu
    transport.close()
    return Ran(sum(request.failure is None for request in requests), n, took, cpu)


def memory(url: str) -> tuple[float, float]:
    """MB over idle at 256 in flight, and MB when idle."""
    for _ in range(2):  # imports, first touch
        ours(url, 8, None)
    idle = resident()
    highest = [0.0]

    def watch() -> None:
        while True:
            highest[0] = max(highest[0], resident())
            time.sleep(0.02)

    ours(url, 4 * FLIGHT, 1e6, during=watch)
    return highest[0] - idle, idle


def resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# -- peers -----------------------------------------------------------------------------------------
async def litellm_(url: str, png: bytes, n: int, rate: float) -> int:
    """LiteLLM's router, which knows the limit."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = (
        "True"  # else it looks for prices on the network first
    )
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    settings = {
        "model": "hosted_vllm/m",
        "api_base": url,
        "api_key": "sk-benchmark",
        "rpm": int(rate),
    }
    router = litellm.Router(
        model_list=[{"model_name": "m", "litellm_params": settings}],
        num_retries=8,
        disable_cooldowns=True,
        default_max_parallel_requests=FLIGHT,
    )
    gate = asyncio.Semaphore(FLIGHT)

    async def ask() -> bool:
        async with gate:
            try:
                reply = await router.acompletion(**chat(png))
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is an answer that it did not get
                print(type(error).__name__, file=sys.stderr)
                return False
            return bool(reply.choices)

    return sum(await asyncio.gather(*(ask() for _ in range(n))))


async def inspect_ai_(url: str, png: bytes, n: int, rate: float) -> int:
    """inspect_ai's model, with as many connections as it wants up to 256."""
    from inspect_ai.model import (
        ChatMessageUser,
        ContentImage,
        ContentText,
        GenerateConfig,
        get_model,
    )

    config = GenerateConfig(max_connections=FLIGHT, max_retries=8, max_tokens=4, temperature=0)
    model = get_model("openai-api/local/m", base_url=url, api_key="sk-benchmark", config=config)
    image = f"data:image/png;base64,{base64.b64encode(png).decode()}"

    async def ask() -> bool:
        message = ChatMessageUser(
            content=[ContentImage(image=image), ContentText(text="which pattern is this?")]
        )
        try:
            return bool((await model.generate([message])).choices)
        except Exception as error:  # noqa: BLE001 - as above
            print(type(error).__name__, file=sys.stderr)
            return False

    return sum(await asyncio.gather(*(ask() for _ in range(n))))


PEERS = {"litellm": litellm_, "inspect_ai": inspect_ai_}


def child(args: argparse.Namespace) -> None:
    """A peer's run; its result goes to standard output as JSON."""
    png = base64.b64decode(sys.stdin.read())
    ask = PEERS[args.peer]
    asyncio.run(ask(args.url, png, 4, args.rate))  # imports, first connections
    began = time.perf_counter()
    cpu = time.process_time()
    answered = asyncio.run(ask(args.url, png, args.n, args.rate))
    print(json.dumps(Ran(answered, args.n, time.perf_counter() - began, time.process_time() - cpu)))


def peer(args: argparse.Namespace, url: str, n: int) -> Ran:
    from bbtvp.endpoint.images import encode

    words = [
        "--role",
        "peer",
        "--peer",
        args.peer,
        "--url",
        url,
        "--n",
        str(n),
        "--rate",
        str(args.rate),
    ]
    done = subprocess.run(
        [args.python, __file__, *words],
        input=base64.b64encode(encode(photo()).data).decode(),
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return Ran(*json.loads(done.stdout.splitlines()[-1]))


def fleets(args: argparse.Namespace) -> None:
    """One line for each make-up of the fleet."""
    for slower in ((1,), (1, 1), (1, 3)):
        able = sum(args.slots / (args.latency * times) for times in slower)
        with ExitStack() as stack:
            urls = [
                stack.enter_context(server(args, rate=1e6, strays=0, latency=args.latency * times))
                for times in slower
            ]
            ran = ours("fleet:m", int(able * args.seconds), None, fleet=urls)
            shares = [f"{seen(url)['attempts'] / ran.asked:.3f}" for url in urls]
        print(
            f"times slower {slower}: {ran.answered / ran.seconds:.1f} a second of {able:.1f} "
            f"({ran.answered} of {ran.asked} answered), shares {', '.join(shares)}",
            flush=True,
        )


# -- the report ------------------------------------------------------------------------------------
def report(name: str, ran: Ran, args: argparse.Namespace, url: str) -> float:
    used = ran.answered / (args.rate / 60 * ran.seconds)
    counts = seen(url)
    each = 1000 * ran.cpu / ran.asked
    print(
        f"{name}: {used:.3f} of the limit ({ran.answered} of {ran.asked} answered in "
        f"{ran.seconds:.1f} s, "
        f"{counts['attempts']} attempts, {counts['throttled']} throttled), {each:.2f} ms of CPU "
        "each",
        flush=True,
    )
    return float(used)


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rate", type=float, default=6000, help="requests per minute that the server allows"
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long asking all should take")
    parser.add_argument("--latency", type=float, default=0.3)
    parser.add_argument("--strays", type=float, default=0.01, help="share throttled for no reason")
    parser.add_argument(
        "--knows",
        choices=["given", "told", "unknown"],
        default="given",
        help="how we know the limit",
    )
    parser.add_argument("--fleet", action="store_true")
    parser.add_argument(
        "--slots", type=int, default=None, help="requests that a server works on at once"
    )
    parser.add_argument("--peer", choices=PEERS)
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the peer's environment"
    )
    parser.add_argument(
        "--role",
        choices=["main", "server", "peer", "memory"],
        default="main",
        help=argparse.SUPPRESS,
    )
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.slots = args.slots or (16 if args.fleet else 100_000)
    if args.role == "server":
        asyncio.run(serve(args))
    elif args.role == "peer":
        child(args)
    elif args.role == "memory":
        print("{:.0f} MB over {:.0f} MB when idle".format(*memory(args.url)))
    elif args.fleet:
        fleets(args)
    else:
        n = int(args.rate * args.seconds / 60)
        with server(args) as url:
            used = report(
                f"bbtvp (limit {args.knows})",
                ours(url, n, args.rate if args.knows == "given" else None),
                args,
                url,
            )
        if args.peer:
            with server(args) as url:
                print(
                    f"bbtvp / {args.peer}: "
                    f"{used / report(args.peer, peer(args, url, n), args, url):.2f}"
                )
        else:
            with server(args, rate=1e6, latency=3, strays=0) as url:
                print(f"{FLIGHT} in flight: ", end="", flush=True)
                subprocess.run(
                    [sys.executable, __file__, "--role", "memory", "--url", url], check=True
                )


if __name__ == "__main__":
    main()
