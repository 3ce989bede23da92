"""False go of models that refuse, ramble or collapse, and go of prompts that help, simulated."""

from __future__ import annotations

import numpy as np
import pytest

from bbtvp.core.rng import stream
from bbtvp.tasks import Sample, Task
from bbtvp.verify.controls import best_constant, collapse, hardest_constant
from bbtvp.verify.verdict import Constant
from tests.benchmarks.null_prompts import NULLS, TRUE, drawn, evidence, words

RUNS = 40
"""At a rate of 2 %, more than 5 false go of 40 come up less than once in 5,000 times."""


@pytest.mark.parametrize("name", NULLS)
def test_a_null_prompt_is_seldom_a_go(name: str) -> None:
    assert words(NULLS[name], 100, RUNS, early=False, name=name)["go"] <= 5
    assert words(NULLS[name], 100, RUNS // 4, early=True, name=name)["go"] <= 3


@pytest.mark.parametrize("name", TRUE)
def test_a_prompt_that_helps_is_mostly_a_go(name: str) -> None:
    assert words(TRUE[name], 200, 15, early=False, name=name)["go"] >= 13


@pytest.mark.parametrize("name", NULLS)
def test_the_simulation_takes_the_constant_answer_as_a_proof_does(name: str) -> None:
    scene = NULLS[name]
    truth, before, after = drawn(scene, 60, stream(1, "compared", name))
    pixel = np.zeros((1, 1, 3), np.uint8)
    names = tuple(map(str, range(scene.labels)))
    others = [tuple(Sample(f"{split}{one}", one, pixel) for one in names) for split in ("a", "b")]
    test = tuple(Sample(str(i), str(one), pixel) for i, one in enumerate(truth.tolist()))
    task = Task("told", "?", names, *others, test)
    first, second = ([None if one < 0 else str(one) for one in said] for said in (before, after))
    right = (after == truth).astype(float)
    answer, always = hardest_constant(task, best_constant(task, test), test, second)
    real = Constant.of(answer, always, right, collapse(task, test, first, second))
    fast = evidence(truth, before, after, best=int(np.bincount(truth).argmax())).constant
    assert fast is not None
    assert (fast.accuracy, fast.prompted) == (real.accuracy, real.prompted)
    if not np.array_equal(always, truth == np.bincount(truth).argmax()):
        return  # of constant answers that are right equally often, each may be taken
    assert fast.changed == real.changed
