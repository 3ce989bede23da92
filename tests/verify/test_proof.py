"""The proof against figures worked out from the replies themselves."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import pytest

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Budget, Capabilities, Model, Outcome, Reply, Request
from bbtvp.prompt import Frame, Guidance, Identity, Marks, Placement, Prompt, PromptSpace, Tone
from bbtvp.report.gallery import save_gallery
from bbtvp.report.progress import Progress
from bbtvp.report.terminal import proof_table
from bbtvp.stats import paired_gain
from bbtvp.tasks import Sample, Task
from bbtvp.verify import ProofRow, Rule, plan_proof, verify
from bbtvp.verify.events import ProofEvent, ProofPlanned
from tests.support import LABELS, QUESTION, SIDE, Eye, Flaky, Recorder, Wrapper, pattern, patterns

SPACE = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",)), Frame("color")), SIDE)
TASK = patterns()


def prompt(zoom: float = 0.0, contrast: float = 2.5, colour: float = 1.0) -> Prompt:
    return SPACE.prompt(np.array([zoom, contrast, *[colour] * (SPACE.dim - 2)]))


def right(images: list[Pixels], eye: Eye) -> np.ndarray:
    """Whether the likeliest label is the truth, for each test image."""
    replies = [eye.look(Request(image, QUESTION, LABELS)) for image in images]
    guesses = [
        LABELS[int(np.argmax([score.logprob for score in reply.scores or ()]))] for reply in replies
    ]
    return np.array(
        [guess == sample.answer for guess, sample in zip(guesses, TASK.test, strict=True)], float
    )


def raw() -> list[Pixels]:
    return [sample.pixels() for sample in TASK.test]


def placed(zoom: float) -> list[Pixels]:
    """The control: placed as by this zoom, and nothing else done."""
    control = SPACE.prompt(np.array([zoom, *[0.0] * (SPACE.dim - 1)]))
    return [control.render(image) for image in raw()]


def test_a_row_by_hand() -> None:
    eye = Eye(gain=25)
    tried = prompt(zoom=-1.0)
    row = verify(tried, TASK, [eye], seed=3).rows[0]
    before = right(raw(), eye)
    control = right(placed(-1.0), eye)
    after = right([tried.render(image) for image in raw()], eye)
    gain = paired_gain(before, after, seed=3)
    over = paired_gain(control, after, seed=3)
    assert (row.n, row.zero_shot, row.empty_frame, row.prompted) == (
        80,
        before.mean(),
        control.mean(),
        after.mean(),
    )
    assert row.gain == pytest.approx(after.mean() - before.mean())
    assert (row.paired, row.gain_ci95) == (gain, gain.ci)
    assert (row.over_frame, row.over_empty_frame) == (over, over.gain)
    assert (row.failed, row.unparsed) == (0, 0)


def test_every_source_decides_and_is_no_target() -> None:
    near = Eye(gain=25)
    far = Eye("eye/far", prejudice="columns")
    for sources in ([near.spec, far.spec], [far.spec, near.spec, "eye/elsewhere"]):
        proof = verify(prompt(), TASK, [near, far], source=sources)
        assert [row.role for row in proof.rows] == ["source", "source"]
        assert proof.transfer is None
    one = verify(prompt(), TASK, [near, far], source=near.spec)
    assert [row.role for row in one.rows] == ["source", "target"]


def test_the_control_is_the_image_placed_and_nothing_more() -> None:
    model = Recorder()
    verify(prompt(zoom=-1.5, colour=2.0), TASK, [model])
    sent = [request.image.tobytes() for request in model.asked]
    assert sent[:80] == [image.tobytes() for image in raw()]
    assert sent[80:160] == [image.tobytes() for image in placed(-1.5)]
    assert len(sent) == 240


def test_a_prompt_that_moves_nothing_has_the_raw_image_as_its_control() -> None:
    """Then the control costs nothing: those queries are answered already."""
    proof = verify(prompt(), TASK, [Eye()])
    assert proof.rows[0].empty_frame == proof.rows[0].zero_shot
    assert proof.queries == 160


def test_failed_queries_are_dropped_pairwise() -> None:
    tried = prompt()
    lost = {image.tobytes() for image in raw()[:7]} | {
        tried.render(image).tobytes() for image in raw()[5:20]
    }
    row = verify(
        tried, TASK, [Flaky(refuses=lambda request: request.image.tobytes() in lost)]
    ).rows[0]
    before = right(raw(), Eye())
    after = right([tried.render(image) for image in raw()], Eye())
    assert row.n == 60  # the first 20 lack one arm or the other
    assert (row.zero_shot, row.prompted) == (before[20:].mean(), after[20:].mean())
    assert row.failed == 7 + 7 + 15  # zero-shot, the equal control, prompted


def test_roles_and_transfer() -> None:
    models = [Eye("eye/near"), Eye("eye/far", prejudice="columns"), Eye("eye/dim", gain=2)]
    proof = verify(prompt(), TASK, models, source="eye/near")
    assert [(row.model, row.role) for row in proof.rows] == [
        ("eye/near", "source"),
        ("eye/far", "target"),
        ("eye/dim", "target"),
    ]
    assert proof.transfer == pytest.approx((proof.rows[1].gain + proof.rows[2].gain) / 2)
    assert verify(prompt(), TASK, models[:1], source="eye/near").transfer is None


def test_unparsed_replies_are_wrong_and_counted() -> None:
    row = verify(prompt(contrast=0.0), TASK, [Eye(gain=40)], reader="text").rows[0]
    unsure = sum(
        Eye(gain=40).look(Request(image, QUESTION)).text == "I am not sure" for image in raw()
    )
    assert row.unparsed == unsure > 0
    assert row.n == 80


@final
class Updated(Wrapper):
    """A model that its vendor updates after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.calls -= 1
        version = "eye-1" if self.calls >= 0 else "eye-2"
        return [
            replace(outcome, version=version) if isinstance(outcome, Reply) else outcome
            for outcome in super().query(requests, budget)
        ]


