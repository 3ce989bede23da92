"""The command line: what it prints where, what it exits with, and what its errors tell you to
type.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.prompt import Exemplars, Prompt, PromptSpace, open_image, preset
from bbtvp.zoo.catalogue import weights
from bbtvp.zoo.suites import SUITES
from tests.support import SIDE, Flaky, bbtvp, folder_of_patterns, install_plugin

LLAVA = weights() / "llava"
needs_llava = pytest.mark.skipif(
    not (LLAVA / "model.safetensors").is_file(), reason="zoo/llava is not there yet"
)

# -- the result document ---------------------------------------------------------------------------
COUNT = (int,)
NUMBER = (int, float)
RESULT: Mapping[str, tuple[type, ...]] = {
    "schema": (str,),
    "task": (str,),
    "seed": COUNT,
    "prompt": (str,),
    "improved_on_validation": (bool, type(None)),
    "queries": (dict,),
    "seconds": NUMBER,
    "usd": (float, type(None)),
    "models": (list,),
}
QUERIES: Mapping[str, tuple[type, ...]] = dict.fromkeys(
    ("search", "validation", "probe", "verify", "failed", "refused"), COUNT
)
VERDICT: Mapping[str, tuple[type, ...]] = {"verdict": (dict,), "notes": (list,)}
"""With a proof."""

MODEL: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "role"), (str,)),
    "version": (str, type(None)),
    **dict.fromkeys(("n", "failed", "unparsed", "images", "gained", "lost"), COUNT),
    **dict.fromkeys(
        ("zero_shot", "empty_frame", "prompted", "gain", "over_empty_frame", "mcnemar_p"), NUMBER
    ),
    **dict.fromkeys(("mcnemar_p_holm", "noise"), NUMBER),
    **dict.fromkeys(("gain_ci95", "over_empty_frame_ci95"), (list,)),
    **dict.fromkeys(("best_constant", "over_best_constant"), NUMBER),
    "best_constant_answer": (str,),
    "over_best_constant_ci95": (list,),
    **dict.fromkeys(("collapse", "replies", "detail"), (dict,)),
}
CALIBRATED: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("calibrated", "over_calibrated"), NUMBER),
    "over_calibrated_ci95": (list,),
}
"""Of a model that gives log-probabilities, with an output calibration."""


def check_keys(found: Mapping[str, Any], expected: Mapping[str, tuple[type, ...]]) -> None:
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert type(value) in expected[key], key


def check_result(document: Mapping[str, Any]) -> None:
    """Strictly a `bbtvp.result/1`: these keys, these types, shares in 0..1, intervals in order."""
    check_keys(document, RESULT | (VERDICT if document["models"] else {}))
    assert document["schema"] == "bbtvp.result/1"
    check_keys(document["queries"], QUERIES)
    for message in [
        *document.get("verdict", {"reasons": []})["reasons"],
        *document.get("notes", []),
    ]:
        check_keys(message, {"code": (str,), "text": (str,), "values": (dict,)})
    for row in document["models"]:
        check_keys(row, MODEL | (CALIBRATED if "calibrated" in row else {}))
        assert row["role"] in ("source", "target")
        assert all(
            0 <= row[key] <= 1 for key in ("zero_shot", "empty_frame", "prompted", "mcnemar_p")
        )
        assert row["gain"] == pytest.approx(row["prompted"] - row["zero_shot"])
        assert row["over_empty_frame"] == pytest.approx(row["prompted"] - row["empty_frame"])
        for interval in (row["gain_ci95"], row["over_empty_frame_ci95"]):
            low, high = interval
            assert -1 <= low <= high <= 1


def one_document(out: str) -> dict[str, Any]:
    """stdout holds one JSON document and nothing else."""
    document: dict[str, Any] = json.loads(out)
    return document


# -- the main path ---------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eye/…` as an installed plug-in."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return folder_of_patterns(tmp_path / "images")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A prompt that raises the contrast."""
    path = tmp_path / "contrast.vprompt"
    preset("tone", SIDE).prompt(np.array([3.0, 0.0, 0.0])).save(path, {"source_model": "eye/near"})
    return path


