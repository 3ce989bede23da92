from __future__ import annotations

from typing import get_args

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
    read_reply,
)
from bbtvp.tasks.replies.reading import LONGEST, ReplyStatus

CD = ("cat", "dog")
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
        ("Twenty-One twenty, one hundred", "21 20 100"),
        ("one two ten twenty", "1 2 10 20"),
        ("1,234,567 and 3.50 and 7. and 1,2", "1234567 and 3.5 and 7 and 1.2"),
        ("-3 to \u22124, 5-6", "-3 to -4 5 6"),
        ("STRASSE Straße", "strasse strasse"),
        ("\uff11\uff12 \u2075", "12 ^5"),
        ("नमस्ते", "नमस्ते"),
        ("A", "a"),
        ("the a", "the a"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


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
        ("two hundred", 200),
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
    place = answer_span(text, labels)
    assert (label is None) == (place is None)
    if label is not None and place is not None:
        assert label in labels
        assert 0 <= place[0] < place[1] <= len(text)


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


def test_the_span_of_an_escaped_answer_is_that_of_the_reply_as_it_came() -> None:
    text = r'{"reason": "\u00fc\ud83d\ude00", "answer": "ro\u00df"} \u00fc'
    start, end = answer_span(text, ("roß", "blau")) or (0, 0)
    assert text[start:end].strip('"') == r"ro\u00df"


def test_the_span_of_an_answer_is_where_it_stands() -> None:
    text = "It is red. The answer is: Red."
    start, end = answer_span(text, COLORS) or (0, 0)
    assert (start, text[start:end]) == (26, "Red")
    assert answer_span("purple", COLORS) is None


WORDS = ("cat", "golden retriever", "café", "C++", "A-", "50%", "ring-tailed lemur", "zebra")
DECORATIONS = (
    "{}",
    "({})",
    "{}.",
    "**{}**",
    '"{}"',
    "`{}`",
    "Answer: {}",
    "**Answer:** {}",
    "\\boxed{{{}}}",
)
DECORATIONS += (
    "<answer>{}</answer>",
    '{{"answer": "{}", "reason": "it fits"}}',
    "{}\n",
    "\u200b{}",
)
DECORATIONS += ("<think>no idea</think>{}", "The final answer is {}.", "Hmm.\n\nFinal answer: {}")


@pytest.mark.parametrize("decoration", DECORATIONS)
@pytest.mark.parametrize(
    "labels", [WORDS, "ABCDE", ("1", "2", "3"), ("yes", "no"), ("猫", "犬", "小鳥")]
)
def test_every_label_decorated_reads_as_itself(labels: tuple[str, ...], decoration: str) -> None:
    read = {label: parse_label(decoration.format(label), labels) for label in labels}
    assert read == {label: label for label in labels}


DENIALS = ("It is not {}.", "It isn't {}", "I see no {} here.", "There is neither {} nor {}.")
DENIALS += ("Nothing here looks like {}.", "I don't think that it is {}.", "{} is wrong.")
DENIALS += ("The answer is not {}.", "Answer: not {}", "It might be {}.", "Is it {}?", "{} or not?")


@pytest.mark.parametrize("denial", DENIALS)
@pytest.mark.parametrize("labels", [("cat", "golden retriever", "zebra"), "BCDE"])
def test_a_label_that_is_denied_or_doubted_is_none(labels: tuple[str, ...], denial: str) -> None:
    assert {parse_label(denial.format(label, label), labels) for label in labels} == {None}


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("yes", ("yes", "no"), ("yes", "answered")),
        ("Yes, the image", ("yes", "no"), ("yes", "answered")),
        ("Yes", ("yes", "no"), ("yes", "answered")),
        ("The image shows a dog", ("cat", "dog"), (None, "cut")),
        ("The image shows a dog. It is", ("cat", "dog"), ("dog", "answered")),
        ("The image shows a dog sitting on a", ("cat", "dog"), (None, "cut")),
        ("Answer: no", ("yes", "no"), (None, "cut")),
        ("Answer: no\nBecause the", ("yes", "no"), ("no", "answered")),
        ("The answer is not", ("cat", "dog"), (None, "cut")),
        ('{"answer": "cat", "reason": "it has', ("cat", "dog"), ("cat", "answered")),
        ('{"answer": "ca', ("cat", "dog"), (None, "cut")),
        ("<answer>cat", ("cat", "dog"), (None, "cut")),
        ("There are 3.", ("1", "2", "3"), (None, "cut")),
        ("<think>It may be a dog.", ("cat", "dog"), (None, "cut")),
        ("It may be a dog.</think>\nIt is a c", ("cat", "dog"), (None, "cut")),
        ("これは犬です。そして", ("猫", "犬"), ("犬", "answered")),
        ("I'm sorry, but I can't help with", ("cat", "dog"), (None, "refused")),
    ],
)
def test_what_a_cut_reply_says(
    text: str, labels: tuple[str, ...], expected: tuple[str | None, str]
) -> None:
    assert read_reply(text, labels, cut=True) == expected


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with identifying people in images.",
        "I cannot assist with that request.",
        "As an AI language model, I cannot see images.",
        "I'm not able to view the image. Please upload it again.",
        "I can't provide medical advice, so I will not say yes or no.",
        "申し訳ありませんが、お答えできません。",
        "抱歉，我无法回答这个问题。",
        "죄송하지만 답변할 수 없습니다.",
        "Es tut mir leid, ich kann dabei nicht helfen.",
        "Je suis désolé, je ne peux pas vous aider.",
        "Lo siento, no puedo ayudar con eso.",
        "No image was attached, so I cannot answer yes or no.",
    ],
)
def test_a_refusal_in_words_is_no_answer(text: str) -> None:
    for labels in (("yes", "no"), ("A", "B"), ("はい", "いいえ"), None):
        assert read_reply(text, labels) == (None, "refused")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is red", "It is red"),
        ("<think>blue?</think>It is red", "It is red"),
        ("The sign is large. **Answer:** STOP", "STOP"),
        ("The final answer is \\boxed{42}.", "42"),
        ('{"reason": "x", "answer": "C++"}', "C++"),
        ("<answer>two birds</answer>", "two birds"),
        ("I see a sign. The answer is STOP.", "STOP"),
        ("答え：東京", "東京"),
        ("<think>hmm", None),
    ],
)
def test_a_free_answer(text: str, expected: str | None) -> None:
    assert read_reply(text, None).answer == expected


