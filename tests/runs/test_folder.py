"""A run folder that an older version wrote is read by everything that reads run folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bbtvp.core.errors import JournalError
from bbtvp.core.lock import hold
from bbtvp.jobs.compare import compare
from bbtvp.jobs.reproduce import plan_reproduction, reproduce
from bbtvp.jobs.status import StatusMonitor
from bbtvp.models import load_model
from bbtvp.report.html.report import report
from bbtvp.runs.folder import BUNDLE, RESULT, RunFolder
from bbtvp.runs.record import FILE as RECORD
from bbtvp.runs.records import FILE as JOURNAL
from bbtvp.search.recipe import Loader
from tests.jobs.made import images, made
from tests.support import Recorder, install_plugin

OLD = Path(__file__).parent / "old"
"""A run of commit 000adbd of `tests.jobs.made`, and the proof of its prompt."""

CALL = {"budget": 40, "images": 1, "method": "cma", "popsize": 4}
"""What the run was called with."""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old run in the working folder, beside the images of its task."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    shutil.copytree(OLD, "run")
    images()
    return Path("run")


def test_the_parts_of_an_old_folder(old: Path) -> None:
    run = RunFolder(old).load()
    assert run.prompt is not None
    assert run.proof is not None
    assert (run.begun, run.finished, run.owner) == (True, True, None)
    assert run.recording.reader == ("logprob", "mean")
    assert run.meta["queries"] == dict(run.tally.spent)
    assert run.costs["search"].queries == run.tally.total > 30
    assert run.costs.keys() == {"search", f"verify/{run.proof.folder.name}"}
    assert run.proof.rows["eye/near"]["n"] > 0
    assert (run.result, run.seconds, run.begun_checks) == ({}, None, [run.proof.folder])


def test_status_of_an_old_folder(old: Path) -> None:
    (job,) = StatusMonitor([old]).statuses()
    assert (job.state, job.stage, job.error) == ("done", "tone", None)
    assert job.generation == job.generations
    assert job.checks > 0


def test_report_of_an_old_folder(old: Path) -> None:
    run = RunFolder(old)
    assert run.prompt is not None
    assert run.prompt.digest in report(old)


def test_an_old_folder_is_reproduced(old: Path) -> None:
    loader = Loader()
    for replay in (True, False):
        done = reproduce(plan_reproduction(old, loader, replay=replay), loader)
        assert (done.identical, done.step) == (True, None)


def test_an_old_run_goes_on_without_asking_again(old: Path) -> None:
    before = RunFolder(old).prompt
    assert before is not None
    (old / BUNDLE).unlink()
    model = Recorder(load_model("eye/near"))
    assert made(old, [model], **CALL).prompt.digest == before.digest
    assert model.asked == []


def test_an_old_folder_is_compared_with_a_new_one(old: Path) -> None:
    made("new", **CALL)
    found = compare(old, Path("new"))
    assert (found.identical, found.step) == (True, None)


def test_an_unfinished_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert (run.begun, run.finished, run.prompt, run.proofs) == (False, False, None, ())
    shutil.copy(OLD / JOURNAL, tmp_path)
    shutil.copy(OLD / RECORD, tmp_path)
    with hold(tmp_path):
        held = RunFolder(tmp_path)
        assert (held.begun, held.finished, held.owner is None) == (True, False, False)
        assert (held.meta, held.proof, held.checks["effects"]) == ({}, None, {})


@pytest.mark.parametrize("content", ["[1, 2]", "{", "\xff"])
def test_a_damaged_document_is_named(old: Path, content: str) -> None:
    (old / RESULT).write_text(content, "latin-1")
    with pytest.raises(JournalError, match=r"result\.json .*; restore it, or delete it"):
        RunFolder(old).load()
