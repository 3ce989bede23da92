"""A program as a model: how it is started, and what is told of one that does not answer."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bbtvp
from bbtvp.adapters.exec import command_words
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.core.origin import Origin
from bbtvp.jobs.job import SearchJob
from bbtvp.models import Model, QueryFailed, Reply, Request, load_model
from bbtvp.search.recipe import Loader, Recipe
from bbtvp.testing import AdapterContract
from tests.support import patterns

PYTHON = shlex.quote(sys.executable)
COLOUR = """
import sys
from PIL import Image
path, question = sys.argv[-2:]
red, _, blue = Image.open(path).resize((1, 1)).getpixel((0, 0))
print("red" if red > blue else "blue", len(question))
"""


def request(red: int = 200, text: str = "which colour?") -> Request:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = red
    image[..., 2] = 100
    return Request(image, text)


def program(folder: Path, source: str, name: str = "read.py") -> str:
    """The spec of a Python program."""
    path = folder / name
    path.write_text(source, "utf-8")
    return f"exec/{PYTHON} {shlex.quote(str(path))}"


def reason(spec: str, **options: object) -> str:
    (outcome,) = load_model(spec, **options).query([request()])
    assert isinstance(outcome, QueryFailed) and outcome.usage.attempts == 1
    assert "\n" not in outcome.reason
    return outcome.reason


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_program_reads_a_path_and_a_question(tmp_path: Path, concurrency: int) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    model = load_model(program(folder, COLOUR), concurrency=concurrency)
    outcomes = model.query([request(200, "a 'b' $HOME é"), request(20), request(210)])
    assert [outcome.text for outcome in outcomes if isinstance(outcome, Reply)] == [
        "red 13",
        "blue 13",
        "red 13",
    ]


def test_a_path_of_windows_keeps_its_backslashes() -> None:
    command = r"""C:\tools\read.exe "C:\my files\a.py" --psm 7 #1"""
    words = [r"C:\tools\read.exe", r"C:\my files\a.py", "--psm", "7", "#1"]
    assert command_words(command, windows=True) == words
    assert command_words(r"read\ sign 'a b' #1", windows=False) == ["read sign", "a b", "#1"]


def test_the_words_go_where_they_are_named() -> None:
    code = shlex.quote("import sys; print(sys.argv[1:])")
    (outcome,) = load_model(f"exec/{PYTHON} -c {code} {{question}} -i{{image}} --fast").query(
        [request()]
    )
    assert isinstance(outcome, Reply) and outcome.text is not None
    assert outcome.text.startswith("['which colour?', '-i/") and "image.png', '--fast'" in (
        outcome.text
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise SystemExit('no weights')", r"read.py exited with 1: no weights"),
        ("import os; os.abort()", r"read.py was ended by signal 6"),
        ("pass", "read.py printed nothing on stdout, where its answer belongs"),
        ("print(' ')", "printed nothing on stdout"),
        ("import sys; print('warning', file=sys.stderr)", "printed nothing .*: warning"),
        ("import time; time.sleep(600)", "gave no answer within 0.5 s"),
        ("print('red'); raise SystemExit(4)", "exited with 4"),
    ],
)
def test_a_program_that_does_not_answer(tmp_path: Path, source: str, said: str) -> None:
    spec = program(tmp_path, source)
    assert re.search(said, reason(spec, timeout=0.5 if "sleep" in source else 60))


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    spec = program(tmp_path, "import sys; sys.stdout.buffer.write(b'r\\xe9d')")
    (outcome,) = load_model(spec).query([request()])
    assert isinstance(outcome, Reply) and outcome.text == "r\ufffdd"


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    child = f"import time, pathlib, os; pathlib.Path({str(tmp_path / 'pid')!r}).write_text("
    child += "str(os.getpid())); time.sleep(600)"
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    # Both interpreters must have started by then, also where many tests share a core.
    assert "within 10 s" in reason(program(tmp_path, source), timeout=10)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("the child lives on")


def _alive(pid: int) -> bool:
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    return found.stdout.strip() not in ("", "Z")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("exec/no-such-program --x", "there is no program 'no-such-program'"),
        ("exec/ ", "there is no program ''"),
        ("exec/python 'read", "close the quotes"),
    ],
)
def test_a_command_that_cannot_be_started_is_named(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_model(spec)


def test_a_wrong_option_is_named() -> None:
    with pytest.raises(UsageError, match="usd must be a number, got 'cheap'"):
        load_model("exec/true", usd="cheap")
    assert load_model("exec/true", usd="0.5").max_cost(request()) == 0.5


def test_an_edited_program_is_another_model(tmp_path: Path) -> None:
    first = load_model(program(tmp_path, COLOUR))
    assert load_model(program(tmp_path, COLOUR)).identity == first.identity
    assert load_model(program(tmp_path, "print('red')")).identity != first.identity
    assert first.spec == program(tmp_path, COLOUR)


def test_a_program_that_never_answers_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"exec/.*read.py.* exited with 3") as caught:
        bbtvp.optimize(patterns(), program(tmp_path, "raise SystemExit(3)"), queries=120)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["exec/true", "ray/exec/true"])
def test_no_file_can_name_a_program(spec: str) -> None:
    job = SearchJob(task="zoo/shapes", model=spec)
    with pytest.raises(UsageError, match="no program is started because a file names it"):
        Loader().model(job.recipe.models[0])
    recipe = Recipe(Origin("zoo/shapes"), (Origin(spec),), job.search)
    with pytest.raises(UsageError, match="no program is started because a file names it"):
        recipe.search(out=None)


class TestProgram(AdapterContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.spec = program(tmp_path, COLOUR)

    def make(self) -> Model:
        return load_model(self.spec, usd=0.01, concurrency=2, deterministic=True)
