"""What `bbtvp proxy` adds to a request, beside LiteLLM's proxy with the callback.

    python -m tests.benchmarks.proxy_load [--litellm PYTHON] [--rate 50] [--seconds 20] [--rounds 3]
        [--preset default] [--canvas 448] [--workers N]

Chat completions with JPEGs of 300 kB (1,024 x 768 px) at a fixed rate: the times of arrival are set
before, and a latency counts from the time at which its request was due, so that a slow server does
not slow its own measurement (no coordinated omission). The upstream answers at once. It, the
clients and the server share this machine's cores. Arms take turns, in rounds. Added is an arm's
quantile less that of the upstream asked directly. `--litellm` names a Python that has
`litellm[proxy]`, numpy, Pillow and pydantic.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from bbtvp.deploy import transform_request
from tests.benchmarks.proxy_traffic import (
    CHAT,
    HOST,
    REPLY,
    ROOT,
    Received,
    Running,
    Upstream,
    bbtvp_proxy,
    chat_request,
    free_port,
    head,
    in_thread,
    photo,
    prompt_of,
    server,
    whole,
)

KEY = "sk-local-0123456789abcdef0123456789abcdef"
PICTURES = 8
REPLIED = whole(REPLY)


async def answer(_: Received, writer: asyncio.StreamWriter) -> bool:
    """Answer at once."""
    writer.write(REPLIED)
    return True


class Clients:
    """Connections to one server, each used by one request at a time and kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.failed = 0

    async def ask(self, raw: bytes, due: float) -> float:
        """Send a request, and return the seconds from when it was due to the end of its reply."""
        try:
            reader, writer = await self._connection()
            writer.write(raw)
            start = await reader.readuntil(b"\r\n\r\n")
            if not start.startswith(b"HTTP/1.1 200"):
                self.failed += 1
            await _read_body(reader, start.lower())
            self._idle.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            self.failed += 1
        return time.perf_counter() - due

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
        return await asyncio.open_connection(HOST, self._port)

    def close(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _read_body(reader: asyncio.StreamReader, start: bytes) -> None:
    lengths = [line for line in start.split(b"\r\n") if line.startswith(b"content-length:")]
    if lengths:
        await reader.readexactly(int(lengths[0].split(b":")[1]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def loaded(
    port: int, raw: list[bytes], rate: float, seconds: float
) -> tuple[list[float], int]:
    """Send requests at a fixed rate; return the latencies in seconds, and how many failed."""
    clients = Clients(port)
    begin = time.perf_counter() + 0.1
    tasks = []
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(clients.ask(raw[number % len(raw)], due)))
    latencies = await asyncio.gather(*tasks)
    clients.close()
    return latencies, clients.failed


@asynccontextmanager
async def litellm(python: str, upstream: str, folder: Path) -> AsyncIterator[Running]:
    """Run LiteLLM's proxy as the example configures it."""
    port = free_port()
    config = ROOT / "examples" / "litellm" / "config.yaml"
    command = [python, "-m", "litellm.proxy.proxy_cli", "--config", str(config), "--host", HOST]
    command += ["--port", str(port), "--telemetry", "False"]
    environment = {
        "BBTVP_BUNDLE": str(folder / "pets.vprompt"),
        "PYTHONPATH": str(ROOT),
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "OPENAI_API_KEY": "sk-vendor",
        "OMP_NUM_THREADS": "1",
    }
    ready = "/health/liveliness"
    block = server(command, port, ready, environment, folder / "litellm.log")
    async with in_thread(block) as running:
        yield running


def busy_seconds(running: Running) -> float:
    """Processor seconds of a server's processes so far."""
    ticks = 0
    for pid in running.pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


async def measured(options: argparse.Namespace) -> None:
    """Print the table."""
    prompt = prompt_of(options.preset, options.canvas)
    bodies = [
        chat_request(photo(i, (1024, 768), noise=13), model="openai/m") for i in range(PICTURES)
    ]
    fields = {"authorization": f"Bearer {KEY}"}
    raw = [head(CHAT, len(body), **fields) + body for body in bodies]
    began = time.process_time()
    for body in bodies:
        transform_request(body, "chat", prompt)
    own = (time.process_time() - began) / len(bodies)
    upstream = Upstream(answer, keeps=False)
    listening = await upstream.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompt.save(folder / "pets.vprompt")
        workers = ["--workers", str(options.workers)] if options.workers is not None else []
        block = bbtvp_proxy(upstream.url, folder / "pets.vprompt", folder / "log", *workers)
        async with in_thread(block) as proxy:
            ports = {"upstream": int(upstream.url.rpartition(":")[2]), "bbtvp proxy": proxy.port}
            servers = {"bbtvp proxy": proxy}
            if options.litellm:
                async with litellm(options.litellm, upstream.url, folder) as other:
                    ports["LiteLLM"] = other.port
                    servers["LiteLLM"] = other
                    table = await _rounds(ports, servers, raw, options)
            else:
                table = await _rounds(ports, servers, raw, options)
            metrics = await asyncio.to_thread(proxy.metrics)
    listening.close()
    prompted = sum(value for key, value in metrics.items() if _counts(key, "prompted"))
    size = np.mean([len(body) for body in bodies]) / 1000
    print(f"{options.preset} {options.canvas}, bodies of {size:.0f} kB, {options.rate:g} a second")
    print(f"transform_request alone: {own * 1000:.1f} ms of processor time")
    print("arm            p50 ms   p99 ms  added p50      p99  failed  cores")
    base = np.quantile(table["upstream"][0], (0.5, 0.99)) * 1000
    for arm, (latencies, failed, cores) in table.items():
        middle, high = np.quantile(latencies, (0.5, 0.99)) * 1000
        print(
            f"{arm:12} {middle:8.1f} {high:8.1f} {middle - base[0]:10.1f} {high - base[1]:8.1f} "
            f"{failed:7} {cores:6.2f}"
        )
    print(f"prompted by bbtvp proxy: {prompted:.0f}")


def _counts(name: str, outcome: str) -> bool:
    return name.startswith("bbtvp_requests_total") and f'outcome="{outcome}"' in name


Table = dict[str, tuple[list[float], int, float]]


async def _rounds(
    ports: dict[str, int],
    servers: dict[str, Running],
    raw: list[bytes],
    options: argparse.Namespace,
) -> Table:
    """Latencies, failures and processor use of each arm, over all rounds."""
    table: Table = {arm: ([], 0, 0.0) for arm in ports}
    for port in ports.values():
        await loaded(port, raw, 10, 3)  # to warm up
    for _ in range(options.rounds):
        for arm, port in ports.items():
            before = busy_seconds(servers[arm]) if arm in servers else 0.0
            latencies, failed = await loaded(port, raw, options.rate, options.seconds)
            busy = busy_seconds(servers[arm]) - before if arm in servers else 0.0
            old = table[arm]
            cores = old[2] + busy / options.seconds / options.rounds
            table[arm] = (old[0] + latencies, old[1] + failed, cores)
            await asyncio.sleep(1)
    return table


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--litellm")
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--canvas", type=int, default=448)
    parser.add_argument("--workers", type=int)
    asyncio.run(measured(parser.parse_args()))


if __name__ == "__main__":
    main()
