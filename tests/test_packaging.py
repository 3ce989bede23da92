"""What is shipped: the packages, the wheel's files, the declared libraries, one version, working
entry points.
"""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUP = ROOT / "setup.cfg"
SOURCES = ("bbtvp", "adapters")
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "dotenv": "python-dotenv",
    "genai_prices": "genai-prices",
    "pydantic_core": "pydantic",
}
"""The distribution that brings a module, where the two have different names."""

pytestmark = pytest.mark.skipif(not (ROOT / "adapters").is_dir(), reason="needs the checkout")


@pytest.fixture(scope="module")
def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(SETUP.read_text("utf-8"))
    return parser


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def required(config: configparser.ConfigParser) -> list[str]:
    """Names of the libraries that every installation brings."""
    return [name(line) for line in lines(config["options"]["install_requires"])]


def name(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement)[0]


def extras(config: configparser.ConfigParser) -> list[str]:
    """Names of those that only a user of some provider needs."""
    wanted = (text for name, text in config["options.extras_require"].items() if name != "dev")
    return [name(line) for text in wanted for line in lines(text)]


def shipped() -> dict[str, Path]:
    """Name in the wheel → file in the checkout, for everything in the two source folders."""
    files = [path for folder in SOURCES for path in (ROOT / folder).rglob("*") if path.is_file()]
    found = {
        path.relative_to(ROOT).as_posix(): path for path in files if "__pycache__" not in path.parts
    }
    return {
        place if place.startswith("bbtvp/") else f"bbtvp/{place}": path
        for place, path in found.items()
    }


def test_the_list_of_packages_is_complete(config: configparser.ConfigParser) -> None:
    listed = lines(config["options"]["packages"])
    folders = [Path(name).parent for name in shipped() if name.endswith("/__init__.py")]
    assert listed == sorted(".".join(folder.parts) for folder in folders)
    assert {str(Path(name).parent) for name in shipped() if name.endswith(".py")} == set(
        map(str, folders)
    )


def test_adapters_cannot_be_imported_under_the_wrong_name() -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import adapters"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "ImportError: import bbtvp.adapters, not adapters (run: pip install -e .)" in done.stderr


IMPORTED_BY_TRANSFORMERS = {
    "accelerate",
    "bitsandbytes",
    "huggingface_hub",
    "num2words",
    "protobuf",
    "sentencepiece",
    "timm",
    "torchvision",
}
"""Declared here, for their releases change what is loaded, and imported there."""


def test_what_is_imported_is_declared_and_the_reverse(config: configparser.ConfigParser) -> None:
    imported: set[str] = set()
    for name, path in shipped().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))) if name.endswith(".py") else ():
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"bbtvp"}
    declared = required(config)
    assert declared == sorted(declared)
    assert sorted(declared + extras(config)) == sorted(
        {DISTRIBUTIONS.get(name, name) for name in foreign} | IMPORTED_BY_TRANSFORMERS
    )


def test_the_constraints_pin_every_declared_library(config: configparser.ConfigParser) -> None:
    """A new release must not change, overnight, what a clone installs and what the README shows."""
    pinned = [
        line.split("==")
        for line in lines((ROOT / "constraints.txt").read_text("utf-8"))
        if line[0] != "#"
    ]
    assert sorted(name for name, _ in pinned) == sorted(required(config) + extras(config))


def test_the_version_stands_in_one_place(config: configparser.ConfigParser) -> None:
    version = config["metadata"]["version"]
    assert metadata.version("bbtvp") == version, "setup.cfg has changed: run pip install -e . again"
    code = [
        ROOT / "pyproject.toml",
        ROOT / "setup.py",
        *(path for path in shipped().values() if path.suffix == ".py"),
    ]
    assert [str(path) for path in code if f'"{version}"' in path.read_text("utf-8")] == []


def test_the_entry_points_resolve(config: configparser.ConfigParser) -> None:
    listed = {
        (group, *re.split(r"\s*=\s*", line, maxsplit=1))
        for group, text in config["options.entry_points"].items()
        for line in lines(text)
    }
    installed = metadata.distribution("bbtvp").entry_points
    assert {(point.group, point.name, point.value) for point in installed} == listed, (
        "run pip install -e . again"
    )
    for point in installed:
        try:
            assert callable(point.load()), point
        except ImportError as error:  # of an extra that is not installed, and then it says so
            extra = re.fullmatch(r"it needs \w+: pip install 'bbtvp\[(\w+)\]'", str(error))
            assert extra and extra[1] in config["options.extras_require"], point


def test_every_group_of_entry_points_is_looked_up(config: configparser.ConfigParser) -> None:
    code = "\n".join(path.read_text("utf-8") for path in shipped().values() if path.suffix == ".py")
    groups = set(config["options.entry_points"]) - {"console_scripts"}
    assert groups <= set(re.findall(r'Registry\(\s*"(bbtvp\.\w+)"', code))


def test_pyproject_only_names_the_build_system() -> None:
    assert len((ROOT / "pyproject.toml").read_text("utf-8").splitlines()) == 3


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    """Built from a copy: an old build/ folder would leak into the wheel. torch brings a setuptools
    that can do it.
    """
    source = tmp_path / "source"
    for folder in (*SOURCES, "tests"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path in ROOT.iterdir():
        if path.suffix in (".cfg", ".toml", ".py", ".md") or path.name == "LICENSE":
            shutil.copy(path, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "."]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename: info.CRC for info in archive.infolist() if not info.is_dir()}
        content = {
            name: archive.read(name)
            for name in names
            if not name.split("/")[0].endswith(".dist-info")
        }
    assert sorted(content) == sorted(shipped())
    assert [name for name, path in shipped().items() if content[name] != path.read_bytes()] == []
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.startswith("bbtvp/zoo/weights/llava/") for name in content)
