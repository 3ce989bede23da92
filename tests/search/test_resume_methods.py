"""Exact resume for every optimiser: broken off and started again, the same queries and the same
prompt to the bit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bbtvp.optim import METHODS
from bbtvp.search.methods import is_guided
from bbtvp.surrogate import Surrogate
from tests.search.runs import Kind
from tests.search.test_resume_kinds import check_resumed
from tests.support import SIDE, Eye
from tests.surrogate.conftest import tiny_clip

OTHERS = (
    "ng:TBPSA",
    "ng:NGOpt",
    "ng:PSO",
    "ng:TwoPointsDE",
    "ng:DiagonalCMA",
    "ng:OnePlusOne",
    "cma@2",
    "random@2",
    "cma@g2",
)
"""Of nevergrad's, one of each family; and projections."""


@pytest.fixture(scope="module")
def clip() -> Surrogate:
    return tiny_clip(SIDE, batch=256)


@pytest.mark.parametrize("method", [*(name for name in METHODS if name != "catcma"), *OTHERS])
def test_every_method_resumes_to_the_bit(method: str, clip: Surrogate, tmp_path: Path) -> None:
    guided = is_guided(method) or "@g" in method
    options = {
        "images": 4,
        "budget": 120,
        "method": method,
        **({"surrogate": clip} if guided else {}),
    }
    check_resumed(Kind(lambda: [Eye()], options), tmp_path, (0.3, 0.7))


@pytest.mark.parametrize("method", ["catcma", "gp", "ng:NGOpt"])
def test_with_categories_too(method: str, tmp_path: Path) -> None:
    """A prompt of marks and a sentence: numbers and choices together."""
    options = {"images": 4, "budget": 260, "method": method, "prompt": "annotate", "canvas": 64}
    check_resumed(Kind(lambda: [Eye()], options), tmp_path, (0.6,))


def test_in_two_stages(tmp_path: Path) -> None:
    """Few variables by gp, then many by CMA-ES; broken off in the first, at the choice, and in the
    second.
    """
    options = {"images": 8, "budget": 2000, "prompt": "default+frame", "canvas": 32}
    check_resumed(Kind(lambda: [Eye()], options), tmp_path, (0.3, 0.8))


def test_with_all_that_a_surrogate_does(clip: Surrogate, tmp_path: Path) -> None:
    """Terms, priming, and a warm start, from text replies."""
    helped = {"surrogate": clip, "fca": 0.5, "tse": 0.2, "prime": 20, "warm": True}
    options = {"images": 4, "budget": 220, "reader": "text", "method": "cma", **helped}
    check_resumed(Kind(lambda: [Eye(gain=60)], options), tmp_path, (0.6,))