def optimize(images: Path, *more: object) -> tuple[object, ...]:
    return (
        "optimize",
        "--task",
        images,
        "--model",
        "eye/near",
        "--prompt",
        "tone",
        "--out",
        "run",
        *more,
    )


def test_optimize_then_verify(images: Path) -> None:
    searched = bbtvp(*optimize(images, "--queries", 300, "-S", "images=4", "--json"))
    assert searched.code == 0
    document = one_document(searched.out)
    check_result(document)
    assert document == json.loads(Path("run/result.json").read_text())
    assert document["queries"]["search"] + document["queries"]["validation"] <= 300
    assert document["models"] == []
    for line in (
        "plan: tone: ",
        "validation: unprompted",
        "tone 1/",
        "next, the proof: bbtvp verify run/prompt.vprompt --task",
        "--out run\n",
    ):
        assert line in searched.err

    models = ("--model", "eye/near", "--model", "eye/far")
    proved = bbtvp(
        "verify", "run/prompt.vprompt", "--task", images, *models, "--out", "run", "--json"
    )
    assert proved.code == 0
    document = one_document(proved.out)
    check_result(document)
    assert [(row["model"], row["role"]) for row in document["models"]] == [
        ("eye/near", "source"),
        ("eye/far", "target"),
    ]
    assert document["models"][0]["gain"] > 0.4
    assert document["queries"]["verify"] <= 2 * (3 * document["models"][0]["n"] + 64)
    assert "verification: at most 344 image queries over 2 models" in proved.err
    assert "36 test images show that a gain of " in proved.err
    assert document["verdict"]["word"] == "go"
    assert Path("run/gallery.png").stat().st_size > 10_000

    table = bbtvp("verify", "run/prompt.vprompt", "--task", images, *models, "--out", "run")
    lines = table.out.strip().splitlines()
    assert lines[0].startswith("verdict: go: eye/near gains +")
    assert any(line.startswith("model ") for line in lines)
    assert "transfer: " in table.out


def test_a_folder_is_verified_with_the_question_that_the_prompt_was_searched_with(
    images: Path,
) -> None:
    question = "which way do the stripes run?"
    searched = bbtvp(*optimize(images, "--queries", 200, "-S", "images=4", "--question", question))
    assert f"question: {question}\n" in searched.err
    command = ("verify", "run/prompt.vprompt", "--task", images, "--model", "eye/near")
    assert f"question: {question}\n" in bbtvp(*command).err
    assert "question: stripes?\n" in bbtvp(*command, "--question", "stripes?").err


def test_the_same_command_again_asks_nothing_and_says_so(images: Path) -> None:
    command = optimize(images, "--queries", 200, "-S", "images=4")
    first = bbtvp(*command)
    again = bbtvp(*command)
    assert (first.code, again.code) == (0, 0)
    assert first.out == again.out == "run/prompt.vprompt\n"
    assert "image queries were answered before and are not sent again" in again.err


def test_another_run_in_the_folder_is_named(images: Path) -> None:
    assert bbtvp(*optimize(images, "--queries", 200, "-S", "images=4")).code == 0
    ran = bbtvp(*optimize(images, "--queries", 200, "-S", "images=4", "--seed", 1))
    assert ran.code == 1
    assert "holds another run (seed: 0 there, 1 here); name another folder (--out)" in ran.err


def test_dry_run_asks_nothing_and_leaves_nothing(images: Path) -> None:
    ran = bbtvp(*optimize(images, "--model", "eye/down", "--dry-run", "--json"))
    assert ran.code == 0
    document = one_document(ran.out)
    assert document["queries"] <= 1000
    assert document["task"]["splits"]["test"]["samples"] == 36
    assert document["images"]["unreadable"] == document["missing"] == []
    assert not Path("run").exists()
    assert "answers read as logprob" in ran.err


