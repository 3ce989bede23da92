"""The race of the recipes, and the choice among the finalists that it brings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.models import Model
from bbtvp.prompt import Placement, PromptSpace, Tone, preset
from bbtvp.prompt.restore import Restore
from bbtvp.search import Run, SearchConfig, optimize
from bbtvp.search.choice import luck
from bbtvp.search.events import ArmValidated, GenerationDone, RaceWon, SearchEvent
from bbtvp.search.methods import takes_whole_layers
from bbtvp.search.plan import Plan, describe_plan, make_plan
from bbtvp.search.race import _Entrant, _ranked, combined
from bbtvp.search.validation import ArmLosses
from bbtvp.search.variables import searched, that_matter
from tests.search.runs import HIDING, KINDS, RESTORED, Listener, Stubborn, steps
from tests.support import Eye, Recorder, patterns

TASK = patterns()
ANNOTATED = preset("annotate", 64)
SIX = ("median", "wide-median", "autocontrast", "equalize", "white-balance", "flatten")


def run(model: Model, out: Path | None = None, **options: Any) -> Run:
    given = {"queries": 400, "prompt": RESTORED, "images": 4, "popsize": 4, "out": out}
    return optimize(TASK, model, **{**given, **options})


def plan(space: PromptSpace, queries: int, **options: Any) -> Plan:
    config = SearchConfig(queries=queries, **options)
    return make_plan(space, config, training=256, validation=128)


# -- the plan --------------------------------------------------------------------------------------
@pytest.mark.parametrize("queries", [250, 500, 1000, 2000, 5000])
@pytest.mark.parametrize("space", [RESTORED, ANNOTATED])
def test_the_race_has_a_third_of_the_budget_and_more_of_a_small_one(
    space: PromptSpace, queries: int
) -> None:
    made = plan(space, queries)
    assert 0.05 * queries < made.extra <= max(0.35 * queries, min(0.6 * queries, 350))
    sizes = [rung.prompts for rung in made.rungs]
    assert sizes == sorted(sizes, reverse=True)
    assert all(rung.images >= (6 if made.extra >= 300 else 4) for rung in made.rungs)
    assert made.stages[0].generations >= 1
    assert made.held + made.chosen_after(0) < 0.45 * queries


def test_half_the_budget_races_as_many_recipes_of_the_default_on_fewer_images() -> None:
    half, whole = (plan(preset("default", 64), queries) for queries in (500, 1000))
    assert half.rungs[0].prompts >= whole.rungs[0].prompts
    assert half.rungs[0].images < whole.rungs[0].images
    assert 0.35 * 500 < half.extra <= 0.6 * 500


def test_few_recipes_leave_the_rest_of_a_small_budget_to_the_search() -> None:
    assert plan(ANNOTATED, 500).extra <= 0.35 * 500


def test_the_plan_says_what_the_race_and_the_choice_cost() -> None:
    made = plan(RESTORED, 1000)
    said = describe_plan(made)
    first = made.rungs[0]
    assert f"race: {first.prompts} prompts × {first.images} images" in said
    assert "choice on validation: 4 prompts × 25 images, 2 prompts × 75 images" in said
    assert f"at most {made.queries} image queries" in said


@pytest.mark.parametrize("space", [RESTORED, preset("tone")])
def test_a_plan_is_read_back_from_a_journal(space: PromptSpace) -> None:
    made = plan(space, 1000)
    assert Plan.of(made.as_json()) == made


def test_the_plan_of_a_space_without_recipes_is_what_it_was() -> None:
    made = plan(preset("tone"), 1000)
    assert set(made.as_json()) == {"stages", "validation", "prime", "repeats", "patience"}


def test_with_choices_alone_the_race_has_what_validation_leaves() -> None:
    space = PromptSpace((Restore(),), 64)
    made = plan(space, 1000)
    assert made.stages[0].generations == 0
    assert made.extra > 400
    found = optimize(TASK, Eye(), queries=300, prompt=space)
    assert found.improved


# -- the race --------------------------------------------------------------------------------------
def test_the_recipe_that_helps_wins_and_is_searched_around() -> None:
    told: list[SearchEvent] = []
    found = run(Eye(), watch=told.append)
    (race,) = [event for event in told if isinstance(event, RaceWon)]
    assert re.search("autocontrast|equalize", race.recipe) and race.fall > 0
    assert found.improved
    assert found.best.theta["restore"]["light"] in ("autocontrast", "equalize")


def test_every_recipe_of_a_rung_sees_the_same_images_and_none_twice(tmp_path: Path) -> None:
    model = Recorder(Eye())
    run(model, tmp_path)
    made = make_plan(
        RESTORED, SearchConfig(queries=400, images=4, popsize=4), training=48, validation=64
    )
    rungs = [step for name, step in steps(tmp_path).items() if name.startswith("race/")]
    assert len(rungs) == len(made.rungs)
    for rung, step in zip(made.rungs, rungs, strict=True):
        assert len(step["samples"]) == rung.images
        assert np.shape(step["losses"]) == (rung.prompts, rung.images)
    seen = [sample for step in rungs for sample in step["samples"]]
    assert len(set(seen)) == len(seen)


def test_where_nothing_helps_the_neutral_point_wins() -> None:
    told: list[SearchEvent] = []
    found = run(Stubborn(), watch=told.append)
    (race,) = [event for event in told if isinstance(event, RaceWon)]
    assert (race.recipe, race.fall) == ("the image as it is", 0)
    assert not found.improved and found.prompt.is_identity


MENDED = PromptSpace((Restore(("median", "autocontrast")), Tone(("contrast",))), 64)


def entrant(recipe: str, falls: Sequence[float], images: int = 40) -> _Entrant:
    """A recipe whose losses fall by these amounts in turn, against 1 of the neutral point."""
    losses = (1 - np.resize(falls, images)).tolist()
    z = MENDED.neutral()
    z[-1] = recipe.count("tone")
    z[[MENDED.names.index(f"restore.{one}") for one in recipe.split() if "_" in one]] = 1.0
    return _Entrant(z, losses, [1.0] * images)


NEUTRAL = ""
TONE = "tone"
NOISE = "noise_median"
LIGHT = "light_autocontrast"
BOTH = f"{NOISE} {LIGHT}"


def order(*runners: _Entrant) -> list[_Entrant]:
    """The runners as they rank; the neutral point, which joins them, is left out if it is last."""
    neutral = entrant(NEUTRAL, [0.0])
    for place, runner in enumerate(runners, 1):
        runner.place = place
    known = {runner.z.tobytes(): runner for runner in (neutral, *runners)}
    by_score = sorted(runners, key=lambda runner: -runner.score)  # as a rung leaves them
    ranked = [known[placed.z.tobytes()] for placed in _ranked([neutral, *by_score], MENDED)]
    return ranked[:-1] if ranked[-1] is neutral else ranked


def test_of_recipes_that_are_held_equal_one_that_reads_the_picture_wins() -> None:
    tone = entrant(TONE, [0.5, 0.3])
    near = entrant(NOISE, [0.3, 0.49])
    far = entrant(NOISE, [0.1, 0.2])
    assert order(tone, near) == [near, tone]
    assert order(tone, far) == [tone, far], "a clear difference stays"
    light = entrant(LIGHT, [0.5, 0.3])
    assert order(near, light) == [near, light] and order(light, near) == [light, near]
    assert order(entrant(NOISE, [0.3, -0.3]))[1:], "the neutral point comes first"


def test_one_that_restores_more_is_held_equal_for_longer() -> None:
    alone = entrant(NOISE, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4])
    other = entrant(LIGHT, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4, 0.0])
    more = entrant(BOTH, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4, 0.0])
    assert order(other, alone) == [alone, other]
    assert order(more, alone) == [more, alone]
    assert order(entrant(BOTH, [0.3, 0.4]), alone)[0] is alone, "a clear difference stays"


def test_a_sentence_that_helps_is_found_by_the_race() -> None:
    """The model sees only where it is told to report."""
    found = run(Listener(), prompt=ANNOTATED, queries=500)
    assert found.best.theta["guidance"]["wording"] == "report"
    assert found.improved


def test_a_child_has_the_choices_of_both_and_the_betters_where_they_disagree() -> None:
    layer = Restore(SIX)
    space = PromptSpace((Placement(search=("zoom",)), layer, Tone(("contrast",))), 64)

    def point(*operations: str, zoom: float = 0.0) -> np.ndarray:
        z = space.embed(layer.start(*operations), ("restore",), space.neutral())
        return space.embed(np.array([zoom]), ("placement",), z)

    child = combined(space, point("median"), point("equalize", zoom=1.0))
    assert np.array_equal(child, point("median", "equalize", zoom=1.0))
    child = combined(space, point("equalize"), point("autocontrast"))
    assert np.array_equal(child, point("equalize"))


def test_children_race_from_the_second_rung_on(tmp_path: Path) -> None:
    space = PromptSpace((Restore(SIX), Tone(("contrast",))), 64)
    run(Eye(), tmp_path, prompt=space, queries=2000)
    made = make_plan(
        space, SearchConfig(queries=2000, images=4, popsize=4), training=48, validation=64
    )
    first, second, *_ = (
        step["losses"] for name, step in steps(tmp_path).items() if name.startswith("race/")
    )
    assert (len(first), len(second)) == (made.rungs[0].prompts, made.rungs[1].prompts)
    assert len(second) > (len(first) + 1) // 2, "more than half: the children"


# -- what is searched after it ---------------------------------------------------------------------
def test_choices_are_fixed_after_the_race_and_idle_variables_are_left_out() -> None:
    kinds = ("placement", "tone", "marks", "guidance")
    places = searched(ANNOTATED, kinds, SearchConfig())
    chosen = {at for first, count in ANNOTATED.choices for at in range(first, first + count)}
    assert not chosen & set(places.tolist())
    picture = ANNOTATED.prepare(TASK.train[0].pixels())
    names = [
        ANNOTATED.names[at] for at in that_matter(ANNOTATED, places, ANNOTATED.neutral(), [picture])
    ]
    assert names == ["placement.crop", "tone.contrast"]
    drawn = that_matter(ANNOTATED, places, ANNOTATED.starts()[2], [picture])
    assert len(drawn) > len(names)


# -- the choice ------------------------------------------------------------------------------------
def test_the_best_two_of_a_first_look_are_asked_about_all_images(tmp_path: Path) -> None:
    told: list[SearchEvent] = []
    found = run(Eye(), tmp_path, watch=told.append)
    look = steps(tmp_path)["choice/restore+tone"]
    names = [name for name in steps(tmp_path) if name.startswith("validation/")]
    assert len(look["losses"]) > 2 and len(names) == 3
    arms = [event.arm for event in told if isinstance(event, ArmValidated)]
    assert [arm.kept for arm in arms] == [True, True, False]
    assert len(found.arms) == 3 and found.arms[1].gain > 0


# -- what a stage does not need --------------------------------------------------------------------
def test_what_a_hidden_stage_does_not_need_is_spent_on_the_one_before() -> None:
    told: list[SearchEvent] = []
    found = optimize(TASK, Eye(), watch=told.append, **KINDS["hidden frame"].options)
    made = make_plan(
        HIDING, SearchConfig(queries=2000, images=1, popsize=16), training=48, validation=64
    )
    planned = made.stages[0].generations
    done = [event for event in told if isinstance(event, GenerationDone)]
    assert len(made.stages) == 2
    assert len(done) == (made.stages[0].queries + made.after(0)) // 16 > planned
    assert [arm.name for arm in found.arms] == ["unprompted", "tone"]


def test_what_is_kept_beats_the_images_as_they_are_by_luck_and_noise() -> None:
    """Two finalists that answer alike leave little to luck; two that differ leave more."""
    rng = np.random.default_rng(0)
    base, noise, other = rng.normal(size=(3, 100))

    def answered(*losses: np.ndarray) -> dict[str, ArmLosses]:
        return {str(i): ArmLosses(row, 1.0, 1.0, "") for i, row in enumerate(losses)}

    assert luck(answered(base), "0") == 0
    alike = luck(answered(base, base + 0.01 * noise), "0")
    apart = luck(answered(base, base + other), "0")
    assert 0 < alike < apart
    assert apart == pytest.approx(0.4 * other.std(ddof=1) / 10, rel=0.01)


@pytest.mark.parametrize(
    ("method", "whole"),
    [("auto", False), ("gp", False), ("cma", False), ("catcma", True), ("cma@2", True)],
)
def test_a_method_for_choices_and_one_in_a_subspace_take_whole_layers(
    method: str, whole: bool
) -> None:
    assert takes_whole_layers(method) == whole
    places = searched(RESTORED, ("restore", "tone"), SearchConfig(method=method))
    assert len(places) == (RESTORED.dim if whole else 1)
    assert run(Eye(), method=method).improved


@pytest.mark.parametrize("prompt", ["default", "words", "default+guidance"])
def test_every_small_budget_ends_in_a_prompt_or_in_the_least_that_would_do(prompt: str) -> None:
    space = preset(prompt, 16)
    queries = 1
    while queries <= 320:
        try:
            found = run(Eye(), prompt=space, queries=queries, images=8, popsize=None)
        except UsageError as error:
            queries = int(str(error).rpartition(" ")[2])
            continue
        assert 0 < sum(found.queries.values()) <= queries
        queries *= 2
