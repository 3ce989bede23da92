"""The main job by a batch interface: each generation of candidates is one batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bbtvp.models import load_model
from bbtvp.search import optimize
from tests.adapters.recording import recorder
from tests.endpoint.batch_server import KEY, BatchServer
from tests.endpoint.eye_server import EyeServer
from tests.support import patterns


def test_a_search_by_batches_is_the_search_by_single_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of the search is one batch, each request is billed once, and the prompt is the
    same.
    """
    eye = EyeServer()
    task = patterns()

    def text(body: Any) -> str:
        return str(eye.reply(body)["choices"][0]["message"]["content"])

    monkeypatch.setattr("tests.endpoint.batch_server.text_of", text)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    options = {"probe": False, "seed": None, "temperature": None}
    common: dict[str, Any] = {"budget": 300, "prompt": "tone", "reader": "text"}
    with BatchServer() as server:
        halved = load_model(
            "openai/eye", base_url=f"{server.url}/v1", batch=True, poll=0.01, **options
        )
        run = optimize(task, halved, out=tmp_path / "batches", **common)
        assert run.improved
        assert sum(run.queries.values()) == sum(server.billed.values()) <= 300
        assert set(server.billed.values()) == {1}
        calls = (
            (tmp_path / "batches" / "journal.jsonl").read_text("utf-8").count('"record":"replies')
        )
        assert len(server.batches) == calls > 3
    with recorder(lambda asked: eye.reply(asked.json)) as single:
        other = load_model("openai/eye", base_url=f"{single.url}/v1", store=False, **options)
        assert optimize(task, other, **common).prompt.digest == run.prompt.digest
