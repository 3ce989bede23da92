"""A program as a model: it is started once for each image.

    load_model("exec/./read-sign")  # started as ./read-sign IMAGE QUESTION
    load_model("exec/python read.py --fast", concurrency=4, timeout=30)
    load_model("exec/tesseract {image} stdout --psm 7")

COMMAND is split into words as a shell does it, but no shell runs; on Windows a backslash is part of
a path. Two more words follow: the path of a PNG file, and the question. Where {image} stands in
COMMAND, it is replaced by the path, and {question} by the question; nothing is added then. The
program prints its answer on stdout, in UTF-8, and exits with 0.
"""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, final

from PIL import Image

from bbtvp.core.digest import digest
from bbtvp.core.errors import UsageError
from bbtvp.models import FunctionModel, Model
from bbtvp.models.calls import FunctionFailed, FunctionHung, one_line
from bbtvp.models.function import TIMEOUT

_LONGEST = 1 << 20
"""Bytes that are read of what a program prints."""

_RUNNING: set[subprocess.Popen[bytes]] = set()
"""Programs that are ended with this process."""


def load(
    command: str,
    *,
    concurrency: int = 1,
    timeout: float | str = TIMEOUT,
    usd: float | str = 0.0,
    deterministic: bool = False,
) -> Model:
    """The program behind COMMAND as a model.

    concurrency: programs at once. timeout: seconds after which the program is ended, and the query
    has failed. usd: US dollars that one image query costs. deterministic: equal images and
    questions get equal answers. The model's identity is the command and the content of the files
    that it names. Raises UsageError for a command that cannot be started.
    """
    try:
        words = [os.path.expanduser(word) for word in command_words(command)]
    except ValueError as error:
        raise UsageError(f"exec/{command}: {error}; close the quotes") from error
    if not words or shutil.which(words[0]) is None:
        named = words[0] if words else ""
        raise UsageError(
            f"exec/{command}: there is no program {named!r}; give its path, or its name in PATH"
        )
    patience = _number("timeout", timeout)
    return FunctionModel(
        Program(words, f"exec/{command}", patience),
        name=f"exec/{command}",
        version=_files_digest(words),
        reports="",  # the files may call any model
        usd=_number("usd", usd),
        concurrency=concurrency,
        deterministic=deterministic,
        timeout=patience + 60,  # the program is ended first; this is for a disk that hangs
    )


def command_words(command: str, *, windows: bool = os.name == "nt") -> list[str]:
    """Split a command as a shell does; on Windows a backslash is part of a path.

    Raises ValueError for a quote that is not closed.
    """
    lexer = shlex.shlex(command, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if windows:
        lexer.escape = ""
    return list(lexer)


@final
class Program:
    """Starts a program for one image.

    words: the command, as `load` describes it. name: for messages. timeout: in seconds. silent: a
    program that prints nothing has answered.
    """

    def __init__(
        self, words: Sequence[str], name: str, timeout: float, *, silent: bool = False
    ) -> None:
        self._words = list(words)
        self._name = name
        self._timeout = timeout
        self._silent = silent

    def __call__(self, image: Image.Image, question: str) -> str:
        """What the program prints. FunctionFailed, in one line, if it does not answer."""
        with tempfile.TemporaryDirectory(prefix="bbtvp-") as folder:
            path = str(Path(folder, "image.png"))
            image.save(path)
            with (
                Path(folder, "stdout").open("w+b") as stdout,
                Path(folder, "stderr").open("w+b") as stderr,
            ):
                code = self._run(self._filled(path, question), stdout, stderr)
                said = _read(stdout)
                complaint = (_read(stderr).splitlines() or [""])[-1]
        self._check(code, said, complaint)
        return said

    def _filled(self, path: str, question: str) -> list[str]:
        """The words that are started."""
        if not any("{image}" in word for word in self._words):
            return [*self._words, path, question]
        return [
            word.replace("{image}", path).replace("{question}", question) for word in self._words
        ]

    def _run(self, words: Sequence[str], stdout: BinaryIO, stderr: BinaryIO) -> int:
        """The exit code. What the program prints goes to the files."""
        # A pipe would stay open, and hang, as long as a child of the program lives.
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise FunctionFailed(one_line(f"{self._name} cannot be started: {error}")) from error
        _RUNNING.add(process)
        try:
            return process.wait(self._timeout)
        except subprocess.TimeoutExpired as error:
            raise FunctionHung(f"{self._name} gave no answer within {self._timeout:g} s") from error
        finally:
            _end(process)
            _RUNNING.discard(process)

    def _check(self, code: int, said: str, complaint: str) -> None:
        told = f": {complaint}" if complaint else ""
        if code > 0:
            raise FunctionFailed(one_line(f"{self._name} exited with {code}{told}"))
        if code < 0:
            raise FunctionFailed(one_line(f"{self._name} was ended by signal {-code}{told}"))
        if not said and not self._silent:
            raise FunctionFailed(
                one_line(f"{self._name} printed nothing on stdout, where its answer belongs{told}")
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and those that it has started."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


@atexit.register
def _end_all() -> None:
    for process in list(_RUNNING):
        _end(process)


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(_LONGEST).decode("utf-8", "replace").strip()


def _files_digest(words: Sequence[str]) -> str:
    """Of the content of the files among the words, so that an edited script is another model."""
    files = [Path(word) for word in words]
    return digest(*(file.read_bytes() for file in files if file.is_file()))


def _number(name: str, given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must be a number, got {given!r}") from error
