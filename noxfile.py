"""The checks of this repository, one session each: `nox -l` lists them, `nox -s lint` runs one.

They use the environment that nox is installed in, which `pip install -e '.[dev]'` makes. `.ci/run`
calls all of them in a fresh clone.
"""

from __future__ import annotations

import configparser
import os
import shutil
import sys
import tempfile
import venv
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).parent
PARALLEL = ("-n", "auto", "--maxprocesses", "8")
WHEEL_TESTS = (
    "tests/adapters",
    "tests/prompt",
    "tests/report",
    "tests/zoo",
    "tests/test_cli.py",
    "tests/test_examples.py",
)
"""Tests of what an installation can break: entry points, data files, `bbtvp.adapters`."""
SIDE_BY_SIDE = (
    "tests/families",
    "tests/adapters/test_frame.py",
    "tests/adapters/test_hf_folders.py",
)
"""Slow tests that measure no time."""


@nox.session
def tests(session: nox.Session) -> None:
    """The default tests; `nox -s tests -- tests/prompt` runs a part of them."""
    _pytest(session, *PARALLEL, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """The rules of ruff.toml."""
    _python(session, "-m", "ruff", "check", "--output-format", "concise", ".")


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Whether every file is formatted; `nox -s format -- fix` formats it."""
    mode = [] if session.posargs == ["fix"] else ["--check"]
    _python(session, "-m", "ruff", "format", *mode, ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict, on the wheel: it cannot follow the import hook of an editable install.

    The benchmarks too: they are run by hand, so a changed interface would break them unseen.
    """
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        python = _install_wheel(session, Path(folder))
        mypy = ["-m", "mypy", "--python-executable", str(python)]
        mypy += ["--config-file", str(ROOT / "setup.cfg")]
        _python(session, *mypy, "-p", "bbtvp")
        shutil.copytree(ROOT / "tests", Path(folder, "tests"))
        mypy += ["--namespace-packages", "--explicit-package-bases"]
        mypy += ["--ignore-missing-imports", "--follow-imports", "silent"]
        _python(session, *mypy, *map(str, sorted(Path("tests", "benchmarks").glob("*.py"))))


@nox.session
def wheel(session: nox.Session) -> None:
    """The tests that an installation can break, on the wheel and outside the checkout."""
    installed = "import bbtvp, sys; sys.exit('site-packages' not in bbtvp.__file__)"
    with tempfile.TemporaryDirectory() as folder:
        python = _install_wheel(session, Path(folder))
        outside = Path(folder, "outside")
        outside.mkdir()
        for name in ("tests", "examples", "docs"):
            shutil.copytree(ROOT / name, outside / name)
        for name in ("README.md", "setup.cfg"):
            shutil.copy(ROOT / name, outside)
        with session.chdir(outside):
            session.run(str(python), "-c", installed, external=True)
            session.run(str(python), "-m", "pytest", *PARALLEL, *WHEEL_TESTS, external=True)


@nox.session
def slow(session: nox.Session) -> None:
    """The slow tests and the examples; those that fill the machine run one after another."""
    _pytest(session, *PARALLEL, *SIDE_BY_SIDE, "-m", "slow and not gpu")
    others = [part for path in ("tests/servers", *SIDE_BY_SIDE) for part in ("--ignore", path)]
    _pytest(session, "tests", *others, "-m", "slow and not gpu")


@nox.session
def resolve(session: nox.Session) -> None:
    """Whether pip finds versions for every extra, as the documents say to install it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    names = [name for name in config["options.extras_require"] if name != "litellm"]
    with tempfile.TemporaryDirectory() as folder:
        python = _environment(Path(folder, "fresh"))
        together = f".[{','.join(names)}]"
        _install(session, python, "--dry-run", "-c", "constraints.txt", together)
        # LiteLLM needs an older huggingface_hub than the constraints name (docs/deploy.md).
        pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        torch = next(line for line in pins if line.startswith("torch=="))
        _install(session, python, "--dry-run", torch, ".[litellm]")


@nox.session
def servers(session: nox.Session) -> None:
    """Tests against transformers serve, LiteLLM and llama.cpp, each in an environment of its own.

    What these servers install would change what the other tests run with.
    """
    constraints = ("-c", "constraints.txt")
    with tempfile.TemporaryDirectory() as folder:
        serve = _environment(Path(folder, "serve"))
        litellm = _environment(Path(folder, "litellm"))
        _install(session, serve, *constraints, "transformers[serving]", "pillow")
        _install(session, serve, *constraints, "-r", "tests/servers/llama_cpp.txt")
        _install(session, litellm, "-r", "tests/servers/litellm.txt")
        variables = {
            "BBTVP_SERVE_PYTHON": str(serve),
            "BBTVP_LITELLM_PYTHON": str(litellm),
            "BBTVP_LLAMA_CPP_PYTHON": str(serve),
        }
        _pytest(session, "tests/servers", "-m", "slow", env=variables)


@nox.session
def javascript(session: nox.Session) -> None:
    """The tests of examples/javascript, the slow ones too. Installs Node here if there is none."""
    if shutil.which("node") is None:
        _install(session, Path(sys.executable), "-r", "tests/deploy/node.txt")
    _pytest(session, "tests/deploy/test_javascript.py", "-m", "slow or not slow")


@nox.session
def extras(session: nox.Session) -> None:
    """Tests of Ray, Hugging Face datasets, OCR, OpenCV and 8 bits. It installs them here."""
    here = Path(sys.executable)
    _install(
        session, here, "-c", "constraints.txt", "-e", ".[ray,datasets,ocr,ocr-line,restore,memory]"
    )
    files = (
        "tests/adapters/test_hf_memory.py",
        "tests/adapters/test_ocr.py",
        "tests/adapters/test_ray.py",
        "tests/prompt/test_restore.py",
        "tests/tasks/formats/test_hub.py",
    )
    _pytest(session, *files, "-m", "not gpu")
    _pytest(session, "tests/test_examples.py", "-k", "ocr", "-m", "slow")


def _python(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    session.run(sys.executable, *arguments, env=env, external=True)


def _pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    _python(session, "-m", "pytest", *arguments, env=env)


def _install(session: nox.Session, python: Path, *what: str) -> None:
    _python(session, "-m", "pip", "--python", str(python), "install", "-q", *what)


def _environment(folder: Path) -> Path:
    """A new virtual environment; returns its Python."""
    venv.create(folder, with_pip=False)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _install_wheel(session: nox.Session, folder: Path) -> Path:
    """Build the wheel and install it into a new environment that shares this one's libraries.

    Returns that environment's Python. The build uses a copy of the sources: an old `build/` folder
    in the checkout would leak into the wheel.
    """
    source = folder / "source"
    source.mkdir()
    for name in ("bbtvp", "adapters"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    python = _environment(folder / "installed")
    site = next((folder / "installed").rglob("site-packages"))
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "shared.pth").write_text("\n".join(shared), encoding="utf-8")
    _install(session, python, "--no-deps", "--no-build-isolation", str(source))
    return python