def test_the_version_that_answered_is_in_the_row_and_none_is_guessed(tmp_path: Path) -> None:
    (row,) = verify(prompt(), TASK, [Eye()]).rows
    assert (row.version, row.as_json()["version"]) == (None, None)
    for _ in range(2):  # the second time from the journal
        proof = verify(prompt(), TASK, [Updated(99)], out=tmp_path)
        assert proof.as_json()[0]["version"] == "eye-1"
        assert [note.code for note in proof.notes] == []
    mixed = verify(prompt(), TASK, [Updated(1)])
    assert mixed.rows[0].versions == ("eye-1", "eye-2")
    assert mixed.as_json()[0]["version"] == "eye-1, eye-2"
    assert [note.code for note in mixed.notes] == ["several-versions"]


def test_only_the_test_split_is_asked_about() -> None:
    model = Recorder()
    verify(SPACE.prompt(SPACE.neutral()), TASK, [model])
    assert {request.image.tobytes() for request in model.asked} == {
        image.tobytes() for image in raw()
    }


def test_more_test_images_than_fit_into_one_batch() -> None:
    rng = np.random.default_rng(0)
    test = tuple(
        Sample(f"m{i}", LABELS[i % 4], pattern(LABELS[i % 4], 0.02, rng)) for i in range(300)
    )
    many: Task = patterns(test=test)
    row = verify(prompt(), many, [Eye()]).rows[0]
    shares = [
        verify(prompt(), patterns(test=test[i : i + 100]), [Eye()]).rows[0].prompted
        for i in (0, 100, 200)
    ]
    assert row.n == 300
    assert row.prompted == pytest.approx(np.mean(shares))


