"""Dollars per 1,000 deployed images of an endpoint, from what its replies say that they took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bbtvp.models import Model, load_model
from bbtvp.rivals import RivalTable, compare_rivals
from bbtvp.rivals.thinking import _INSTRUCTION
from tests.adapters.recording import Recorder, recorder
from tests.endpoint.eye_server import EyeServer
from tests.support import patterns

TASK = replace(patterns(), test=patterns().test[:20])
PRICES = """
[[price]]
service = "openai-api"
model = "eye"
input = 5.0
output = 20.0
date = 2026-11-30
source = "a test"
"""


@pytest.fixture
def server() -> Iterator[Recorder]:
    with recorder(EyeServer(honours=())) as found:
        yield found


def endpoint(server: Recorder, folder: Path) -> Model:
    return load_model(
        "openai-api/eye/eye", base_url=server.url, store=str(folder / "replies.sqlite")
    )


def costs(table: RivalTable) -> dict[str, float | None]:
    return {row.name: row.use.usd_per_1000 for row in table.rows}


def test_by_hand_from_the_tokens_and_the_price_table(
    server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    monkeypatch.setenv("BBTVP_PRICES", str(tmp_path / "prices.toml"))
    first = compare_rivals(TASK, [endpoint(server, tmp_path)], rivals=["cot", "vote"])
    # The server says 40 + characters tokens in, and 2 out: $5 and $20 for a million of them.
    question = len(TASK.question)
    plain = 1000 * ((40 + question) * 5 + 2 * 20) / 1e6
    longer = 1000 * ((40 + question + 1 + len(_INSTRUCTION)) * 5 + 2 * 20) / 1e6
    wanted = {"zero-shot": plain, "cot": longer, "vote": 5 * plain}
    assert costs(first) == pytest.approx(wanted)
    assert [row.name for row in first.rows] == sorted(wanted, key=lambda name: wanted[name])
    assert first.usd > 0
    # What was paid for before is not paid for again, and costs the same once it is deployed.
    asked = len(server.asked)
    again = compare_rivals(TASK, [endpoint(server, tmp_path)], rivals=["cot", "vote"])
    assert len(server.asked) == asked and costs(again) == costs(first) and again.usd == 0


def test_without_a_price_there_are_tokens_and_no_dollars(server: Recorder, tmp_path: Path) -> None:
    table = compare_rivals(TASK, [endpoint(server, tmp_path)], rivals=["cot"])
    assert costs(table) == {"zero-shot": None, "cot": None}
    assert table.rows[0].use.input_tokens == 40 + len(TASK.question)
    assert table.rows[0].use.output_tokens == 2
