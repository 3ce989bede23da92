"""Whole benchmarks on the small real model: rows, files, resume, processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from bbtvp.bench import whitebox
from bbtvp.core.lock import hold
from bbtvp.models import Budget, Outcome, Request
from bbtvp.prompt import Prompt
from bbtvp.zoo.catalogue import weights
from tests.support import ROOT, Eye, Flaky, Wrapper, bbtvp, folder_of_patterns, install_plugin

METHODS = (
    "tone[images=4],default/random[images=4,prompt=tone],zero-shot,empty-frame,calibration,"
    "calibration-prior"
)
KEYS = {
    "method",
    "task",
    "source",
    "target",
    "budget",
    "queries",
    "seed",
    "n",
    "zero_shot",
    "empty_frame",
    "sentence_only",
    "prompted",
    "gain",
    "gain_ci95",
    "mcnemar_p",
    "over_empty_frame",
    "over_empty_frame_ci95",
    "queries_per_image",
    "usd_per_1000",
    "failed",
}


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`eye/…` as an installed plug-in."""
    site = install_plugin(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return folder_of_patterns(tmp_path / "images", per_class=20)


def command(images: Path, out: str, *more: object, methods: str = METHODS) -> tuple[object, ...]:
    models = ("--models", "eye/near", "--targets", "eye/near,eye/far", "--budgets", "200")
    return ("bench", "--methods", methods, "--tasks", images, *models, "--out", out, *more)


def rows_of(out: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(out) / "rows.json").read_text("utf-8"))["rows"]
    return found


def test_a_benchmark_from_the_command_to_its_files(images: Path) -> None:
    ran = bbtvp(*command(images, "b", "--json"))
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["schema"] == "bbtvp.bench/1"
    assert document == json.loads(Path("b/rows.json").read_text("utf-8"))
    rows = {(row["method"].partition("[")[0], row["target"]): row for row in document["rows"]}
    assert (
        len(rows) == len(document["rows"]) == 4 * 2 + 2
    )  # calibration answers for its source alone
    for row in document["rows"]:
        assert row.keys() == KEYS
        assert row["gain"] == pytest.approx(row["prompted"] - row["zero_shot"])
        assert row["queries"] <= row["budget"]
    near = "eye/near"
    assert rows["zero-shot", near]["gain"] == 0
    assert rows["tone", near]["gain"] > 0.4
    assert rows["tone", "eye/far"]["gain"] > 0.2
    assert rows["tone", near]["over_empty_frame"] is not None
    assert rows["empty-frame", near]["over_empty_frame"] == 0
    assert (
        rows["calibration", near]["gain"] > 0.1
    )  # the eye has a prejudice, and nothing else is wrong with it
    assert rows["calibration", near]["empty_frame"] is None
    report = Path("b/report.md").read_text("utf-8")
    assert "| tone[images=4]" in report and "not reached" not in report
    assert Path("b/curves.png").stat().st_size > 10_000
    assert len(list(Path("b/transfer").glob("*.png"))) == 4
    assert "6 cells" in ran.err and "source +" in ran.err


def test_the_bits_of_a_cell_are_its_shares(images: Path) -> None:
    bbtvp(*command(images, "b", methods="tone[images=4]"))
    (path,) = Path("b/cells").iterdir()
    cell = json.loads(path.read_text("utf-8"))
    arms = cell["targets"]["eye/near"]
    row = cell["rows"][0]
    for arm in ("zero_shot", "empty_frame", "prompted"):
        assert len(arms[arm]) == row["n"]
        assert arms[arm].count("1") / row["n"] == pytest.approx(row[arm])
    prompt = Prompt.load(Path("b/runs") / path.stem / "prompt.vprompt")
    assert prompt.space.dim == 3