def test_a_proof_on_another_task_lies_beside_the_first(tmp_path: Path) -> None:
    first = verify(prompt(), TASK, [Eye()], out=tmp_path)
    other = verify(prompt(), patterns(amplitude=0.1), [Eye()], out=tmp_path)
    assert other.rows != first.rows
    model = Recorder()
    again = verify(prompt(), TASK, [model], out=tmp_path)
    assert model.calls == []
    assert again.rows == first.rows
    assert len(list(tmp_path.glob("verify/*/journal.jsonl"))) == 2


def test_another_prompt_or_model_in_the_same_folder_is_welcome(tmp_path: Path) -> None:
    first = verify(prompt(), TASK, [Eye()], out=tmp_path)
    verify(prompt(contrast=1.0), TASK, [Eye()], out=tmp_path)
    model = Recorder()
    other = Recorder(Eye("eye/far", prejudice="columns"))
    both = verify(prompt(), TASK, [model, other], out=tmp_path)
    assert model.calls == []
    assert replace(both.rows[0], holm_p=0.0) == replace(first.rows[0], holm_p=0.0)
    assert both.rows[0].holm_p == 2 * first.rows[0].holm_p, "of two tests"
    assert other.asked


def test_without_models_there_is_no_proof() -> None:
    with pytest.raises(UsageError, match="at least one model"):
        verify(prompt(), TASK, [])


def test_a_model_that_answers_nothing_has_no_row() -> None:
    with pytest.raises(ModelError, match="failed: HTTP 503"):
        verify(prompt(), TASK, [Flaky(share=1.0)])


def test_no_image_with_all_three_arms_is_said() -> None:
    tried = prompt()
    kept = {image.tobytes() for image in raw()}
    even = {image.tobytes() for image in raw()[::2]}
    lost = even | {tried.render(image).tobytes() for image in raw()[1::2]}
    assert not lost & (kept - even)
    with pytest.raises(ModelError, match="answered no test image in all three arms"):
        verify(tried, TASK, [Flaky(refuses=lambda request: request.image.tobytes() in lost)])


# -- a prompt with a sentence ----------------------------------------------------------------------
GUIDED = PromptSpace((Tone(("contrast",)), Marks(), Guidance()), SIDE)


def guided(wording: str = "scan", contrast: float = 2.5) -> Prompt:
    z = GUIDED.embed(Guidance().start(wording), ["guidance"], GUIDED.neutral())
    z[GUIDED.names.index("tone.contrast")] = contrast
    return GUIDED.prompt(GUIDED.embed(Marks().start(2, layout="columns"), ["marks"], z))


@final
class Obedient(Wrapper):
    """Sees what its eye sees, and is surely right where it is told to go through the columns."""

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        truths = {sample.pixels().tobytes(): sample.answer for sample in TASK.test}
        truths |= {
            guided().render(sample.pixels()).tobytes(): sample.answer for sample in TASK.test
        }
        told = [truths[r.image.tobytes()] if self.word in r.text else None for r in requests]
        return [
            Reply(truth) if truth else outcome
            for truth, outcome in zip(told, super().query(requests, budget), strict=True)
        ]

    def __init__(self, word: str) -> None:
        super().__init__(Eye(logprobs=False))
        self.word = word


def test_five_arms_with_their_images_and_questions() -> None:
    model = Recorder()
    tried = guided()
    seen: list[ProofEvent] = []
    proof = verify(tried, TASK, [model], watch=seen.append)
    asked = {(request.image.tobytes(), request.text) for request in model.asked}
    sentence = tried.space.arms(tried.z)["sentence_only"].ask(QUESTION)
    assert tried.ask(QUESTION) != sentence != QUESTION
    assert "columns" not in sentence
    for image in raw():
        after = tried.render(image).tobytes()
        plain = image.tobytes()
        assert {
            (plain, QUESTION),
            (plain, sentence),
            (after, QUESTION),
            (after, tried.ask(QUESTION)),
        } <= asked
    assert len(asked) == proof.queries == 4 * 80  # the empty frame of this prompt is the raw image
    assert isinstance(seen[0], ProofPlanned)
    assert (seen[0].models, seen[0].plan.queries) == (1, 5 * 80)


