"""The main job on the small model: it improves, keeps to its budget, and never sees the test
split.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.bundles.check import check_bundle
from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.models import Request
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import read
from bbtvp.search import Run, optimize
from bbtvp.search.canvas import choose_canvas
from bbtvp.search.events import SearchEvent, StageSkipped
from bbtvp.tasks import Sample
from bbtvp.verify import verify
from tests.support import LABELS, SIDE, Eye, Flaky, Recorder, patterns


def search(model: Any = None, **options: Any) -> Run:
    return optimize(patterns(), model or Eye(), **{"budget": 600, "prompt": "tone", **options})


# -- it works --------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("reader", ["logprob", "text"])
def test_600_queries_make_faint_patterns_visible(seed: int, reader: str) -> None:
    run = search(seed=seed, reader=reader)
    row = verify(
        run.prompt, run.task, [Eye(), Eye("eye/far", prejudice="columns")], source="eye/near"
    ).rows[0]
    assert row.zero_shot < 0.3
    assert row.gain > 0.5
    assert run.improved
    assert sum(run.queries.values()) <= 600


def test_the_second_stage_is_judged_on_its_own() -> None:
    told: list[SearchEvent] = []
    run = search(prompt="default+frame", budget=2600, watch=told.append)
    skipped = [event.stage for event in told if isinstance(event, StageSkipped)]
    stages = [*(arm.name.partition(" (")[0] for arm in run.arms), *skipped]
    assert list(dict.fromkeys(stages)) == ["unprompted", "placement+restore+tone", "frame"]
    assert run.improved


def test_an_image_that_needs_nothing_is_not_called_improved() -> None:
    run = optimize(
        patterns(amplitude=0.2), Eye(), budget=300, prompt="tone", reader="text", images=4
    )
    assert run.arms[0].accuracy == 1.0
    assert not run.improved


# -- seeds -----------------------------------------------------------------------------------------
def test_equal_seeds_give_equal_prompts_and_touch_no_global_state() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tobytes()
    one = search(seed=3)
    other = search(seed=3)
    different = search(seed=4)
    assert one.prompt.z.tobytes() == other.prompt.z.tobytes() != different.prompt.z.tobytes()
    assert np.random.get_state()[1].tobytes() == before


@pytest.mark.parametrize("method", ["random", "cma-diagonal", "ng:TBPSA", "ng:OnePlusOne"])
def test_every_kind_of_method_spends_its_budget_and_not_more(method: str) -> None:
    run = search(method=method, budget=400)
    assert 300 < sum(run.queries.values()) <= 400


# -- invariant 3 -----------------------------------------------------------------------------------
def test_the_test_split_reaches_no_search(tmp_path: Path) -> None:
    """Its images do not even exist: whoever opened one would fail."""
    absent = tuple(Sample(f"t{i}", LABELS[i % 4], tmp_path / f"absent-{i}.png") for i in range(8))
    run = optimize(patterns(test=absent), Eye(), budget=600, prompt="tone")
    assert run.prompt.z.tobytes() == search().prompt.z.tobytes()


def test_the_winner_is_chosen_on_other_images_than_the_search_used() -> None:
    model = Recorder()
    task = patterns()
    run = optimize(task, model, budget=600, prompt="tone")
    held = {
        render.tobytes()
        for sample in task.validation
        for render in (sample.pixels(), run.prompt.render(sample.pixels()))
    }
    phases = [
        "".join("v" if request.image.tobytes() in held else "." for request in call)
        for call in model.calls
    ]
    assert set(phases[0] + phases[1]) == set(phases[-1]) == {"v"}
    assert set("".join(phases[2:-1])) == {"."}


# -- what is scored --------------------------------------------------------------------------------
def test_all_candidates_of_a_generation_see_the_same_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Common random numbers: with the prompt taken away, each candidate's block of requests is the
    same block.
    """
    model = Recorder()
    monkeypatch.setattr(
        "bbtvp.prompt.space.Renderer.__call__",
        lambda self, image: image.copies(self.geometry(image))[-1].pixels.copy(),
    )
    monkeypatch.setattr(
        "bbtvp.models.metered.MeteredModel.query", lambda self, requests: self.model.query(requests)
    )
    run = optimize(patterns(), model, budget=300, prompt="tone", images=4)
    generations = [[request.image.tobytes() for request in call] for call in model.calls[2:-1]]
    assert len(generations) >= 2
    for images in generations:
        assert images == images[:4] * (len(images) // 4)
        assert len(set(images)) == 4
    assert set(generations[0]).isdisjoint(generations[1])
    assert run.queries == {}


def test_the_canvas_holds_what_the_model_and_the_images_have() -> None:
    task = patterns()
    eye = Eye()
    assert choose_canvas(task, [eye]) == SIDE
    eye.capabilities = replace(eye.capabilities, image_side=None)
    assert choose_canvas(task, [eye]) == 224
    eye.capabilities = replace(eye.capabilities, image_side=2000)
    assert choose_canvas(task, [eye]) == 768


def test_a_bundle_says_where_it_comes_from_and_holds_no_image(tmp_path: Path) -> None:
    from bbtvp.prompt import bundle

    run = search(out=tmp_path)
    meta = bundle.read(tmp_path / "prompt.vprompt").meta
    assert Prompt.load(tmp_path / "prompt.vprompt").digest == run.prompt.digest
    assert (meta["task"], meta["source_model"], meta["queries"]) == (
        "patterns",
        "eye/near",
        run.queries,
    )
    assert [arm["arm"] for arm in meta["validation"]] == ["unprompted", "tone"]
    assert (tmp_path / "prompt.vprompt").stat().st_size < 5000


def test_a_bundle_tells_the_name_of_a_local_model_without_its_path(tmp_path: Path) -> None:
    model = Eye("hf//home/alice/models/eye-7")
    run = search(model, budget=200)
    run.save(tmp_path / "prompt.vprompt")
    assert check_bundle(tmp_path / "prompt.vprompt") == []
    assert read(tmp_path / "prompt.vprompt").about.source_models == ["hf/./eye-7"]
    proof = verify(tmp_path / "prompt.vprompt", run.task, [Eye("eye/far"), model])
    assert [row.role for row in proof.rows] == ["target", "source"]


# -- failures and the budget -----------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_fifth_of_failed_queries_is_missing_data(seed: int) -> None:
    run = search(Flaky(share=0.2, seed=seed), seed=seed)
    row = verify(run.prompt, run.task, [Eye()]).rows[0]
    assert 0.1 < run.failed / sum(run.queries.values()) < 0.3
    assert sum(run.queries.values()) <= 600
    assert row.gain > 0.5


def test_a_model_that_is_down_is_one_error() -> None:
    model = Recorder(Flaky(share=1.0))
    with pytest.raises(ModelError, match="queries to eye/near failed: HTTP 503"):
        search(model)
    assert len(model.calls) == 1


def test_images_that_are_always_refused_do_not_stop_the_run(tmp_path: Path) -> None:
    refused = {sample.pixels().tobytes() for sample in patterns().validation[:20]}
    model = Flaky(refuses=lambda request: request.image.tobytes() in refused)
    run = search(model, out=tmp_path)
    assert run.improved
    assert 0 < run.failed <= 20


@pytest.mark.parametrize("attempts", [2, 3])
def test_retries_shorten_the_search_and_never_cost_the_choice(attempts: int) -> None:
    """Each query costs several attempts: the search ends early, so that validation can still
    choose.
    """
    model = Recorder(Flaky(share=0, attempts=attempts))
    run = search(model)
    assert [arm.name for arm in run.arms] == ["unprompted", "tone"]
    last = len(model.calls[-1])  # retries of the last call are known only after it
    assert sum(run.queries.values()) <= 600 + (attempts - 1) * last


def test_a_budget_that_retries_use_up_before_any_choice_is_an_error_of_its_own() -> None:
    with pytest.raises(
        BudgetReached, match="no prompt could be chosen, give more than 600 image queries"
    ):
        search(Flaky(share=0, attempts=10))


def test_no_call_is_made_past_the_cap() -> None:
    model = Recorder()
    search(model, budget=257)
    assert len(model.asked) <= 257


# -- misuse costs nothing --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 0}, "queries is 0: input should be greater"),
        ({"prompt": "tones"}, "unknown prompt preset 'tones'; did you mean tone"),
        ({"method": "cmaes"}, "unknown optimiser 'cmaes'; did you mean cma"),
        ({"method": "cma", "stepsize": 2}, "stepsize"),
        ({"method": "cma", "prompt": "tvp", "canvas": 224, "budget": 5000}, "cma-diagonal"),
        ({"popsize": 1}, "popsize must be at least 2"),
        ({"reader": "texts"}, "unknown value of reader 'texts'; did you mean text"),
        ({"normalise": "median"}, "unknown value of normalise 'median'"),
        ({"fca": 0.5}, "FCA and TSE need a surrogate: add --surrogate zoo/clip"),
        ({"fca": -1.0}, "fca is -1.0: input should be greater"),
        ({"tse": float("nan")}, "tse is nan: input should be a finite number"),
        ({"canvas": 4}, "canvas is 4: input should be greater"),
    ],
)
def test_misuse_is_refused_before_a_query(options: dict[str, Any], said: str) -> None:
    model = Recorder()
    with pytest.raises(UsageError, match=said):
        search(model, **options)
    assert model.calls == []


def test_log_probabilities_are_not_asked_of_a_model_without_them() -> None:
    model = Recorder(Eye(logprobs=False))
    with pytest.raises(
        UsageError, match="eye/near gives no log-probabilities; use the text reader"
    ):
        search(model, reader="logprob")
    assert search(model, reader="auto").improved
    assert all(request.labels is None for request in model.asked)


def test_a_request_carries_the_pixels_that_are_deployed() -> None:
    model = Recorder()
    task = patterns()
    run = optimize(task, model, budget=300, prompt="tone", images=4)
    sent: dict[bytes, Request] = {request.image.tobytes(): request for request in model.calls[-1]}
    deployed = {run.prompt.render(sample.pixels()).tobytes() for sample in task.validation}
    assert sent.keys() <= deployed
