"""A bundle applied in JavaScript gives the bytes that it gives in Python, for every layer."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.prompt import Frame, Placement, Prompt, PromptSpace, Restore, Tone, open_image
from tests.deploy.random_prompts import random_image, random_prompt
from tests.prompt.bundles import forged

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "examples" / "javascript"
GLYPHS = HERE.parents[1] / "bbtvp" / "prompt" / "marks" / "glyphs.png"
QUESTION = "How {many} are there? Réponds."
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NODE = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(NODE is None, reason="no Node: `nox -s javascript` brings one")


class Rendered:
    """Prompts and pictures, and what JavaScript makes of them, in one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[dict[str, str]] = []

    def add(self, prompt: Prompt, image: Image.Image | bytes) -> None:
        name = str(len(self.jobs))
        prompt.save(self.folder / f"{name}.vprompt")
        self.add_files(self.folder / f"{name}.vprompt", image)

    def add_files(self, bundle: Path, image: Image.Image | bytes) -> None:
        picture = self.folder / f"{len(self.jobs)}.png"
        if isinstance(image, bytes):
            picture.write_bytes(image)
        else:
            image.save(picture)
        self.jobs.append(
            {
                "bundle": str(bundle),
                "image": str(picture),
                "output": str(picture.with_suffix(".raw")),
                "question": QUESTION,
            }
        )

    def answers(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            [str(NODE), str(HERE / "render_many.mjs"), str(MODULES)],
            input=json.dumps(self.jobs),
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
        )
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    def pixels(self, at: int, size: list[int]) -> Pixels:
        data = Path(self.jobs[at]["output"]).read_bytes()
        return np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)

    def check(self) -> None:
        """Every picture, question and shown image is the one that Python gives."""
        for at, (job, answer) in enumerate(zip(self.jobs, self.answers(), strict=True)):
            prompt = Prompt.load(job["bundle"])
            where = f"{job['bundle']}, {prompt.space.config()}"
            assert "error" not in answer, f"{where}: {answer['error']}"
            expected = prompt.render(open_image(job["image"]))
            assert np.array_equal(self.pixels(at, answer["size"]), expected), where
            assert answer["asked"] == prompt.ask(QUESTION), where
            shown = [
                (base64.b64encode(each.image).decode(), each.text) for each in prompt.context()
            ]
            assert [(each["pixels"], each["text"]) for each in answer["context"]] == shown, where


@pytest.fixture
def rendered(tmp_path: Path) -> Rendered:
    return Rendered(tmp_path)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 60), pytest.param(60, 940, marks=pytest.mark.slow)]
)
def test_random_prompts_give_equal_bytes(first: int, count: int, rendered: Rendered) -> None:
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        rendered.add(random_prompt(rng), random_image(rng))
    rendered.check()


def test_sums_beyond_the_whole_numbers_of_float32_give_equal_bytes(rendered: Rendered) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(150, 256, (700, 901, 3), dtype=np.uint8))
    layer = Restore(("white-balance", "flatten"))
    space = PromptSpace((layer,), 1000, "picture")
    for name in layer.operations:
        rendered.add(space.prompt(layer.start(name)), image)
    rendered.check()


def test_the_drawn_characters_are_those_of_the_package() -> None:
    text = (MODULES / "atlas.mjs").read_text("utf-8")
    assert base64.b64decode(text.split("`")[1]) == GLYPHS.read_bytes()


# -- files of PNG ----------------------------------------------------------------------------------
def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    lines: bytes,
    *more: tuple[bytes, bytes],
    interlaced: int = 0,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def lines_of(rng: np.random.Generator, sizes: Iterable[tuple[int, int]]) -> bytes:
    """Random bytes in lines of so many bytes, (bytes, lines) each, with each of the filters."""
    made = b""
    for length, count in sizes:
        for at in range(count):
            made += bytes([at % 5]) + rng.bytes(length)
    return made


PALETTE = (b"PLTE", bytes(range(256)) * 3)


