"""Which requests a prompt is for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import UsageError
from bbtvp.deploy.routes import IncomingRequest, Route, read_routes
from bbtvp.prompt import Prompt


def incoming(api: str = "chat", path: str = "/v1/chat/completions", **body: Any) -> IncomingRequest:
    return IncomingRequest(api, path, {"x-user": "ann"}, json.dumps(body).encode())


ASKED = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Which digit?"}]}]}


def test_the_model_is_found_in_the_body_or_in_the_path() -> None:
    assert incoming(model="gpt-6").model == "gpt-6"
    assert incoming("gemini", "/v1beta/models/gemini-4:generateContent").model == "gemini-4"
    assert incoming("converse", "/model/claude%3A0/converse").model == "claude:0"
    assert incoming().model == ""
    assert IncomingRequest("chat", "/v1/chat/completions", {}, b"\xff").model == ""


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"model": "gpt-*"}, True),
        ({"model": "claude-*"}, False),
        ({"header": {"X-User": "ann"}}, True),
        ({"header": {"X-User": "bob"}}, False),
        ({"question": "(?i)DIGIT"}, True),
        ({"question": "^digit"}, False),
        ({"model": "gpt-6", "question": "digit", "header": {"x-user": "bob"}}, False),
    ],
)
def test_all_that_is_given_must_match(rule: dict[str, Any], matches: bool) -> None:
    route = Route.model_validate({"bundle": "a.vprompt", **rule})
    assert route.matches(incoming(model="gpt-6", **ASKED)) is matches


def test_the_share_is_kept_and_sticks_to_a_header() -> None:
    route = Route.model_validate({"bundle": "a.vprompt", "share": 0.3})
    drawn = [route.drawn(incoming(seed=i)) for i in range(2000)]
    assert 0.25 < drawn.count("prompted") / len(drawn) < 0.35
    sticky = route.model_copy(update={"sticky": "X-User"})
    assert len({sticky.drawn(incoming(seed=i)) for i in range(50)}) == 1
    for share, outcome in ((0.0, "control"), (1.0, "prompted")):
        always = route.model_copy(update={"share": share})
        assert {always.drawn(incoming(seed=i)) for i in range(50)} == {outcome}


def test_a_shadow_share_is_drawn_among_requests_that_all_stay_as_they_are() -> None:
    route = Route.model_validate({"bundle": "a.vprompt", "shadow": 0.3})
    drawn = [route.drawn(incoming(seed=i)) for i in range(2000)]
    assert set(drawn) == {"shadow", "control"}
    assert 0.25 < drawn.count("shadow") / len(drawn) < 0.35


def test_a_file_of_routes(tmp_path: Path, prompt: Prompt) -> None:
    prompt.save(tmp_path / "pets.vprompt")
    file = tmp_path / "routes.toml"
    file.write_text(  # with a byte order mark, as editors on Windows write it
        '\ufeff[[route]]\nbundle = "pets.vprompt"\nmodel = "gpt-*"\nshare = 0.5\n'
        '[[route]]\nname = "rest"\nbundle = "pets.vprompt"\n'
    )
    first, second = read_routes(file)
    assert (first.label, first.share, second.label) == ("pets", 0.5, "rest")
    assert first.prompt.digest == prompt.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "route"),
        ("[[route]]", "bundle"),
        ('[[route]]\nbundle = "a"\nmodels = "b"', "models"),
        ('[[route]]\nbundle = "a"\nshare = 2', "share"),
        ('[[route]]\nbundle = "a"\nquestion = "("', "regular expression"),
        ('[[route]]\nbundle = "a"\nshare = 0.5\nshadow = 0.5', "not both"),
        ("route = [", "not TOML"),
        ('[[route]]\nbundle = "a"\n[[route]]\nbundle = "a"', "give each a name"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said) as refused:
        read_routes(file)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="check the path"):
        read_routes(tmp_path / "routes.toml")
