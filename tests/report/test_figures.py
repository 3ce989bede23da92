"""How figures are written in plain text."""

from __future__ import annotations

import pytest

from bbtvp.report.figures import change, interval, p_value, points, share


def test_changes_are_in_points_and_signed() -> None:
    assert (share(0.5), points(0.05), points(-0.0004)) == ("50.0 %", "+5.0", "-0.0")
    assert interval((-0.01, 0.1)) == "[-1.0, +10.0]"
    assert change(0.05, (-0.01, 0.1)) == "+5.0 points [-1.0, +10.0]"


@pytest.mark.parametrize(
    ("p", "said"), [(1, "1.0000"), (0.0312, "0.0312"), (1e-4, "0.0001"), (9e-5, "< 0.0001")]
)
def test_no_p_value_is_written_as_zero(p: float, said: str) -> None:
    assert p_value(p) == said
