"""A new provider is one file and one entry point: a compatible service, and an API of its own."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.limits import Limits
from bbtvp.models import Budget, Reply, load_model
from bbtvp.report.doctor import ModelName
from tests.adapters.recording import LABELS, Asked, recorder, request

KEY = "a-key-of-nobody"
ENTRY_POINTS = """[bbtvp.models]
acme = tests.adapters.acme:load
own = tests.adapters.own_api:load
"""
CHAT = {
    "model": "m-1",
    "choices": [{"message": {"content": "rows"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 90, "completion_tokens": 1},
}
PRICES = """[[price]]
service = "own"
model = "m"
input = 1.0
output = 2.0
date = 2026-11-30
source = "this test"
"""
LIMITS = """[[limits]]
service = "own"
side = 64
resize = { kind = "square", side = 64, tokens = 100 }
sources.side = "this test"
sources.resize = "this test"
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two providers, as an installed distribution that bbtvp knows nothing of."""
    info = tmp_path / "site" / "providers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: providers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.setenv("ACME_API_KEY", KEY)
    monkeypatch.setenv("OWN_TOKEN", KEY)
    monkeypatch.delenv("ACME_BASE_URL", raising=False)
    monkeypatch.delenv("OWN_HOST", raising=False)


def test_a_compatible_service_is_a_few_overrides() -> None:
    with recorder(CHAT) as server:
        model = load_model("acme/m", base_url=f"{server.url}/v1", store=False, probe=False)
        (reply,) = model.query([request(labels=None)])
    assert isinstance(reply, Reply) and reply.text == "rows"
    (sent,) = server.asked
    assert (sent.method, sent.path) == ("POST", "/v1/chat/completions")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json["app"] == "bbtvp" and sent.json["max_tokens"] == 16
    assert (model.spec, reply.usage.input_tokens) == ("acme/m", 90)


def colour(asked: Asked) -> dict[str, Any]:
    """What a server of the new API says: the colour that it sees."""
    body = asked.json
    with Image.open(io.BytesIO(base64.b64decode(body["picture"]))) as image:
        red = np.asarray(image)[..., 0].mean() > 99
    return {"said": "red" if red else "blue", "read": 70, "written": 2}


def test_an_api_of_its_own_is_probed_asked_and_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    with recorder(colour) as server:
        monkeypatch.setenv("OWN_HOST", server.url)
        model = load_model("own/m", prices=str(prices), store=str(tmp_path / "replies.sqlite"))
        model.need_price()
        budget = Budget(cap=20, usd_cap=0.01)
        probe = model.probe(budget)
        (reply,) = model.query([request(labels=None, red=200)], budget)
        (again,) = model.query([request(labels=None, red=200)], budget)
    assert probe is not None and probe.queries == 5 and probe.capabilities.deterministic
    assert isinstance(reply, Reply) and isinstance(again, Reply)
    assert (reply.text, reply.usage.usd) == ("red", pytest.approx(74e-6))
    assert (again.text, again.usage.attempts) == ("red", 0)
    assert len(server.asked) == 6
    assert {sent.headers["x-token"] for sent in server.asked} == {KEY}
    assert server.asked[-1].json["temperature"] == 0


def test_limits_and_prices_of_a_new_service_are_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(LIMITS)
    model = load_model("own/m", base_url="http://127.0.0.1:9", store=False)
    assert model.fitting_canvas(200) == 200
    with pytest.raises(UsageError, match="no price is known for own/m"):
        model.need_price()
    monkeypatch.setenv("BBTVP_LIMITS", str(limits))
    assert Limits.load().find("own", "m").side == 64
    assert model.fitting_canvas(200) == 64


@pytest.mark.parametrize(("spec", "variable"), [("acme/m", "ACME_API_KEY"), ("own/m", "OWN_TOKEN")])
def test_a_missing_key_is_named(spec: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ModelName.of(spec).keys == (variable,)
    monkeypatch.delenv(variable)
    with pytest.raises(UsageError, match=f"{spec} needs a key: export {variable}="):
        load_model(spec)


def test_labels_are_read_from_text_where_the_api_has_nothing_else() -> None:
    with recorder({"said": LABELS[1], "read": 70, "written": 2}) as server:
        model = load_model("own/m", base_url=server.url, store=False, probe=False)
        (reply,) = model.query([request(labels=None)])
    assert isinstance(reply, Reply) and (reply.text, reply.scores) == (LABELS[1], None)
