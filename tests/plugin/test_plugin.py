"""A package from outside adds one part of each kind, and everything works with them together."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import bbtvp
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.plugins import Registry
from bbtvp.models import Model, load_model
from bbtvp.models.registry import PROVIDERS
from bbtvp.optim import OPTIMISERS, Optimiser, optimiser
from bbtvp.prompt import LAYERS, Prompt, preset
from bbtvp.surrogate import load_surrogate
from bbtvp.tasks import METRICS
from bbtvp.tasks.metrics import score
from bbtvp.tasks.registry import load_task
from bbtvp.testing import AdapterContract, OptimiserContract
from tests.support import bbtvp as command

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]


def install(site: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """What an installer leaves behind: metadata with entry points, in a folder on the path."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example, installed for one test."""
    folder = tmp_path / "site"
    install(folder, PROJECT["name"], PROJECT["entry-points"])
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("bbtvp_example")]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, site: Path) -> Path:
    from bbtvp_example.dataset import write

    return write(tmp_path / "pictures")


class TestClimb(OptimiserContract):
    def make(self, dim: int, seed: int, **settings: Any) -> Optimiser:
        return optimiser("climb", dim, seed, **settings)


class TestRuler(AdapterContract):
    def make(self) -> Model:
        return load_model("example/ruler")


# -- all of them together --------------------------------------------------------------------------
SEARCH = ("--prompt", "tone+lamp", "--method", "climb", "--surrogate", "example/pixels")


def test_a_search_a_proof_and_a_report(folder: Path) -> None:
    task = f"gauges:{folder}"
    subject = ("--task", task, "--model", "example/ruler")
    found = command(
        "optimize", *subject, *SEARCH, "--fca", 0.1, "--tse", 0.1, "--queries", 600, "--out", "run"
    )
    assert found.code == 0, found.err
    prompt = Prompt.load("run/prompt.vprompt")
    assert prompt.theta["lamp"].keys() == {"light", "fall"}
    proof = command("verify", "run/prompt.vprompt", *subject, "--out", "run", "--json")
    assert proof.code == 0, proof.err
    (row,) = json.loads(proof.out)["models"]
    assert row["gain"] > 0.4
    page = command("report", "run", "-o", "page.html")
    assert page.code == 0, page.err
    text = Path("page.html").read_text("utf-8")
    assert "example/ruler" in text and "gauges" in text and "lamp" in text


def test_a_cell_of_the_bench(folder: Path) -> None:
    method = "default[prompt=tone+lamp,method=climb,surrogate=example/pixels,tse=0.1]"
    ran = command(
        "bench",
        "--methods",
        f"zero-shot,{method}",
        "--tasks",
        f"gauges:{folder}",
        "--models",
        "example/ruler",
        "--targets",
        "example/ruler",
        "--budgets",
        400,
        "--out",
        "b",
        "--json",
    )
    assert ran.code == 0, ran.err
    rows = {row["method"].partition("[")[0]: row for row in json.loads(ran.out)["rows"]}
    assert rows["default"]["gain"] > 0.3


def test_a_search_by_a_factory_and_its_resume(tmp_path: Path) -> None:
    from bbtvp_example.optimiser import Climb

    task = load_task("example/gauges")
    options: dict[str, Any] = {"budget": 300, "prompt": "tone+lamp", "method": Climb}
    first = bbtvp.optimize(task, "example/ruler", out=tmp_path / "run", **options)
    again = bbtvp.optimize(task, "example/ruler", out=tmp_path / "run", **options)
    assert again.prompt.digest == first.prompt.digest
    named = bbtvp.optimize(task, "example/ruler", **{**options, "method": "climb"})
    assert named.prompt.digest == first.prompt.digest
    faster = bbtvp.optimize(task, "example/ruler", **{**options, "method_options": {"rate": 0.8}})
    assert faster.prompt.digest != first.prompt.digest


def test_the_surrogate_guides_a_search() -> None:
    task = load_task("example/gauges")
    helper = load_surrogate("example/pixels")
    run = bbtvp.optimize(
        task, "example/ruler", budget=300, prompt="tone+lamp", method="p-rgf", surrogate=helper
    )
    assert run.improved


def test_a_table_names_the_metric(folder: Path, tmp_path: Path) -> None:
    lines = ["image,answer,question"]
    lines += [f"{path},{path.stem.split('_')[1]},how high?" for path in sorted(folder.iterdir())]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    task = load_task("t.csv", metric="within-one")
    assert score(task.metric, ["4", "about 6", "none", None], ["5", "4", "1", "1"])[:3] == (
        1 / 3,
        3,
        1,
    )


