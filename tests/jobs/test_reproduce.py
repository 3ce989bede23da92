"""Runs made again: with their models, and from their journals alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.errors import BudgetReached, JournalError
from bbtvp.jobs.differences import (
    AnswerDifferences,
    StepDifference,
    answers,
    environments,
    first_step,
)
from bbtvp.jobs.reproduce import Reproduction, plan_reproduction, reproduce
from bbtvp.models import (
    Budget,
    InMemoryCache,
    MeteredModel,
    Model,
    Outcome,
    Request,
    Usage,
    probe_model,
)
from bbtvp.prompt.channel import Channel
from bbtvp.runs.recording import RecordedQuery, Recording, key_of
from bbtvp.runs.records import FILE, QueryRecord
from bbtvp.search.recipe import Loader
from tests.jobs.made import edit, images, lines, made, rewrite
from tests.search.runs import Fickle
from tests.support import Eye, Flaky, Vendor, Wrapper, bbtvp, install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


def replayed(folder: str, **more: Any) -> Reproduction:
    loader = Loader()
    return reproduce(plan_reproduction(Path(folder), loader, replay=True), loader, **more)


# -- from the journal alone ------------------------------------------------------------------------
def odd(request: Request) -> bool:
    return int(request.key, 16) % 5 == 0


def far() -> Eye:
    return Eye("eye/far", prejudice="columns")


Kind = tuple[Callable[[], Sequence[Model]], dict[str, Any]]
KINDS: dict[str, Kind] = {
    "gp": (lambda: [Eye()], {}),
    "cma, patience": (lambda: [Eye()], {"method": "cma", "images": 4, "patience": 2}),
    "two sources": (
        lambda: [Eye(), far()],
        {"images": 2, "combine": "worst"},
    ),
    "channel": (lambda: [Eye()], {"channel": Channel()}),
    "text, repeats": (
        lambda: [Fickle()],
        {"images": 2, "repeats": 2, "reader": "text"},
    ),
    "failures": (lambda: [Flaky(share=0.3, attempts=2)], {"budget": 160}),
    "failures asked again": (
        lambda: [Flaky(share=0.4)],
        {"images": 12, "budget": 700, "method": "random"},
    ),
    "refusals": (lambda: [Flaky(refuses=odd)], {}),
    "an endpoint that fails": (lambda: [Vendor(Flaky(share=0.2), flaky=0.2)], {"budget": 180}),
    "an endpoint that refuses": (lambda: [Vendor(refuses=odd)], {"usd": 1.0}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_journal_gives_the_prompt_and_every_step_of_any_search(kind: str) -> None:
    models, options = KINDS[kind]
    run = made("run", models(), **options)
    done = replayed("run", out=Path("again"))
    assert (done.identical, done.again, done.lacking) == (True, run.prompt.digest, None)
    assert (done.queries, done.usd, done.stored) == (0, 0.0, 0)
    assert (done.config, done.step) == ({}, None)
    assert Path("again/prompt.vprompt").read_bytes() == Path("run/prompt.vprompt").read_bytes()
    assert Recording.read(Path("again")).steps == Recording.read(Path("run")).steps


@pytest.mark.parametrize(
    "model", [lambda seed: Flaky(share=0.3, seed=seed), lambda _: Vendor(Flaky(share=0.2))]
)
def test_what_was_asked_again_after_a_kill_counts_as_it_did(model: Callable[[int], Model]) -> None:
    """Killed in the middle of steps whose queries partly failed, and continued by a model that
    fails elsewhere.
    """
    made("whole", [model(0)], budget=200)
    records = lines("whole")
    mixed = [
        i
        for i, record in enumerate(records)
        if record["record"].startswith("replies")
        and len({row[4] is None for row in record["got"]}) == 2
    ]
    for number, cut in enumerate(mixed[:3]):
        Path(f"run-{number}").mkdir()
        rewrite(f"run-{number}", records[: cut + 1])
        run = made(f"run-{number}", [model(1)], budget=200)
        done = replayed(f"run-{number}")
        assert done.identical, done.step
        assert (done.again, done.step) == (run.prompt.digest, None)
    assert len(mixed) >= 3


def test_an_endpoint_is_refused_where_its_cap_refused_it() -> None:
    """Two attempts at the first request used the cap up, and the second was not sent."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    requests = [Request(pixels, text) for text in ("first", "second")]
    outcomes = ["yes", None, None], [None, None, "the cap"]
    queries = {
        key_of(request, "who"): [asked(key_of(request, "who"), attempts, *outcome)]
        for request, attempts, outcome in zip(requests, (2, 0), outcomes, strict=True)
    }
    found = recording(
        queries=queries, probes={"v": {"findings": ["none"], "queries": 1, "usd": 0.5}}
    )
    budget = Budget(cap=2)
    metered = MeteredModel(found.model("v", "who"), InMemoryCache(), budget=budget)
    with pytest.raises(BudgetReached):
        metered.query(requests)
    assert (budget.total, budget.failed) == (2, 1)
    probe = probe_model(found.model("v", "who"), Budget())
    assert probe is not None
    assert (probe.findings, probe.queries, probe.usd) == (("none",), 1, 0.5)
    assert probe_model(recording(queries=queries).model("v", "who"), Budget()) is None