def test_dry_run_shows_the_task_as_a_person_would_check_it(images: Path) -> None:
    shutil.copytree(images, "photos")
    classes = sorted(path for path in Path("photos").iterdir() if path.is_dir())
    for folder in classes[:2]:
        (folder / "Thumbs.db").write_bytes(b"x")
        (folder / "broken.png").write_bytes(b"x")
        (folder / "icon.png").write_bytes(b"")
        Image.new("RGB", (8, 8)).save(folder / "icon.png")
    ran = bbtvp(*optimize("photos", "--dry-run"))
    assert ran.code == 1 and not Path("run").exists()
    lines = ran.out.splitlines()
    assert lines[0] == "task      photos"
    assert lines[1].startswith("question  what is in the image? answer with one of: ")
    assert lines[2] == f"labels    {', '.join(path.name for path in classes)}"
    assert any(line.split() == ["train", "validation", "test"] for line in lines)
    assert any(line.split()[0] == classes[0].name for line in lines[5:9])
    assert "passed over: 2 Thumbs.db (" in ran.out
    assert "warning: 2 of 124 images cannot be read: " in ran.out
    for folder in classes[:2]:
        assert f"{folder / 'broken.png'}: not an image" in ran.out
    assert "warning: 2 images have a side below 16 px, as thumbnails and icons do: " in ran.out
    assert "test images show a gain of " in ran.out


