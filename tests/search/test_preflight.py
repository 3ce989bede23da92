"""What a search says before its first query."""

from __future__ import annotations

from pathlib import Path

import pytest

from bbtvp.core.errors import DataError, JournalError
from bbtvp.endpoint.prices import Estimate
from bbtvp.models import Model, Reply, Request
from bbtvp.search import SearchConfig, SearchEvent, optimize
from bbtvp.search.events import SearchPlanned, SearchPrepared
from bbtvp.search.preflight import Preflight, look_ahead
from bbtvp.search.setup import set_up
from bbtvp.stats.power import power
from bbtvp.tasks import Sample, Task
from tests.support import LABELS, Eye, patterns


class Keyless(Eye):
    """An eye whose key is missing, and which fails if it is asked."""

    missing_key = "EYE_API_KEY"

    def look(self, request: Request) -> Reply:
        raise AssertionError("it was asked")


def before(task: Task, model: Model | None = None, **fields: object) -> Preflight:
    models = [model or Eye()]
    config = SearchConfig.of({"queries": 600, "prompt": "tone", **fields})
    return look_ahead(task, models, config, set_up(task, models, config))


def test_a_small_test_split_is_warned_of_with_what_it_can_show() -> None:
    task = patterns()
    found = before(task)
    assert found.shown is not None
    assert power(len(task.test), found.shown, margin=0.02) == pytest.approx(0.8, abs=0.01)
    said = f"{len(task.test)} test images show a gain of {round(100 * found.shown + 0.5)} points"
    assert any(said in warning for warning in found.warnings)
    few = before(patterns(test=task.test[:4]))
    assert few.shown is None
    assert any("4 test images are too few to show any gain" in said for said in few.warnings)


def test_labels_that_a_split_lacks_are_named() -> None:
    task = patterns()
    without = tuple(sample for sample in task.test if sample.answer != LABELS[1])
    (said,) = [one for one in before(patterns(test=without)).warnings if one.startswith("no ")]
    assert said == f"no test image of {LABELS[1]!r}"


def test_a_cap_that_ends_the_search_is_set_against_its_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimate = Estimate(600, 600_000, 9_600, 3.0, None)
    monkeypatch.setattr("bbtvp.search.preflight.bounds", lambda *_: {"eye/near": estimate})
    found = before(patterns(), usd=0.01)
    assert found.stops_after == found.plan.queries // 300
    assert found.warnings[0].startswith(f"$0.01 stops it after about {found.stops_after} of ")
    assert before(patterns(), usd=3.0).stops_after is None
    assert before(patterns()).stops_after is None


def test_a_missing_key_comes_first() -> None:
    model = Keyless()
    assert (
        before(patterns(), model).warnings[0] == f"{model.spec} needs a key: export EYE_API_KEY=…"
    )


def test_it_is_the_first_event_of_a_search() -> None:
    events: list[SearchEvent] = []
    optimize(patterns(), Eye(), budget=600, prompt="tone", watch=events.append)
    assert isinstance(events[0], SearchPrepared) and isinstance(events[1], SearchPlanned)
    assert events[0].preflight.as_json()["queries"] == events[1].plan.queries


def test_nothing_is_asked_if_a_training_image_cannot_be_read(tmp_path: Path) -> None:
    task = patterns()
    bad = [tmp_path / f"bad {number}.png" for number in range(2)]
    for path in bad:
        path.write_bytes(b"x")
    broken = [Sample(path.name, LABELS[0], path) for path in bad]
    with pytest.raises(DataError, match=r"2 of .* images cannot be read: .*bad 0.* .*bad 1"):
        optimize(patterns(train=(*task.train, *broken)), Keyless(), budget=600, prompt="tone")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(JournalError, match=r"is no run folder: it holds 'notes.txt'"):
        optimize(patterns(), Eye(), budget=600, prompt="tone", out=tmp_path)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / ".DS_Store").write_text("x")
    run = optimize(patterns(), Eye(), budget=600, prompt="tone", out=tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    again = optimize(patterns(), Eye(), budget=600, prompt="tone", out=tmp_path)
    assert again.prompt.digest == run.prompt.digest
