"""Whatever does not match goes through to the byte, in all five APIs and however it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.deploy import APIS, transform_request
from bbtvp.deploy.incoming import Handled, Handler
from bbtvp.deploy.routes import IncomingRequest, Route
from bbtvp.prompt import Prompt
from tests.deploy.conftest import bodies

SPACES = st.text(" \t\n\r", max_size=3)
NUMBERS = st.sampled_from(
    ["0", "-0", "1e400", "-1E-999", "1.10", "12345678901234567890123", "0.1e+1", "NaN", "-Infinity"]
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A value as JSON with spaces anywhere, keys in any order and twice, and any escapes."""
    if isinstance(value, Mapping):
        items = draw(st.permutations(list(value.items())))
        if items and draw(st.integers(0, 9)) == 0:
            items = [*items, items[0]]
        members = [
            f"{draw(SPACES)}{draw(written(key))}{draw(SPACES)}:{draw(written(inner))}"
            for key, inner in items
        ]
        return f"{draw(SPACES)}{{{','.join(members)}{draw(SPACES)}}}{draw(SPACES)}"
    if isinstance(value, list):
        return f"{draw(SPACES)}[{','.join(draw(written(part)) for part in value)}]{draw(SPACES)}"
    if isinstance(value, str):
        return _escaped(value, draw(st.booleans()), draw(st.booleans()))
    if isinstance(value, float):
        return draw(NUMBERS)
    return json.dumps(value)


def _escaped(text: str, ascii_only: bool, all_escaped: bool) -> str:
    if all_escaped and len(text) < 40:
        units = text.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=ascii_only)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def encoded(text: str, mark: bool) -> bytes:
    return (b"\xef\xbb\xbf" if mark else b"") + text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("api", APIS)
@settings(max_examples=50)
@given(data=st.data())
def test_a_body_without_a_picture_stays(api: str, data: st.DataObject, prompt: Prompt) -> None:
    extra = data.draw(st.dictionaries(st.text(), json_values, max_size=3))
    turns = data.draw(st.lists(json_values, max_size=3))
    words = {"role": "user", "content": "hello", "parts": [{"text": "hello"}]}
    key = {"responses": "input", "gemini": "contents"}.get(api, "messages")
    body = {**extra, "temperature": 0.5, key: [*turns, words]}
    raw = encoded(data.draw(written(body)), data.draw(st.booleans()))
    done = transform_request(raw, api, prompt)
    assert done.body == raw
    assert done.images == 0


@pytest.mark.parametrize("api", APIS)
@settings(max_examples=15)
@given(data=st.data())
def test_a_body_with_a_picture_stays_where_no_route_is_for_it(
    api: str, data: st.DataObject, picture: str
) -> None:
    raw = encoded(data.draw(written(bodies(picture)[api])), data.draw(st.booleans()))
    route = Route.model_validate({"bundle": "absent.vprompt", "model": "another"})
    incoming = IncomingRequest(api, "/v1", {}, raw)
    assert Handler([route])(incoming) == Handled()


@pytest.mark.parametrize("api", APIS)
@settings(max_examples=15)
@given(data=st.data())
def test_of_a_prompted_body_only_the_picture_changes(
    api: str, data: st.DataObject, prompt: Prompt, picture: str
) -> None:
    text = data.draw(written(bodies(picture)[api]))
    raw = encoded(text, data.draw(st.booleans()))
    done = transform_request(raw, api, prompt)
    if done.left:
        assert done.body == raw
        return
    assert done.images == 1
    before, after = text.split(picture), done.body.decode()
    assert len(before) == 2
    assert after.startswith(before[0])
    assert after.endswith(before[1])
