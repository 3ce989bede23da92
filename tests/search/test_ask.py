"""Ask a model about samples: what is sent, and what the answers hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bbtvp.core.arrays import Pixels
from bbtvp.core.shown import Shown
from bbtvp.models import Budget, Outcome, QueryFailed, Request
from bbtvp.search import LogProbReader, TextReader, ask
from bbtvp.search.ask import BATCH, Beside, requests_for
from tests.support import LABELS, Eye, Flaky, Recorder, Wrapper, patterns

TASK = patterns()


def test_answers_keep_the_order_the_failures_and_the_scores() -> None:
    samples = TASK.train[:4]
    lost = samples[1].pixels().tobytes()
    model = Flaky(refuses=lambda request: request.image.tobytes() == lost)
    found = ask(model, LogProbReader(), TASK, samples)
    table = found.score_table(len(LABELS))
    assert found.failed == 1
    assert found.labels[1] is None
    assert np.isnan(found.losses).tolist() == [False, True, False, False]
    assert np.isnan(table).all(axis=1).tolist() == [False, True, False, False]
    kept = [0, 2, 3]
    assert np.exp(table[kept]).sum(axis=1) == pytest.approx(1)
    assert [LABELS[k] for k in table[kept].argmax(axis=1)] == [found.labels[i] for i in kept]
    assert ask(Eye(), TextReader(), TASK, samples).scores == (None,) * 4


def test_what_goes_beside_an_image_is_sent_and_only_a_text_gets_more_room() -> None:
    example = Shown(np.zeros((8, 8, 3), np.uint8), "rows")
    around = [Beside((example,), 99)] * 2
    samples = TASK.train[:2]
    pictures = [sample.pixels() for sample in samples]
    for reader, room in ((TextReader(), 99), (LogProbReader(), 16)):
        asked = requests_for(
            reader, TASK, samples, images=pictures, questions=["?", "?"], beside=around
        )
        assert [(one.context, one.max_tokens) for one in asked] == [((example,), room)] * 2


def test_images_are_rendered_a_batch_at_a_time_and_sent_as_the_prompt_makes_them() -> None:
    class Half:
        def render(self, image: Pixels) -> Pixels:
            return image // 2

        def ask(self, question: str) -> str:
            return f"{question} Look closely."

        def context(self) -> tuple[Shown, ...]:
            return ()

        reply_tokens = 0

    model = Recorder()
    samples = [TASK.train[i % 3] for i in range(BATCH + 5)]
    found = ask(model, LogProbReader(), TASK, samples, Half())
    assert [len(call) for call in model.calls] == [BATCH, 5]
    assert len(found.readings) == BATCH + 5
    assert all(
        np.array_equal(request.image, sample.pixels() // 2)
        for request, sample in zip(model.asked, samples, strict=True)
    )
    assert {request.text for request in model.asked} == {f"{TASK.question} Look closely."}


def test_a_replicate_is_another_draw() -> None:
    model = Recorder()
    ask(model, LogProbReader(), TASK, TASK.train[:2], repeats=2, replicate=3)
    assert [request.replicate for request in model.asked] == [3, 4] * 2


def test_refusals_are_counted_among_the_failures() -> None:
    class Prude(Wrapper):
        def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
            outcomes = super().query(requests, budget)
            return [QueryFailed("no", refused=True), QueryFailed("down"), *outcomes[2:]]

    found = ask(Prude(Eye()), LogProbReader(), TASK, TASK.train[:4])
    assert (found.refused, found.failed, found.unparsed) == (1, 2, 0)