def test_it_says_when_it_goes_on(tmp_path: Path) -> None:
    heard: list[str] = []
    verify(prompt(), TASK, [Eye()], out=tmp_path, watch=Progress(heard.append, io.StringIO()))
    assert not any(line.startswith("continuing") for line in heard)
    verify(prompt(), TASK, [Eye()], out=tmp_path, watch=Progress(heard.append, io.StringIO()))
    assert "continuing: 160 image queries were answered before and are not sent again" in heard


def test_the_halves_by_hand() -> None:
    """Told of columns, the model is right: with the marks the sentence names them, and without it
    does not.
    """
    row = verify(guided(), TASK, [Obedient("column")], reader="text").rows[0]
    assert row.prompted == 1.0
    assert row.sentence_only == row.zero_shot < 1
    assert row.image_only is not None
    assert row.image_only < 1
    row = verify(guided(), TASK, [Obedient("through")], reader="text").rows[0]
    assert row.sentence_only == 1.0
    assert (
        row.image_only
        == verify(guided("none"), TASK, [Eye(logprobs=False)], reader="text").rows[0].prompted
    )


def test_it_says_whether_the_picture_adds_to_the_words() -> None:
    """The model obeys words: those that both halves have, then those that only the marks bring."""
    proof = verify(guided(), TASK, [Obedient("through")], reader="text")
    assert [note.code for note in proof.notes if "sentence" in note.code] == ["sentence-does-it"]
    row = proof.rows[0]
    assert row.over_words is not None
    assert row.over_words.gain == row.prompted - (row.sentence_only or 0) == 0
    proof = verify(guided(), TASK, [Obedient("column")], reader="text")
    assert "picture-adds" in [note.code for note in proof.notes]
    silent = verify(guided("none"), TASK, [Eye()])
    assert silent.rows[0].over_words is None


@pytest.mark.parametrize(
    "text", ["{question} Go through.", "Go through it: {question} Now.", "I go through {it}."]
)
def test_words_alone_are_asked_in_two_arms(text: str) -> None:
    space = PromptSpace((Identity(), Guidance((text,))))
    tried = space.prompt(space.starts()[1])
    plan = plan_proof(tried, TASK, [Eye(logprobs=False)], reader="text", calibration=0, rule=Rule())
    proof = verify(tried, TASK, [Obedient("through")], reader="text")
    row = proof.rows[0]
    assert proof.queries == plan.queries == 2 * 80
    assert row.prompted == 1.0
    assert row.empty_frame == row.zero_shot < 1
    assert row.sentence_only is None
    assert "words-alone" in [note.code for note in proof.notes]


def test_a_failure_in_any_arm_drops_the_image_from_all() -> None:
    images, after = (
        [image.tobytes() for image in given] for given in (raw(), map(guided().render, raw()))
    )

    def proved(told: list[bytes], shown: list[bytes]) -> ProofRow:
        """Without the sentence for the raw images `told`, nor the plain question for the prompted
        ones `shown`.
        """
        lost = {(image, True) for image in told} | {(image, False) for image in shown}
        return verify(
            guided(),
            TASK,
            [Flaky(refuses=lambda r: (r.image.tobytes(), r.text != QUESTION) in lost)],
        ).rows[0]

    assert (proved(images[:4], after[2:7]).n, proved(images[:4], after[2:7]).failed) == (73, 9)
    with pytest.raises(ModelError, match="no test image in all five arms"):
        proved(images[::2], after[1::2])


def test_the_table_has_the_halves_where_there_are_any() -> None:
    proof = verify(guided(), TASK, [Eye()])
    head, _, row = proof_table(proof).splitlines()[:3]
    assert head.endswith("sentence only  image only")
    halves = (proof.rows[0].sentence_only, proof.rows[0].image_only)
    assert row.split()[-4:] == [
        part for half in halves for part in (f"{100 * (half or 0):.1f}", "%")
    ]
    assert "sentence" not in proof_table(verify(prompt(), TASK, [Eye()]))


