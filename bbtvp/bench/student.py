"""AReS (arXiv 2604.01474): the endpoint teaches a local student, which answers in its place.

This does not improve the endpoint's own model. It is the baseline that asks whether the endpoint is
needed at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bbtvp.bench.calibration import training_scores
from bbtvp.bench.method import MethodInput, MethodOutcome
from bbtvp.core.arrays import Vector
from bbtvp.core.rng import derived_seed
from bbtvp.rivals.table import UseCost
from bbtvp.search.canvas import choose_canvas
from bbtvp.surrogate import ares_student


def learn(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    """Train a student on the replies that the budget affords, and let it answer the test images.

    constants: surrogate, inputs, framed (search stage 2's frame too, or use the primed head alone),
    epochs, rate, batch. UsageError as for `training_scores`.
    """
    import numpy as np

    asked = training_scores(job, job.task.train)
    student = ares_student(
        job.surrogate(constants["surrogate"]),
        job.task,
        asked.samples,
        asked.scores,
        canvas=choose_canvas(job.task, [job.model]),
        inputs=constants["inputs"],
        epochs=constants["epochs"] if constants["framed"] else 1,
        rate=constants["rate"],
        batch=constants["batch"],
        seed=derived_seed(job.seed, "bench", "student"),
    )
    answers = student.predict(job.task.test, framed=constants["framed"])
    correct: Vector = np.array(
        [float(a == s.answer) for a, s in zip(answers, job.task.test, strict=True)]
    )
    facts = {
        "images": len(asked.samples),
        "agreement": student.student.fit.agreement,
        "gap": student.student.fit.gap,
    }
    return MethodOutcome(
        correct=correct,
        queries=asked.queries,
        failed=asked.failed,
        facts=facts,
        use=UseCost(0, 0, 0, 0.0),
    )
