"""What a proof says in words: every sentence is made somewhere, from values alone, and from JSON
again.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.jobs.result import result
from bbtvp.models import Delivered
from bbtvp.prompt import Placement, Prompt, PromptSpace, Tone, preset
from bbtvp.stats import PairedGain, paired_gain
from bbtvp.tasks.overlap import Overlap
from bbtvp.verify import ProofRow, Rule, needless_proof, verify
from bbtvp.verify.controls import Collapse, CommonAnswer, ReplyCounts
from bbtvp.verify.messages import MESSAGES, Message, fill, message
from bbtvp.verify.notes import (
    canvas_note,
    fact_notes,
    overlap_note,
    row_notes,
    saving_note,
    withheld,
    words_note,
)
from bbtvp.verify.proof import Proof
from bbtvp.verify.verdict import UNJUDGED, ChangedAnswers, Constant, Evidence, judge
from tests.support import LABELS, SIDE, Eye, Vendor, patterns

TASK = patterns()
FREE = replace(TASK, labels=None, metric="exact")
GAIN = PairedGain(80, 0.5, 0.6, 0.1, (0.0, 0.2), 0.1, gained=12, lost=4)
GRADED = paired_gain([0.5, 0.25, 0.0], [0.5, 0.75, 0.25])
WORSE = PairedGain(80, 0.7, 0.6, -0.1, (-0.2, 0.1), 0.1, gained=4, lost=12)
BETTER = PairedGain(80, 0.5, 0.7, 0.2, (0.1, 0.3), 0.01, gained=20, lost=4)
ROW = ProofRow("a/b", "source", GAIN, over_frame=GAIN, failed=0, unparsed=0, images=80)


def flat(canvas: int) -> Prompt:
    return PromptSpace((Tone(("contrast",)),), canvas).prompt(np.array([-3.0]))


def judged(*evidence: Evidence, rule: Rule | None = None) -> Sequence[Message]:
    return judge(rule or Rule(), evidence).reasons


def source(gained: int, lost: int, n: int = 500, asked: int = 500) -> Evidence:
    return Evidence("a/source", True, ChangedAnswers(gained, lost, n), asked)


def beside(changed: ChangedAnswers, collapsed: tuple[str, float, float] | None = None) -> Evidence:
    """A gain that is shown, and how it stands beside a constant answer."""
    return source(100, 20)._replace(constant=Constant("cat", 0.4, 0.42, changed, collapsed))


OTHER = Evidence("a/other", False, ChangedAnswers(10, 60, 500), 500)
NARROW = Evidence("a/b", True, ChangedAnswers(700, 490, 10_000), 10_000)
MORE = judge(Rule(), [NARROW]).more_images or 0
"""Hundreds of thousands: written with a comma."""


def resampled() -> list[Message]:
    with patch.object(Vendor, "fitting_canvas", return_value=32):
        return canvas_note(flat(64), Vendor(), TASK)


class Priced(Vendor):
    """A vendor whose images cost a token a pixel, and a dollar a million."""

    def image_tokens(self, width: int, height: int) -> int | None:
        return width * height

    def image_usd(self, width: int, height: int) -> float | None:
        return width * height / 1e6


def saved(model: Vendor) -> list[Message]:
    placement = Placement(search=("size",))
    prompt = PromptSpace((placement,), 64, "picture").prompt(placement.start("1/2"))
    return saving_note(prompt, model, TASK)


def delivered(*, whole: bool) -> list[Message]:
    space = PromptSpace((Tone(),), 12, "picture")
    arriving = Delivered(9, 10, whole)
    with patch.object(Vendor, "delivered", return_value=arriving):
        return canvas_note(space.prompt(space.neutral()), Vendor(), TASK)


def test_what_arrives_is_of_the_size_that_the_prompt_sends() -> None:
    placement = Placement(search=("size",))
    prompt = PromptSpace((placement,), 64, "picture").prompt(placement.start("1/4"))
    with patch.object(Vendor, "delivered", lambda self, *sent: Delivered(*sent)):
        (said,) = canvas_note(prompt, Vendor(), TASK)
    assert said == "the median test image, 16 x 16 px, arrives at vendor/eye/near in 4 x 4 px"


class Case(NamedTuple):
    """A call that gives the message, the sentence, and its values in the order of the call."""

    made: Callable[[], Sequence[Message]]
    text: str
    values: dict[str, Any]


TO_ONE = "to one in train or validation: the verdict leaves them out, the table does not"
MADE_FOR = "the prompt was made for a canvas of"
CASES = {
    "identity": Case(
        lambda: needless_proof(TASK.name).verdict.reasons,
        "nothing is to be proved: the prompt is the identity, which sends every image as it is",
        {},
    ),
    "nothing-judged": Case(lambda: UNJUDGED.reasons, "nothing was judged", {}),
    "gains": Case(
        lambda: judged(source(100, 20)),
        "a/source gains +16.0 points on 500 images",
        {"model": "a/source", "gain": 0.16, "images": 500},
    ),
    "no-worse": Case(
        lambda: judged(source(2, 1), rule=Rule(min_gain=-0.02)),
        "a/source is shown to lose less than 2 points (+0.2 on 500 images)",
        {"model": "a/source", "most": 0.02, "gain": 0.002, "images": 500},
    ),
    "open-loss": Case(
        lambda: judged(source(8, 9), rule=Rule(min_gain=-0.01)),
        "a/source changes by -0.2 points on 500 images, which shows neither a loss of less than 1 "
        "point nor one of more",
        {"model": "a/source", "gain": -0.002, "images": 500, "most": 0.01},
    ),
    "no-harm": Case(
        lambda: judged(source(100, 20), OTHER, rule=Rule(max_harm=0.5)),
        "no other model is shown to lose more than 50 points",
        {"max_harm": 0.5},
    ),
    "gains-too-little": Case(
        lambda: judged(source(20, 100), rule=Rule(min_gain=0.01)),
        "a/source is shown to gain less than 1 point (-16.0)",
        {"model": "a/source", "min_gain": 0.01, "gain": -0.16},
    ),
    "harmed": Case(
        lambda: judged(OTHER),
        "a/other is shown to lose more than 2 points (-10.0)",
        {"model": "a/other", "max_harm": 0.02, "gain": -0.1},
    ),
    "fails": Case(
        lambda: judged(source(50, 5, n=300)),
        "a/source failed on 200 of 500 images: what it answered says little",
        {"model": "a/source", "failed": 200, "asked": 500},
    ),
    "open": Case(
        lambda: judged(source(16, 8, n=100, asked=100)),
        "a/source gains +8.0 points on 100 images, which shows neither more nor less than 2 points",
        {"model": "a/source", "gain": 0.08, "images": 100, "min_gain": 0.02},
    ),
    "more-images": Case(
        lambda: judged(NARROW),
        f"about {MORE:,} more test images would settle it, if what was seen holds",
        {"images": MORE},
    ),
    "at-the-margin": Case(
        lambda: judged(source(205, 195, n=499)),
        "the gain lies so near the margin that no number of images in reach would settle it",
        {},
    ),
    "split-leaks": Case(
        lambda: withheld(TASK, Overlap(tuple(range(30)))),
        "30 of 80 test images are in train or validation too: split the data anew, so that what "
        "is held out was not seen",
        {"seen": 30, "images": 80},
    ),
    "too-few-images": Case(
        lambda: withheld(patterns(test=TASK.test[:12]), Overlap((0,))),
        "11 test images are too few: give at least 30",
        {"images": 11, "least": 30},
    ),
    "one-answer": Case(
        lambda: withheld(
            patterns(test=tuple(replace(one, answer="rows") for one in TASK.test)), Overlap()
        ),
        "all test images have the answer 'rows': a model that always says so is always right",
        {"answer": "rows"},
    ),
    "seen-equal": Case(
        lambda: overlap_note(Overlap((1, 2)), TASK),
        f"of 80 test images, 2 equal {TO_ONE}",
        {"images": 80, "equal": 2},
    ),
    "seen-alike": Case(
        lambda: overlap_note(Overlap((), (1, 2, 3)), TASK),
        f"of 80 test images, 3 nearly alike {TO_ONE}",
        {"images": 80, "alike": 3},
    ),
    "seen-equal-and-alike": Case(
        lambda: overlap_note(Overlap((1, 2), (3,)), TASK),
        f"of 80 test images, 2 equal and 1 nearly alike {TO_ONE}",
        {"images": 80, "equal": 2, "alike": 1},
    ),
    "other-question": Case(
        lambda: fact_notes({"question": "what's {that}?"}, TASK),
        'the prompt was searched with the question "what\'s {that}?", and is asked '
        "'which pattern is this?' here",
        {"searched": "what's {that}?", "asked": "which pattern is this?"},
    ),
    "other-labels": Case(
        lambda: fact_notes({"labels": ["red", "blue"]}, TASK),
        "the prompt was searched with the labels red, blue; "
        "this task has rows, columns, checks, diagonals",
        {"searched": ["red", "blue"], "labels": list(LABELS)},
    ),
    "free-answers": Case(
        lambda: fact_notes({"labels": ["red", "blue"]}, FREE),
        "the prompt was searched with the labels red, blue; this task has free answers",
        {"searched": ["red", "blue"]},
    ),
    "other-task": Case(
        lambda: fact_notes({"task": "colours", "question": FREE.question}, FREE),
        "the prompt was searched on the task colours, and is proved on patterns",
        {"searched": "colours", "task": "patterns"},
    ),
    "canvas-resampled": Case(
        resampled,
        f"{MADE_FOR} 64 px, which vendor/eye/near resamples; 32 px it would take as it is",
        {"model": "vendor/eye/near", "canvas": 64, "fitting": 32},
    ),
    "delivered": Case(
        lambda: delivered(whole=True),
        "the median test image, 16 x 16 px, arrives at vendor/eye/near in 9 x 10 px",
        {"model": "vendor/eye/near", "image": "16 x 16 px", "arrives": "9 x 10 px"},
    ),
    "delivered-in-part": Case(
        lambda: delivered(whole=False),
        "of the median test image, 16 x 16 px, the middle arrives at vendor/eye/near, in 9 x 10 px",
        {"model": "vendor/eye/near", "image": "16 x 16 px", "part": "9 x 10 px"},
    ),
    "image-cost": Case(
        lambda: saved(Vendor()),
        "vendor/eye/near: image tokens (or pixels, where tokens are not known) change by -75 % "
        "with the prompt",
        {"model": "vendor/eye/near", "share": -0.75},
    ),
    "image-usd": Case(
        lambda: saved(Priced()),
        "vendor/eye/near: image tokens change by -75 % with the prompt, which saves $0.19 for "
        "1,000 images",
        {"model": "vendor/eye/near", "share": -0.75, "saved": 0.192},
    ),
    "canvas-blurred": Case(
        lambda: canvas_note(flat(SIDE // 2), Eye(), TASK),
        f"{MADE_FOR} 8 px; the processor of eye/near makes it 16 px, blurred",
        {"model": "eye/near", "canvas": 8, "side": 16},
    ),
    "canvas-loses-detail": Case(
        lambda: canvas_note(flat(64), Eye(), TASK),
        f"{MADE_FOR} 64 px; the processor of eye/near makes it 16 px, "
        "and details of two pixels are lost",
        {"model": "eye/near", "canvas": 64, "side": 16},
    ),
    "noise": Case(
        lambda: row_notes([replace(ROW, noise=0.0375)]),
        "a/b: 3.8 % of the answers change when it is asked the same again",
        {"model": "a/b", "noise": 0.0375},
    ),
    "noise-graded": Case(
        lambda: row_notes([replace(ROW, paired=GRADED, noise=0.0375)]),
        "a/b: the score of an image changes by 3.8 points on average when it is asked the same "
        "again",
        {"model": "a/b", "noise": 0.0375},
    ),
    "calibration-does-it": Case(
        lambda: row_notes([replace(ROW, over_calibration=WORSE)]),
        "a/b: a correction of its answers alone, without a prompt, reaches 70.0 %, "
        "and the prompt is not shown to do better",
        {"model": "a/b", "calibrated": 0.7},
    ),
    "not-above-constant": Case(
        lambda: judged(beside(ChangedAnswers(60, 50, 500))),
        "with the prompt a/source reaches 42.0 % on 500 images, which is not shown to be more "
        "than the 40.0 % of always saying 'cat'",
        {
            "model": "a/source",
            "prompted": 0.42,
            "images": 500,
            "constant": 0.4,
            "answer": "cat",
        },
    ),
    "collapsed": Case(
        lambda: judged(beside(ChangedAnswers(60, 50, 500), ("cat", 0.99, 0.125))),
        "the prompted replies of a/source are 'cat' for 99 % of the images (12 % without the "
        "prompt), whatever they show: that reaches 42.0 %, and the best constant answer 40.0 %",
        {
            "model": "a/source",
            "answer": "cat",
            "share": 0.99,
            "earlier": 0.125,
            "prompted": 0.42,
            "constant": 0.4,
        },
    ),
    "parses-now": Case(
        lambda: judged(source(100, 20)._replace(read=ChangedAnswers(20, 20, 400))),
        "a/source gains where its reply could not be read without the prompt: on the 400 images "
        "whose reply was read it gains +0.0 points, which does not show more than 2; ask for one "
        "word, or raise max_tokens, and prove it again",
        {"model": "a/source", "read": 400, "gain": 0.0, "min_gain": 0.02},
    ),
    "answers-now": Case(
        lambda: judged(
            beside(ChangedAnswers(150, 20, 500))._replace(read=ChangedAnswers(0, 0, 12))
        ),
        "without the prompt a/source gave 12 answers to 500 images that could be read; with it, it "
        "is +26.0 points above the best constant answer",
        {"model": "a/source", "read": 12, "images": 500, "above": 0.26},
    ),
    "unread": Case(
        lambda: row_notes(
            [
                replace(
                    ROW,
                    replies={
                        "zero_shot": ReplyCounts(unparsed=30, cut=4),
                        "prompted": ReplyCounts(1),
                    },
                )
            ]
        ),
        "a/b: without the prompt 34 of 80 replies could not be read, with it 1; a question that "
        "asks for one word, or more tokens, may gain as much",
        {"model": "a/b", "unread": 34, "images": 80, "after": 1},
    ),
    "collapse": Case(
        lambda: row_notes(
            [
                replace(
                    ROW,
                    collapse=Collapse(
                        CommonAnswer("dog", 0.5),
                        CommonAnswer("cat", 0.75),
                        earlier=0.25,
                        true=0.25,
                        collapsed=False,
                    ),
                )
            ]
        ),
        "a/b: 'cat' is 75 % of the prompted replies, 25 % of those without the prompt, and right "
        "for 25 % of the images",
        {"model": "a/b", "answer": "cat", "share": 0.75, "earlier": 0.25, "true": 0.25},
    ),
    "sentence-does-it": Case(
        lambda: row_notes([replace(ROW, over_words=WORSE)]),
        "a/b: the words alone reach 70.0 %, and the picture is not shown to add to them "
        "(-10.0 points [-20.0, +10.0]); search them alone: --prompt words",
        {"model": "a/b", "words": 0.7, "gain": -0.1, "low": -0.2, "high": 0.1},
    ),
    "several-versions": Case(
        lambda: row_notes([replace(ROW, versions=("gpt-4o-a fp_1", "gpt-4o-a fp_2"))]),
        "a/b reported 2 versions during the proof (gpt-4o-a fp_1, gpt-4o-a fp_2): its figures mix "
        "them",
        {"model": "a/b", "count": 2, "versions": ["gpt-4o-a fp_1", "gpt-4o-a fp_2"]},
    ),
    "version-missing": Case(
        lambda: row_notes([replace(ROW, versions=("gpt-4o-a",), unversioned=True)]),
        "some replies of a/b report no version, the others gpt-4o-a: they may come from another "
        "one",
        {"model": "a/b", "versions": ["gpt-4o-a"]},
    ),
    "picture-adds": Case(
        lambda: row_notes([replace(ROW, over_words=BETTER)]),
        "a/b: the picture adds +20.0 points [+10.0, +30.0] to the words alone, which reach 50.0 %",
        {"model": "a/b", "words": 0.5, "gain": 0.2, "low": 0.1, "high": 0.3},
    ),
    "words-alone": Case(
        lambda: words_note(preset("words").prompt(preset("words").neutral())),
        "the prompt is words alone: every image is sent as it is",
        {},
    ),
}


def check(said: Message) -> None:
    """The sentence is its template with its values, here and after a way through JSON."""
    kept = json.loads(json.dumps(said.as_json(), allow_nan=False))
    assert kept.keys() == {"code", "text", "values"}
    assert (
        said
        == kept["text"]
        == fill(MESSAGES[kept["code"]], kept["values"])
        == message(kept["code"], **kept["values"])
    )
    assert (said.code, dict(said.values)) == (kept["code"], kept["values"])


@pytest.mark.parametrize("code", CASES)
def test_each_is_said_by_its_maker(code: str) -> None:
    case = CASES[code]
    (said,) = (one for one in case.made() if one.code == code)
    assert said == case.text
    assert (
        said.values == pytest.approx(case.values)
        if code in ("gains", "harmed")
        else said.values == case.values
    )
    check(said)


@pytest.fixture(scope="module")
def stopped() -> Proof:
    """Looked at early: no-go by the source, so that the other is not asked."""
    task = patterns(
        test=tuple(replace(one, id=f"{one.id}-{i}") for i in range(2) for one in TASK.test)
    )
    return verify(
        flat(SIDE), task, [Eye("eye/far"), Eye(gain=60.0)], source="eye/near", sequential=True
    )


@pytest.mark.parametrize("labels", [3, True, "rows", {"rows": 1}, None])
def test_labels_that_are_no_list_say_nothing(labels: object) -> None:
    """A bundle's facts are whatever its maker wrote."""
    assert fact_notes({"labels": labels, "question": TASK.question, "task": TASK.name}, TASK) == ()


