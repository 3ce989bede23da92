"""`bbtvp run`: jobs that share models, fail alone, go on where they were stopped, and stop when
told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.jobs import SearchJob, run_jobs
from bbtvp.jobs.run import JOBS
from bbtvp.jobs.runner import FAILURE, JobResult, JobStarted
from bbtvp.models import Model, Request, load_model
from bbtvp.prompt import Prompt
from bbtvp.runs.folder import RunFolder
from bbtvp.search import optimize
from bbtvp.search.recipe import Loader
from tests.support import ROOT, Vendor, bbtvp, folder_of_patterns, install_plugin


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eye/…` as an installed plug-in."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return folder_of_patterns(tmp_path / "images")


def job(images: Path, name: str = "one", **keys: Any) -> SearchJob:
    return SearchJob.of(
        {
            "name": name,
            "task": str(images),
            "model": "eye/near",
            "prompt": "tone",
            "queries": 200,
            **keys,
        }
    )


def states(ended: list[JobResult[SearchJob]]) -> list[tuple[str, bool]]:
    return [(one.job.name, one.document is not None) for one in ended]


# -- what a job is ---------------------------------------------------------------------------------
def test_a_job_is_the_search_that_optimize_makes(images: Path) -> None:
    (ended,) = run_jobs([job(images, seed=4, verify=("eye/far",))], Path("out"))
    alone = optimize(str(images), "eye/near", budget=200, prompt="tone", seed=4)
    assert Prompt.load("out/one/prompt.vprompt").digest == alone.prompt.digest
    assert ended.document is not None
    assert [(row["model"], row["role"]) for row in ended.document["models"]] == [
        ("eye/near", "source"),
        ("eye/far", "target"),
    ]
    assert json.loads(Path("out/one/result.json").read_text()) == ended.document


@pytest.mark.parametrize("parallel", [1, 3])
def test_jobs_give_the_same_prompts_however_many_run_at_once(parallel: int, images: Path) -> None:
    jobs = [
        job(images, f"s{seed}", seed=seed, model=model)
        for seed in (0, 1)
        for model in ("eye/near", "eye/far")
    ]
    jobs = [one.model_copy(update={"name": f"{one.name}-{one.models[0]}"}) for one in jobs]
    ended = run_jobs(jobs, Path("out"), parallel=parallel)
    assert [one.job for one in ended] == jobs
    for one in jobs:
        alone = optimize(
            str(images), one.models[0], budget=200, prompt="tone", seed=one.search.seed
        )
        assert Prompt.load(f"out/{one.folder}/prompt.vprompt").digest == alone.prompt.digest


def test_models_are_loaded_once_and_let_go_after_their_last_job(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    gone = []
    load = Loader.model
    release = Loader.release

    def loading(self: Loader, origin: Any) -> Model:
        model = load(self, origin)
        loads.append(id(model))
        return model

    def releasing(self: Loader, origin: Any) -> None:
        gone.append(origin.spec)
        release(self, origin)

    monkeypatch.setattr(Loader, "model", loading)
    monkeypatch.setattr(Loader, "release", releasing)
    order = []
    jobs = [job(images, f"{n}", seed=n, model=("eye/near", "eye/far")[n % 2]) for n in range(4)]
    run_jobs(
        jobs,
        Path("out"),
        watch=lambda event: order.append(event.job) if isinstance(event, JobStarted) else None,
    )
    assert order == ["0", "2", "1", "3"], "model by model"
    assert len(set(loads)) == 2
    assert gone == ["eye/near", "eye/far"]


def test_the_proofs_on_other_tasks_are_counted_with_their_failures(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Vendor(priced=False, usd=0.0, refuses=lambda request: request.key[0] in "0123")
    monkeypatch.setattr(Loader, "model", lambda self, origin: refusing)
    other = folder_of_patterns(tmp_path / "other", per_class=10)
    (ended,) = run_jobs([job(images, verify=True, also=(str(other),))], Path("out"))
    assert ended.document is not None
    begun = RunFolder(Path("out/one"))
    assert len(begun.costs) == 3
    assert ended.document["queries"]["failed"] == sum(one.failed for one in begun.costs.values())
    assert ended.document["queries"]["refused"] == ended.document["queries"]["failed"]


# -- failing ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("parallel", [1, 2])
def test_a_job_that_fails_stops_no_other(parallel: int, images: Path) -> None:
    bad = [
        job(images, "down", model="eye/down"),
        job(images, "bug", model="eye/broken"),
        job(images, "no", task="./no/"),
    ]
    ended = run_jobs([bad[0], job(images, "good"), *bad[1:]], Path("out"), parallel=parallel)
    assert states(ended) == [("down", False), ("good", True), ("bug", False), ("no", False)]
    assert ended[2].error == "RuntimeError: device-side assert triggered"
    said = json.loads(Path("out/bug", FAILURE).read_text())
    assert said["exit_code"] == 1 and "Traceback" in said["bug"]
    assert "no such file" in json.loads(Path("out/no", FAILURE).read_text())["error"]
    assert not Path("out/good", FAILURE).exists()


def test_money_that_the_search_spent_is_not_spent_again_by_the_proof(images: Path) -> None:
    (ended,) = run_jobs([job(images, usd=1.0, verify=True)], Path("out"))
    assert ended.document is not None, "a model that costs nothing is under every cap"


def test_a_mended_job_is_tried_again_and_its_failure_forgotten(images: Path) -> None:
    later = Path("later")
    (ended,) = run_jobs([job(images, task="./later")], Path("out"))
    assert ended.exit_code == 1
    images.rename(later)
    (ended,) = run_jobs([job(images, task="./later")], Path("out"))
    assert ended.document is not None
    assert not Path("out/one", FAILURE).exists()


# -- going on --------------------------------------------------------------------------------------
def test_a_job_that_is_done_is_not_run_again_unless_it_says_something_else(images: Path) -> None:
    first = run_jobs([job(images)], Path("out"))
    again = run_jobs([job(images)], Path("out"))
    assert (first[0].fresh, again[0].fresh) == (True, False)
    assert again[0].document == first[0].document
    proved = run_jobs([job(images, verify=True)], Path("out"))
    assert proved[0].fresh and proved[0].document is not None and proved[0].document["models"]
    assert proved[0].document["queries"]["search"] == first[0].document["queries"]["search"]  # type: ignore[index]
    other = run_jobs([job(images, seed=1)], Path("out"))
    assert "holds another run" in other[0].error


def test_a_folder_of_jobs_is_for_one_process(images: Path) -> None:
    from bbtvp.core.errors import JournalError
    from bbtvp.core.lock import hold

    Path("out").mkdir()
    with hold(Path("out"), "jobs"), pytest.raises(JournalError, match=f"process {os.getpid()}"):
        run_jobs([job(images)], Path("out"))


# -- the command -----------------------------------------------------------------------------------
MODEL = "model=openai/gpt-4o"

FILE = """
[defaults]
task = "{images}"
prompt = "tone"
queries = 200
[[grid]]
model = ["eye/near", "eye/far"]
seed = [0, 1]
task = ["{images}"]
"""


PROVED = """
[defaults]
task = "{images}"
model = "eye/near"
prompt = "tone"
queries = 200
[[job]]
name = "proved"
verify = true
[[job]]
name = "searched"
[[job]]
name = "broken"
model = "eye/down"
verify = true
"""


@pytest.fixture
def file(images: Path) -> Path:
    path = Path("jobs.toml")
    path.write_text(FILE.format(images=images))
    return path


def test_the_command_prints_a_table_and_leaves_the_resolved_jobs(file: Path) -> None:
    ran = bbtvp("run", file, "--out", "out", "--set", "queries=150")
    assert ran.code == 0, ran.err
    assert len(ran.out.splitlines()) == 2 + 4
    listed = json.loads(Path("out", JOBS).read_text())
    assert listed["schema"] == "bbtvp.jobs/1"
    assert [row["queries"] for row in listed["jobs"]] == [150] * 4
    assert all(Path("out", row["folder"], "run.json").is_file() for row in listed["jobs"])
    assert "4 jobs done" in ran.err


def test_the_table_has_the_verdicts_of_jobs_that_were_verified(images: Path) -> None:
    Path("jobs.toml").write_text(PROVED.format(images=images))
    ran = bbtvp("run", "jobs.toml", "--out", "out")
    head, _, *rows = ran.out.splitlines()
    assert head.split()[-1] == "verdict"
    said = {
        name: row.split()[-1]
        for name, row in zip(("proved", "searched", "broken"), rows, strict=True)
    }
    word = json.loads(Path("out/proved/result.json").read_text())["verdict"]["word"]
    assert said == {"proved": word, "searched": "-", "broken": "-"}
    alone = bbtvp("run", "jobs.toml", "--out", "out", "--only", "searched")
    assert "verdict" not in alone.out


def test_only_and_limit_choose_jobs(file: Path, images: Path) -> None:
    ran = bbtvp("run", file, "--out", "out", "--only", "*far*", "--limit", 1, "--json")
    document = json.loads(ran.out)
    assert [row["name"] for row in document["jobs"]] == [f"{images}-eye/far-seed=0"]
    assert len(json.loads(Path("out", JOBS).read_text())["jobs"]) == 4
    ran = bbtvp("run", file, "--out", "out", "--only", "*far*", "--limit", 1, "--json")
    assert [row["fresh"] for row in json.loads(ran.out)["jobs"]] == [False, True]
    for pattern in ("*fat*", "*FAR*"):
        ran = bbtvp("run", file, "--out", "out", "--only", pattern)
        assert (ran.code, "unknown job" in ran.err) == (2, True)


def test_the_users_folder_is_meant_by_a_tilde_that_no_shell_has_seen(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    one = ["run", file, "--only", "*near*seed=0", "--set", "queries=150"]
    ran = bbtvp(*one, "--out=~/runs")
    assert ran.code == 0, ran.err
    monkeypatch.setenv("BBTVP_OUT", "~/runs")
    assert "done before" in bbtvp(*one).err
    assert not Path("~").exists()
    assert (tmp_path / "home" / "runs" / JOBS).is_file()


def test_only_takes_a_name_with_brackets_as_it_is(images: Path) -> None:
    Path("jobs.toml").write_text(
        f'[[job]]\nname = "tone [1]"\ntask = "{images}"\nmodel = "eye/near"\n'
    )
    ran = bbtvp("run", "jobs.toml", "--dry-run", "--only", "tone [1]", "--json")
    assert ran.code == 0, ran.err
    assert [row["name"] for row in json.loads(ran.out)["jobs"]] == ["tone [1]"]


def test_a_dry_run_asks_nothing_leaves_nothing_and_finds_mistakes(file: Path) -> None:
    ran = bbtvp("run", file, "--out", "out", "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert (len(plan["jobs"]), plan["usd_bound"]) == (4, 0)
    assert 400 < plan["queries"] <= 800
    assert not Path("out").exists()
    ran = bbtvp("run", file, "--dry-run", "--set", "method=cmaes")
    assert ran.code == 2 and "did you mean cma" in ran.err
    ran = bbtvp("run", file, "--dry-run", "--set", "verify=true")
    assert "verification 108;" in ran.out  # three arms


def test_a_dry_run_counts_what_an_endpoint_is_asked_twice(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the proof does: an endpoint need not answer the same twice, so zero-shot is asked
    again.
    """
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    ran = bbtvp("run", file, "--dry-run", "--only", "*near*0", "--json", "--set", "verify=true")
    more = bbtvp(
        "run", file, "--dry-run", "--only", "*0", "--json", "--set", "verify=true", "--set", MODEL
    )
    (near,), (paid, *_) = (json.loads(one.out)["jobs"] for one in (ran, more))
    assert (near["verify"], paid["verify"]) == (108, 144)
    searched = json.loads(
        bbtvp("run", file, "--dry-run", "--only", "*0", "--json", "--set", MODEL).out
    )["jobs"][0]
    each = (paid["usd_bound"] - searched["usd_bound"]) / 144
    assert each * searched["search"] == pytest.approx(searched["usd_bound"]) and each > 0