class Counting(Wrapper):
    """Keeps what was asked; raises KeyboardInterrupt in a chosen call."""

    asked: ClassVar[list[str]] = []
    fatal: ClassVar[int | None] = None
    calls: ClassVar[int] = 0

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        Counting.calls += 1
        if Counting.calls == Counting.fatal:
            raise KeyboardInterrupt
        Counting.asked += [self.spec + request.key for request in requests]
        return super().query(requests, budget)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    monkeypatch.setattr(
        "tests.support.eye",
        lambda name: Counting(
            Eye(f"eye/{name}", prejudice="rows" if name == "near" else "columns")
        ),
    )
    Counting.asked = []
    Counting.fatal = None
    Counting.calls = 0
    return Counting


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.9])
def test_an_interrupted_benchmark_goes_on_and_ends_the_same(
    images: Path, counting: type[Counting], share: float
) -> None:
    assert bbtvp(*command(images, "whole")).code == 0
    alone = len(counting.asked)
    counting.fatal = 1 + int(share * counting.calls)
    counting.calls = 0
    counting.asked = []
    assert bbtvp(*command(images, "torn")).code == 130
    assert bbtvp(*command(images, "torn")).code == 0
    assert rows_of("torn") == rows_of("whole")
    assert (
        len(counting.asked) <= alone + 128
    )  # at most the answers of one view that was not finished
    before = len(counting.asked)
    again = bbtvp(*command(images, "torn"))
    assert "6 are finished already" in again.err
    assert len(counting.asked) == before


def test_zero_shot_is_asked_once_per_model(images: Path, counting: type[Counting]) -> None:
    bbtvp(
        *command(
            images, "b", "--seeds", 2, methods="tone[images=4],default/random[images=4,prompt=tone]"
        )
    )
    answers = [json.loads(path.read_text("utf-8")) for path in Path("b/zero_shot").glob("*.json")]
    assert sum("scores" in answer for answer in answers) == 2
    assert {answer["model"] for answer in answers} == {"eye/near", "eye/far"}


def test_a_folder_takes_more_seeds_and_more_targets(images: Path, counting: type[Counting]) -> None:
    methods = "tone[images=4]"
    first = (
        "bench",
        "--methods",
        methods,
        "--tasks",
        images,
        "--models",
        "eye/near",
        "--targets",
        "eye/near",
    )
    assert bbtvp(*first, "--budgets", 200, "--out", "b").code == 0
    assert {row["target"] for row in rows_of("b")} == {"eye/near"}
    before = len(counting.asked)
    assert bbtvp(*command(images, "b", methods=methods)).code == 0
    assert all(asked.startswith("eye/far") for asked in counting.asked[before:])
    assert bbtvp(*command(images, "b", "--seeds", 2, methods=methods)).code == 0
    assert {(row["target"], row["seed"]) for row in rows_of("b")} == {
        (f"eye/{m}", s) for m in ("near", "far") for s in (0, 1)
    }
    refused = bbtvp(*command(images, "b", "--test-limit", 5, methods=methods))
    assert refused.code == 2 and "test_limit None, not 5" in refused.err


def test_rivals_are_asked_on_all_models_and_show_what_an_image_takes(
    images: Path, counting: type[Counting]
) -> None:
    methods = "vote[k=3],zoom,hand-made,zero-shot"
    first = ("bench", "--methods", methods, "--tasks", images, "--models", "eye/near")
    assert bbtvp(*first, "--targets", "eye/near", "--out", "b").code == 0
    before = len(counting.asked)
    assert bbtvp(*first, "--targets", "eye/near,eye/far", "--out", "b").code == 0
    # A further target is asked, and the source is not asked again.
    assert {asked[:7] for asked in counting.asked[before:]} == {"eye/far"}
    rows = {(row["method"].partition("[")[0], row["target"]): row for row in rows_of("b")}
    assert len(rows) == 4 * 2
    taken = {name: rows[name, "eye/far"]["queries_per_image"] for name, _ in rows}
    assert taken == {"vote": 3, "zoom": 2, "hand-made": 1, "zero-shot": 1}
    assert rows["hand-made", "eye/near"]["queries"] > 0 == rows["vote", "eye/near"]["queries"]
    assert "queries / image" in Path("b/report.md").read_text("utf-8")


def test_a_rival_that_a_model_cannot_do_fails_alone(images: Path) -> None:
    ran = bbtvp(*command(images, "b", methods="mpo,zero-shot"))
    assert ran.code == 1 and "mpo cannot be asked: eye/near takes one image" in ran.err
    assert {row["method"] for row in rows_of("b")} == {"zero-shot"}


def test_a_folder_is_for_one_process(images: Path) -> None:
    Path("b").mkdir()
    with hold(Path("b"), "bench"):
        ran = bbtvp(*command(images, "b", methods="zero-shot"))
    assert ran.code == 1
    assert f"b is in use by process {os.getpid()} on " in ran.err and "--out" in ran.err
    assert bbtvp(*command(images, "b", methods="zero-shot")).code == 0
    assert not Path("b/owner.json").exists()
    other = bbtvp(*command(images, "b", "--test-limit", 3, methods="zero-shot"))
    assert other.code == 2 and "holds a benchmark with test_limit None, not 3" in other.err