def test_nothing_is_imported_before_it_is_used(site: Path) -> None:
    code = (
        "import sys, bbtvp.optim, bbtvp.prompt; from bbtvp.optim import OPTIMISERS, optimiser;"
        "names = OPTIMISERS.names(); before = 'bbtvp_example.optimiser' in sys.modules;"
        "optimiser('climb', 2, 0); after = 'bbtvp_example.optimiser' in sys.modules;"
        "print('climb' in names, before, after, 'bbtvp_example.model' in sys.modules)"
    )
    paths = f"{site}:{HERE}:{HERE.parents[1]}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": paths},
    )
    assert done.stdout.split() == ["True", "False", "True", "False"]


# -- what is broken is named, and the rest works ---------------------------------------------------
BROKEN = {
    "bbtvp.optimisers": {
        "raises": "bbtvp_broken:no",
        "word": "bbtvp_wrong:WORD",
        "gp": "bbtvp_wrong:WORD",
    },
    "bbtvp.layers": {
        "raises": "bbtvp_broken:no",
        "word": "bbtvp_wrong:WORD",
        "tone": "bbtvp_wrong:WORD",
    },
    "bbtvp.metrics": {
        "raises": "bbtvp_broken:no",
        "word": "bbtvp_wrong:WORD",
        "exact": "bbtvp_wrong:WORD",
    },
    "bbtvp.models": {
        "raises": "bbtvp_broken:no",
        "word": "bbtvp_wrong:WORD",
        "zoo": "bbtvp_wrong:WORD",
    },
}
TAKEN = {
    "bbtvp.optimisers": "gp",
    "bbtvp.layers": "tone",
    "bbtvp.metrics": "exact",
    "bbtvp.models": "zoo",
}


@pytest.fixture
def broken(site: Path) -> None:
    install(site, "careless", BROKEN)
    (site / "bbtvp_broken.py").write_text("raise RuntimeError('no such\\ndevice')\n")
    (site / "bbtvp_wrong.py").write_text("WORD = 'a word'\n")


@pytest.mark.parametrize("registry", [OPTIMISERS, LAYERS, METRICS, PROVIDERS], ids=lambda r: r.kind)
def test_a_broken_plug_in_is_named(broken: None, registry: Registry) -> None:
    problems = registry.problems()
    assert len(problems) == 3 and not any("\n" in line for line in problems)
    assert all("distribution careless" in line for line in problems)
    taken = TAKEN[registry.group]
    assert any(f"'{taken}'" in line and "the name is taken" in line for line in problems)
    assert any("'raises'" in line and "no such device" in line for line in problems)
    assert {"raises", "word", taken} <= set(registry.names())
    for name, reason in (("raises", "RuntimeError: no such device"), ("word", "is not a")):
        with pytest.raises(UsageError, match=reason):
            registry.load(name)
    assert registry.load(taken) != "a word"


def test_two_plug_ins_of_one_name(site: Path) -> None:
    install(site, "rival", {"bbtvp.optimisers": {"climb": "bbtvp_wrong:WORD"}})
    with pytest.raises(UsageError, match=r"claimed by .*bbtvp-example.* and .*rival"):
        optimiser("climb", 2, 0)
    assert len(OPTIMISERS.problems()) == 2
    assert optimiser("gp", 2, 0).method == "gp"


def test_the_rest_works_beside_a_broken_one(broken: None) -> None:
    listed = command("models")
    assert listed.code == 0
    assert "example/…" in listed.err and "no such device" in listed.err
    task = load_task("example/gauges")
    assert bbtvp.optimize(
        task, "example/ruler", budget=300, prompt="tone+lamp", method="climb"
    ).improved


def test_a_factory_that_gives_no_optimiser_is_refused() -> None:
    with pytest.raises(UsageError, match="gave int, not a"):
        optimiser(lambda start: 3, 2, 0)


def test_a_bundle_names_the_plug_in_that_it_needs(
    site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    space = preset("tone+lamp", 36)
    path = tmp_path / "lit.vprompt"
    space.prompt(space.neutral() + 0.5).save(path)
    assert Prompt.load(path).digest == space.prompt(space.neutral() + 0.5).digest
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(site)])
    with pytest.raises(
        BundleError, match="'lamp' is not known here; install the plug-in 'bbtvp_example'"
    ):
        Prompt.load(path)
