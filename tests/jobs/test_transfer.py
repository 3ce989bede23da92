"""Transfer matrix, harm, and gain against training images, from the proofs of jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import UsageError
from bbtvp.jobs import transfer
from bbtvp.jobs.transfer import TransferCell
from bbtvp.stats import PairedGain
from bbtvp.tasks.registry import load_task
from tests.support import bbtvp, folder_of_patterns, install_plugin


def paired(gain: float, p: float, interval: tuple[float, float]) -> PairedGain:
    return PairedGain(200, 0.5, 0.5 + gain, gain, interval, p, gained=0, lost=0)


def cell(
    gain: float = 0.1, p: float = 0.001, interval: tuple[float, float] = (0.05, 0.15), **parts: Any
) -> TransferCell:
    whole: dict[str, Any] = {
        "method": "tone",
        "sources": ("a",),
        "target": "a",
        "trained": "t",
        "task": "t",
        "train": None,
        "seed": 0,
        "paired": paired(gain, p, interval),
    }
    return TransferCell(**{**whole, **parts})


def test_a_single_proof_has_the_interval_of_its_images() -> None:
    assert transfer.mean_gain([cell()]) == (0.1, 0.05, 0.15, 1)


def test_a_figure_is_the_mean_over_tasks_and_seeds() -> None:
    cells = [
        cell(seed=seed, target=target, gain=seed / 10) for seed in (0, 1, 2) for target in "bc"
    ]
    found = transfer.mean_gain(cells)
    assert found.gain == pytest.approx(0.1)
    assert -1e-9 < found.low < 0.1 < found.high < 0.2 + 1e-9
    assert found.cells == 6


def test_the_matrix_is_of_the_searched_task_and_the_others_stand_apart() -> None:
    cells = [
        cell(),
        cell(target="b", gain=-0.2),
        cell(task="u", gain=0.4),
        cell(target="b", task="u", gain=0.2),
    ]
    assert {pair: found.gain for pair, found in transfer.matrix(cells).items()} == {
        ("a", "a"): 0.1,
        ("a", "b"): -0.2,
    }
    across = transfer.across(cells)
    assert across["t", "u"].gain == pytest.approx(0.3)
    assert across["t", "t"].gain == pytest.approx(-0.05)
    assert transfer.across(cells[:2]) == {}


def test_harm_is_what_stays_significant_after_holm() -> None:
    cells = [
        cell(gain=-0.1, p=0.04),
        cell(gain=-0.2, p=0.0001),
        cell(gain=0.1, p=0.0001),
        cell(gain=-0.3, p=0.9),
    ]
    assert transfer.harmed(cells) == [cells[1]]
    assert transfer.harmed(cells[:1]) == [cells[0]]


def test_gain_by_the_number_of_training_images() -> None:
    cells = [
        cell(train=train, target=target, gain=gain)
        for train, target, gain in (
            (None, "a", 0.3),
            (8, "a", 0.1),
            (8, "b", 0.05),
            (32, "a", 0.2),
        )
    ]
    found = transfer.by_size(cells)
    assert list(found) == [("tone", 8), ("tone", 32), ("tone", None)]
    own, others = found["tone", 8]
    assert (own.gain, others and others.gain) == (0.1, 0.05)
    assert found["tone", 32][1] is None


def test_an_ensemble_is_one_source_and_its_members_were_asked() -> None:
    one = cell(sources=("a", "b"), target="b")
    assert (one.source, one.carried, cell(sources=("a", "b"), target="c").carried) == (
        "a+b",
        False,
        True,
    )


JOBS = """
[[grid]]
task = ["{images}"]
model = ["eye/near", ["eye/near", "eye/far"]]
train = [16, 40]
prompt = ["tone", "frame"]
queries = 200
verify = ["eye/far"]
also = ["{other}"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    images = folder_of_patterns(tmp_path / "images")
    other = folder_of_patterns(tmp_path / "other", per_class=10)
    Path("jobs.toml").write_text(JOBS.format(images=images, other=other))
    ran = bbtvp("run", "jobs.toml", "--out", "out")
    assert ran.code == 0, ran.err
    return Path("out")


def test_a_folder_of_jobs_becomes_matrices(folder: Path) -> None:
    ran = bbtvp("transfer", folder, "--json", "--pictures", "pictures")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["schema"] == "bbtvp.transfer/1"
    assert len(document["cells"]) == 8 * 2 * 2
    assert {row["method"] for row in document["matrix"]} == {"tone", "frame"}
    tone = {
        (row["source"], row["target"]): row["cells"]
        for row in document["matrix"]
        if row["method"] == "tone"
    }
    assert tone == {
        (s, t): 1 for s in ("eye/near", "eye/near+eye/far") for t in ("eye/near", "eye/far")
    }
    assert [row["train"] for row in document["by_size"]] == [16, 40, 16, 40]
    assert {(row["trained"], row["task"]) for row in document["across_tasks"]} == {
        ("images", "images"),
        ("images", "other"),
    }
    assert len(list(Path("pictures").glob("*.png"))) == 2
    plain = bbtvp("transfer", folder)
    assert "rows are sources" in plain.out and "training images" in plain.out


def test_train_keeps_fewer_images_and_each_answer_in_its_proportion(tmp_path: Path) -> None:
    images = folder_of_patterns(tmp_path / "images")
    whole, few, fewer = (load_task(str(images), train=n) for n in (1000, 16, 8))
    assert (len(whole.train), len(few.train)) == (len(load_task(str(images)).train), 16)
    assert {s.id for s in fewer.train} < {s.id for s in few.train} < {s.id for s in whole.train}
    assert set(few.describe()["splits"]["train"]["answers"].values()) == {4}
    assert (few.validation, few.test) == (whole.validation, whole.test) or len(few.test) == len(
        whole.test
    )
    assert few.digest != whole.digest
    with pytest.raises(UsageError, match="train=0"):
        load_task(str(images), train=0)


def test_a_folder_without_proofs(tmp_path: Path) -> None:
    ran = bbtvp("transfer", tmp_path)
    assert (ran.code, "bbtvp run" in ran.err) == (2, True)


def test_of_one_task_and_seed_the_interval_is_that_of_the_images() -> None:
    cells = [
        cell(target=target, gain=gain, interval=(gain - 0.05, gain + 0.1))
        for target, gain in (("b", 0.1), ("c", 0.3))
    ]
    assert transfer.mean_gain(cells) == pytest.approx((0.2, 0.15, 0.3, 2))


def test_a_matrix_is_of_the_most_training_images() -> None:
    cells = [cell(train=train, gain=gain) for train, gain in ((8, 0.1), (32, 0.3))]
    assert transfer.matrix(cells)["a", "a"].gain == 0.3
    assert transfer.matrix([*cells, cell(gain=0.5)])["a", "a"].gain == 0.5
