"""What a generation costs, and what cannot be one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.arrays import Matrix
from bbtvp.core.errors import UsageError
from bbtvp.prompt import preset
from bbtvp.search import LogProbReader, Objective
from bbtvp.search.allocation import Allocation
from tests.support import SIDE, Recorder, patterns

TASK = patterns()
TONE = preset("tone", SIDE)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(1, 2))
@settings(max_examples=30)
def test_a_generation_costs_what_it_is_said_to(
    images: int, candidates: int, repeats: int, sources: int
) -> None:
    how = Allocation(images, repeats=repeats)
    models = [Recorder() for _ in range(sources)]
    z: Matrix = [[contrast, 0.0, 0.0] for contrast in range(candidates)]  # type: ignore[assignment]
    Objective(TASK, TONE, models, LogProbReader(), repeats=repeats).look(z, TASK.train[:images])
    assert sum(len(model.asked) for model in models) == how.cost(candidates)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"images": 0}, "images is 0; give at least 1"),
        ({"patience": -1}, "patience is -1; give at least 0"),
        ({"repeats": 0}, "repeats is 0; give at least 1"),
    ],
)
def test_what_cannot_be_divided_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Allocation(**options)


def test_each_image_takes_its_own_way_to_the_model() -> None:
    import numpy as np

    model = Recorder()
    z = np.array([[contrast, 0.0, 0.0] for contrast in range(8)])
    sends = [lambda pixels, i=i: np.full_like(pixels, i) for i in range(4)]
    Objective(TASK, TONE, model, LogProbReader()).look(z, TASK.train[:4], sends=sends)
    assert [int(request.image[0, 0, 0]) for request in model.asked] == [0, 1, 2, 3] * 8
