"""Label log-probabilities from tokens and their alternatives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.endpoint import Token
from bbtvp.endpoint.labels import label_scores


def token(text: str, **top: float) -> Token:
    """A token by probabilities, its own among them."""
    shown = {name: math.log(p) for name, p in top.items()}
    return Token(text, shown[text], shown)


def shown(text: str, probabilities: Mapping[str, float]) -> Token:
    logs = {name: math.log(p) for name, p in probabilities.items()}
    return Token(text, logs[text], logs)


def probabilities(tokens: list[Token], *labels: str) -> list[float]:
    scores = label_scores(tokens, labels)
    assert scores is not None
    assert all(score.tokens == 1 for score in scores)
    return [math.exp(score.logprob) for score in scores]


def test_labels_of_one_token_are_exact() -> None:
    tokens = [token("red", red=0.7, blue=0.2, green=0.05)]
    assert probabilities(tokens, "blue", "red", "green") == pytest.approx([0.2, 0.7, 0.05])


def test_spellings_of_one_label_add_up() -> None:
    tokens = [shown(" Red", {" Red": 0.5, "red": 0.2, "blue": 0.1, '"red': 0.1})]
    assert probabilities(tokens, "red", "blue") == pytest.approx([0.8, 0.1])


def test_labels_that_part_at_a_later_token() -> None:
    tokens = [
        shown("traffic", {"traffic": 0.8, "car": 0.2}),
        shown(" light", {" light": 0.75, " sign": 0.25}),
    ]
    assert probabilities(tokens, "car", "traffic sign", "traffic light") == pytest.approx(
        [0.2, 0.2, 0.6]
    )


def test_a_label_of_several_tokens_is_known_by_its_first() -> None:
    tokens = [shown("ze", {"ze": 0.9, "quart": 0.1}), shown("bra", {"bra": 1.0})]
    assert probabilities(tokens, "quartz", "zebra") == pytest.approx([0.1, 0.9])


def test_a_label_within_another() -> None:
    tokens = [shown("tea", {"tea": 0.9, "milk": 0.1}), shown(" pot", {" pot": 0.3, ".": 0.7})]
    assert probabilities(tokens, "tea", "tea pot", "milk") == pytest.approx([0.63, 0.27, 0.1])
    ended = [shown("tea", {"tea": 0.9, "milk": 0.1})]
    assert probabilities(ended, "tea", "milk") == pytest.approx([0.9, 0.1])


def test_what_is_not_shown_gets_what_is_left_and_no_more_than_the_least() -> None:
    tokens = [token("red", red=0.6, blue=0.1)]
    found = probabilities(tokens, "red", "green", "blue", "grey")
    assert found == pytest.approx([0.6, 0.1, 0.1, 0.1])
    certain = [token("red", red=1.0)]
    assert probabilities(certain, "red", "green")[1] < 1e-5


def test_punctuation_after_a_label_completes_it_and_letters_do_not() -> None:
    assert probabilities(
        [shown("red.", {"red.": 0.9, "blue.": 0.1})], "red", "blue"
    ) == pytest.approx([0.9, 0.1])
    assert label_scores([shown("reddish", {"reddish": 0.9, "rough": 0.1})], ("red", "blue")) is None


def test_a_reply_near_no_label_has_no_scores() -> None:
    assert (
        label_scores([token("The", The=0.9, A=0.1), token("sky", sky=1.0)], ("red", "blue")) is None
    )
    assert label_scores([], ("red", "blue")) is None


@given(
    st.lists(
        st.sampled_from(["one", "two", "three", "thirteen", " one", "o", "t", "th", "irteen", "x"]),
        min_size=1,
    ),
    st.data(),
)
def test_scores_are_log_probabilities_whatever_is_shown(
    texts: list[str], data: st.DataObject
) -> None:
    tokens = []
    for text in texts:
        others = data.draw(
            st.sets(st.sampled_from(["one", "two", "t", "hree", "z"]), max_size=3)
        ) - {text}
        share = 1 / (len(others) + 1)
        tokens.append(shown(text, dict.fromkeys([text, *others], share)))
    scores = label_scores(tokens, ("one", "two", "three", "thirteen"))
    if scores is not None:
        assert len(scores) == 4
        assert all(math.isfinite(s.logprob) and s.logprob <= 0 for s in scores)
        assert sum(math.exp(s.logprob) for s in scores) <= 2.0


# -- where the answer stands -----------------------------------------------------------------------
ANSWER = {" red": 0.8, " blue": 0.15}


@pytest.mark.parametrize(
    ("before", "at", "after"),
    [
        (("Answer", ":"), ANSWER, ()),
        (("The", " colour", " is"), ANSWER, (".",)),
        (("It", " is", " not", " blue", ";", " it", " is"), ANSWER, ()),
        (('{"', "answer", '":"'), {"red": 0.8, "blue": 0.15}, ('"}',)),
        (('{"', "answer", '":"'), {"red": 0.8, "blue": 0.15}, ('",', ' "why":', ' "warm"}')),
        (("**", "Answer", ":**"), ANSWER, ()),
        (("The", " answer", " is", " **"), {"red": 0.8, "blue": 0.15}, ("**",)),
        (("\\", "boxed", "{"), {"red": 0.8, "blue": 0.15}, ("}",)),
        (("Answer", ":\n"), {"red": 0.8, "blue": 0.15}, ("<|im_end|>",)),
    ],
)
def test_a_label_is_scored_where_the_answer_stands(
    before: tuple[str, ...], at: Mapping[str, float], after: tuple[str, ...]
) -> None:
    misleading = {"Blue": 0.3, "Red": 0.01}
    tokens = [
        *(shown(text, {text: 0.6, **misleading}) for text in before),
        Token(next(iter(at)), math.log(0.8), {name: math.log(p) for name, p in at.items()}),
        *(shown(text, {text: 1.0}) for text in after),
    ]
    assert probabilities(tokens, "blue", "red") == pytest.approx([0.15, 0.8])


def test_an_answer_that_is_repeated_is_scored_where_it_is_given_first() -> None:
    tokens = [
        token("Red", Red=0.7, Blue=0.3),
        shown(", because the", {", because the": 1.0}),
        shown(" red", {" red": 1.0}),
        shown(" channel is high", {" channel is high": 1.0}),
    ]
    assert probabilities(tokens, "blue", "red") == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize(
    "text", ["I cannot tell", "Let me see", "It is neither red nor blue", "reddish"]
)
def test_a_reply_without_an_answer_is_not_scored_by_its_first_alternatives(text: str) -> None:
    assert (
        label_scores([shown(text, {text: 0.6, "red": 0.3, "blue": 0.1})], ("red", "blue")) is None
    )


def test_a_reply_that_is_cut_within_a_label_is_scored() -> None:
    cut = [shown("traffic", {"traffic": 0.8, "car": 0.2})]
    assert probabilities(cut, "car", "traffic light") == pytest.approx([0.2, 0.8])


# -- probability zero ------------------------------------------------------------------------------
ZERO = -math.inf


@pytest.mark.parametrize("never", [ZERO, -9999.0, -3.4e38])
def test_an_alternative_of_probability_zero_is_one(never: float) -> None:
    certain = [Token("red", 0.0, {"red": 0.0, "!": never, "#": never})]
    found = label_scores(certain, ("blue", "red", "green"))
    assert found is not None
    assert found[1].logprob == 0.0
    assert all(-20 < score.logprob <= math.log(1e-6) for score in (found[0], found[2]))


def test_a_label_of_probability_zero_is_less_likely_than_any_that_is_possible() -> None:
    tokens = [Token("red", -0.1, {"red": -0.1, "blue": -30.0, "green": ZERO})]
    found = label_scores(tokens, ("blue", "red", "green"))
    assert found is not None
    assert found[1].logprob == pytest.approx(-0.1)
    assert found[0].logprob == found[2].logprob == pytest.approx(-30.0)


# -- spelling --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "other", "labels"),
    [
        ("２", "1", ("1", "2")),
        ("٢", "١", ("1", "2")),
        ("ＲＥＤ", "blue", ("blue", "red")),
        ("STRASSE", "weg", ("Weg", "Straße")),
        ("cafe\u0301", "bar", ("bar", "café")),
        ("▁red", "▁blue", ("blue", "red")),
        ("Ġred", "Ġblue", ("blue", "red")),
        ("ĠcafÃ©", "Ġbar", ("bar", "café")),
        ("「赤", "「青", ("青", "赤")),
        ("\u22123", "3", ("3", "-3")),
    ],
)
def test_a_token_is_spelt_as_the_text_reader_spells(
    text: str, other: str, labels: tuple[str, str]
) -> None:
    assert probabilities([shown(text, {text: 0.9, other: 0.1})], *labels) == pytest.approx(
        [0.1, 0.9]
    )
