"""The spread of a term: what its definition promises, on arrays alone."""

from __future__ import annotations

import numpy as np
import pytest

from bbtvp.surrogate import spread


def test_a_spread_leaves_out_what_is_missing() -> None:
    assert spread([1.0, 3.0, float("nan")]) == pytest.approx(np.sqrt(2))
    assert np.isnan(spread([1.0])) and np.isnan(spread([]))
