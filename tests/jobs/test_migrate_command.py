"""`bbtvp migrate` from its arguments to its files and exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bbtvp.jobs.migrate_many import DOCUMENT, PAGE
from bbtvp.prompt import preset
from tests.support import Ran, bbtvp

TASK = "zoo/shapes-dark"


def saved(folder: Path, task: str | None = TASK) -> Path:
    """A prompt that brightens what is dark."""
    space = preset("tone", 64)
    path = folder / "bright.vprompt"
    z = np.zeros(space.dim)
    z[space.names.index("tone.gamma")] = -2.0
    space.prompt(z).save(path, {"task": task} if task else {})
    return path


def migrate(*arguments: object, old: str = "zoo/llava") -> Ran:
    return bbtvp("migrate", *arguments, "--from", old)


def test_a_pair_of_miniatures_gives_a_decision_a_page_and_a_document(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = migrate(saved(tmp_path), "--to", "zoo/blip2", "--out", out, "--json")
    document = json.loads(ran.out)
    (found,) = document["migrations"]
    assert found["decision"] in ("keep", "refined", "needs none", "drop", "undecided")
    assert ran.code == (5 if found["decision"] == "undecided" else 0)
    assert json.loads((out / DOCUMENT).read_text()) == document
    assert "zoo/blip2" in (out / PAGE).read_text("utf-8")
    again = migrate(saved(tmp_path), "--to", "zoo/blip2", "--out", out)
    assert again.code == ran.code
    assert found["decision"] in again.out


def test_a_plan_asks_nothing_and_bounds_every_part(tmp_path: Path) -> None:
    ran = migrate(
        *(saved(tmp_path), "--to", "zoo/blip2", "--to", "zoo/gemma3"),
        *("--queries", "200", "--dry-run", "--json", "--out", tmp_path / "out"),
    )
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert [pair["new"] for pair in document["pairs"]] == ["zoo/blip2", "zoo/gemma3"]
    assert document["pairs"][0]["refinement"] == 200
    assert document["queries"] == sum(pair["queries"] for pair in document["pairs"])
    assert not (tmp_path / "out").exists()


def test_the_successor_is_shown_and_must_be_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    ran = migrate(saved(tmp_path), old="openai/gpt-4o")
    assert ran.code == 2
    assert "openai/gpt-4o ends on 2027-01-14" in ran.err
    assert "to confirm the successor, say so: --to openai/gpt-6-luna" in ran.err
    plan = migrate(saved(tmp_path), "--dry-run", old="openai/gpt-4o")
    assert plan.code == 0, plan.err
    assert "bright to openai/gpt-6-luna: at most" in plan.out


def test_no_successor_no_model_no_task_and_no_bundle(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert "no successor of zoo/llava is known; name the new model: --to" in migrate(path).err
    ran = migrate(path, "--to", "zoo/blip3")
    assert ran.code == 2 and "did you mean zoo/blip2" in ran.err
    nameless = migrate(saved(tmp_path, task=None), "--to", "zoo/blip2")
    assert nameless.code == 2 and "names no task; give one by --task" in nameless.err
    ran = migrate(tmp_path / "none.vprompt", "--to", "zoo/blip2")
    assert ran.code == 2 and "no such bundle" in ran.err


def test_an_old_model_that_has_ended_is_not_asked(tmp_path: Path) -> None:
    ran = migrate(
        saved(tmp_path), "--to", "zoo/blip2", "--out", tmp_path / "out", old="openai/o4-mini"
    )
    assert "openai/o4-mini cannot be asked (it ended on 2026-10-23)" in ran.err
    assert ran.code in (0, 5)