def test_dry_run_needs_no_key(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    command = ["optimize", "--task", images, "--model", "openai/gpt-4o", "--queries", 300]
    ran = bbtvp(*command, "--usd", "0.01", "--dry-run")
    assert ran.code == 0
    assert "warning: openai/gpt-4o needs a key: export OPENAI_API_KEY=…" in ran.out
    assert re.search(r"warning: \$0.01 stops it after about \d+ of \d+ image queries", ran.out)
    asked = bbtvp(*command, "--usd", "0.01")
    assert (asked.code, asked.out) == (2, "")
    assert "needs a key" in asked.err
    unknown = bbtvp(*command[:3], "--model", "anthropic/no-such-model", "--dry-run", "--json")
    document = one_document(unknown.out)
    assert [said.partition(" ")[0] for said in document["missing"]] == [
        "anthropic/no-such-model",
        "no",
    ]
    assert "price" in document["missing"][1]


def test_labels_and_question_of_a_table(images: Path) -> None:
    found = sorted(images.glob("*/*.png"))
    rows = [f"{path},{path.parent.name}" for path in found]
    Path("t.csv").write_text("\n".join(["Path,Label", *rows]))
    ran = bbtvp(*optimize("t.csv", "--dry-run"))
    assert "labels are inferred from the 4 distinct answers" in ran.out
    assert "columns are read by other names: 'Path' as image, 'Label' as answer" in ran.out
    free = bbtvp(*optimize("t.csv", "--labels", "none", "--question", "which?", "--dry-run"))
    assert "labels    none: answers are free" in free.out
    names = ",".join(sorted({path.parent.name for path in found}, reverse=True))
    given = bbtvp(*optimize("t.csv", "--labels", names, "--dry-run"))
    assert f"labels    {names.replace(',', ', ')}" in given.out


def test_a_table_is_verified_with_the_labels_that_it_was_searched_with(images: Path) -> None:
    found = sorted(images.glob("*/*.png"))
    names = ",".join(sorted({path.parent.name for path in found}, reverse=True))
    rows = [f"{path},{path.parent.name}" for path in found]
    Path("t.csv").write_text("\n".join(["image,answer", *rows]))
    searched = bbtvp(*optimize("t.csv", "--queries", 200, "-S", "images=4", "--labels", names))
    assert searched.code == 0
    assert f"--labels '{names.replace(',', '|')}'" in searched.err
    command = ("verify", "run/prompt.vprompt", "--task", "t.csv", "--model", "eye/near")
    asked = f"answer with one of: {names.replace(',', ', ')}\n"
    assert asked in bbtvp(*command, "--dry-run").err
    free = bbtvp(*command, "--dry-run", "--labels", "none", "--question", "which?")
    assert (free.code, "question: which?\n" in free.err) == (0, True)


def test_a_folder_that_is_no_run_is_left_alone(images: Path) -> None:
    Path("run").mkdir()
    Path("run", "thesis.tex").write_text("x")
    for more in ((), ("--dry-run",)):
        ran = bbtvp(*optimize(images, "--queries", 200, "-S", "images=4", *more))
        assert ran.code == 1
        assert "run is no run folder: it holds 'thesis.tex'; name another folder (--out)" in ran.err
    assert [path.name for path in Path("run").iterdir()] == ["thesis.tex"]


def test_dry_run_finds_the_mistakes_that_the_run_would(images: Path) -> None:
    ran = bbtvp(*optimize(images, "--method", "cmaes", "--dry-run"))
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean cma" in ran.err


# -- help ------------------------------------------------------------------------------------------
def test_help_lists_and_teaches() -> None:
    ran = bbtvp("--help")
    assert ran.code == 0
    for command in ("demo", "optimize", "verify", "apply", "bench", "models", "tasks"):
        assert f"  {command} " in ran.out
    assert "bbtvp optimize --task photos/ --model hf/" in ran.out
    assert "Exit codes: 0 done, 1 failed, 2 usage, 3 budget reached" in ran.out


@pytest.mark.parametrize(
    "command", ["demo", "optimize", "verify", "apply", "bench", "models", "tasks"]
)
def test_each_command_explains_itself(command: str) -> None:
    ran = bbtvp(command, "-h")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: bbtvp {command}")
    assert ran.err == ""


def test_tasks_can_be_listed() -> None:
    rows = one_document(bbtvp("tasks", "--json").out)["tasks"]
    assert {"task", "question", "labels"} == rows[0].keys()
    assert "zoo/digits-low-contrast" in {row["task"] for row in rows}
    listed = bbtvp("tasks")
    assert "zoo/digits-low-contrast" in listed.out
    assert "suite/wide (26)" in listed.err


def test_the_methods_of_a_benchmark_can_be_listed() -> None:
    rows = one_document(bbtvp("bench", "--list", "--json").out)["methods"]
    assert {"default", "blackvip", "calibration"} <= {row["method"] for row in rows}
    listed = bbtvp("bench", "--list")
    assert "* default " in listed.out
    assert "CVPR 2023" in listed.out


def test_a_benchmark_can_be_planned_without_a_query(images: Path) -> None:
    models = ("--models", "eye/down", "--targets", "eye/near")
    ran = bbtvp(
        "bench",
        "--methods",
        "tone,zero-shot",
        "--tasks",
        images,
        *models,
        "--seeds",
        2,
        "--dry-run",
        "--json",
    )
    assert ran.code == 0
    plan = one_document(ran.out)
    assert (plan["cells"], plan["finished"], plan["search_queries"]) == (3, 0, 2000)
    assert plan["plan"][0] == {
        "method": "tone",
        "task": str(images),
        "source": "eye/down",
        "budget": 1000,
        "seed": 0,
    }
    assert not Path("runs").exists()


def test_a_suite_stands_for_its_tasks(images: Path) -> None:
    command = ("bench", "--methods", "tone", "--models", "eye/down", "--dry-run", "--json")
    plan = one_document(bbtvp(*command, "--tasks", f"suite/wide-dev,{images}").out)["plan"]
    assert [cell["task"] for cell in plan] == [*SUITES["suite/wide-dev"], str(images)]
    refused = bbtvp(*command, "--tasks", "suite/wid")
    assert refused.code == 2
    assert "did you mean suite/wide" in refused.err


# -- exit 2: usage ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["optimise"], "No such command 'optimise'"),
        (["optimize"], "Missing option '--task'"),
        (
            ["optimize", "--task", "zoo/digits", "--model", "zoo/llava", "--queries", "many"],
            "input should be a valid integer",
        ),
        (
            ["optimize", "--task", "zoo/digit", "--model", "eye/near"],
            "unknown task 'zoo/digit'; did you mean zoo/digits",
        ),
        (
            ["optimize", "--task", "zo/digits", "--model", "eye/near"],
            "unknown task source 'zo'; did you mean zoo",
        ),
        (["optimize", "--task", "IMAGES", "--model", "eye"], "model 'eye' needs a provider"),
        (
            ["optimize", "--task", "IMAGES", "--model", "ey/near"],
            "unknown model provider 'ey'; did you mean eye",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--prompt", "tones"],
            "did you mean tone",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--method", "cmaes"],
            "did you mean cma",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--queries", "0"],
            "input should be greater than or equal to 1",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--queries", "9"],
            "give at least",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--fca", "0.5"],
            "add --surrogate zoo/clip",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--tse", "nan"],
            "tse is 'nan': input should be a finite number",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "-M", "device"],
            "-M takes key=value, got 'device'",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "-M", "dely=1"],
            "cannot take dely=1",
        ),
        (
            ["optimize", "--task", "IMAGES", "--model", "eye/near", "--question", "{what}?"],
            "needs the field 'what'",
        ),
        (["verify", "BUNDLE", "--task", "IMAGES"], "Missing option '--model'"),
        (["bench", "--methods", "defualt"], "unknown method 'defualt'; did you mean default"),
        (["bench", "--tasks", "zoo/digit"], "unknown task 'zoo/digit'; did you mean zoo/digits"),
        (["bench", "--models", "zoo/lava"], "did you mean zoo/llava"),
        (["bench", "--targets", "llava"], "model 'llava' needs a provider"),
        (["bench", "--budgets", "1k"], "--budgets takes whole numbers, got '1k'"),
        (["bench", "--budgets", "0"], "a budget of 0 image queries finds nothing"),
    ],
)
def test_misuse_exits_2_with_the_way_out(
    images: Path, bundle: Path, arguments: list[str], said: str
) -> None:
    names = {"IMAGES": str(images), "BUNDLE": str(bundle)}
    ran = bbtvp(*(names.get(argument, argument) for argument in arguments))
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not Path(
        "runs"
    ).exists()  # nothing begun that would stand in the way of the corrected command


