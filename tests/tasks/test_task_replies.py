from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.tasks.replies import (
    UNPARSED,
    answer_span,
    fold,
    normalise,
    number,
    parse_label,
    prediction,
)

YES_NO = ("yes", "no")
COLORS = ("red", "green", "blue")
DIGITS = ("zero", "one", "two", "three", "four")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat's hat!", "cats hat"),
        ("  a\tRED \n square.", "red square"),
        ("golden_retriever, ice-cream", "golden retriever ice cream"),
        ("three", "3"),
        ("Twenty-One twenty, one hundred", "21 21 hundred"),
        ("one two ten twenty", "1 2 10 20"),
        ("1,234,567 and 3.50 and 7. and 1,2", "1234567 and 3.50 and 7 and 1 2"),
        ("-3 to \u22124, 5-6", "-3 to -4 5 6"),
        ("STRASSE Straße", "strasse strasse"),
        ("\uff11\uff12 \u2075", "12 5"),
        ("नमस्ते", "नमस्ते"),
        ("A", "a"),
        ("the a", "the a"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_number_words_may_be_left() -> None:
    assert normalise("The Twenty-one", numbers=False) == "twenty one"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are 3 dogs.", 3),
        ("three", 3),
        ("3, yes: three", 3),
        ("-2.5", -2.5),
        ("thirty-one", 31),
        ("2 or 3", None),
        ("none", None),
        ("", None),
        ("two hundred", None),
        ("1,024", 1024),
    ],
)
def test_number(text: str, expected: float | None) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("Yes.", YES_NO, "yes"),
        ("YES", ("Yes", "No"), "Yes"),
        ("yes, there is no doubt", YES_NO, "yes"),
        ("No, although some would say yes", YES_NO, "no"),
        ("There is no dog.", YES_NO, "no"),
        ("I see none; it is not there", YES_NO, None),
        ("I cannot say yes or no", YES_NO, None),
        ("nothing", YES_NO, None),
        ("It is a red square.", COLORS, "red"),
        ("It is a red square.", ("red", "square"), None),
        ("It is a red square.", ("red", "square", "red square"), "red square"),
        ("a red square and a red ball", ("red", "red square"), None),
        ("red, definitely red", COLORS, "red"),
        ("reddish", COLORS, None),
        ("It is not red.", COLORS, None),
        ("It isn't red but blue.", COLORS, "blue"),
        ("neither red nor blue", COLORS, None),
        ("red or blue", COLORS, None),
        ("a b c d", ("a b", "b c d"), "b c d"),
        ("x y z", ("x y", "y z"), None),
        ("I count red 2, blue 1. The answer is blue.", COLORS, "blue"),
        ("**Answer:** red", COLORS, "red"),
        ("red. That answer is certain.", COLORS, "red"),
        ("The answer is red or blue", COLORS, None),
        ("Answer: yes, there is no doubt", YES_NO, "yes"),
        ("row 1: three, row 2: one; answer = 4", DIGITS, "four"),
        ("3", DIGITS, "three"),
        ("There are three.", DIGITS, "three"),
        ("three hundred", DIGITS, None),
        ("twenty-three", DIGITS, None),
        ("3.5", DIGITS, None),
        ("-3", DIGITS, None),
        ("two", ("2", "two"), "two"),
        ("there are two", ("2", "two"), None),
        ("C++", ("C", "C++"), "C++"),
        ("golden retriever", ("golden_retriever", "pug"), "golden_retriever"),
        ("The animal is a dog", ("a dog", "a cat"), "a dog"),
        ("B", "ABCD", "B"),
        ("(c)", "ABCD", "C"),
        ("B. a red ball", "ABCD", "B"),
        ("A red ball", "ABCD", None),
        ("A) red", "ABCD", "A"),
        ("The answer is D because A fits worse.", "ABCD", "D"),
        ("It's D'oh", "ABCD", None),
        ("", COLORS, None),
        ("???", COLORS, None),
        ("红色", ("红色", "蓝色"), "红色"),
    ],
)
def test_parse_label(text: str, labels: tuple[str, ...], expected: str | None) -> None:
    assert parse_label(text, labels) == expected


labels_of = st.lists(
    st.text("abn oy1", min_size=1, max_size=5).filter(str.strip),
    min_size=2,
    max_size=5,
    unique=True,
)


@given(st.text("abno y1.'-", max_size=20) | st.text(max_size=20), labels_of)
def test_a_label_that_is_returned_stands_in_the_text(text: str, labels: list[str]) -> None:
    label = parse_label(text, labels)
    assert label is None or label in labels
    if label is not None:
        assert (
            f" {normalise(label)} " in f" {normalise(text)} " or label.casefold() in text.casefold()
        )


@given(labels_of, st.data())
def test_a_label_alone_is_itself_unless_another_reads_the_same(
    labels: list[str], data: st.DataObject
) -> None:
    label = data.draw(st.sampled_from(labels))
    if sum(other.strip().casefold() == label.strip().casefold() for other in labels) == 1:
        assert parse_label(f" {label.upper()} ", labels) == label


@given(st.sampled_from(COLORS), st.sampled_from(COLORS), st.text("xyz .,", max_size=5))
def test_two_labels_are_never_guessed_between(one: str, two: str, between: str) -> None:
    assert parse_label(f"it is {one} {between} {two}", COLORS) == (one if one == two else None)


def test_a_failed_query_is_not_an_unparsed_reply() -> None:
    assert prediction(None, COLORS) is None
    assert prediction("purple", COLORS) == UNPARSED
    assert prediction("It is red", COLORS) == "red"
    assert prediction("It is red", None) == "It is red"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ａ", "a"),
        ("STRASSE Straße", "strasse strasse"),
        ("３ ٣ ३", "3 3 3"),
        ("10⁵ H₂O", "10^5 h2o"),
        ("\u22124", "-4"),
        ("e\u0301", "é"),
        ("re\u00add\u200b", "red"),
    ],
)
def test_fold(text: str, expected: str) -> None:
    assert fold(text) == expected


def test_the_span_of_an_answer_is_where_it_stands() -> None:
    text = "It is red. The answer is: Red."
    start, end = answer_span(text, COLORS) or (0, 0)
    assert (start, text[start:end]) == (26, "Red")
    assert answer_span("purple", COLORS) is None
