"""Text in columns, and how figures are written in it."""

from __future__ import annotations

import pytest

from bbtvp.report.columns import table
from bbtvp.report.figures import change, interval, p_value, points, share

ROWS = [("name", "n", "said"), ("a", "100", "yes"), ("longer", "7", "")]


def test_words_are_flush_left_and_numbers_flush_right() -> None:
    assert table(ROWS).splitlines() == [
        "name      n  said",
        "------  ---  ----",
        "a       100   yes",
        "longer    7",
    ]
    assert table(ROWS, left=3).splitlines()[2:] == ["a       100  yes", "longer  7"]


def test_columns_of_words_by_their_places_and_no_rule() -> None:
    assert table(ROWS, left={0, 2}, rule=False).splitlines() == [
        "name      n  said",
        "a       100  yes",
        "longer    7",
    ]


def test_changes_are_in_points_and_signed() -> None:
    assert (share(0.5), points(0.05), points(-0.0004)) == ("50.0 %", "+5.0", "-0.0")
    assert interval((-0.01, 0.1)) == "[-1.0, +10.0]"
    assert change(0.05, (-0.01, 0.1)) == "+5.0 points [-1.0, +10.0]"


@pytest.mark.parametrize(
    ("p", "said"), [(1, "1.0000"), (0.0312, "0.0312"), (1e-4, "0.0001"), (9e-5, "< 0.0001")]
)
def test_no_p_value_is_written_as_zero(p: float, said: str) -> None:
    assert p_value(p) == said
