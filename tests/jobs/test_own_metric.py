"""Runs that were scored by a function in a file: the user names it again, and no file does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.made import images
from tests.support import bbtvp, install_plugin

METRIC = "grade.py:lenient"
CODE = """
def lenient(prediction, answer):
    return {share} if prediction != answer else 1.0
"""


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two verified runs of one task that differ in the seed."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    Path("grade.py").write_text(CODE.format(share=0.5))
    task = images()
    for seed in (0, 1):
        given = ("--metric", METRIC, "--keep-best", "--prompt", "tone")
        searched = ("--queries", 100, "-S", "images=2", "--seed", seed, "--out", f"run{seed}")
        ran = bbtvp("optimize", "--task", task, "--model", "eye/near", *given, *searched)
        assert ran.code == 0, ran.err
        prompt = f"run{seed}/prompt.vprompt"
        asked = ("--task", task, "--model", "eye/near", "--metric", METRIC, "--out", f"run{seed}")
        assert "test images" in bbtvp("verify", prompt, *asked).err


def test_a_replay_with_the_metric_named_again_gives_the_prompt() -> None:
    ran = bbtvp("reproduce", "run0", "--replay")
    assert ran.code == 2
    assert f"name it yourself: --metric {METRIC}" in ran.err
    ran = bbtvp("reproduce", "run0", "--replay", "--metric", METRIC)
    assert ran.code == 0, ran.err
    assert "identical" in ran.out


def test_another_function_under_the_same_name_is_another_task() -> None:
    Path("grade.py").write_text(CODE.format(share=0.25))
    ran = bbtvp("reproduce", "run0", "--replay", "--metric", METRIC)
    assert ran.code == 1
    assert "the task is not the one of the run" in ran.err


def test_two_proofs_are_paired_by_that_metric() -> None:
    ran = bbtvp("compare", "run0", "run1")
    assert "no paired comparison on test images" in ran.out
    assert f"--metric {METRIC}" in ran.out
    ran = bbtvp("compare", "run0", "run1", "--metric", METRIC)
    assert "no paired comparison" not in ran.out
    assert "the same 24 test images" in ran.out


def test_the_page_and_the_replies_come_with_the_metric() -> None:
    assert bbtvp("report", "run0", "--metric", METRIC).code == 0
    shown = Path("run0/report.html").read_text()
    assert bbtvp("report", "run0").code == 0
    assert len(Path("run0/report.html").read_text()) < len(shown)
    assert "only the first replies" in bbtvp("replies", "run0").err
    ran = bbtvp("replies", "run0", "--metric", METRIC, "--arm", "prompted")
    assert ran.code == 0
    assert "only the first replies" not in ran.err