def test_what_looking_early_says(stopped: Proof) -> None:
    assert stopped.verdict.word == "no-go"
    asked = stopped.rows[0].images
    told = [note for note in stopped.notes if note.code != "collapse"]
    assert [(note.code, dict(note.values)) for note in told] == [
        ("settled-early", {"model": "eye/near", "asked": asked, "images": 160}),
        ("not-asked", {"model": "eye/far"}),
    ]
    assert told == [
        f"eye/near was settled after {asked} of 160 test images",
        "eye/far was not asked: the verdict was settled before",
    ]
    for note in stopped.notes:
        check(note)


def test_result_and_proof_keep_messages_as_objects(stopped: Proof) -> None:
    document = json.loads(
        json.dumps(result(None, stopped, task="t", seed=0, prompt="p", seconds=1.0))
    )
    assert document["notes"] == [note.as_json() for note in stopped.notes]
    verdict = document["verdict"]
    assert [reason["code"] for reason in verdict["reasons"]] == ["gains-too-little"]
    rule = verdict["rule"]
    assert rule == {
        "min_gain": 0.02,
        "max_harm": 0.02,
        "level": 0.05,
        "text": str(stopped.verdict.rule),
    }
    assert rule["text"] == fill(MESSAGES["rule"], rule)


def test_the_rule_in_english() -> None:
    assert str(Rule(0.01, 0.025)) == (
        "go if every source (every model, if none is among them) is shown to gain more than "
        "1 point, also where its reply was read without the prompt, and to do better "
        "than the best constant answer, and no other is shown to lose more than 2.5 points; "
        "no-go if one is shown to gain less, or another to lose more; else undecided; "
        "one-sided at 5 %, for harm over all models together"
    )


