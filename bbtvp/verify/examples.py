"""Test images of a proof with the answers to them, to be looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from bbtvp.core.arrays import Pixels
from bbtvp.verify.answers import ModelAnswers


@final
@dataclass(frozen=True)
class Example:
    """A test image as it was and as prompted, with the model's answers and their scores.

    A score is 0 to 1, NaN where the query failed.
    """

    model: str
    before: Pixels
    after: Pixels
    question: str
    truth: str
    answer_before: str | None
    answer_after: str | None
    score_before: float = math.nan
    score_after: float = math.nan


def first_examples(answers: ModelAnswers, limit: int) -> tuple[Example, ...]:
    """The first test images, right or wrong: the good ones are not picked."""
    before = answers.arms["zero_shot"].labels
    after = answers.arms["prompted"].labels
    return tuple(
        Example(
            answers.spec,
            sample.pixels(),
            answers.prompt.render(sample.pixels()),
            answers.task.ask(sample),
            sample.answer,
            before[i],
            after[i],
            float(answers.correct("zero_shot")[i]),
            float(answers.correct("prompted")[i]),
        )
        for i, sample in enumerate(answers.samples[:limit])
    )
