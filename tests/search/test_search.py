"""The loop: what it journals, where it begins, when it stops, what it spends."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.models import Budget, InMemoryCache, MeteredModel, Request
from bbtvp.prompt import bundle, preset
from bbtvp.prompt.channel import Channel
from bbtvp.search import (
    Evaluation,
    Journal,
    LogProbReader,
    Objective,
    Scale,
    SearchConfig,
    optimize,
)
from bbtvp.search.events import SearchEvent, StageStopped
from bbtvp.search.plan import CHECK, make_plan
from bbtvp.search.validation import Validation
from bbtvp.surrogate import Surrogate
from tests.search.runs import BUDGET, KINDS, Fickle, Stubborn, far, search, steps
from tests.support import SIDE, Eye, Flaky, Recorder, patterns
from tests.surrogate.conftest import tiny_clip

TASK = patterns()


@pytest.fixture(scope="module")
def clip() -> Surrogate:
    return tiny_clip(SIDE, batch=256)


def generations(folder: Path) -> list[dict[str, Any]]:
    found = steps(folder)
    return [step for name, step in found.items() if name.rpartition("/")[2].isdigit()]


# -- the budget ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_search_counts_each_query_and_keeps_to_its_budget(name: str) -> None:
    models: list[Recorder] = []

    def recorded(model: Any) -> Recorder:
        models.append(Recorder(model))
        return models[-1]

    run = search(KINDS[name], recorded)
    asked = [(model.spec, request.key) for model in models for request in model.asked]
    cap = KINDS[name].options.get("budget", BUDGET)
    assert len(asked) == len(set(asked)) == sum(run.queries.values()) <= cap
    assert run.queries["search"] > 70 or name == "patience"


@given(
    st.integers(30, 400),
    st.integers(1, 6),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from(["gp", "random", "spsa"]),
    st.sampled_from(["logprob", "text"]),
    st.sampled_from([0.0, 0.2]),
)
@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_combination_passes_its_budget(
    budget: int,
    images: int,
    repeats: int,
    sources: int,
    method: str,
    reader: str,
    share: float,
) -> None:
    models = [Recorder(Flaky(model, share=share)) for model in (Eye(), far())[:sources]]
    try:
        run = optimize(
            TASK,
            models,
            budget=budget,
            prompt="tone",
            images=images,
            repeats=repeats,
            method=method,
            reader=reader,
            popsize=4,
        )
    except UsageError as error:
        assert "do not reach one generation" in str(error)  # noqa: PT017  (one of three outcomes)
    except (BudgetReached, ModelError):
        assert share
    else:
        assert sum(run.queries.values()) == sum(len(model.asked) for model in models)
    assert sum(len(model.asked) for model in models) <= budget


# -- the journal -----------------------------------------------------------------------------------
def test_a_generation_is_journalled_with_what_each_candidate_saw(tmp_path: Path) -> None:
    search(KINDS["gp"], out=tmp_path)
    found = generations(tmp_path)
    assert len(found) > 2
    ids = {sample.id for sample in TASK.train}
    for step in found:
        assert step["seen"] == [4] * len(step["evaluations"])
        assert len(step["samples"]) == 4
        assert ids.issuperset(step["samples"])
        assert step["scale"] == [0, 0]  # no surrogate: both terms are constant
        assert [row["n_ok"] for row in step["evaluations"]] == step["seen"]
        assert {row["n_failed"] for row in step["evaluations"]} == {0}
        assert all(row["loss"] == row["task"] for row in step["evaluations"])


def test_failures_are_journalled_as_missing(tmp_path: Path) -> None:
    search(KINDS["gp"], lambda model: Flaky(model, share=0.2), tmp_path)
    rows = [
        (seen, row)
        for step in generations(tmp_path)
        for seen, row in zip(step["seen"], step["evaluations"], strict=True)
    ]
    assert all(row["n_ok"] + row["n_failed"] == seen for seen, row in rows)
    assert sum(row["n_failed"] for _, row in rows) > 5


def test_the_training_images_are_dealt_out_before_any_comes_again(tmp_path: Path) -> None:
    optimize(TASK, Stubborn(), budget=500, prompt="tone", images=12, popsize=4, out=tmp_path)
    dealt = [step["samples"] for step in generations(tmp_path)]
    assert len(dealt) >= 6
    epoch = [one for step in dealt[:4] for one in step]
    assert sorted(epoch) == sorted(sample.id for sample in TASK.train)
    assert [one for step in dealt[4:8] for one in step] != epoch


def test_terms_are_matched_on_the_first_generation_and_stay(
    clip: Surrogate, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "budget": 200,
        "prompt": "tone",
        "images": 4,
        "surrogate": clip,
        "fca": 0.5,
        "tse": 0.2,
    }
    optimize(TASK, Eye(), out=tmp_path / "matched", **options)
    found = generations(tmp_path / "matched")
    first = [Evaluation(**row) for row in found[0]["evaluations"]]
    assert found[0]["scale"] == pytest.approx(list(Scale.matched(first)))
    assert all(step["scale"] == found[0]["scale"] for step in found)
    row = found[-1]["evaluations"][0]
    (fca, tse) = found[-1]["scale"]
    assert row["loss"] == pytest.approx(
        row["task"] + 0.5 * fca * row["fca"] - 0.2 * tse * row["tse"]
    )
    optimize(TASK, Eye(), out=tmp_path / "plain", matched=False, **options)
    plain = generations(tmp_path / "plain")[0]
    assert plain["scale"] == [1, 1]
    row = plain["evaluations"][1]
    assert row["loss"] == pytest.approx(row["task"] + 0.5 * row["fca"] - 0.2 * row["tse"])


def test_a_bundle_names_every_source(tmp_path: Path) -> None:
    run = search(KINDS["two sources"], out=tmp_path)
    meta = bundle.read(tmp_path / "prompt.vprompt").meta
    assert meta["source_models"] == ["eye/near", "eye/far"]
    assert meta["source_model"] == run.model.spec == "eye/near"
    assert [model.spec for model in run.models] == ["eye/near", "eye/far"]


# -- patience --------------------------------------------------------------------------------------
@pytest.mark.parametrize("patience", [1, 3])
def test_a_stage_without_progress_ends_and_says_so(patience: int, tmp_path: Path) -> None:
    told: list[SearchEvent] = []
    run = optimize(
        TASK,
        Stubborn(),
        budget=600,
        prompt="tone",
        images=4,
        patience=patience,
        out=tmp_path,
        watch=told.append,
    )
    ends = [event for event in told if isinstance(event, StageStopped)]
    assert ends == [StageStopped("tone", f"no lower mean loss in {patience} generations")]
    assert len(generations(tmp_path)) == 1 + patience
    planned = (1 + patience) * 7 * 4
    assert 0.8 * planned < run.queries["search"] <= planned  # equal pictures are asked about once
    assert f'"patience":{patience}' in (tmp_path / "journal.jsonl").read_text().splitlines()[0]


def test_without_patience_a_stage_spends_what_it_has(tmp_path: Path) -> None:
    told: list[SearchEvent] = []
    run = optimize(
        TASK,
        Stubborn(),
        budget=600,
        prompt="tone",
        images=4,
        out=tmp_path,
        watch=told.append,
    )
    assert not any(isinstance(event, StageStopped) for event in told)
    assert run.queries["search"] > 400


def test_patience_counts_from_the_lowest_mean_loss(tmp_path: Path) -> None:
    optimize(
        TASK,
        Eye(),
        budget=900,
        prompt="tone",
        images=4,
        patience=2,
        out=tmp_path,
    )
    means = [
        np.mean([row["loss"] for row in step["evaluations"]]) for step in generations(tmp_path)
    ]
    lowest = int(np.argmin(means))
    assert len(means) == lowest + 3
    assert all(
        min(means[max(0, i - 1) : i + 1]) < min(means[: max(0, i - 1)], default=np.inf)
        for i in range(lowest)
    )


# -- where a search begins -------------------------------------------------------------------------
def annotated(model: Any, out: Path, **options: Any) -> Any:
    return optimize(
        TASK,
        model,
        **{
            "budget": 240,
            "prompt": "annotate",
            "canvas": 64,
            "images": 2,
            "popsize": 6,
            "out": out,
            **options,
        },
    )


def test_presets_without_starts_ask_about_none(tmp_path: Path) -> None:
    search(KINDS["gp"], out=tmp_path)
    assert not any(name.startswith(("race/", "choice/")) for name in steps(tmp_path))


def test_a_warm_start_costs_a_check_of_two_points(clip: Surrogate, tmp_path: Path) -> None:
    model = Recorder()
    optimize(
        TASK, model, budget=240, prompt="tone", images=4, surrogate=clip, warm=True, out=tmp_path
    )
    start = steps(tmp_path)["race/0"]
    assert "race/1" not in steps(tmp_path)
    check = {request.image.tobytes() for request in model.calls[2]}
    assert CHECK <= len(check) <= 2 * CHECK
    assert {s.pixels().tobytes() for s in TASK.train if s.id in start["samples"]} <= check
    assert "prime" not in steps(tmp_path)


@pytest.mark.parametrize(("contrast", "taken"), [(3.0, True), (-3.0, False)])
def test_a_warm_start_is_kept_only_where_the_queried_model_agrees(
    contrast: float, taken: bool, clip: Surrogate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a surrogate thinks: here one that would raise the contrast, and one that would take
    it away.
    """
    point = np.array([contrast, 0.0, 0.0])
    monkeypatch.setattr(
        "bbtvp.search.loop.warm_start", lambda *arguments, **options: SimpleNamespace(z=point)
    )
    model = Recorder()
    task = patterns()
    optimize(
        task, model, budget=200, prompt="tone", images=4, surrogate=clip, warm=True, out=tmp_path
    )
    first = [s for one in generations(tmp_path)[0]["samples"] for s in task.train if s.id == one]
    start = preset("tone", SIDE).prompt(point if taken else np.zeros(3))
    begun = {request.image.tobytes() for call in model.calls[:4] for request in call}
    assert {start.render(sample.pixels()).tobytes() for sample in first} <= begun
    assert len(steps(tmp_path)["race/0"]["samples"]) == CHECK


