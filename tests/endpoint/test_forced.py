"""A wrapped label is unwrapped, with its tokens, and nothing else is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.endpoint.forced import WRAPPING, most_tokens, schema, unwrapped
from bbtvp.endpoint.labels import label_scores
from bbtvp.endpoint.provider import ApiFeatures, Token
from tests.adapters.recording import request


def tokens(*texts: str) -> tuple[Token, ...]:
    """Tokens of log-probability -0.5, without alternatives but themselves."""
    return tuple(Token(text, -0.5, {text: -0.5}) for text in texts)


def texts(kept: Sequence[Token]) -> list[str]:
    return [token.text for token in kept]


@pytest.mark.parametrize(
    "text",
    [
        '{"answer":"rows"}',
        '{"answer": "rows"}',
        ' {\n  "answer" : "rows"\n}\n',
        '{"answer":"r\\u006fws"}',
    ],
)
def test_the_label_alone_is_left(text: str) -> None:
    assert unwrapped(text) == ("rows", ())


@pytest.mark.parametrize(
    "text",
    [
        "rows",
        "",
        "{}",
        '"rows"',
        '["rows"]',
        '{"answer":1}',
        '{"answer":null}',
        '{"answer":"rows"',
        '{"label":"rows"}',
        '{"answer":"rows","why":"lines"}',
        '{"answer":"rows"} {"answer":"rows"}',
        'It is {"answer":"rows"}',
        '{"answer":"ro\nws"}',
        '{"answer":"\\x"}',
        '```json\n{"answer":"rows"}\n```',
    ],
)
def test_anything_else_stays_as_it_came(text: str) -> None:
    shown = tokens("some", "thing")
    assert unwrapped(text, shown) == (text, shown)


@given(st.text(), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_every_label_comes_back(label: str, separators: tuple[str, str], ascii_only: bool) -> None:
    text = json.dumps({"answer": label}, separators=separators, ensure_ascii=ascii_only)
    assert unwrapped(text)[0] == label


@given(st.text("rows ée日", min_size=1), st.lists(st.integers(0, 40), max_size=12))
def test_the_tokens_kept_spell_the_label_however_the_text_is_cut(
    label: str, cuts: list[int]
) -> None:
    text = json.dumps({"answer": label}, ensure_ascii=False)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = tokens(*(text[a:b] for a, b in pairwise(places)))
    found, kept = unwrapped(text, pieces)
    spelt = "".join(texts(kept))
    assert found == label
    assert spelt.startswith(f'{label}"')
    assert '{"answer": "'.endswith(
        text[: text.index(spelt)][-1]
    )  # nothing of the wrapping before it
    assert len(kept) <= len(pieces)


def test_the_token_that_closes_the_string_tells_a_label_from_a_longer_one() -> None:
    near = [
        Token("row", -0.1, {"row": -0.1, "col": -2.5}),
        Token('"}', -1.0, {'"}': -1.0, "s": math.log(1 - 1 / math.e)}),
    ]
    label, kept = unwrapped('{"answer":"row"}', [*tokens('{"', "answer", '":"'), *near])
    assert (label, texts(kept)) == ("row", ["row", '"}'])
    scores = label_scores(kept, ["row", "rows", "column"])
    assert scores is not None
    assert [score.logprob for score in scores] == pytest.approx(
        [-1.1, -0.1 + math.log(1 - 1 / math.e), -2.5], abs=1e-6
    )


def test_a_token_that_opens_the_string_loses_what_it_has_before_the_label() -> None:
    opening = Token('":"ro', -0.2, {'":"ro': -0.2, '":"col': -1.9, '": "': -4.0, "ro": -5.0})
    label, kept = unwrapped(
        '{"answer":"rows"}', [*tokens('{"answer'), opening, *tokens('ws"', "}")]
    )
    assert label == "rows"
    assert kept == (Token("ro", -0.2, {"ro": -0.2, "col": -1.9}), *tokens('ws"'))


def test_tokens_around_the_text_do_not_matter() -> None:
    shown = tokens("<think>", " \n", '{"answer":"', "rows", '"}', "<|im_end|>")
    assert texts(unwrapped('{"answer":"rows"}', shown)[1]) == ["rows", '"}']


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"answer":"rows"}', ('{"answer":"', "columns", '"}')),
        ('{"answer":"a\\"b"}', ('{"answer":"', 'a\\"b', '"}')),
    ],
)
def test_tokens_that_do_not_spell_the_label_are_left_out(text: str, shown: Sequence[str]) -> None:
    assert unwrapped(text, tokens(*shown))[1] == ()


def test_the_schema_allows_the_labels_and_nothing_else() -> None:
    assert schema(["rows", "columns"]) == {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": ["rows", "columns"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }


def test_room_for_the_wrapping_is_added_only_where_there_is_one() -> None:
    assert most_tokens(request(max_tokens=9), ApiFeatures(forced=True)) == 9 + WRAPPING
    assert most_tokens(request(max_tokens=9), ApiFeatures()) == 9
    assert most_tokens(request(max_tokens=9, labels=None), ApiFeatures(forced=True)) == 9