def test_pictures_that_are_larger_than_the_canvas_are_in_the_bound_of_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    for label in ("light", "dark"):
        folder = tmp_path / "large" / label
        folder.mkdir(parents=True)
        for level in range(60):
            shade = level + 120 * (label == "light")
            pixels = np.full((1000, 1400, 3), shade, np.uint8)
            pixels[: 10 * (level + 1), :700] = 255 - shade
            Image.fromarray(pixels).save(folder / f"{level}.png")
    name = "openai/gpt-6-luna"
    Path("jobs.toml").write_text(
        f'[[job]]\ntask = "{tmp_path / "large"}"\nmodel = "{name}"\nqueries = 200\ncanvas = 224\n'
        'prompt = "tone"\n'
    )
    model = load_model(name)
    sent = Request(pixels, "which class is it?", ("light", "dark"))
    for verify in ("false", "true"):
        ran = bbtvp("run", "jobs.toml", "--dry-run", "--json", "--set", f"verify={verify}")
        assert ran.code == 0, ran.err
        (plan,) = json.loads(ran.out)["jobs"]
        asked = plan["search"] + plan["verify"]
        assert plan["usd_bound"] >= asked * model.max_cost(sent) > 0


def test_a_failure_is_in_the_exit_code(file: Path) -> None:
    ran = bbtvp(
        "run", file, "--out", "out", "--set", "model=eye/down", "--only", "*near*seed=0", "--json"
    )
    assert ran.code == 1
    assert "1 of 1 jobs failed" in ran.err
    assert json.loads(ran.out)["jobs"][0]["exit_code"] == 1