@pytest.mark.parametrize(
    ("depth", "colour", "more"),
    [
        *[(depth, 0, ()) for depth in (1, 2, 4, 8, 16)],
        *[(depth, 0, ((b"tRNS", b"\0\1"),)) for depth in (1, 2, 4, 8)],
        *[(depth, 2, ()) for depth in (8, 16)],
        (8, 2, ((b"tRNS", b"\0\1\0\2\0\3"),)),
        *[(depth, 3, (PALETTE,)) for depth in (1, 2, 4, 8)],
        *[(depth, 3, (PALETTE, (b"tRNS", bytes(range(0, 256, 17))))) for depth in (2, 8)],
        *[(depth, colour, ()) for depth in (8, 16) for colour in (4, 6)],
    ],
)
def test_every_kind_of_png_is_read_as_python_reads_it(
    depth: int, colour: int, more: tuple[tuple[bytes, bytes], ...], rendered: Rendered
) -> None:
    rng = np.random.default_rng(depth * 10 + colour)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    bits = depth * samples

    def length(width: int) -> int:
        return -(-width * bits // 8)

    whole = lines_of(rng, [(length(13), 11)])
    passes = [(2, 2), (2, 2), (4, 1), (3, 3), (7, 3), (6, 6), (13, 5)]
    woven = lines_of(rng, [(length(width), height) for width, height in passes])
    identity = PromptSpace.identity()
    rendered.add(identity, png(13, 11, depth, colour, whole, *more))
    rendered.add(identity, png(13, 11, depth, colour, woven, *more, interlaced=1))
    rendered.check()


# -- refusals --------------------------------------------------------------------------------------
def forged_bundle(prompt: Prompt, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A bundle whose manifest was changed, and every digest made to fit."""
    prompt.save(folder / "forged")
    forged(folder / "forged", change)
    path = folder / "forged.vprompt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted((folder / "forged").iterdir()):
            archive.write(file, file.name)
    return path


def toned() -> Prompt:
    space = PromptSpace((Placement(search=("zoom",)), Tone(("gamma",)), Frame(size=3)), 64)
    return space.prompt(np.linspace(-1, 1, space.dim))


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "newer": (lambda manifest: manifest.update(schema="bbtvp.prompt/9"), "bbtvp.prompt/9"),
    "layer": (lambda manifest: manifest["layers"][1].update(kind="aura"), "layer 'aura'"),
    "field": (lambda manifest: manifest["layers"][1].update(glow=1), "unknown field glow"),
    "option": (
        lambda manifest: manifest["layers"][1].update(variables=["glow"]),
        "'glow' is not known here",
    ),
    "theta": (lambda manifest: manifest["theta"]["tone"].update(gamma=2.5), "theta of tone"),
    "no theta": (lambda manifest: manifest["theta"].pop("placement"), "theta of placement"),
    "short z": (lambda manifest: manifest["z"].pop(), "z has 10 values for 11 variables"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_not_understood_is_refused(name: str, rendered: Rendered, tmp_path: Path) -> None:
    change, message = FORGERIES[name]
    rendered.add_files(forged_bundle(toned(), tmp_path, change), Image.new("RGB", (9, 9)))
    assert message in rendered.answers()[0]["error"]


def test_an_altered_bundle_is_refused(rendered: Rendered, tmp_path: Path) -> None:
    toned().save(tmp_path / "whole.vprompt")
    whole = (tmp_path / "whole.vprompt").read_bytes()
    frame = whole.index(b"IDAT") + 9
    theta = whole.index(b'"gamma": ') + 10
    for number, at in enumerate([frame, theta]):
        path = tmp_path / f"altered-{number}.vprompt"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        rendered.add_files(path, Image.new("RGB", (9, 9)))
    for name, data in (("short", whole[:-9]), ("empty", b""), ("other", b"PK" * 99)):
        path = tmp_path / f"{name}.vprompt"
        path.write_bytes(data)
        rendered.add_files(path, Image.new("RGB", (9, 9)))
    errors = [answer["error"] for answer in rendered.answers()]
    assert errors[0].startswith("frame.png is missing, altered")
    assert errors[1].startswith("manifest.json was altered") or "not JSON" in errors[1]
    assert all("again" in error and "\n" not in error for error in errors)


@pytest.mark.parametrize("operation", ["smooth", "clahe"])
def test_what_needs_opencv_is_refused(operation: str, rendered: Rendered) -> None:
    layer = Restore((operation,))
    rendered.add(PromptSpace((layer,), 64).prompt(layer.start(operation)), Image.new("RGB", (9, 9)))
    assert "needs OpenCV" in rendered.answers()[0]["error"]


def test_the_file_program_writes_a_png(tmp_path: Path) -> None:
    prompt = toned()
    prompt.save(tmp_path / "p.vprompt")
    random_image(np.random.default_rng(3)).save(tmp_path / "in.png")
    command = [str(NODE), str(MODULES / "apply.mjs"), "p.vprompt", "in.png", "out.png"]
    subprocess.run(command, check=True, cwd=tmp_path)
    expected = prompt.render(open_image(tmp_path / "in.png"))
    assert np.array_equal(open_image(tmp_path / "out.png"), expected)
    (tmp_path / "p.vprompt").write_bytes(b"no bundle")
    failed = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith("p.vprompt: not a bundle")
    assert failed.stderr.count("\n") == 1


# -- a browser -------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_draws_equal_bytes_on_its_canvas(tmp_path: Path) -> None:
    shutil.copytree(MODULES, tmp_path / "page")
    expected = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        prompt = random_prompt(rng)
        prompt.save(tmp_path / f"{seed}.vprompt")
        random_image(rng).save(tmp_path / f"{seed}.png")
        pixels = prompt.render(open_image(tmp_path / f"{seed}.png"))
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        expected.append(hashlib.sha256(np.concatenate([pixels, opaque], axis=2)).hexdigest())
    with served(tmp_path) as address:
        found = [drawn_by_chromium(f"{address}/page/index.html", seed) for seed in range(8)]
    assert found == expected


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of the folder, on this machine alone."""

    class Quiet(SimpleHTTPRequestHandler):
        extensions_map: ClassVar = {".mjs": "text/javascript", ".html": "text/html"}

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def drawn_by_chromium(page: str, seed: int) -> str:
    """The SHA-256 of the canvas that the page shows."""
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000"),
            "--dump-dom",
            f"{page}?bundle=../{seed}.vprompt&picture=../{seed}.png",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.partition('data-done="')[2].partition('"')[0]