# -- what people see -------------------------------------------------------------------------------
def test_the_table_names_every_model_and_the_missing_data() -> None:
    lost = {image.tobytes() for image in raw()[:3]}
    models = [
        Flaky(refuses=lambda request: request.image.tobytes() in lost),
        Eye("eye/far", prejudice="columns"),
    ]
    proof = verify(prompt(), TASK, models, source="eye/near")
    table = proof_table(proof).splitlines()
    assert table[0].split()[:3] == ["model", "role", "n"]
    assert table[2].startswith("eye/near  source  77")
    assert f"{100 * proof.rows[1].gain:+.1f}" in table[3]
    assert table[4].startswith("transfer: ")
    assert table[5].startswith("best constant answer: 'checks', 2")
    assert table[-1] == "failed queries: 6 (missing data, in no figure above)"


def test_the_gallery_shows_the_first_images_whatever_became_of_them(tmp_path: Path) -> None:
    proof = verify(prompt(), TASK, [Eye()], examples=5)
    assert [example.truth for example in proof.examples] == [
        sample.answer for sample in TASK.test[:5]
    ]
    assert all(np.array_equal(e.after, prompt().render(e.before)) for e in proof.examples)
    save_gallery(proof, tmp_path / "new" / "gallery.png")
    assert (tmp_path / "new" / "gallery.png").read_bytes().startswith(b"\x89PNG")


@final
class Priced(Model):
    """Names a price."""

    spec = "eye/priced_$"
    capabilities = Capabilities(logprobs=False, deterministic=True)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [Reply("$5 or $6") for _ in requests]


def test_dollar_signs_in_answers_are_no_mathematics(tmp_path: Path) -> None:
    labels = ("$x^{$", "$5 or $6")
    splits = [
        tuple(Sample(f"{name}{i}", labels[i % 2], TASK.test[i].pixels()) for i in range(4))
        for name in ("a", "b", "c")
    ]
    priced = Task("$a_$", "which?", labels, *splits)
    proof = verify(prompt(), priced, [Priced()], reader="text")
    save_gallery(proof, tmp_path / "gallery.png")


@pytest.mark.filterwarnings("error")
def test_letters_of_no_font_give_a_picture_and_no_warning(tmp_path: Path) -> None:
    labels = ("青い皿", "\U00013000")
    splits = [
        tuple(Sample(f"{name}{i}", labels[i % 2], TASK.test[i].pixels()) for i in range(4))
        for name in ("a", "b", "c")
    ]
    proof = verify(prompt(), Task("皿", "which?", labels, *splits), [Priced()], reader="text")
    save_gallery(proof, tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").is_file()


def test_a_row_is_json() -> None:
    keys = {
        "model",
        "version",
        "role",
        "n",
        "zero_shot",
        "empty_frame",
        "prompted",
        "gain",
        "gain_ci95",
        "mcnemar_p",
        "mcnemar_p_holm",
        "over_empty_frame",
        "over_empty_frame_ci95",
        "failed",
        "unparsed",
        "images",
        "gained",
        "lost",
        "noise",
        "best_constant",
        "best_constant_answer",
        "over_best_constant",
        "over_best_constant_ci95",
        "collapse",
        "replies",
        "detail",
    }
    halves = {"sentence_only", "image_only", "over_sentence", "over_sentence_ci95"}
    calibrated = {"calibrated", "over_calibrated", "over_calibrated_ci95"}
    row = verify(prompt(), TASK, [Eye()]).as_json()[0]
    assert json.loads(json.dumps(row, allow_nan=False)).keys() == keys
    row = verify(guided(), TASK, [Eye()], calibration=30).as_json()[0]
    assert json.loads(json.dumps(row, allow_nan=False)).keys() == keys | halves | calibrated
