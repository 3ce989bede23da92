"""The package works in every state that a reader of README.md can put it in.

The states are a plain clone, a wheel and an editable install, each called inside the clone, where
the clone's own `bbtvp/` comes first on the path, and elsewhere. The virtual environments here share
the libraries of the running one, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

from bbtvp.core.checkout import CheckoutFinder, is_checkout
from bbtvp.core.checkout_metadata import CheckoutMetadata

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "adapters").is_dir(), reason="needs the checkout")

WHERE = """
import bbtvp, bbtvp.adapters.hf.pretrained
from importlib.metadata import version
print(bbtvp.__file__, bbtvp.adapters.__file__, version("bbtvp"), sep="\\n")
"""
SEARCH = """
import bbtvp
run = bbtvp.optimize("zoo/shapes-dark", "zoo/llava", budget=200)
print(run.prompt.space.dim)
"""
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def new_environment(folder: Path) -> Path:
    """A virtual environment without bbtvp that shares this one's libraries; returns its Python."""
    venv.create(folder, with_pip=False)
    here = Path(sysconfig.get_path("purelib"))
    there = next(folder.rglob("site-packages"))
    paths = [here, *(Path(line) for line in sys.path if Path(line).name == "site-packages")]
    (there / "shared.pth").write_text("\n".join(dict.fromkeys(map(str, paths))), "utf-8")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def call(python: Path, *arguments: str, folder: Path) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *arguments],
        cwd=folder,
        env={**variables, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def places(python: Path, folder: Path) -> tuple[Path, Path, str]:
    """The folder of `bbtvp`, that of `bbtvp.adapters`, and the version, as `python` sees them."""
    package, adapters, version = call(python, "-c", WHERE, folder=folder).splitlines()
    return Path(package).parent, Path(adapters).parent, version


def install(python: Path, *what: str, folder: Path) -> None:
    pip = ["-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    call(Path(sys.executable), *pip, "--no-build-isolation", *what, folder=folder)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds, with a folder of its own for what an installation writes there."""
    folder = tmp_path_factory.mktemp("clone")
    unwanted = shutil.ignore_patterns("__pycache__")
    for source in ("bbtvp", "adapters", "docs"):
        shutil.copytree(ROOT / source, folder / source, ignore=unwanted)
    for path in ROOT.iterdir():
        if path.suffix in (".cfg", ".toml", ".py", ".md") or path.name == "LICENSE":
            shutil.copy(path, folder)
    return folder


def test_a_plain_clone_needs_no_installation(tmp_path: Path) -> None:
    python = new_environment(tmp_path / "environment")
    assert places(python, ROOT)[:2] == (ROOT / "bbtvp", ROOT / "adapters")
    assert "bbtvp demo" in call(python, "-m", "bbtvp.cli", "--help", folder=ROOT)
    listed = "from bbtvp.models.registry import PROVIDERS; print(*PROVIDERS.names())"
    assert "zoo" in call(python, "-c", listed, folder=ROOT).split()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_an_installed_package_works_inside_the_clone_and_elsewhere(
    kind: str, clone: Path, tmp_path: Path
) -> None:
    python = new_environment(tmp_path / "environment")
    install(python, *(["-e", "."] if kind == "editable" else ["."]), folder=clone)
    site = next((tmp_path / "environment").rglob("site-packages"))
    foreign = site / "adapters"  # the distribution of that name, which is not ours
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise RuntimeError('foreign')", "utf-8")

    inside = (clone / "bbtvp", clone / "adapters")
    elsewhere = inside if kind == "editable" else (site / "bbtvp", site / "bbtvp" / "adapters")
    assert places(python, clone)[:2] == inside
    assert places(python, tmp_path)[:2] == elsewhere

    for folder in (clone, tmp_path):
        assert int(call(python, "-c", SEARCH, folder=folder)) > 0
        assert "bbtvp demo" in call(python, "-m", "bbtvp.cli", "--help", folder=folder)
        trainer = call(python, "-m", "bbtvp.zoo.training.train", "--help", folder=folder)
        assert "--device" in trainer


@pytest.mark.slow
def test_the_example_of_the_readme_runs_in_the_clone(clone: Path, tmp_path: Path) -> None:
    python = new_environment(tmp_path / "environment")
    install(python, ".", folder=clone)
    (example,) = EXAMPLE.findall((ROOT / "README.md").read_text("utf-8"))
    printed = call(python, "-c", example, folder=clone)
    gains = re.findall(r"gain ([+-]\d+\.\d) points", printed)
    assert len(gains) == 2
    assert float(gains[0]) > 20
    assert (clone / "digits.vprompt").is_file()
    assert (clone / "to_send.png").is_file()


def write_checkout(folder: Path, name: str) -> None:
    (folder / "adapters").mkdir(parents=True)
    (folder / "adapters" / "__init__.py").write_text("", "utf-8")
    (folder / "setup.cfg").write_text(f"[metadata]\nname = {name}\n", "utf-8")


def test_only_our_own_checkout_is_taken_for_one(tmp_path: Path) -> None:
    assert is_checkout(str(ROOT))
    assert not is_checkout(str(tmp_path))
    write_checkout(tmp_path / "other", "adapters")
    assert not is_checkout(str(tmp_path / "other"))
    write_checkout(tmp_path / "ours", "bbtvp")
    assert is_checkout(str(tmp_path / "ours"))
    (tmp_path / "ours" / "setup.cfg").unlink()
    assert not is_checkout(str(tmp_path / "ours"))


def test_the_finder_answers_for_nothing_else() -> None:
    finder = CheckoutFinder(str(ROOT))
    assert finder.find_spec("bbtvp.adapters", None) is not None
    assert finder.find_spec("adapters", None) is None
    assert finder.find_spec("bbtvp.adapters.hf", None) is None
    other = metadata.DistributionFinder.Context(name="adapters")
    assert not list(finder.find_distributions(other))


@pytest.mark.slow
def test_the_metadata_of_the_clone_are_those_of_the_wheel(clone: Path, tmp_path: Path) -> None:
    """`read_text` reads both: requirements in the standard form, whatever their order."""
    python = new_environment(tmp_path / "environment")
    install(python, ".", folder=clone)
    (found,) = next((tmp_path / "environment").rglob("site-packages")).glob("bbtvp-*.dist-info")
    wheel = metadata.PathDistribution(found)
    ours = CheckoutMetadata(str(ROOT))
    assert ours.version == wheel.version
    assert set(ours.entry_points) == set(wheel.entry_points)
    assert sorted(ours.requires or ()) == sorted(wheel.requires or ())