@pytest.mark.parametrize("reader", ["logprob", "text"])
def test_priming_asks_and_counts_each_image_once(
    reader: str, clip: Surrogate, tmp_path: Path
) -> None:
    model = Recorder()
    task = patterns(0.2)
    run = optimize(
        task,
        model,
        budget=240,
        prompt="tone",
        images=4,
        surrogate=clip,
        warm=True,
        prime=16,
        reader=reader,
        out=tmp_path,
    )
    rows = steps(tmp_path)["prime"]["logprobs"]
    assert sum(run.queries.values()) == len(model.asked) <= 240
    asked = model.calls[2]
    labels = task.labels or ()
    assert len(asked) == len(rows) == 16
    shown = {sample.pixels().tobytes() for sample in task.train}
    assert (
        sum(request.image.tobytes() in shown for request in asked) == 4
    )  # a quarter without a prompt
    for request, row in zip(asked, rows, strict=True):
        if row is not None:  # text in which no label was named
            assert sum(np.exp(row)) == pytest.approx(1)
            seen = Eye().look(Request(request.image, request.text, labels)).scores or ()
            assert int(np.argmax(row)) == int(np.argmax([score.logprob for score in seen]))


# -- channel and replicates ------------------------------------------------------------------------
def test_a_channel_changes_what_the_search_sees_and_not_the_choice_of_the_winner() -> None:
    model = Recorder()
    run = optimize(
        TASK, model, budget=200, prompt="tone", images=4, channel=Channel(0.5, 0.1, (30, 60))
    )
    held = {
        image.tobytes()
        for s in TASK.validation
        for image in (s.pixels(), run.prompt.render(s.pixels()))
    }
    assert all(
        request.image.tobytes() in held
        for call in (*model.calls[:2], model.calls[-1])
        for request in call
    )
    clean = {sample.pixels().tobytes() for sample in TASK.train}
    first = model.calls[2][:4]  # gp's first candidate changes nothing: what differs is the channel
    assert clean.isdisjoint(request.image.tobytes() for request in first)


def test_repeats_are_asked_of_every_image_in_search_and_validation() -> None:
    model = Recorder(Fickle())
    optimize(TASK, model, budget=300, prompt="tone", images=2, repeats=3, reader="text")
    for call in model.calls:
        assert Counter(request.replicate for request in call) == dict.fromkeys(
            range(3), len(call) / 3
        )


# -- validation ------------------------------------------------------------------------------------
def test_without_a_cap_all_validation_images_are_asked() -> None:
    space = preset("tone", SIDE)
    budget = Budget()
    objective = Objective(
        TASK, space, MeteredModel(Eye(), InMemoryCache(), budget=budget), LogProbReader()
    )
    plan = make_plan(space, SearchConfig(queries=400), training=48, validation=64)
    with Journal({}) as journal:
        found = Validation(objective, plan, journal=journal, budget=budget, seed=0).losses(
            "unprompted", None
        )
    assert len(found.losses) == plan.validation == budget.total
    assert np.isfinite(found.losses).all() and not found.cut
