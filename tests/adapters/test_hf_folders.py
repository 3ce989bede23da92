"""Model folders and hub ids that cannot be used: one line each, and never a raw traceback."""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bbtvp.adapters import hf
from bbtvp.core.errors import BbtvpError, ModelError
from bbtvp.models import Reply, Request

Folder = Callable[[str], Path]

FAMILIES = ("llava", "blip2", "idefics3")
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def answer(folder: Path) -> str:
    """Ask for scores and for text: "", or what is said of a folder that cannot be used.

    Anything but an answer or an error of bbtvp's passes through.
    """
    try:
        model = hf.load(str(folder))
        replies = model.query([Request(IMAGE, "what?", ("one", "two cats"))])
        replies += model.query([Request(IMAGE, "what?", max_tokens=2)])
    except BbtvpError as error:
        return one_line(str(error), folder)
    assert all(isinstance(reply, Reply) for reply in replies)
    return ""


def one_line(said: str, folder: Path) -> str:
    """Return what was said, if it is one line and not too long."""
    assert "\n" not in said
    assert len(said) < 500 + len(str(folder))
    return said


# -- files -----------------------------------------------------------------------------------------
NEW: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "half": lambda data: data[: len(data) // 2],
    "a list": lambda _: b"[]",
    "an object": lambda _: b"{}",
    "null": lambda _: b"null",
    "no text": lambda _: bytes(range(256)) * 4,
    "a page": lambda _: b"<html>not found</html>",
    "a pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
}


@pytest.mark.parametrize("how", NEW)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_file_is_told_in_one_line(
    family: str, how: str, untrained: Folder, tmp_path: Path
) -> None:
    needed = {"config.json", "model.safetensors", "tokenizer.json"}
    for file in sorted(untrained(family).iterdir()):
        folder = Path(shutil.copytree(untrained(family), tmp_path / "folder"))
        new = NEW[how](file.read_bytes())
        (folder / file.name).unlink()
        if new is not None:
            (folder / file.name).write_bytes(new)
        said = answer(folder)
        assert said or file.name not in needed, f"{file.name}: {how}"
        shutil.rmtree(folder)


# -- settings --------------------------------------------------------------------------------------
OTHERS: tuple[Any, ...] = (..., None, "word", -1, 0, 3.5, True, [], {}, ["word"], {"word": 1})


def places(node: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The ways to each setting, at most two steps long."""
    if isinstance(node, dict) and len(above) < 2:
        for key, value in node.items():
            yield (*above, key)
            yield from places(value, (*above, key))


def changes(settings: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Each setting left out or replaced: the way to it, the value, and the whole."""
    for place in places(settings):
        for other in OTHERS:
            changed = copy.deepcopy(settings)
            node = changed
            for step in place[:-1]:
                node = node[step]
            if other is ...:
                del node[place[-1]]
            else:
                node[place[-1]] = other
            yield place, other, changed


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Four GiB more than now: a size that is left out of a config.json is that of a 7B model."""
    with open("/proc/self/statm") as pages:
        now = int(pages.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (4 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.filterwarnings("ignore")  # of torch, about sizes of zero
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "file",
    ["config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json"],
)
def test_a_wrong_setting_is_told_in_one_line(file: str, family: str, damaged: Folder) -> None:
    folder = damaged(family)
    settings = json.loads((folder / file).read_text())
    for place, other, changed in changes(settings):
        (folder / file).write_text(json.dumps(changed))
        try:
            answer(folder)
        except Exception as error:
            error.add_note(f"{place} → {other}")
            raise


@pytest.mark.parametrize(
    ("file", "place", "value", "told"),
    [
        ("config.json", ("text_config", "hidden_size"), 64, "weights of other shapes"),
        ("config.json", ("text_config", "num_attention_heads"), 0, "cannot be loaded"),
        ("config.json", ("model_type",), [], "cannot be loaded"),
        ("config.json", ("model_type",), "llama", "type llama (LlamaConfig), which"),
        ("config.json", ("image_token_index",), 0, "do not match"),
        ("processor_config.json", ("processor_class",), "NoSuchProcessor", "'NoSuchProcessor'"),
        ("processor_config.json", ("processor_class",), "CLIPProcessor", "do not match"),
        ("processor_config.json", ("processor_class",), "WhisperProcessor", "no image processor"),
        ("processor_config.json", ("image_processor", "size"), 0, "cannot prepare this image"),
        ("processor_config.json", ("patch_size",), 7, "do not match"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(
    file: str, place: tuple[str, ...], value: Any, told: str, damaged: Folder
) -> None:
    folder = damaged("llava")
    settings = json.loads((folder / file).read_text())
    node = settings
    for step in place[:-1]:
        node = node[step]
    node[place[-1]] = value
    (folder / file).write_text(json.dumps(settings))
    assert told in answer(folder)


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no system turn') }}", "{{ messages[0].nothing.at_all }}", "{% if %}"],
)
def test_a_chat_template_that_fails_is_told(template: str, damaged: Folder) -> None:
    folder = damaged("llava")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match=r"chat template of LlavaProcessor cannot be used"):
        hf.load(str(folder))


# -- packages that are not here --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("PixtralProcessor requires the Torchvision library but it was not found", "torchvision"),
        ("Missing optional dependencies: torchvision. Please install", "torchvision"),
        ("TimmWrapperModel requires the timm library but it was not found", "timm"),
        ("Package `num2words` is required. Install it with `pip install num2words`.", "num2words"),
        ("No module named 'detectron2'", "detectron2"),
    ],
)
def test_a_package_that_is_missing_is_named(message: str, told: str) -> None:
    from bbtvp.adapters.hf.pretrained import FAMILIES, explain

    said = explain("./folder", ImportError(message), "cannot be loaded", "")
    install = "'bbtvp[families]'" if told in FAMILIES else told
    assert said.startswith(f"./folder needs {told}: pip install")
    assert install in said


# -- the hub ---------------------------------------------------------------------------------------
REFUSALS = {
    "gated": (401, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "missing": (404, "RepoNotFound"),
    "revision": (404, "RevisionNotFound"),
    "broken": (500, ""),
}
"""The status and the X-Error-Code of each kind of refusal."""


class Hub(BaseHTTPRequestHandler):
    """A hub that refuses: the name of a repository says how."""

    def do_GET(self) -> None:
        status, code = next(REFUSALS[kind] for kind in REFUSALS if kind in self.path)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("gated", "is gated: ask for access"),
        ("private", "not on the hub, or private there"),
        ("missing", "not on the hub, or private there"),
        ("revision", "has no such revision"),
        ("broken", "cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(
    kind: str, told: str, hub: str, tmp_path: Path
) -> None:
    """By the command line, with the hub's client as it is."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "HF_TOKEN": "",
    }
    command = [sys.executable, "-m", "bbtvp.cli", "optimize", "--task", "zoo/shapes"]
    done = subprocess.run(
        [*command, "--model", f"hf/organisation/{kind}", "--queries", "10"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert told in line
