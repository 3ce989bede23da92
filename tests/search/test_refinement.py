"""`--start BUNDLE`: a prompt that there is, refined on another model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.errors import BundleError, JournalError, UsageError
from bbtvp.optim import optimiser
from bbtvp.prompt import Guidance, Identity, Prompt, PromptSpace, Tone, bundle, preset
from bbtvp.runs.folder import BUNDLE
from bbtvp.search import SearchConfig, optimize
from bbtvp.search.exemplars import with_exemplars
from bbtvp.search.refinement import STEP, alternatives, without_shown
from bbtvp.search.setup import set_up
from tests.search.runs import RESTORED, Listener, Stubborn, far, steps
from tests.support import SIDE, Eye, Recorder, bbtvp, patterns

TONE = PromptSpace((Tone(),), SIDE)


def saved(folder: Path, *, space: PromptSpace = TONE, z: float = 1.0, name: str = "start") -> Path:
    path = folder / f"{name}.vprompt"
    space.prompt(np.full(space.dim, z)).save(path, {"task": "patterns"})
    return path


# -- what a refinement ends with -------------------------------------------------------------------
def test_a_weak_start_is_refined_and_asked_beside_the_images_as_they_are(tmp_path: Path) -> None:
    start = saved(tmp_path, z=0.3)
    run = optimize(patterns(), far(), start=str(start), queries=300, images=4, out=tmp_path / "run")
    assert [arm.name for arm in run.arms] == ["unprompted", "start", "tone"]
    assert run.started is not None and run.started.outcome == "refined"
    assert run.improved
    assert run.prompt.space == TONE
    assert run.prompt.digest != Prompt.load(start).digest
    assert run.arms[2].loss < run.arms[1].loss
    made = bundle.read(tmp_path / "run" / BUNDLE)
    assert made.parent == bundle.digest_of(start)
    assert Prompt.load(tmp_path / "run" / BUNDLE).digest == run.prompt.digest


def test_a_refinement_inside_the_noise_gives_the_old_bundle_to_the_byte(tmp_path: Path) -> None:
    start = saved(tmp_path)
    run = optimize(patterns(), Stubborn(), start=str(start), queries=150, out=tmp_path / "run")
    assert run.started is not None and run.started.outcome == "start"
    assert not run.improved
    assert (tmp_path / "run" / BUNDLE).read_bytes() == start.read_bytes()
    assert "the bundle is the start as it was" in run.summary()


def test_images_as_they_are_take_the_place_of_a_start_that_harms(tmp_path: Path) -> None:
    start = saved(tmp_path, z=-2.5)
    strongly_seen = patterns(amplitude=0.3)
    run = optimize(
        strongly_seen, Eye(), start=str(start), queries=70, images=1, popsize=2, method="random"
    )
    assert run.started is not None and run.started.outcome == "identity"
    assert run.prompt.is_identity


def test_the_first_candidates_lie_near_the_start(tmp_path: Path) -> None:
    start = saved(tmp_path, z=1.5)
    run = optimize(patterns(), far(), start=str(start), queries=300, images=4, out=tmp_path / "run")
    first = np.array(steps(run.folder or tmp_path)["tone/0"]["asked"])
    assert (first[0] == 1.5).all()
    assert 0 < np.abs(first - 1.5).mean() < 2 * STEP


def test_gp_goes_beyond_its_first_steps_where_that_pays() -> None:
    search = optimiser("gp", 2, 0, sigma=STEP, x0=np.zeros(2), reach=8.0, pull=0.03)
    for _ in range(12):
        z = search.ask()
        search.tell(z, ((z - 2.0) ** 2).sum(axis=1))
    assert np.abs(search.recommend() - 2.0).max() < 0.3


def test_of_equal_points_gp_recommends_the_start() -> None:
    search = optimiser("gp", 2, 0, sigma=STEP, x0=np.full(2, 1.5), pull=0.03)
    for _ in range(4):
        z = search.ask()
        search.tell(z, np.zeros(len(z)))
    assert np.abs(search.recommend() - 1.5).max() < 0.1


# -- resuming --------------------------------------------------------------------------------------
def test_a_refinement_goes_on_where_it_was_and_asks_nothing_twice(tmp_path: Path) -> None:
    start = saved(tmp_path, z=0.3)
    options = {"start": str(start), "queries": 300, "images": 4}
    whole = optimize(patterns(), far(), out=tmp_path / "whole", **options)
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "journal.jsonl").write_text("".join(lines[: len(lines) // 2]))
    again = optimize(patterns(), far(), out=tmp_path / "cut", **options)
    assert again.prompt.digest == whole.prompt.digest
    assert again.queries == whole.queries
    model = Recorder(far())
    optimize(patterns(), model, out=tmp_path / "whole", **options)
    assert model.asked == []


def test_a_run_folder_goes_on_with_no_other_start(tmp_path: Path) -> None:
    options = {"queries": 150, "images": 2, "out": tmp_path / "run"}
    optimize(patterns(), far(), start=str(saved(tmp_path)), **options)
    with pytest.raises(JournalError):
        optimize(patterns(), far(), start=str(saved(tmp_path, z=0.5, name="other")), **options)


# -- spaces of every kind --------------------------------------------------------------------------
def test_the_choices_of_a_raced_prompt_stay_as_they_are(tmp_path: Path) -> None:
    z = RESTORED.starts()[1]
    path = tmp_path / "restored.vprompt"
    RESTORED.prompt(z).save(path)
    run = optimize(patterns(), far(), start=str(path), queries=300, images=4)
    assert run.best.theta["restore"] == RESTORED.prompt(z).theta["restore"]
    assert run.best.digest != RESTORED.prompt(z).digest or run.started.outcome == "start"


def test_words_are_raced_against_the_words_of_the_start(tmp_path: Path) -> None:
    space = PromptSpace((Identity(), Guidance(("Look.", "Please report what is there."))), SIDE)
    path = tmp_path / "words.vprompt"
    space.prompt(alternatives(space, space.neutral())[1]).save(path)
    run = optimize(patterns(), Listener(), start=str(path), queries=400)
    assert run.started is not None and run.started.outcome == "refined"
    assert "report" in run.prompt.ask("")


def test_a_frame_of_many_variables_takes_as_many_queries_as_a_generation(tmp_path: Path) -> None:
    space = preset("tvp", 224)
    path = tmp_path / "tvp.vprompt"
    space.prompt(np.zeros(space.dim)).save(path)
    with pytest.raises(UsageError, match="do not reach one generation; give at least"):
        set_up(patterns(), [Eye()], SearchConfig(start=str(path), queries=150))
    plan = set_up(patterns(), [Eye()], SearchConfig(start=str(path), queries=1000)).plan
    assert plan.queries <= 1000 and plan.stages[0].generations


def test_examples_stay_and_leave_the_images_that_they_are_taken_from(tmp_path: Path) -> None:
    task = patterns()
    model = Recorder()
    model.capabilities = replace(model.capabilities, images=9)
    proposed = with_exemplars(TONE, task, [model], most=2, seed=0)
    z = proposed.space.starts()[1]
    path = tmp_path / "shown.vprompt"
    proposed.space.prompt(z).save(path)
    prompt = Prompt.load(path)
    left = without_shown(task, prompt.space)
    assert len(left.train) < len(task.train)
    run = optimize(task, model, start=str(path), queries=200, images=2)
    assert [shown.text for shown in run.best.context()] == [s.text for s in prompt.context()]
    with pytest.raises(UsageError, match="eye/near takes at most 1"):
        optimize(task, Eye(), start=str(path), queries=200)
    with pytest.raises(UsageError, match="refine it with the usual --method"):
        optimize(task, model, start=str(path), queries=200, method="catcma")


def test_a_size_that_was_searched_stays_or_is_made_smaller(tmp_path: Path) -> None:
    run = optimize(patterns(), Eye(), prompt=TONE, goal="cost", queries=600, images=2)
    path = tmp_path / "small.vprompt"
    run.best.save(path)
    again = optimize(patterns(), far(), start=str(path), queries=600, images=2, goal="cost")
    assert again.best.space == run.best.space
    with pytest.raises(UsageError, match="no variable for the size"):
        optimize(patterns(), far(), start=str(saved(tmp_path)), queries=600, goal="cost")


# -- what cannot be --------------------------------------------------------------------------------
def test_the_identity_and_a_missing_bundle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "same.vprompt"
    PromptSpace.identity().save(path)
    with pytest.raises(UsageError, match="nothing of it can be refined; search without --start"):
        optimize(patterns(), Eye(), start=str(path))
    with pytest.raises(BundleError, match="no such bundle"):
        optimize(patterns(), Eye(), start=str(tmp_path / "none.vprompt"))


def test_the_command_refuses_a_prompt_beside_a_start(tmp_path: Path) -> None:
    start = saved(tmp_path)
    ran = bbtvp(
        *("optimize", "--task", "zoo/shapes-dark", "--model", "zoo/llava"),
        *("--start", start, "--prompt", "default"),
    )
    assert ran.code == 2
    assert "leave out --prompt" in ran.err
