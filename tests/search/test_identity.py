"""A search without a gain gives the identity, which harms nobody wherever it is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.bench.methods import get
from bbtvp.core.errors import UsageError
from bbtvp.jobs import SearchJob, run_jobs
from bbtvp.jobs.reproduce import plan_reproduction, reproduce
from bbtvp.jobs.transfer import matrix, read_cells
from bbtvp.prompt import Prompt, PromptSpace, open_image, preset
from bbtvp.prompt.bundle import read
from bbtvp.report.html.report import report
from bbtvp.runs.record import read_record
from bbtvp.search import Run, optimize
from bbtvp.search.recipe import Loader
from bbtvp.verify import plan_proof, verify
from bbtvp.verify.session import CheckSession
from bbtvp.verify.verdict import Rule
from tests.support import LABELS, Eye, Recorder, bbtvp, install_plugin, pattern, patterns

EASY = patterns(amplitude=0.2)
"""Patterns that are seen without a prompt, so that none can gain."""


def search(model: Any = None, **options: Any) -> Run:
    given = {"budget": 300, "prompt": "tone", "reader": "text", "images": 4, **options}
    return optimize(EASY, model or Eye(), **given)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same patterns as image files, for `eye/…` as an installed plug-in."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    rng = np.random.default_rng(0)
    for label in LABELS:
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(50):
            file = tmp_path / "images" / label / f"{i}.png"
            Image.fromarray(pattern(label, 0.2, rng)).save(file)
    return tmp_path / "images"


# -- what a search gives ---------------------------------------------------------------------------
def test_without_a_gain_the_prompt_is_the_identity_and_the_best_is_kept_beside_it() -> None:
    run = search()
    kept = search(keep_best=True)
    assert not run.improved and not kept.improved
    assert run.prompt.is_identity and not kept.prompt.is_identity
    assert run.best.digest == kept.best.digest == kept.prompt.digest
    assert run.arms == kept.arms and run.queries == kept.queries


def test_with_a_gain_the_prompt_is_the_best() -> None:
    run = optimize(patterns(), Eye(), budget=600, prompt="tone")
    assert run.improved
    assert run.prompt is run.best


def test_the_bundle_says_that_nothing_improved_with_the_figures(tmp_path: Path) -> None:
    run = search(out=tmp_path / "run")
    facts = read(tmp_path / "run" / "prompt.vprompt").meta
    assert facts["improved"] is False
    assert [arm["accuracy"] for arm in facts["validation"]] == [arm.accuracy for arm in run.arms]
    better = optimize(patterns(), Eye(), budget=600, prompt="tone", out=tmp_path / "better")
    assert better.improved and "improved" not in read(tmp_path / "better" / "prompt.vprompt").meta


def test_the_best_is_had_afterwards_without_a_query(tmp_path: Path) -> None:
    assert search(out=tmp_path).prompt.is_identity
    model = Recorder()
    again = search(model, out=tmp_path, keep_best=True)
    assert model.asked == []
    assert Prompt.load(tmp_path / "prompt.vprompt").digest == again.best.digest


# -- the prompt ------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(37, 51, 3), (1, 1, 3), (300, 20, 3)])
def test_pixels_and_questions_stay_as_they_are(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    PromptSpace.identity().save(tmp_path / "same.vprompt")
    prompt = Prompt.load(tmp_path / "same.vprompt")
    assert prompt.digest == PromptSpace.identity().digest
    assert np.array_equal(prompt.render(pixels), pixels)
    assert np.array_equal(prompt.render(prompt.space.prepare(pixels)), pixels)
    assert prompt.ask("what?") == "what?"
    assert prompt.space.empty_frame(prompt.z).is_identity


def test_it_goes_with_no_other_layer_and_no_image_made_for_one() -> None:
    with pytest.raises(UsageError, match="goes with no other"):
        preset("tone+identity")
    made = preset("tone", 224).prepare(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="prepared for another"):
        PromptSpace.identity().render(made)


def test_apply_gives_the_same_pixels(images: Path) -> None:
    PromptSpace.identity().save("same.vprompt")
    image = next(images.glob("*/*.png"))
    assert bbtvp("apply", "same.vprompt", image, "-o", "out.png").code == 0
    assert np.array_equal(open_image(Path("out.png")), open_image(image))


# -- the proof and the checks ----------------------------------------------------------------------
def test_a_proof_gains_exactly_nothing_and_asks_each_image_once() -> None:
    model = Recorder()
    proof = verify(PromptSpace.identity(), EASY, [model], calibration=20)
    row = proof.rows[0]
    assert (row.gain, row.gain_ci95, row.over_empty_frame) == (0.0, (0.0, 0.0), 0.0)
    assert (proof.verdict.word, proof.verdict.reasons[0].code) == ("no-go", "identity")
    assert proof.queries == len(model.asked) == len(EASY.test)
    planned = plan_proof(
        PromptSpace.identity(), EASY, [model], reader="auto", calibration=20, rule=Rule()
    )
    assert planned.queries == len(EASY.test)


def test_the_command_asks_nothing_and_says_why(images: Path) -> None:
    PromptSpace.identity().save("same.vprompt")
    words = ("verify", "same.vprompt", "--task", images, "--model", "eye/near")
    ran = bbtvp(*words)
    assert (ran.code, ran.out.count("\n")) == (4, 1)
    assert ran.out.startswith("verdict: no-go: nothing is to be proved")
    document = json.loads(bbtvp(*words, "--json").out)
    assert document["verdict"]["reasons"][0]["code"] == "identity"
    assert (document["queries"]["verify"], document["models"]) == (0, [])
    planned = bbtvp(*words, "--dry-run", "--json")
    assert (planned.code, json.loads(planned.out)["queries"]) == (0, 0)


@pytest.mark.parametrize("check", ["robustness", "effects", "saliency"])
def test_there_is_nothing_to_check(check: str) -> None:
    with pytest.raises(UsageError, match="there is nothing to check"):
        CheckSession(check, PromptSpace.identity(), EASY)


# -- the run folder --------------------------------------------------------------------------------
def unimproved(images: Path, name: str = "one", **keys: Any) -> SearchJob:
    row = {"name": name, "task": str(images), "model": "eye/near", "prompt": "tone"}
    return SearchJob.of({**row, "queries": 300, "images": 4, "reader": "text", **keys})


def test_jobs_transfer_status_report_and_reproduce_go_on(images: Path) -> None:
    ended = run_jobs([unimproved(images, verify=("eye/far",))], Path("out"))
    document = ended[0].document
    assert document is not None and document["improved_on_validation"] is False
    assert [row["gain"] for row in document["models"]] == [0.0, 0.0]
    assert document["verdict"]["word"] == "no-go"
    assert {cell.gain for cell in matrix(read_cells(Path("out"))).values()} == {0.0}
    assert bbtvp("status", "out").code == 0
    for language in ("en", "ja"):
        assert "--keep-best" in report(Path("out/one"), language)
    loader = Loader()
    assert reproduce(plan_reproduction(Path("out/one"), loader, replay=True), loader).identical
    shutil.rmtree("out/one/verify")
    page = report(Path("out/one"))
    assert 'class="verdict no-go"' in page and "bbtvp verify" not in page.split("<nav")[0]


def test_a_run_of_an_older_version_kept_the_best_and_is_made_again_so(images: Path) -> None:
    run_jobs([unimproved(images, keep_best=True)], Path("out"))
    path = Path("out/one/run.json")
    record = json.loads(path.read_text("utf-8"))
    assert record["arguments"].pop("keep_best") is True
    path.write_text(json.dumps(record), "utf-8")
    assert read_record(Path("out/one"))["arguments"]["keep_best"] is True
    loader = Loader()
    again = reproduce(plan_reproduction(Path("out/one"), loader, replay=True), loader)
    assert again.identical and not Prompt.load(Path("out/one/prompt.vprompt")).is_identity


def test_the_bench_measures_what_was_found() -> None:
    with pytest.raises(UsageError, match="keep_best"):
        get("default[keep_best=false]")
