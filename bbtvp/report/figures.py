"""How numbers are written in plain text.

Shares are in percent, changes of shares in points, p-values have four places.
"""

from __future__ import annotations

from collections.abc import Sequence


def share(value: float) -> str:
    """0.5 → "50.0 %"."""
    return f"{100 * value:.1f} %"


P_NAMES = {False: "McNemar", True: "sign-flip"}
"""The tests of 'no change', by whether scores are graded (`PairedGain.graded`)."""


def points(gain: float) -> str:
    """0.05 → "+5.0"."""
    return f"{100 * gain:+.1f}"


def interval(ends: Sequence[float]) -> str:
    """(-0.01, 0.05) → "[-1.0, +5.0]", in points."""
    low, high = ends
    return f"[{points(low)}, {points(high)}]"


def change(gain: float, ends: Sequence[float]) -> str:
    """A gain with its interval, in points."""
    return f"{points(gain)} points {interval(ends)}"


def p_value(p: float) -> str:
    """0.03 → "0.0300"; what is smaller than 0.0001 is "< 0.0001"."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
