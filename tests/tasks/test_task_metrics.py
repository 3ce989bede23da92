from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.tasks.metrics import (
    UNPARSED,
    Score,
    accuracy,
    confusion,
    mean_absolute_error,
    per_class,
    per_sample,
    score,
)

ANSWERS = ["yes", "no", "yes", "no", "yes"]
GIVEN = ["yes", "yes", None, UNPARSED, "no"]


def test_missing_is_left_out_and_unparsed_is_wrong() -> None:
    assert accuracy(GIVEN, ANSWERS) == Score(value=0.25, n=4, missing=1, unparsed=1)
    np.testing.assert_array_equal(per_sample("accuracy", GIVEN, ANSWERS), [1, 0, math.nan, 0, 0])


def test_nothing_scored_is_nan_and_not_zero() -> None:
    for empty in (
        accuracy([], []),
        accuracy([None, math.nan], ["a", "b"]),
    ):
        assert math.isnan(empty.value) and empty.n == 0
    assert mean_absolute_error([None], [1]).missing == 1


def test_exact_and_contains() -> None:
    given = ["The  dog.", "three dogs", "3 dogs", None, "underdog"]
    answers = ["dog", "3 dogs", "dog", "dog", "dog"]
    assert score("exact", given, answers)[:3] == (0.5, 4, 1)
    np.testing.assert_array_equal(per_sample("contains", given, answers), [1, 1, 0, math.nan, 0])
    assert score("contains", ["a big dog, I think"], ["dog"]).value == 1


def test_bad_calls() -> None:
    with pytest.raises(UsageError, match="unknown metric 'acc'"):
        score("acc", [], [])
    for metric in (accuracy, confusion, per_class, mean_absolute_error):
        with pytest.raises(ValueError, match="zip"):
            metric(["yes"], [])


def test_per_class_and_confusion() -> None:
    assert per_class(GIVEN, ANSWERS) == {"no": Score(0, 2, 0, 1), "yes": Score(0.5, 2, 1, 0)}
    assert confusion(GIVEN, ANSWERS) == {"no": {UNPARSED: 1, "yes": 1}, "yes": {"no": 1, "yes": 1}}


def test_mean_absolute_error_reads_texts_and_numbers() -> None:
    given = ["There are three", "5", None, "many", 2.0]
    assert mean_absolute_error(given, ["3", "three", "1", "2", 4]) == Score(4 / 3, 3, 1, 1)
    assert mean_absolute_error(np.array([1.0, math.nan]), ["two", "2"]) == Score(1.0, 1, 1, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["yes", "no", UNPARSED, None]), st.sampled_from(["yes", "no"])),
        max_size=30,
    )
)
def test_the_scores_agree_with_each_other(pairs: list[tuple[str | None, str]]) -> None:
    given = [one for one, _ in pairs]
    answers = [answer for _, answer in pairs]
    whole = accuracy(given, answers)
    assert whole.n + whole.missing == len(pairs)
    classes = per_class(given, answers)
    assert sum(part.n for part in classes.values()) == whole.n
    assert sum(sum(row.values()) for row in confusion(given, answers).values()) == whole.n
    right = sum(row.get(answer, 0) for answer, row in confusion(given, answers).items())
    assert whole.n == 0 or math.isclose(whole.value, right / whole.n)


@pytest.mark.parametrize(
    ("given", "answer", "exact", "contains"),
    [
        ("3", "3.0", 1, 1),
        ("three", "3.0", 1, 1),
        ("\u0663", "3", 1, 1),
        ("1,000", "1000", 1, 1),
        ("1,5", "1.5", 1, 1),
        ("10\u2075", "105", 0, 0),
        ("10^5", "10\u2075", 1, 1),
        ("C++", "C#", 0, 0),
        ("C++", "C", 0, 0),
        ("It is C++", "C", 0, 0),
        ("It is C++", "C++", 0, 1),
        ("A+", "A-", 0, 0),
        ("A\u2212", "A-", 1, 1),
        ("<5", ">5", 0, 0),
        ("\u2264 5", "<= 5", 1, 1),
        ("5", "50 %", 0, 0),
        ("5 %", "5", 0, 0),
        ("5%", "5 %", 1, 1),
        ("-5", "5", 0, 0),
        ("5 cm", "5 m", 0, 0),
        ("5cm", "5 cm", 1, 1),
        ("The cat.", "cat", 1, 1),
        ("これは犬です", "犬", 0, 1),
        ("2 cats and 1 dog", "3", 0, 0),
    ],
)
def test_signs_that_matter_and_numbers_by_value(
    given: str, answer: str, exact: int, contains: int
) -> None:
    assert per_sample("exact", [given], [answer])[0] == exact
    assert per_sample("contains", [given], [answer])[0] == contains
