"""The further arms and figures of a proof, worked out by hand; looking early; what is said beside
the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.models import (
    Budget,
    Capabilities,
    LabelScore,
    Model,
    Outcome,
    QueryFailed,
    Reply,
    Request,
)
from bbtvp.prompt import Frame, Placement, Prompt, PromptSpace, Tone
from bbtvp.report.progress import describe_power
from bbtvp.report.terminal import proof_details, verdict_lines
from bbtvp.search.calibration import corrected, fitted, indices
from bbtvp.stats import images_needed
from bbtvp.stats.graded import graded_z
from bbtvp.stats.power import Z
from bbtvp.tasks import Sample, Task
from bbtvp.verify import Rule, plan_proof, verify
from tests.support import (
    LABELS,
    QUESTION,
    SIDE,
    Eye,
    Flaky,
    Recorder,
    Vendor,
    Wrapper,
    pattern,
    patterns,
)

SPACE = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",)), Frame("color")), SIDE)
TASK = patterns()
PROMPT: Prompt = SPACE.prompt(np.array([0.0, 2.5, 1.0, 1.0, 1.0]))
NOTHING: Prompt = SPACE.prompt(SPACE.neutral())


@final
class Moody(Wrapper):
    """Every third of its second answers is for rows, whatever it sees."""

    def __init__(self) -> None:
        super().__init__(Eye())
        self.capabilities = replace(self.capabilities, deterministic=False)
        self.drawn = 0

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        found = super().query(requests, budget)
        for i, request in enumerate(requests):
            self.drawn += request.replicate
            if request.replicate and self.drawn % 3 == 0:
                found[i] = Reply(
                    scores=tuple(
                        LabelScore(0.0 if label == "rows" else -9.0, 1) for label in LABELS
                    )
                )
        return found


def test_zero_shot_is_asked_twice_of_a_model_that_may_answer_otherwise() -> None:
    clear = patterns(amplitude=0.3)  # zero-shot is right everywhere
    model = Recorder(Moody())
    row = verify(NOTHING, clear, [model]).rows[0]
    again = [request for request in model.asked if request.replicate]
    assert [request.image.tobytes() for request in again] == [
        sample.pixels().tobytes() for sample in clear.test
    ]
    assert {request.replicate for request in again} == {1}
    turned = [sample.answer != "rows" for sample in clear.test[2::3]]
    assert (row.zero_shot, row.noise) == (1.0, sum(turned) / 80)
    assert row.failed == 0
    told = verify(NOTHING, clear, [Moody()]).notes
    assert any("of the answers change when it is asked the same again" in note for note in told)


def test_a_model_that_always_answers_the_same_costs_no_second_draw() -> None:
    model = Recorder()
    assert verify(PROMPT, TASK, [model]).rows[0].noise == 0
    assert not any(request.replicate for request in model.asked)


def test_the_output_calibration_by_hand() -> None:
    model = Recorder()
    proof = verify(PROMPT, TASK, [model], calibration=30, seed=4)
    row = proof.rows[0]
    test = {sample.pixels().tobytes() for sample in TASK.test}
    held = {sample.pixels().tobytes(): sample.answer for sample in TASK.validation}
    first = model.asked[:30]
    assert all(
        request.image.tobytes() in held and request.image.tobytes() not in test for request in first
    )
    assert proof.queries == 30 + 160

    def scores(images: Sequence[np.ndarray]) -> np.ndarray:
        replies = [Eye().look(Request(image, QUESTION, LABELS)).scores or () for image in images]
        return np.array([[score.logprob for score in reply] for reply in replies])

    truths = indices(LABELS, [held[request.image.tobytes()] for request in first])
    bias = fitted(scores([request.image for request in first]), truths, "labels")
    by_hand = corrected(
        scores([s.pixels() for s in TASK.test]),
        bias,
        indices(LABELS, [s.answer for s in TASK.test]),
    )
    beyond = row.over_calibration
    assert beyond is not None
    assert (beyond.before, beyond.after) == (by_hand.mean(), row.prompted)
    assert beyond.gain == pytest.approx(row.prompted - by_hand.mean())


def test_no_calibration_without_log_probabilities_or_when_turned_off() -> None:
    proof = verify(PROMPT, TASK, [Eye(logprobs=False)], calibration=30)
    assert proof.rows[0].over_calibration is None
    proof = verify(PROMPT, TASK, [Eye()])
    assert (proof.rows[0].over_calibration, proof.queries) == (None, 160)
    with pytest.raises(UsageError, match="from 0 up"):
        verify(PROMPT, TASK, [Eye()], calibration=-1)


# -- figures of a kind of task ---------------------------------------------------------------------
@final
class Told(Model):
    """Says what its table says for an image (before) and for any other (after), with the yes's
    log-probability.
    """

    spec = "told/model"
    capabilities = Capabilities(logprobs=True, deterministic=True)

    def __init__(self, before: dict[bytes, float], after: float) -> None:
        self.before = before
        self.after = after

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        found: list[Outcome] = []
        for request in requests:
            yes = self.before.get(request.image.tobytes(), self.after)
            by_name = {"yes": np.log(yes), "no": np.log(1 - yes)}
            if request.labels is None:
                found.append(Reply("yes" if yes > 0.5 else "no"))
            else:
                found.append(
                    Reply(
                        scores=tuple(LabelScore(float(by_name[name]), 1) for name in request.labels)
                    )
                )
        return found


def split_of(labels: Sequence[str], question: str = "is it there?") -> Task:
    """The patterns with other answers."""
    splits = {
        name: tuple(
            replace(sample, answer=labels[i % len(labels)]) for i, sample in enumerate(samples)
        )
        for name, samples in TASK.splits.items()
    }
    return Task("asked", question, tuple(labels), **splits)


def test_figures_of_yes_and_no() -> None:
    task = split_of(("yes", "no"))
    rng = np.random.default_rng(3)
    yes = {
        s.pixels().tobytes(): float(
            np.clip(rng.normal(0.6 if s.answer == "yes" else 0.4, 0.2), 0.05, 0.95)
        )
        for s in task.test
    }
    proof = verify(PROMPT, task, [Told(yes, 0.9)])
    detail = proof.rows[0].detail
    assert detail is not None
    figures = {figure.name: figure for figure in detail.figures}
    assert figures.keys() == {"roc_auc", "f1", "yes_ratio"}
    values = np.array([yes[s.pixels().tobytes()] for s in task.test])
    truth = np.array([s.answer == "yes" for s in task.test])
    pairs = values[truth][:, None] - values[~truth]
    assert figures["roc_auc"].before == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert figures["roc_auc"].after == 0.5  # all prompted images alike
    said = values > 0.5
    assert figures["f1"].before == pytest.approx(
        2 * (said & truth).sum() / (said.sum() + truth.sum())
    )
    assert figures["f1"].after == pytest.approx(2 / 3)  # yes to everything, half of it right
    assert (figures["yes_ratio"].before, figures["yes_ratio"].after) == (said.mean(), 1.0)
    low, high = figures["yes_ratio"].difference_ci95
    assert low < 1 - said.mean() < high
    assert detail.per_class["yes"] == (40, pytest.approx((said & truth).sum() / 40), 1.0)
    assert detail.confusion_after == {"no": {"yes": 40}, "yes": {"yes": 40}}
    shown = proof_details(proof)
    assert "roc auc (yes)" in shown and "yes ratio (yes)" in shown and "yes (40)" in shown


def test_the_error_of_counts_in_words_and_digits() -> None:
    task = split_of(("one", "2", "three", "4"), "how many?")

    @final
    class Counts(Wrapper):
        def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
            texts = {sample.pixels().tobytes(): "2" for sample in task.test}
            return [Reply(texts.get(request.image.tobytes(), "three")) for request in requests]

    detail = verify(PROMPT, task, [Counts(Eye(logprobs=False))], reader="text").rows[0].detail
    assert detail is not None
    (figure,) = detail.figures
    assert (figure.name, figure.before, figure.after, figure.positive) == (
        "mean_absolute_error",
        1.0,
        1.0,
        "",
    )
    assert detail.per_class["2"] == (20, 1.0, 0.0)


# -- looking early ---------------------------------------------------------------------------------
def many(count: int = 400) -> Task:
    rng = np.random.default_rng(0)
    return patterns(
        test=tuple(
            Sample(f"m{i}", LABELS[i % 4], pattern(LABELS[i % 4], 0.02, rng)) for i in range(count)
        )
    )


def test_a_clear_gain_stops_early_and_the_answers_are_those_of_the_whole(tmp_path: Path) -> None:
    task = many()
    whole = verify(PROMPT, task, [Eye()], source="eye/near")
    model = Recorder()
    early = verify(PROMPT, task, [model], source="eye/near", sequential=True, out=tmp_path)
    assert (whole.verdict.word, early.verdict.word) == ("go", "go")
    row = early.rows[0]
    assert row.images < 400 and early.saved == 400 - row.images
    assert early.queries == len({request.key for request in model.asked}) <= 3 * row.images
    low, high = row.gain_ci95
    assert low < whole.rows[0].gain < high
    assert any(f"settled after {row.images} of 400 test images" in note for note in early.notes)
    more = Recorder()
    rest = verify(
        PROMPT, task, [more], source="eye/near", out=tmp_path
    )  # the same folder: what was asked is known
    assert rest.rows == whole.rows
    assert len(more.asked) == whole.queries - early.queries


def test_no_go_spares_the_other_models() -> None:
    others = [Recorder(Eye("eye/far", prejudice="columns")), Recorder(Eye("eye/dim"))]
    harmful = SPACE.prompt(np.array([0.0, -3.0, 0.0, 0.0, 0.0]))
    strong = Eye("eye/near", gain=60.0)
    proof = verify(
        harmful, many(), [others[0], strong, others[1]], source="eye/near", sequential=True
    )
    assert proof.verdict.word == "no-go"
    assert [row.model for row in proof.rows] == ["eye/near"]
    assert not others[0].asked and not others[1].asked
    assert any("eye/far was not asked" in note for note in proof.notes)
    assert proof.saved == 3 * 400 - proof.rows[0].images


def test_a_prompt_that_does_nothing_is_no_go_or_undecided_and_never_go() -> None:
    proof = verify(NOTHING, many(), [Eye()], source="eye/near", sequential=True)
    assert proof.verdict.word != "go"
    assert proof.rows[0].gain == 0


# -- verdicts withheld, notes ----------------------------------------------------------------------
def test_twelve_images_are_no_test_set() -> None:
    proof = verify(PROMPT, patterns(test=TASK.test[:12]), [Eye()])
    assert proof.verdict.word == "undecided"
    assert "12 test images are too few" in proof.verdict.reasons[0]
    assert proof.rows[0].gain > 0  # the figures are shown all the same


def test_one_answer_for_all_is_no_test_set() -> None:
    same = tuple(replace(sample, answer="rows") for sample in TASK.test)
    verdict = verify(PROMPT, patterns(test=same), [Eye()]).verdict
    assert verdict.word == "undecided"
    assert "all test images have the answer 'rows'" in str(verdict)


def test_images_of_the_other_splits_are_left_out_of_the_verdict() -> None:
    def leaking(count: int) -> Task:
        copies = (replace(sample, id=f"copy-{i}") for i, sample in enumerate(TASK.train[:count]))
        return patterns(test=(*TASK.test[: 80 - count], *copies))

    proof = verify(PROMPT, leaking(10), [Eye()], source="eye/near")
    assert proof.rows[0].n == 80
    assert "of 80 test images, 10 equal to one in train or validation" in proof.notes[0]
    assert proof.verdict.reasons[0].endswith("on 70 images")
    verdict = verify(PROMPT, leaking(30), [Eye()]).verdict
    assert (
        verdict.word == "undecided"
        and "30 of 80 test images are in train or validation too" in str(verdict)
    )


def test_a_model_that_fails_on_a_third_of_the_images_gets_no_verdict() -> None:
    lost = {sample.pixels().tobytes() for sample in TASK.test[:30]}
    verdict = verify(
        PROMPT, TASK, [Flaky(refuses=lambda request: request.image.tobytes() in lost)]
    ).verdict
    assert verdict.word == "undecided" and "failed on 30 of 80 images" in str(verdict)


def test_another_canvas_question_or_labels_are_said() -> None:
    large = PromptSpace((Tone(("contrast",)),), 64)
    facts = {"question": "what colour is it?", "labels": ["red", "blue"], "task": "colours"}
    proof = verify(large.prompt(np.array([1.0])), TASK, [Eye()], facts=facts)
    assert any(
        "made for a canvas of 64 px" in note and "makes it 16 px" in note for note in proof.notes
    )
    assert any("searched with the question 'what colour is it?'" in note for note in proof.notes)
    assert any(
        "searched with the labels red, blue; this task has rows, columns" in note
        for note in proof.notes
    )
    shown = verdict_lines(proof).splitlines()
    assert shown[0].startswith("verdict: ") and all(line.startswith("note: ") for line in shown[1:])


def test_nothing_is_said_where_all_is_as_it_was() -> None:
    facts = {"question": TASK.question, "task": TASK.name}
    assert verify(PROMPT, TASK, [Eye()], facts=facts).notes == ()


def test_the_proof_is_kept_with_its_verdict(tmp_path: Path) -> None:
    proof = verify(PROMPT, TASK, [Eye()], out=tmp_path, rule=Rule(min_gain=0.3))
    kept = next((tmp_path / "verify").glob("*/proof.json")).read_text("utf-8")
    assert f'"word": "{proof.verdict.word}"' in kept
    assert "30 points" in str(proof.verdict.rule)


# -- the plan --------------------------------------------------------------------------------------
def test_the_plan_is_an_upper_bound_for_every_kind_of_model() -> None:
    models: list[Model | str] = [Eye(), Eye(logprobs=False), Moody(), Vendor(), "zoo/llava"]
    planned = plan_proof(PROMPT, TASK, models, reader="auto", calibration=20, rule=Rule())
    assert [share.queries for share in planned.shares] == [
        240 + 20,
        240,
        320 + 20,
        320 + 20,
        240 + 20,
    ]
    assert planned.queries == sum(share.queries for share in planned.shares)
    for model, share in zip(models[:4], planned.shares, strict=False):
        assert not isinstance(model, str)
        assert (
            verify(PROMPT, TASK, [model], calibration=20).queries <= share.queries + 2
        )  # the vendor's probe
    assert planned.seen is not None and 0.1 < planned.seen < 0.3
    assert planned.as_json()["images_needed"] == {"0.05": 1702, "0.1": 281, "0.2": 71}


@pytest.mark.parametrize("half", [1.0, 0.5])
def test_graded_changes_of_the_planned_means_are_shown_at_least_as_often(half: float) -> None:
    """A gain of 10 points, and 10 points lost: by whole answers, or by halves twice as often."""
    gained, lost = 0.2 / half, 0.1 / half
    count = images_needed(0.1, margin=0.02)
    assert count is not None
    rng = stream(0, "graded power")
    shares = [gained, lost, 1 - gained - lost]
    drawn = rng.choice([half, -half, 0.0], size=(200, count), p=shares)
    shown = np.mean([graded_z(differences, 0.02) >= Z for differences in drawn])
    assert shown > (0.7 if half == 1 else 0.9)


def test_the_plan_says_that_graded_scores_need_fewer_images() -> None:
    for metric, graded in (("accuracy", False), ("anls", True)):
        task = replace(TASK, metric=metric)
        planned = plan_proof(PROMPT, task, [Eye()], reader="auto", calibration=0, rule=Rule())
        assert planned.graded is graded
        assert ("graded scores need fewer" in describe_power(planned)) is graded


def test_failures_of_the_second_draw_drop_no_image() -> None:
    @final
    class Once(Wrapper):
        def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
            found = super().query(requests, budget)
            return [
                QueryFailed("busy") if r.replicate and i % 2 else o
                for i, (r, o) in enumerate(zip(requests, found, strict=True))
            ]

    model = Once(Moody())
    model.capabilities = replace(model.capabilities, deterministic=False)
    row = verify(PROMPT, TASK, [model]).rows[0]
    assert (row.n, row.failed) == (80, 0)
    assert row.noise is not None