# -- the table and the calls -----------------------------------------------------------------------
def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(Path(inspect.getfile(Message)).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "message"
            ):
                yield f"{path.name}:{node.lineno}", node


def test_every_code_is_made_with_the_values_that_its_template_names() -> None:
    made = set()
    for place, call in calls():
        (code,) = call.args
        named = code.value if isinstance(code, ast.Constant) else None
        assert isinstance(named, str) and named in MESSAGES, f"{place}: name a code of MESSAGES"
        fields = {name for _, name, _, _ in Formatter().parse(MESSAGES[named]) if name is not None}
        assert {keyword.arg for keyword in call.keywords} == fields, f"{place}: {named}"
        made.add(named)
    assert made == set(MESSAGES)


def test_every_code_is_tried_here() -> None:
    assert set(MESSAGES) == {*CASES, "rule", "settled-early", "not-asked"}


# -- templates -------------------------------------------------------------------------------------
def test_a_copy_and_a_pickle_say_the_same() -> None:
    said = message("noise", model="a/b", noise=0.5)
    for again in (copy.copy(said), copy.deepcopy(said), pickle.loads(pickle.dumps(said))):
        assert again.as_json() == said.as_json()


def test_values_cannot_be_changed_under_the_sentence() -> None:
    with pytest.raises(TypeError):
        message("noise", model="a/b", noise=0.5).values["noise"] = 0.1  # type: ignore[index]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{share!p:.1f} %", "12.5 %"),
        ("{share!p:+g} ポイント", "+12.5 ポイント"),
        ("{one!p:g} {one!p:point|points}", "1 point"),
        ("{count} {count:image|images}", "1 image"),
        ("{none} {none:image|images}", "0 images"),
        ("{labels:、}", "赤、青"),
        ("{labels: / }", "赤 / 青"),
        ("{model!r:>7}", "  'a/b'"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_what_a_translator_can_write(template: str, said: str) -> None:
    values = {
        "share": 0.125,
        "one": 0.01,
        "count": 1,
        "none": 0,
        "labels": ["赤", "青"],
        "model": "a/b",
    }
    assert fill(template, values) == said


@given(st.integers(0, 99))
def test_points_are_singular_at_one_only(points: int) -> None:
    """Also where 100 times the share is not the whole number."""
    said = fill("{share!p:g} {share!p:point|points}", {"share": points / 100})
    assert said == f"{points} point{'' if points == 1 else 's'}"


@given(st.text(), st.text())
def test_values_are_no_templates(question: str, asked: str) -> None:
    said = message("other-question", searched=question, asked=asked)
    assert (
        said
        == f"the prompt was searched with the question {question!r}, and is asked {asked!r} here"
    )
    check(said)


@pytest.mark.parametrize(
    ("template", "error"),
    [("{model}", KeyError), ("{noise:q}", ValueError), ("{noise!x}", ValueError)],
)
def test_a_template_that_does_not_fit_is_an_error(template: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        fill(template, {"noise": 0.5})


def test_one_image_is_no_images() -> None:
    assert message("more-images", images=1).startswith("about 1 more test image would settle it")
    assert (
        message("too-few-images", images=1, least=30) == "1 test image is too few: give at least 30"
    )


def test_an_unknown_code_is_an_error() -> None:
    with pytest.raises(KeyError):
        message("nonsense")
