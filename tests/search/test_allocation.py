"""How the images of a generation reach the model."""

from __future__ import annotations

import numpy as np

from bbtvp.prompt import preset
from bbtvp.search import LogProbReader, Objective
from tests.support import SIDE, Recorder, patterns

TASK = patterns()
TONE = preset("tone", SIDE)


def test_each_image_takes_its_own_way_to_the_model() -> None:
    model = Recorder()
    z = np.array([[contrast, 0.0, 0.0] for contrast in range(8)])
    sends = [lambda pixels, i=i: np.full_like(pixels, i) for i in range(4)]
    Objective(TASK, TONE, model, LogProbReader()).score(z, TASK.train[:4], sends=sends)
    assert [int(request.image[0, 0, 0]) for request in model.asked] == [0, 1, 2, 3] * 8