def test_a_replay_needs_no_model_and_no_cap_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made("run", seconds=1000.0)
    monkeypatch.setattr(
        "bbtvp.search.recipe.load_model", lambda *_, **__: pytest.fail("a model was loaded")
    )
    ran = bbtvp("reproduce", "run", "--replay")
    assert ran.code == 0
    assert ran.out.startswith("identical: ")
    assert "a cap of 1000 seconds: if the clock ended it, no other run ends at" in ran.err
    assert "0 image queries" in ran.err
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith("run")) == ["run"]


def test_a_query_that_the_journal_lacks_ends_a_replay() -> None:
    made("run")
    records = lines("run")
    last = max(i for i, record in enumerate(records) if record["record"].startswith("replies"))
    del records[last]["got"][0]
    rewrite("run", records)
    ran = bbtvp("reproduce", "run", "--replay", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert (document["identical"], document["again"]) == (False, None)
    assert "no answer to a query" in document["lacking"]
    missing = next(record["id"] for record in records[last:] if record["record"] == "step")
    assert document["differences"]["step"] == {
        "step": missing,
        "fields": [],
        "largest": None,
        "only": 1,
    }


def test_a_replay_tells_a_journal_that_does_not_give_the_prompt() -> None:
    made("run")
    records = lines("run")
    scored = next(record for record in records if record.get("id") == "tone/0")
    scored["evaluations"][0]["loss"] += 0.25
    rewrite("run", records)
    done = replayed("run")
    assert done.step is not None
    assert (done.step.step, done.step.fields) == ("tone/0", ("evaluations",))
    assert done.step.largest == pytest.approx(0.25)
    assert "judged otherwise" in str(done.step)


# -- with its models -------------------------------------------------------------------------------
DOCUMENT = {
    "schema",
    "run",
    "replay",
    "prompt",
    "planned",
    "differences",
    "doubts",
    "identical",
    "again",
    "lacking",
    "out",
    "queries",
    "usd",
    "stored",
}


def test_a_run_made_again_is_identical_and_says_first_what_it_asks() -> None:
    run = made("runs/one")
    dry = bbtvp("reproduce", "runs/one", "--dry-run", "--json")
    assert dry.code == 0
    assert json.loads(dry.out)["planned"] == {
        "queries": plan_reproduction(Path("runs/one"), Loader()).queries,
        "costs": {},
    }
    assert not Path("runs/one-again").exists()

    ran = bbtvp("reproduce", "runs/one", "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document.keys() == DOCUMENT
    assert (document["identical"], document["prompt"]) == (True, run.prompt.digest)
    assert document["queries"] == sum(run.queries.values())
    assert (document["out"], document["stored"], document["doubts"]) == ("runs/one-again", 0, [])
    assert document["differences"] == {
        "task": {},
        "environment": {},
        "revisions": {},
        "config": {},
        "step": None,
        "answers": {"both": document["queries"], "different": 0, "largest": 0.0},
    }
    said = ran.err.index(
        "image queries to eye/near; with those that have to be repeated, at most 100"
    )
    assert said < ran.err.index("validation: unprompted")

    again = bbtvp("reproduce", "runs/one")
    assert again.code == 2
    assert "runs/one-again holds a finished run; name another folder (--out)" in again.err
    assert bbtvp("reproduce", "runs/one", "--out", "runs/one").code == 2


class Nudged(Wrapper):
    """Answers a little otherwise."""

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        sharper = Eye(gain=21.0)
        return [sharper.look(request) for request in requests]


def test_another_answer_is_found_with_the_step_where_the_runs_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made("run")
    monkeypatch.setattr("tests.support.eye", lambda name: Nudged())
    ran = bbtvp("reproduce", "run", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert not document["identical"]
    assert document["again"] not in (None, document["prompt"])
    step = document["differences"]["step"]
    compared = document["differences"]["answers"]
    assert (step["step"], step["fields"][0]) == ("validation/unprompted", "losses")
    assert 0 < step["largest"] < 0.1
    assert compared["different"] == compared["both"] > 10
    assert 0 < compared["largest"] < 1
    text = bbtvp("reproduce", "run", "--out", "third")
    assert text.code == 1
    assert text.out.startswith(
        f"different: {document['prompt']} in the run, {document['again']} now\n"
    )
    assert "first step that differs: validation/unprompted: losses differ by up to" in text.out
    assert "got other answers, log-probabilities by up to" in text.out


def test_answers_from_a_store_are_counted_for_they_are_no_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made("run")

    class Stored(Wrapper):
        def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
            from dataclasses import replace

            return [
                replace(outcome, usage=outcome.usage._replace(attempts=0))
                for outcome in super().query(requests, budget)
            ]

    monkeypatch.setattr("tests.support.eye", lambda name: Stored())
    ran = bbtvp("reproduce", "run")
    assert ran.code == 0
    count = len(Recording.read(Path("run")).answers)
    assert f"{count} answers came from the response store, not from the model" in ran.out
    assert "\n0 image queries; the new run: run-again" in ran.out


def invert(path: Path) -> None:
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


CHANGES: list[tuple[Callable[[], object], str]] = [
    (lambda: invert(Path("images", validated())), "validation images 16 in the run, 15 here"),
    (lambda: next(images().rglob("*.png")).unlink(), "digest "),
]


def validated() -> str:
    """The first of the run's validation images."""
    return str(
        next(record for record in lines("run") if record.get("id") == "validation/unprompted")[
            "samples"
        ][0]
    )


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_another_task_is_told_before_anything_is_asked(
    change: Callable[[], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("run", budget=150)
    change()
    monkeypatch.setattr("tests.support.Eye.query", lambda *_: pytest.fail("it was asked"))
    for how in ([], ["--replay"]):
        ran = bbtvp("reproduce", "run", *how)
        assert ran.code == 1
        assert f"the task has changed: {said}" in ran.err
        assert "nothing was asked; restore what images was then" in ran.err
    assert not Path("run-again").exists()
    dry = bbtvp("reproduce", "run", "--dry-run", "--json")
    assert len(json.loads(dry.out)["differences"]["task"]) == 1


def test_other_versions_and_revisions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made("run")
    record = json.loads(Path("run/run.json").read_text())
    record["environments"][0]["packages"] |= {"numpy": "1.0", "gone": "2.0"}
    record["environments"][0]["python"] = "3.10.0"
    record["models"][0]["revision"] = "abc"
    edit("run/run.json", **record)
    ran = bbtvp("reproduce", "run", "--dry-run")
    assert "model revision: eye/near abc in the run, none here" in ran.err
    assert "environment: python 3.10.0 in the run, " in ran.err
    assert f"environment: numpy 1.0 in the run, {np.__version__} here" in ran.err
    assert "environment: gone 2.0 in the run, none here" in ran.err
    edit("run/run.json", environments=record["environments"] * 2)
    assert "2 sets of versions worked on the run" in bbtvp("reproduce", "run", "--dry-run").err


PYTHON = {"name": "t", "digest": "d", "spec": None, "options": {}}
UNFIT: list[tuple[Callable[[], object], str]] = [
    (lambda: Path("run/prompt.vprompt").unlink(), "is not finished"),
    (lambda: edit("run/run.json", task=PYTHON), "made in Python"),
    (lambda: Path("run/run.json").unlink(), "is no run folder"),
    (lambda: Path("run", FILE).unlink(), "holds no journal.jsonl"),
    (
        lambda: Path("run", FILE).write_text('{"record":"step"}\n{"id":1}\n'),
        "is not a bbtvp.journal",
    ),
]


@pytest.mark.parametrize(("damage", "said"), UNFIT)
def test_what_cannot_be_made_again_is_refused(damage: Callable[[], object], said: str) -> None:
    made("run")
    damage()
    ran = bbtvp("reproduce", "run")
    assert ran.code == 1
    assert said in ran.err
    assert not Path("run-again").exists()


# -- differences -----------------------------------------------------------------------------------
def asked(key: str, attempts: int, *answer: Any) -> RecordedQuery:
    return RecordedQuery(0, QueryRecord(key, Usage(1, 1, attempts), *answer))


def recording(**parts: Any) -> Recording:
    return Recording(**{"config": {}, "steps": {}, "queries": {}, "probes": {}, **parts})


def test_the_first_step_that_differs() -> None:
    base = {"a": {"z": "1", "losses": [0.5, None]}, "b": {"z": "2", "evaluations": [{"loss": 1.0}]}}
    first = recording(steps=base)
    assert first_step(first, recording(steps=dict(base))) is None
    moved = recording(steps={**base, "b": {"z": "2", "evaluations": [{"loss": 1.5}]}})
    assert first_step(first, moved) == StepDifference("b", ("evaluations",), 0.5)
    both = recording(steps={"a": {"z": "9", "losses": [0.5, 0.1]}, "b": base["b"]})
    found = first_step(first, both)
    assert found == StepDifference("a", ("z", "losses"), None)
    assert "other candidates" in str(found)
    assert first_step(first, recording(steps={"a": base["a"]})) == StepDifference("b", (), None, 1)
    longer = first_step(recording(steps={"a": base["a"]}), first)
    assert longer == StepDifference("b", (), None, 2)
    assert str(longer) == "b, which only the second run has"


def test_answers_are_compared_by_what_was_asked() -> None:
    def rows(**texts: Any) -> Recording:
        return recording(queries={key: [asked(key, 1, *value)] for key, value in texts.items()})

    one = rows(a=("x", None, None), b=(None, [[-1.0, 1]], None), c=(None, None, "failed"))
    assert answers(one, one) == AnswerDifferences(2, 0, 0.0)
    assert answers(
        one, rows(b=(None, [[-1.25, 1]], None), c=("y", None, None))
    ) == AnswerDifferences(1, 1, 0.25)
    assert answers(one, rows(a=("y", None, None))) == AnswerDifferences(1, 1, None)


def test_environments_differ_by_name() -> None:
    one = {"python": "3.11", "platform": "linux", "packages": {"numpy": "2"}}
    other = {"python": "3.12", "platform": "linux", "packages": {"torch": "3"}}
    assert environments(one, other) == {
        "python": ("3.11", "3.12"),
        "numpy": ("2", None),
        "torch": (None, "3"),
    }


def test_a_recording_of_nothing_is_refused() -> None:
    with pytest.raises(JournalError, match="holds no journal"):
        Recording.read(Path())
