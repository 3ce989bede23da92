"""What a search ends with: its summary, its next command, and short words for what it is."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bbtvp
from bbtvp.core.origin import Origin
from bbtvp.models import InMemoryCache, MeteredModel
from bbtvp.search.ask import ask
from bbtvp.search.readers import choose_reader
from bbtvp.search.summary import ValidationGain, describe_cost, next_command
from bbtvp.verify.inputs import open_prompt
from tests.support import Eye, folder_of_patterns, patterns


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bbtvp.Run:
    return bbtvp.optimize(patterns(), Eye(), queries=300, out=tmp_path_factory.mktemp("run"))


def test_the_summary_holds_gain_cost_and_the_next_step(run: bbtvp.Run) -> None:
    gain = run.gain
    assert isinstance(gain, ValidationGain)
    assert gain.low <= gain.gain <= gain.high
    assert gain.before == pytest.approx(run.arms[0].accuracy)
    first, second, third = str(run).splitlines()
    assert first == f"validation: {gain}"
    assert second.startswith(f"spent: {sum(run.queries.values())} image queries (")
    assert third == (
        f'next, the proof: bbtvp.verify(run.prompt, run.task, run.models, out="{run.folder}")'
    )


def test_a_resumed_run_has_the_same_summary(run: bbtvp.Run) -> None:
    again = bbtvp.optimize(patterns(), Eye(), queries=300, out=run.folder)
    assert str(again) == str(run)


def test_a_search_without_a_gain_says_so(run: bbtvp.Run) -> None:
    kept = replace(run, improved=False)
    assert "not worth deploying" in str(kept) and "next, the proof" in str(kept)
    identity = replace(kept, prompt=bbtvp.PromptSpace.identity(), gain=None)
    assert "the bundle leaves images as they are" in str(identity)
    assert "--keep-best" in str(identity) and "next, the proof" not in str(identity)


def test_where_no_reply_was_right_more_queries_are_no_advice(run: bbtvp.Run) -> None:
    none = ValidationGain(20, 0.0, 0.0, 0.0, 0.0, 0.0)
    said = str(replace(run, improved=False, gain=none, folder=Path("my run")))
    assert "no reply was right" in said and "bbtvp replies 'my run'" in said
    assert "more queries" not in said
    some = none._replace(before=0.05, after=0.05)
    assert "more queries" in str(replace(run, improved=False, gain=some))


def test_the_cost_in_words() -> None:
    counts = {"search": 1200, "validation": 96, "probe": 0}
    assert describe_cost(counts, failed=0, refused=0, usd=0) == (
        "1,296 image queries (1,200 search, 96 validation)"
    )
    assert describe_cost(counts, failed=3, refused=2, usd=0.5) == (
        "1,296 image queries (1,200 search, 96 validation, 3 of them failed, 2 of these refused), "
        "$0.5000"
    )


def known(spec: str, **options: object) -> Eye:
    model = Eye()
    model.origin = Origin(spec, options)
    return model


def test_the_next_command_can_be_typed(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder_of_patterns(folder)
    task = bbtvp.load_task(str(folder), question="which pattern?")
    models = [known("openai/gpt", rpm=500, probe=False), known("b/c", rpm=500, probe=False)]
    words = shlex.split(next_command(task, models, Path("runs/a b")))
    assert words == [
        *("bbtvp", "verify", "runs/a b/prompt.vprompt", "--task", str(folder)),
        *("--question", "which pattern?", "--model", "openai/gpt", "--model", "b/c"),
        *("-M", "rpm=500", "-M", "probe=false", "--out", "runs/a b"),
    ]


def test_what_no_command_can_name_is_proved_in_python(tmp_path: Path) -> None:
    folder_of_patterns(tmp_path / "p")
    task = bbtvp.load_task(tmp_path / "p")
    limited = bbtvp.load_task(tmp_path / "p", limit=8)
    for given, models, out in (
        (task, [Eye()], tmp_path),
        (task, [known("a/b")], None),
        (patterns(), [known("a/b")], tmp_path),
        (limited, [known("a/b")], tmp_path),
        (task, [known("a/b", rpm=1), known("c/d")], tmp_path),
    ):
        assert next_command(given, models, out).startswith("bbtvp.verify(run.prompt, ")
    assert next_command(task, [known("a/b")], tmp_path).startswith("bbtvp verify ")


def test_short_words(run: bbtvp.Run) -> None:
    task = patterns()
    model = MeteredModel(Eye(), InMemoryCache())
    answers = ask(model, choose_reader("auto", model, task), task, task.test[:8])
    proof = bbtvp.verify(run.prompt, task, Eye())
    dim = run.prompt.space.dim
    for thing, words in (
        (task, "<Task patterns: "),
        (task.test[0], "Sample('test-0', 'rows', 16 x 16 px)"),
        (run, "Run(patterns on eye/near: improved, validation "),
        (run.prompt, f"Prompt(placement+restore+tone+margin, {dim} variables, canvas 16 px, "),
        (Eye(), "Eye('eye/near')"),
        (model, "MeteredModel('eye/near')"),
        (answers, "Answers(8 asked, "),
        (proof, f"Proof({proof.verdict.word}, patterns, eye/near "),
    ):
        said = repr(thing)
        assert said.startswith(words) and "\n" not in said and len(said) < 200
        assert "array" not in said
    assert str(proof).startswith(f"verdict: {proof.verdict}\neye/near ")
    assert "image queries" in str(proof)


# -- paths and strings -----------------------------------------------------------------------------
def test_everything_is_taken_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder_of_patterns(tmp_path / "photos")
    run = bbtvp.optimize(Path("photos"), Eye(), queries=120, out="~/run", keep_best=True, canvas=64)
    assert run.folder == tmp_path / "run"
    bundle = tmp_path / "run" / "prompt.vprompt"
    proofs = [
        bbtvp.verify(prompt, task, models, examples=0)
        for prompt, task, models in (
            (run.prompt, "photos", Eye()),
            (bundle, Path("photos"), [Eye()]),
            ("~/run/prompt.vprompt", "~/photos", (Eye(), Eye())),
            ("run", "./photos", Eye()),
        )
    ]
    assert {proof.rows[0].paired for proof in proofs} == {proofs[0].rows[0].paired}
    assert [proof.rows[0].role for proof in proofs] == ["target", "source", "source", "source"]


def test_the_question_of_the_search_is_asked_again(tmp_path: Path) -> None:
    folder_of_patterns(tmp_path / "photos")
    task = bbtvp.load_task(tmp_path / "photos", question="which of these?")
    run = bbtvp.optimize(task, Eye(), queries=120, keep_best=True, canvas=64)
    run.save(tmp_path / "p.vprompt")
    asked = set()

    class Listening(Eye):
        def query(self, requests, budget=None):
            asked.update(request.text for request in requests)
            return super().query(requests, budget)

    bbtvp.verify(tmp_path / "p.vprompt", tmp_path / "photos", Listening())
    assert asked == {"which of these?"}


def test_an_image_is_taken_in_any_form(run: bbtvp.Run, tmp_path: Path) -> None:
    pixels = patterns().test[0].pixels()
    image = Image.fromarray(np.array(pixels))
    image.save(tmp_path / "a.png")
    wanted = run.prompt.render(pixels)
    for given in (image, tmp_path / "a.png", str(tmp_path / "a.png"), pixels):
        assert np.array_equal(np.asarray(run.prompt.apply(given)), wanted)
        assert np.array_equal(run.prompt.render(given), wanted)
        sample = bbtvp.Sample("x", "rows", given)
        assert np.array_equal(sample.pixels(), pixels)


def test_what_cannot_be_taken_is_named(run: bbtvp.Run, tmp_path: Path) -> None:
    for call, said in (
        (lambda: bbtvp.verify(7, patterns(), Eye()), "a prompt of type int"),
        (lambda: bbtvp.verify(tmp_path / "no", patterns(), Eye()), "no such bundle"),
        (lambda: bbtvp.optimize(7, Eye()), "a task of type int; give a path"),
        (lambda: bbtvp.optimize(Path("no-such"), Eye()), "no-such"),
        (lambda: bbtvp.optimize(patterns(), 7), "a model of type int; give a function"),
        (lambda: bbtvp.optimize(patterns(), []), "name at least one source model"),
        (lambda: run.prompt.apply(7), "an image of type int; give a path"),
        (lambda: run.prompt.apply("no.png"), "no.png: no such file"),
    ):
        with pytest.raises(bbtvp.BbtvpError, match=said):
            call()


def test_a_table_takes_the_labels_of_the_search(tmp_path: Path) -> None:
    folder_of_patterns(tmp_path / "photos")
    rows = [f"photos/{label}/{i}.png,{label}" for label in ("rows", "columns") for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["image,answer", *rows]), "utf-8")
    task = bbtvp.load_task(tmp_path / "t.csv", labels=("columns", "rows"))
    run = bbtvp.optimize(task, Eye(), queries=120, keep_best=True, canvas=64)
    run.save(tmp_path / "p.vprompt")
    opened = open_prompt(tmp_path / "p.vprompt")
    assert opened.task(tmp_path / "t.csv").labels == task.labels
    assert opened.task(tmp_path / "t.csv", labels="rows,columns").labels == ("rows", "columns")
    command = next_command(task, [known("a/b")], tmp_path)
    assert "--labels 'columns|rows'" in command