# -- exit 1: failures ------------------------------------------------------------------------------
def failed(*arguments: object) -> str:
    """The one line of a command that failed."""
    ran = bbtvp(*arguments)
    assert (ran.code, ran.out) == (1, "")
    *_, last = ran.err.splitlines()
    assert last.startswith("error: ")
    assert "Traceback" not in ran.err
    return last


def test_a_model_that_is_down_exits_1(images: Path) -> None:
    assert "queries to eye/near failed: HTTP 503" in failed(
        *optimize(images, "--model", "eye/down")
    )


def test_a_missing_task_is_named(images: Path) -> None:
    near = images.with_name("imagse")
    assert f"did you mean {images}?" in failed("optimize", "--task", near, "--model", "eye/near")


def test_a_benchmark_without_finished_cells_is_said() -> None:
    assert "absent holds no finished cells" in failed("bench", "--report", "--out", "absent")


def test_a_missing_bundle_is_named(images: Path) -> None:
    assert "absent.vprompt: no such bundle" in failed(
        "verify", "absent.vprompt", "--task", images, "--model", "eye/near"
    )


def test_an_altered_bundle_is_refused(images: Path, bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bundle, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data.replace(b"eye/near", b"eye/evil"))
    assert "not as bbtvp wrote it" in failed(
        "verify", bundle, "--task", images, "--model", "eye/near"
    )
    bundle.write_bytes(b"PK")
    assert "not a bundle, or damaged" in failed(
        "apply", bundle, images / "rows" / "0.png", "-o", "out"
    )


def test_a_run_folder_that_is_a_file(images: Path) -> None:
    Path("run").write_text("notes")
    assert "run" in failed(*optimize(images))
    assert Path("run").read_text() == "notes"