def test_a_reply_of_blank_lines_is_unparsed() -> None:
    assert read_reply("\n" * 5000, ("cat", "dog")) == (None, "unparsed")
    assert read_reply("It is a dog." + "\n" * 5000, ("cat", "dog")) == ("dog", "answered")


FILLER = "The picture has many small parts, and each of them is looked at. "


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        (FILLER * 400 + "\n\n**Answer:** dog", CD, "dog"),
        ("Answer: dog\n\n" + FILLER * 400, CD, "dog"),
        (FILLER * 400 + "<answer>dog</answer>", CD, "dog"),
        ("Yes, there is. " + FILLER * 400, ("yes", "no"), "yes"),
        ("Answer: cat\n\n" + FILLER * 400 + "\n\nAnswer: dog", CD, "dog"),
        (FILLER * 200 + "It is a dog. " + FILLER * 200, CD, None),
        ("<think>" + FILLER * 400 + "</think>It is a dog.", CD, "dog"),
    ],
)
def test_a_long_reply_is_read_at_its_end_and_its_beginning(
    text: str, labels: tuple[str, ...], expected: str | None
) -> None:
    assert len(text) > LONGEST
    assert parse_label(text, labels) == expected
    place = answer_span(text, labels)
    assert (place and text[slice(*place)].casefold()) == expected


@pytest.mark.parametrize(
    "piece",
    [
        "1,",
        "three ",
        r"\\boxed{",
        "<think>",
        "<answer>",
        ".",
        "not ",
        "A is correct ",
        "三",
        "Answer: ",
    ],
)
def test_a_reply_of_one_piece_again_and_again_is_read(piece: str) -> None:
    """Work on what is repeated is bounded: with quadratic patterns these take minutes."""
    for labels in (("1", "2"), CD, ("A", "B"), None):
        assert read_reply(piece * (100_000 // len(piece)), labels).status in get_args(ReplyStatus)
