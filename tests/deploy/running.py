"""A proxy that runs in this process, and what the tests send through it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from bbtvp.deploy.proxy import ProxySettings, proxy_app
from bbtvp.deploy.routes import Route
from bbtvp.deploy.server import server_config
from tests.deploy.conftest import bodies

KEY = "sk-test"
JSON = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
CHAT = "/v1/chat/completions"


@contextmanager
def proxy(upstream: str, bundle: Path, **options: Any) -> Iterator[str]:
    """The address of a proxy that is gone at the end of the block."""
    rule = {"bundle": bundle, **options.pop("rule", {})}
    app = proxy_app([Route.model_validate(rule)], ProxySettings(upstream, **options))
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = uvicorn.Server(server_config(app, host="127.0.0.1", port=0, grace=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def chat_body(picture: str) -> bytes:
    return json.dumps(bodies(picture)["chat"]).encode()


def counted(address: str, outcome: str) -> float:
    """How many requests the metrics give for an outcome."""
    lines = httpx.get(f"{address}/bbtvp/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("bbtvp_requests_total{")]
    return sum(float(line.split()[-1]) for line in found if f'outcome="{outcome}"' in line)
