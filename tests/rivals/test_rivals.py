"""Rivals: what they cost, what they find, and which arm is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.models import Capabilities, FunctionModel, Reply, Request, Usage
from bbtvp.prompt import preset
from bbtvp.rivals import compare_rivals, plan_rivals, rivals_named
from bbtvp.rivals.rival import TuningCost
from bbtvp.rivals.table import RivalRow, UseCost, beaten, ranked, recommended
from bbtvp.stats import paired_gain
from tests.support import (
    SIDE,
    Eye,
    Recorder,
    Vendor,
    Wrapper,
    bbtvp,
    folder_of_patterns,
    install_plugin,
    patterns,
)


def test_an_unknown_rival_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean vote"):
        rivals_named(["votes"])


def test_every_arm_is_asked_about_the_same_images_and_nothing_twice(tmp_path: Path) -> None:
    model = Recorder(Eye())
    task = patterns()
    planned = plan_rivals(task, [model], rivals=["vote", "hand-made"])
    table = compare_rivals(task, [model], rivals=["vote", "hand-made"], out=tmp_path)
    asked = [request.key for request in model.asked]
    assert len(asked) == len(set(asked)) == table.queries <= planned.queries
    assert {row.name for row in table.rows} == {"zero-shot", "vote", "hand-made"}
    assert all(row.paired.n == len(task.test) for row in table.rows)
    before = len(asked)
    compare_rivals(task, [model], rivals=["vote", "hand-made"], out=tmp_path)
    assert len(model.asked) == before


def test_test_images_reach_no_choice() -> None:
    """With other test images the hand-made arm chooses the same."""
    task = patterns()
    other = replace(task, test=task.test[:40])
    notes = [
        next(r.note for r in compare_rivals(t, [Eye()], rivals=["hand-made"]).rows if r.note)
        for t in (task, other)
    ]
    assert notes[0] == notes[1]


def test_a_vote_is_the_commonest_answer_of_draws_or_views() -> None:
    said = iter(["rows", "checks", "checks", "rows", "checks"] * 1000)
    drawn = FunctionModel(lambda image, question: next(said), name="mine/dice")
    task = replace(patterns(), test=patterns().test[:1])
    recorder = Recorder(drawn)
    table = compare_rivals(task, [recorder], rivals=["vote"])
    vote = next(row for row in table.rows if row.name == "vote")
    assert vote.note == "5 draws" and vote.use.queries == 5
    assert {request.replicate for request in recorder.asked} == {0, 1, 2, 3, 4}
    seen = Recorder(Eye())
    views = compare_rivals(task, [seen], rivals=["vote"])
    assert views.rows[-1].note == "5 views of the image"
    assert len({request.image.tobytes() for request in seen.asked}) == 5


class Thinker(Wrapper):
    """Answers right only where it may think."""

    def __init__(self) -> None:
        super().__init__(Eye())
        self.spec = "mine/thinker"
        self.capabilities = Capabilities(logprobs=False, deterministic=True)

    def query(self, requests: list[Request], budget: object = None) -> list[Reply]:  # type: ignore[override]
        return [self._say(request) for request in requests]

    def _say(self, request: Request) -> Reply:
        best = int(np.argmax([s.logprob for s in self._scores(request)]))
        label = ("rows", "columns", "checks", "diagonals")[best]
        if "step by step" not in request.text:
            return Reply("no idea", usage=Usage(9, 4))
        return Reply(f"I see rows or columns.\nAnswer: {label}", usage=Usage(19, 24))

    def _scores(self, request: Request) -> tuple[object, ...]:  # type: ignore[type-arg]
        eye = Eye(gain=2000.0)
        labels = ("rows", "columns", "checks", "diagonals")
        return eye.look(replace(request, labels=labels)).scores or ()


def test_chain_of_thought_is_read_at_its_end_and_has_room() -> None:
    model = Recorder(Thinker())
    table = compare_rivals(patterns(), [model], rivals=["cot"])
    cot = next(row for row in table.rows if row.name == "cot")
    assert cot.paired.gain > 0.8 and table.choice == "cot"
    assert (cot.use.input_tokens, cot.use.output_tokens) == (19, 24)
    asked = [request for request in model.asked if "step by step" in request.text]
    assert {request.max_tokens for request in asked} == {1024}


def test_dollars_by_hand() -> None:
    """$0.002 an image query: 1,000 images cost $2 in one query each, and $10 in five."""
    vendor = Vendor(Eye(logprobs=False), usd=0.002)
    table = compare_rivals(patterns(), [vendor], rivals=["vote", "hand-made"])
    costs = {row.name: row.use.usd_per_1000 for row in table.rows}
    assert costs == pytest.approx({"zero-shot": 2.0, "hand-made": 2.0, "vote": 10.0})
    made = next(row for row in table.rows if row.name == "hand-made")
    assert made.tuning.usd == pytest.approx(0.002 * made.tuning.queries)
    assert [row.name for row in table.rows] == ["zero-shot", "hand-made", "vote"]


def test_without_a_price_tokens_alone() -> None:
    table = compare_rivals(patterns(), [Eye()], rivals=["vote"])
    assert [row.use.usd_per_1000 for row in table.rows] == [None, None]
    assert [row.use.queries for row in table.rows] == [1, 5]


def test_the_other_models_are_asked_with_what_was_found() -> None:
    table = compare_rivals(
        patterns(),
        [Eye("eye/far", prejudice="columns"), Eye()],
        rivals=["hand-made"],
        source="eye/near",
    )
    assert table.model == "eye/near"
    assert all(set(row.transfer) == {"eye/far"} for row in table.rows)


def _row(name: str, scores: np.ndarray, zero: np.ndarray, usd: float | None) -> RivalRow:
    use = UseCost(1, 100, 4, usd)
    return RivalRow(name, f"about {name}", paired_gain(zero, scores), 0, 0, TuningCost(), use)


def test_the_cheapest_arm_that_none_beats_is_named() -> None:
    zero = np.r_[np.ones(40), np.zeros(60)]
    words = np.r_[np.ones(80), np.zeros(20)]
    ours = np.r_[np.ones(82), np.zeros(18)]
    scores = {"prompt": ours, "words": words, "zero-shot": zero}
    prices = {"prompt": 3.0, "words": 2.0, "zero-shot": 1.0}
    rows = [_row(name, scores[name], zero, prices[name]) for name in scores]
    table = ranked(beaten(rows, scores))
    assert [row.name for row in table] == ["zero-shot", "words", "prompt"]
    choice, said = recommended(table, 100)
    assert choice == "words" and said.startswith("for this task words alone are enough")
    assert "the prompt is not the choice" in said
    assert set(table[0].beaten_by) == {"words", "prompt"}


def test_an_arm_that_seldom_answers_is_not_named() -> None:
    zero = np.r_[np.ones(40), np.zeros(60)]
    seldom = np.r_[np.ones(30), np.full(70, np.nan)]
    rows = [_row("seldom", seldom, zero, 0.5), _row("zero-shot", zero, zero, 1.0)]
    rows = ranked(beaten(rows, {"seldom": seldom, "zero-shot": zero}))
    assert recommended(rows, 100)[0] == "zero-shot"


# -- the command -----------------------------------------------------------------------------------
@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    return folder_of_patterns(tmp_path / "images", per_class=60)


def test_without_a_prompt_the_cheapest_that_works(images: Path) -> None:
    command = ("verify", "--task", images, "--model", "eye/near", "--rivals", "hand-made,vote")
    ran = bbtvp(*command)
    assert ran.code == 0 and ran.out.startswith("advice: ") and "vote" in ran.out
    found = json.loads(bbtvp(*command, "--json").out)
    assert {arm["arm"] for arm in found["rivals"]["arms"]} == {"zero-shot", "hand-made", "vote"}
    assert "verdict" not in found and found["models"] == []
    plan = bbtvp(*command, "--dry-run")
    assert "rivals: zero-shot, hand-made, vote; at most " in plan.out
    assert "72 test images show a difference of " in ran.out
    assert 0.1 < found["rivals"]["detectable_gain"] < 0.3


def test_beside_a_prompt_its_answers_are_not_asked_again(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "contrast.vprompt"
    preset("tone", SIDE).prompt(np.array([3.0, 0.0, 0.0])).save(
        path, {"source_model": "eye/near", "queries": {"search": 100}}
    )
    ran = bbtvp(
        "verify", path, "--task", images, "--model", "eye/near", "--rivals", "vote", "--json"
    )
    assert ran.code == 0
    found = json.loads(ran.out)
    prompt = next(arm for arm in found["rivals"]["arms"] if arm["arm"] == "prompt")
    assert prompt["tuning"]["queries"] == 100
    assert prompt["score"] == pytest.approx(found["models"][0]["prompted"])
    # The proof's queries, and five views of which one is the image as it is.
    assert found["rivals"]["queries"] == found["queries"]["verify"] + 4 * 72


def test_neither_prompt_nor_rivals_and_a_wrong_name(images: Path) -> None:
    ran = bbtvp("verify", "--task", images, "--model", "eye/near")
    assert ran.code == 2 and "--rivals all" in ran.err
    ran = bbtvp("verify", "--task", images, "--model", "eye/near", "--rivals", "handmade")
    assert ran.code == 2 and "did you mean hand-made" in ran.err