START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bbtvp.cli "
    "import main; main()"
)


@pytest.mark.parametrize(
    ("parallel", "how"),
    [
        (2, signal.SIGINT),
        pytest.param(1, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_after_an_interrupt_the_same_command_asks_nothing_twice(
    parallel: int, how: signal.Signals, images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.toml"
    log = tmp_path / "log"
    file.write_text(FILE.format(images=images).replace('"eye/near", "eye/far"', '"eye/slow"'))
    environment = {
        **os.environ,
        "EYE_LOG": str(log),
        "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}",
    }
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from "
        "bbtvp.cli import main; main()"
    )
    command = [
        sys.executable,
        "-c",
        start,
        "run",
        str(file),
        "--out",
        "out",
        "--jobs",
        str(parallel),
    ]
    command += ["--set", "queries=1500"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        while not log.exists() or len(log.read_text().splitlines()) < 4 * parallel:
            time.sleep(0.02)
            assert child.poll() is None
        child.send_signal(how)
        child.wait(60)
        said = child.stderr.read() if child.stderr else ""
    assert child.returncode == 130, said
    assert "run the same command to continue" in said
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [
        map(json.loads, path.read_text().splitlines())
        for path in Path("out").glob("*/journal.jsonl")
    ]
    keys = [[got[0] for record in journal for got in record.get("got", ())] for journal in records]
    assert len(keys) == 2
    assert all(len(set(one)) == len(one) for one in keys), "no reply is journalled twice"