def test_two_processes_give_the_rows_of_one(images: Path) -> None:
    methods = "tone[images=4],vp-spsa-gc[images=4,popsize=4],zero-shot"
    assert bbtvp(*command(images, "one", methods=methods)).code == 0
    ran = bbtvp(*command(images, "two", "--jobs", 2, methods=methods))
    assert ran.code == 0, ran.err
    assert rows_of("two") == rows_of("one")


def test_ctrl_c_ends_the_workers_and_loses_nothing(images: Path, plugin: Path) -> None:
    methods = "tone[images=4],default/random[images=4,prompt=tone],vp-spsa-gc[images=4,popsize=4]"
    arguments = [str(part) for part in command(images, "torn", "--jobs", 2, methods=methods)]
    arguments[arguments.index("eye/near")] = "eye/slow"
    path = os.pathsep.join([str(plugin), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "EYE_LOG": str(Path("log").absolute())}
    # A shell that starts its jobs in the background has them ignore Ctrl-C, and a child inherits
    # that.
    listen = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from "
        "bbtvp.cli import main; main()"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", listen, *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not Path("log").exists() and run.poll() is None:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    workers = {int(line.split()[0]) for line in Path("log").read_text().splitlines()}
    for worker in workers - {run.pid}:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    done = subprocess.run(
        [sys.executable, "-m", "bbtvp.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_cell_that_fails_does_not_stop_the_others(images: Path) -> None:
    ran = bbtvp(*command(images, "b", methods="tone[images=4],vp-spsa-gc[images=64],whitebox-vp"))
    assert ran.code == 1
    assert (
        "FAILED vp-spsa-gc[images=64]" in ran.err
        and "do not reach one step; give at least " in ran.err
    )
    assert "the white-box references need a miniature's gradients" in ran.err
    assert "error: 2 cells failed" in ran.err
    assert len(rows_of("b")) == 2
    failures = json.loads(Path("b/rows.json").read_text("utf-8"))["failures"]
    assert len(failures) == 2


def test_failed_queries_are_missing_and_a_peer_resumes_with_them(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.eye", lambda name: Flaky(Eye(f"eye/{name}"), share=0.1))
    assert bbtvp(*command(images, "b", methods="vp-spsa-gc[images=4,popsize=4]")).code == 0
    assert rows_of("b")[0]["failed"] > 0
    assert rows_of("b")[0]["queries"] <= 200


def test_budgets_beyond_all_training_images_are_one_run(
    images: Path, counting: type[Counting]
) -> None:
    more = ("--budgets", "40,300")
    assert bbtvp(*command(images, "b", *more, methods="calibration")).code == 0
    assert len(list(Path("b/runs").iterdir())) == 2  # 40, and all that are labelled
    assert [(row["budget"], row["queries"]) for row in rows_of("b")] == [
        (40, 40),
        (200, 56),
        (300, 56),
    ]


# -- with a miniature model ------------------------------------------------------------------------
needs_llava = pytest.mark.skipif(
    not (weights() / "llava" / "model.safetensors").is_file(), reason="zoo/llava is not there yet"
)


@needs_llava
def test_peers_run_on_a_miniature() -> None:
    names = "bar,bbt-cma[images=2,popsize=4],blackvip[popsize=2],ngopt[images=8],random[images=8]"
    options = (
        "--models",
        "zoo/llava",
        "--targets",
        "zoo/llava",
        "--budgets",
        130,
        "--test-limit",
        8,
    )
    ran = bbtvp(
        "bench", "--methods", names, "--tasks", "zoo/digits-dark", *options, "--out", "b", "--json"
    )
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["rows"]
    assert len(rows) == 5
    assert all(0 < row["queries"] <= 130 and row["n"] == 8 for row in rows)


def test_a_trained_frame_becomes_a_prompt_of_the_same_pixels() -> None:
    levels = np.arange(64 * 64 * 3) % 256
    frame = levels.astype(np.uint8).reshape(64, 64, 3)
    shown = whitebox.as_prompt(frame).render(np.zeros((8, 8, 3), np.uint8))
    box = whitebox.as_prompt(frame).space.geometry.box
    border = np.ones((64, 64), np.bool_)
    border[box.top : box.bottom, box.left : box.right] = False
    assert {*frame[border].ravel().tolist()} == set(range(256))
    assert np.array_equal(shown[border], frame[border])