def test_a_warning_is_one_line_without_a_place_in_the_code() -> None:
    code = (
        "import warnings, sys; from bbtvp import cli; sys.argv = ['bbtvp', '--version']\n"
        "try: cli.main()\n"
        "finally: warnings.warn('http is plain; use https')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr == "warning: http is plain; use https\n"


def test_a_journal_that_is_a_folder(images: Path) -> None:
    Path("run/journal.jsonl").mkdir(parents=True)
    assert "run/journal.jsonl: Is a directory" in failed(*optimize(images))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_that_nothing_is_lost(images: Path) -> None:
    Path("run").mkdir()
    Path("run/journal.jsonl").symlink_to("/dev/full")
    assert "no space left on the disk; free some and run the same command" in failed(
        *optimize(images)
    )


def test_a_disk_that_fills_up_during_the_run_loses_nothing(images: Path) -> None:
    """The process may write no file past a limit: the journal fills up in the middle of a line, and
    then goes on.
    """
    resource = pytest.importorskip("resource")
    command = optimize(images, "--queries", 300, "-S", "images=4")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        assert "File too large; raise the quota or the limit" in failed(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path("run/journal.jsonl").stat().st_size == 20_000
    assert bbtvp(*command).code == 0
    resumed = Path("run/journal.jsonl").read_bytes()
    shutil.rmtree("run")
    assert bbtvp(*command).code == 0
    assert Path("run/journal.jsonl").read_bytes() == resumed


# -- exit 3 and 130 --------------------------------------------------------------------------------
def test_a_budget_that_retries_use_up_exits_3(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.eye", lambda name: Flaky(share=0, attempts=9))
    ran = bbtvp(*optimize(images, "--queries", 200, "-S", "images=4"))
    assert (ran.code, ran.out) == (3, "")
    assert "no prompt could be chosen, give more than 200 image queries" in ran.err
    assert not Path("run/prompt.vprompt").exists()


def test_an_interrupt_exits_130(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real signals, in a process of their own, are tested in study/test_resume.py."""

    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.support.eye", interrupted)
    ran = bbtvp(*optimize(images))
    assert (ran.code, ran.out) == (130, "")
    assert (
        ran.err.strip()
        == "interrupted; what was answered is kept: run the same command to continue"
    )


# -- apply -----------------------------------------------------------------------------------------
def test_apply_writes_exactly_the_rendered_pixels(images: Path, bundle: Path) -> None:
    sources = sorted((images / "rows").iterdir())[:3]
    ran = bbtvp("apply", bundle, *sources, "-o", "new/prompted")
    assert (ran.code, ran.out) == (0, "")
    loaded = Prompt.load(bundle)
    for source in sources:
        written = open_image(Path("new/prompted") / source.name)
        assert np.array_equal(written, loaded.render(open_image(source)))
    assert bbtvp("apply", bundle, sources[0], "-o", "one.png").code == 0
    assert np.array_equal(open_image("one.png"), loaded.render(open_image(sources[0])))


def test_apply_takes_other_formats_and_writes_png(bundle: Path) -> None:
    Image.new("RGBA", (40, 20), (200, 10, 10, 128)).save("photo.webp")
    assert bbtvp("apply", bundle, "photo.webp", "-o", "out").code == 0
    assert Path("out/photo.png").read_bytes().startswith(b"\x89PNG")


def test_apply_names_a_missing_and_a_truncated_image(images: Path, bundle: Path) -> None:
    assert "absent.png: no such file" in failed("apply", bundle, "absent.png", "-o", "out")
    whole = (images / "rows" / "0.png").read_bytes()
    Path("half.png").write_bytes(whole[: len(whole) // 2])
    assert failed("apply", bundle, "half.png", "-o", "out").startswith("error: half.png: ")
    assert not any(Path("out").glob("*"))


def test_apply_goes_on_after_an_image_that_cannot_be_read(images: Path, bundle: Path) -> None:
    Path("half.png").write_bytes((images / "rows" / "0.png").read_bytes()[:50])
    good = [images / "rows" / f"{number}.png" for number in (0, 1)]
    ran = bbtvp("apply", bundle, good[0], "half.png", good[1], "absent.png", "-o", "out", "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert [row["out"] for row in document["images"]] == ["out/0.png", None, "out/1.png", None]
    assert [row["image"] for row in document["failed"]] == ["half.png", "absent.png"]
    assert document["prompt"] == Prompt.load(bundle).digest
    (line,) = ran.err.splitlines()
    assert line.startswith("error: half.png: ")
    assert line.endswith("2 of 4 images")
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.png", "1.png"]


def test_apply_never_writes_an_example_over_an_image() -> None:
    layer = Exemplars.of([(np.full((16, 16, 3), 9, np.uint8), "cat", "cat")], [(0,)])
    space = PromptSpace((layer,), 64)
    prompt = space.prompt(layer.start(0))
    prompt.save("p.vprompt")
    for name in ("exemplar-1.jpg", "b.png"):
        Image.new("RGB", (20, 20), "red").save(name)
    ran = bbtvp("apply", "p.vprompt", "exemplar-1.jpg", "-o", "out")
    assert ran.code == 2
    assert "out/exemplar-1.png is a name for what this prompt shows" in ran.err
    assert not Path("out").exists()
    ran = bbtvp("apply", "p.vprompt", "b.png", "-o", "out", "--json")
    assert json.loads(ran.out)["before_every_image"] == [
        {"file": "out/exemplar-1.png", "text": "cat"}
    ]
    assert np.array_equal(open_image("out/exemplar-1.png"), prompt.context()[0].image)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.png", "b.png", "-o", "one.png"], "2 images do not fit into one file one.png"),
        (["a.png", "sub/a.png", "-o", "out"], "two images would be written to out/a.png"),
        (["a.png", "-o", "a.jpg"], "a.jpg would not keep every pixel"),
        (["a.png", "-o", "."], "a.png would be replaced by its prompted image"),
        (["a.png", "-o", "a.png"], "a.png would be replaced by its prompted image"),
    ],
)
def test_apply_never_writes_over_an_image(bundle: Path, arguments: list[str], said: str) -> None:
    Path("sub").mkdir()
    for name in ("a.png", "b.png", "sub/a.png"):
        Image.new("RGB", (20, 20), "red").save(name)
    before = Path("a.png").read_bytes()
    ran = bbtvp("apply", bundle, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert Path("a.png").read_bytes() == before


# -- with a miniature model ------------------------------------------------------------------------
@needs_llava
def test_a_model_folder_without_a_processor_is_said(images: Path) -> None:
    shutil.copytree(LLAVA, "bare", ignore=shutil.ignore_patterns("*processor*", "*token*"))
    assert "bare has no " in failed(*optimize(images, "--model", "hf/./bare"))


def test_a_folder_without_a_model_is_said(images: Path) -> None:
    Path("empty").mkdir()
    assert "./empty holds no config.json" in failed(*optimize(images, "--model", "hf/./empty"))


@needs_llava
def test_unknown_miniatures_and_options_get_the_nearest_names(images: Path) -> None:
    ran = bbtvp(*optimize(images, "--model", "zoo/lava"))
    assert ran.code == 2
    assert "unknown model 'zoo/lava'; did you mean zoo/llava" in ran.err
    ran = bbtvp(*optimize(images, "--model", "zoo/llava", "-M", "devise=cuda"))
    assert ran.code == 2
    assert "cannot take devise=cuda" in ran.err


@needs_llava
def test_the_embedded_model_gains_on_its_own_task_and_resumes_to_the_bit() -> None:
    """The real path: transformers, log-probabilities, batches; killed in the middle of a line."""
    command = (
        "optimize",
        "--task",
        "zoo/digits-low-contrast",
        "--model",
        "zoo/llava",
        "--prompt",
        "tone",
    )
    command = (*command, "--queries", "240", "-S", "images=4", "--json")
    whole = bbtvp(*command, "--out", "whole")
    assert whole.code == 0
    check_result(one_document(whole.out))
    journal = Path("whole/journal.jsonl").read_bytes()
    Path("torn").mkdir()
    Path("torn/journal.jsonl").write_bytes(journal[: int(len(journal) * 0.6)])
    assert bbtvp(*command, "--out", "torn").code == 0
    assert Path("torn/prompt.vprompt").read_bytes() == Path("whole/prompt.vprompt").read_bytes()
    assert Path("torn/journal.jsonl").read_bytes() == journal


def test_a_cap_on_money_takes_prices_of_ones_own(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BBTVP_PRICES", "gone after this test")
    monkeypatch.delenv("BBTVP_PRICES")
    model = (
        "--model",
        "openai-api/eye/eye",
        "-M",
        "base_url=http://127.0.0.1:9/v1",
        "-M",
        "retries=0",
    )
    asked = ("optimize", "--task", images, *model, "--usd", "1")
    ran = bbtvp(*asked)
    assert ran.code == 2
    assert "no price is known for openai-api/eye" in ran.err
    prices = tmp_path / "prices.toml"
    row = (
        'service = "openai-api"\nmodel = "eye"\ninput = 1\noutput = 4\ndate = '
        '2026-11-01\nsource = "own"\n'
    )
    prices.write_text(f"[[price]]\n{row}")
    assert "no connection to 127.0.0.1:9" in failed(*asked, "--prices", prices)
