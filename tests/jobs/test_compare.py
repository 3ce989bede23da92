"""Two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.jobs.compare import compare
from bbtvp.models import load_model
from bbtvp.prompt import Prompt
from bbtvp.search import ask
from bbtvp.search.readers import LogProbReader
from bbtvp.stats import paired_gain
from bbtvp.tasks.registry import load_task
from tests.jobs.made import edit, images, made, proved
from tests.support import Eye, Flaky, bbtvp, folder_of_patterns, install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


@pytest.fixture
def two() -> tuple[Path, Path]:
    """The second prompt is hardly searched."""
    made("a", budget=140)
    made("b", budget=60, seed=7, method="random")
    return Path("a"), Path("b")


def right(folder: str, spec: str) -> list[float]:
    """Asked anew."""
    task = load_task(str(images()))
    prompt = Prompt.load(Path(folder, "prompt.vprompt"))
    return ask(load_model(spec), LogProbReader(), task, task.test, prompt).correct.tolist()


def test_a_run_is_like_itself(two: tuple[Path, Path]) -> None:
    found = compare(two[0], two[0])
    assert (found.identical, found.configuration, found.environment, found.step) == (
        True,
        {},
        {},
        None,
    )
    assert found.answers.different == 0 < found.answers.both


def test_what_differs(two: tuple[Path, Path]) -> None:
    found = compare(*two)
    assert found.identical is False
    assert found.configuration == {
        "queries": (140, 60),
        "method": ("auto", "random"),
        "seed": (0, 7),
    }
    assert found.theta["tone.contrast"] == tuple(
        Prompt.load(run / "prompt.vprompt").theta["tone"]["contrast"] for run in two
    )
    assert found.theta["tone.contrast"][0] != found.theta["tone.contrast"][1]
    assert found.step is not None
    assert (found.step.step, found.step.fields[0]) == ("validation/unprompted", "samples"), (
        "another seed"
    )
    first, second = found.validated["unprompted"]
    assert first is not None
    assert second is not None
    assert first.accuracy != second.accuracy or first.loss != second.loss
    assert found.spent["search"][0] > found.spent["search"][1] > 0
    assert found.spent["seconds"] == (None, None)
    assert (found.paired, found.unpaired) == ({}, "the runs were not both verified on one model")


def test_proofs_on_the_same_images_are_paired_without_asking_anything(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    proved("a", "eye/near", "eye/far")
    proved("b", "eye/near")
    expected = paired_gain(right("a", "eye/near"), right("b", "eye/near"))
    monkeypatch.setattr("tests.support.eye", lambda name: pytest.fail("a model was loaded"))
    found = compare(*two)
    assert found.proofs.keys() == {"eye/near", "eye/far"}
    assert found.proofs["eye/far"][1] is None
    assert found.paired == {"eye/near": expected}
    assert expected.gain < 0, "it was searched less"
    rows = [found.proofs["eye/near"][i] for i in (0, 1)]
    assert [one["prompted"] for one in rows if one] == [expected.before, expected.after]


def test_images_that_failed_in_one_proof_are_left_out(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    proved("a")
    monkeypatch.setattr("tests.support.eye", lambda name: Flaky(Eye(), share=0.3))
    proved("b")
    (gain,) = compare(*two).paired.values()
    assert 0 < gain.n < len(load_task(str(images())).test)
    assert 0 <= gain.after <= 1


UNPAIRED: list[tuple[Callable[[], object], str]] = [
    (lambda: next(Path("images").rglob("*.png")).unlink(), "have changed since"),
    (lambda: images().rename("moved"), "images"),
    (
        lambda: edit("a/run.json", task={"name": "t", "digest": "d", "spec": None, "options": {}}),
        "",
    ),
]


@pytest.mark.parametrize(("change", "said"), UNPAIRED)
def test_why_proofs_cannot_be_paired_is_said(
    two: tuple[Path, Path], change: Callable[[], object], said: str
) -> None:
    proved("a")
    proved("b")
    change()
    found = compare(*two)
    assert bool(found.paired) == (not said), "one of the runs names the task"
    assert said in found.unpaired
    assert found.proofs["eye/near"][0] is not None


def test_proofs_on_different_tasks_are_not_paired(two: tuple[Path, Path]) -> None:
    from bbtvp.verify import verify

    proved("a")
    other = str(folder_of_patterns(Path("others"), per_class=16))
    verify(Prompt.load("b/prompt.vprompt"), other, ["eye/near"], out="b")
    assert compare(*two).unpaired == "they were verified on different tasks"


def test_the_command(two: tuple[Path, Path]) -> None:
    proved("a")
    proved("b")
    edit(
        "a/run.json",
        environments=[{"python": "3.10.0", "platform": "linux", "packages": {"numpy": "1.0"}}],
    )
    Path("a/result.json").write_text(json.dumps({"seconds": 12.5}))
    ran = bbtvp("compare", "a", "b", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document.keys() == {
        "schema",
        "runs",
        "configuration",
        "environment",
        "prompt",
        "validation",
        "spent",
        "verification",
        "verdicts",
        "paired",
        "unpaired",
        "journals",
    }
    assert (document["schema"], document["runs"], document["unpaired"]) == (
        "bbtvp.comparison/1",
        ["a", "b"],
        None,
    )
    assert document["environment"]["numpy"] == ["1.0", np.__version__]
    assert document["spent"]["seconds"] == [12.5, None]
    assert document["prompt"]["identical"] is False
    words = [
        json.loads(next(Path(run).glob("verify/*/proof.json")).read_text())["verdict"]["word"]
        for run in "ab"
    ]
    assert document["verdicts"] == words
    text = bbtvp("compare", "a", "b")
    assert text.code == 0
    for line in (
        "queries        140   60",
        "numpy ",
        "prompts: different",
        "tone.contrast ",
        "validation ",
        "seconds     12.5  -",
        "journals: the first step that differs is validation/unprompted: samples, ",
        "eye/near, the same ",
    ):
        assert line in text.out, line


def test_unfinished_and_broken_runs(two: tuple[Path, Path]) -> None:
    Path("b/prompt.vprompt").unlink()
    found = compare(*two)
    assert found.identical is None
    assert found.theta["tone.contrast"][1] is None
    assert "prompts: one run is not finished" in bbtvp("compare", "a", "b").out
    for damage, said in DAMAGES:
        kept = {path: path.read_bytes() for path in Path().glob("[ab]/*") if path.is_file()}
        damage()
        ran = bbtvp("compare", "a", "b")
        assert ran.code == 1
        assert said in ran.err
        for path, content in kept.items():
            path.write_bytes(content)
        Path("a/result.json").unlink(missing_ok=True)


DAMAGES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Path("a/result.json").write_text("{"), "a/result.json is damaged"),
    (lambda: Path("a/prompt.vprompt").write_text("?"), "a/prompt.vprompt: "),
    (lambda: Path("b/run.json").unlink(), "b is no run folder"),
]
