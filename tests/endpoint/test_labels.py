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
