"""Hostile bundles from a seed: archives, manifests, pictures and numbers as an attacker makes them.

The attacker knows the format: every digest is computed anew, and the spelling is the right one. A
case is a function of its seed and number, so each can be made again.
"""

from __future__ import annotations

import io
import json
import math
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bbtvp.core.digest import digest, digest_json
from bbtvp.core.errors import BbtvpError
from bbtvp.prompt import (
    Coordinator,
    Exemplars,
    Frame,
    Guidance,
    Identity,
    Layer,
    Legend,
    Margin,
    Marks,
    Overlay,
    Placement,
    Prompt,
    PromptSpace,
    Restore,
    Tone,
    bundle,
    preset,
)
from bbtvp.prompt.bundle.archive import packed
from bbtvp.prompt.wordings import Wording

Files = dict[str, bytes]

NUMBERS = (
    *(0, 1, -1, 2, 7, 8, 24, 255, 2048, 2049, 2**31, 2**53, 2**63, 2**64, 10**300, -(10**400)),
    *(0.0, -0.0, 0.5, 1e-320, 1e-9, 1e6, 1e22, 1e154, 1e300, 1.7e308, -1.7e308),
)
TEXTS = (
    *("", " ", "x", "cat", "../../etc/passwd", "/etc/passwd", "{question}", "{question}{question}"),
    *("{question.__class__}", "%s%n", "\x00", "\x1b[2J", "\u202e", "\ud800", "A" * 3000, "é" * 99),
    *("(a+)+$", "\n" * 500, "🙂", "__import__('os').system('id')", "bbtvp.prompt/9", "<script>"),
)


@lru_cache(maxsize=1)
def seeds() -> tuple[Files, ...]:
    """The files of honest bundles, of every layer."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (12, 14, 3), dtype=np.uint8) for _ in range(3)]
    shown = [(pixels, f"Which?\n{at}", f"c{at}") for at, pixels in enumerate(pictures)]
    exemplars = Exemplars.of(shown, [(0,), (1, 2)])
    strip = Exemplars.of(shown, [(0,), (1, 2)], form="strip")
    spaces = [
        *(preset(name, 24) for name in ("tvp", "frame", "tone", "default", "annotate", "words")),
        PromptSpace((Placement(0.5), Frame("blocks", 5), Overlay("pixels")), 24),
        PromptSpace((Coordinator(4), Overlay("dct", 5), Margin()), 32, "picture"),
        PromptSpace((Legend(("cat", "dog")), Frame("color"), Placement(0.8)), 64),
        PromptSpace((exemplars, Guidance(), Tone()), 48),
        PromptSpace((strip, Placement(search=("zoom", "x", "y"))), 160),
        PromptSpace((Placement(search=("size", "crop")), Restore(), Tone()), 64, "picture"),
    ]
    found = []
    for space in spaces:
        z = rng.standard_normal(space.dim)
        for layer in space.layers:
            if isinstance(layer, Exemplars):
                z = space.embed(layer.start(1), (layer.kind,), z)
        found.append(files_of(space.prompt(z)))
    return tuple(found)


def files_of(prompt: Prompt) -> Files:
    """What a bundle of the prompt consists of."""
    return bundle.written(prompt.as_bundle({"task": "pets", "labels": ["a", "b"]}))


def spelt(manifest: dict[str, Any], files: Files) -> bytes:
    """The manifest in the right spelling, with every digest computed anew."""
    listed = {
        n: digest(d) for n, d in files.items() if n not in ("manifest.json", "signature.json")
    }
    if isinstance(manifest.get("files"), dict):
        manifest = {**manifest, "files": listed}
    manifest.pop("digest", None)
    try:
        manifest["digest"] = digest_json(manifest)
        return (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    except (ValueError, RecursionError):
        return json.dumps(manifest, indent=2).encode()


class Attacker:
    """Makes the case of a seed and a number."""

    def __init__(self, seed: int, number: int) -> None:
        self.random = random.Random(f"{seed}:{number}")
        self.files = dict(self.random.choice(seeds()))
        ways: dict[str, tuple[int, Callable[[], bytes | Files]]] = {
            "bytes": (15, self.altered_bytes),
            "archive": (15, self.archive),
            "manifest": (34, self.manifest),
            "extreme prompt": (14, self.extreme_prompt),
            "picture": (12, self.picture),
            "z": (6, self.z),
            "signature": (2, self.signature),
            "folder": (2, self.folder),
        }
        weights = [weight for weight, _ in ways.values()]
        self.way = self.random.choices(list(ways), weights)[0]
        self._make = ways[self.way][1]

    def write(self, folder: Path) -> Path:
        """The case as a file or a folder."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = self._make()
        path = folder / ("case" if isinstance(made, dict) else "case.vprompt")
        if isinstance(made, bytes):
            path.write_bytes(made)
            return path
        path.mkdir()
        for name, data in made.items():
            (path / name).write_bytes(data)
        return path

    # -- bytes -------------------------------------------------------------------------------------
    def altered_bytes(self) -> bytes:
        return self._altered(packed(self.files))

    def _altered(self, data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(self.random.choice((1, 1, 2, 8, 64))):
            if not found:
                break
            at = self.random.randrange(len(found))
            way = self.random.randrange(6)
            if way == 0:
                found[at] ^= 1 << self.random.randrange(8)
            elif way == 1:
                found[at : at + 4] = self.random.choice(
                    (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff")
                )
            elif way == 2:
                del found[at : at + self.random.choice((1, 4, 30, 4096))]
            elif way == 3:
                found[at:at] = self.random.randbytes(self.random.choice((1, 4, 22, 1024)))
            elif way == 4:
                other = self.random.randrange(len(found))
                found[at:at] = found[other : other + self.random.choice((4, 46, 512))]
            else:
                found[at : at + 2] = b"\xff\xff"
        return bytes(found)

    # -- archives ----------------------------------------------------------------------------------
    def archive(self) -> bytes:
        way = self.random.choice(
            (self._entries, self._figures, self._zeros, self._overlapping, self._zip64)
        )
        return way()

    def _entries(self) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in self._shuffled(self.files):
                archive.writestr(self._info(name), data, self.random.choice((0, 0, 0, 8, 12, 14)))
            for _ in range(self.random.choice((0, 0, 1, 2, 300))):
                name = self.random.choice(
                    ("../evil", "/tmp/evil", "C:\\evil", "manifest.json", "z.npy", "a" * 3000, "é/")
                )
                size = self.random.choice((0, 10, 1000, 1 << 20))
                archive.writestr(self._info(name), bytes(size), self.random.choice((0, 8)))
            archive.comment = self.random.choice((b"", b"", b"hello", b"PK\5\6" + bytes(18)))
        return stream.getvalue()

    def _info(self, name: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.create_system = 3
        entry.external_attr = self.random.choice((0o644, 0o120777, 0o40755)) << 16
        entry.extra = self.random.choice((b"", b"", b"\1\0\x10\0" + b"\xff" * 16, b"\1"))
        return entry

    def _shuffled(self, files: Files) -> list[tuple[str, bytes]]:
        listed = list(files.items())
        if self.random.random() < 0.3:
            self.random.shuffle(listed)
        if self.random.random() < 0.2:
            listed.append(self.random.choice(listed))
        return listed

    def _figures(self) -> bytes:
        """Lies in the directory and in its end."""
        data = bytearray(packed(self.files))
        where = data.rfind(b"PK\1\2")
        for at in (len(data) - 22, where):
            for _ in range(self.random.choice((0, 1, 2))):
                place = at + 4 + self.random.randrange(16 if at != where else 40)
                size = self.random.choice((1, 2, 4))
                value = self.random.choice((0, 1, 2**31, 2**32 - 1, len(data), 65535))
                data[place : place + size] = (value % 256**size).to_bytes(size, "little")
        return bytes(data)

    def _zeros(self) -> bytes:
        size = self.random.choice((0, 1, 21, 22, 1000, 1 << 20, 70 << 20))
        tail = packed(self.files) if self.random.random() < 0.5 else b""
        return bytes(size) + tail

    def _overlapping(self) -> bytes:
        """Many entries of the directory that point to the same bytes."""
        data = packed(self.files)
        end = len(data) - 22
        count, length, start = struct.unpack("<HLL", data[end + 10 : end + 20])
        times = self.random.choice((2, 10, 300, 60_000))
        directory = data[start : start + length] * times
        total = min(count * times, 65535)
        tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, total, total, len(directory), start, 0)
        return data[:start] + directory + tail

    def _zip64(self) -> bytes:
        data = packed(self.files)
        end = len(data) - 22
        huge = self.random.choice((1, 2**32, 2**63))
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, huge, huge, huge, 0)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
        tail = data[end:] if self.random.random() < 0.5 else b"PK\5\6" + b"\xff" * 16 + bytes(2)
        return data[:end] + record + locator + tail

    # -- manifests ---------------------------------------------------------------------------------
    def manifest(self) -> bytes:
        found = json.loads(self.files["manifest.json"])
        for _ in range(self.random.choice((1, 1, 1, 2, 4, 12))):
            self._change(found)
        if self.random.random() < 0.04:
            found = self._bomb(found)
        self.files["manifest.json"] = spelt(found, self.files)
        if self.random.random() < 0.06:
            self.files["manifest.json"] = self._altered(self.files["manifest.json"])
        return packed(self.files)

    def _change(self, manifest: dict[str, Any]) -> None:
        place: Any = manifest
        key: Any = self.random.choice(list(manifest) or ["schema"])
        drawing = [k for k in ("layers", "z", "theta", "canvas") if k in manifest]
        if drawing and self.random.random() < 0.4:
            key = self.random.choice(drawing)
        while isinstance(place.get(key) if isinstance(place, dict) else place[key], dict | list):
            inner = place[key]
            if not inner or self.random.random() < 0.15:
                break
            place = inner
            key = self.random.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        way = self.random.random()
        if way < 0.1 and isinstance(place, dict):
            place.pop(key, None)
        elif way < 0.2 and isinstance(place, dict):
            place[self.random.choice((*TEXTS, "kind", "size", "wordings"))] = self.value()
        elif way < 0.3 and isinstance(place, list):
            place.insert(0, place[key])
        else:
            place[key] = self.value(place[key])

    def value(self, old: Any = None) -> Any:
        """Something hostile, sometimes of the type that was there."""
        if isinstance(old, int | float) and self.random.random() < 0.7:
            scaled = old * self.random.choice((-1, 2, 10, 1000))
            whole = isinstance(old, int) or math.isfinite(old)
            other = int(old) + 1 if whole else 0
            return self.random.choice((*NUMBERS, scaled, other))
        if isinstance(old, str) and self.random.random() < 0.7:
            return self.random.choice((*TEXTS, old + "x", old * 50))
        return self.random.choice(
            (
                *(None, True, False, [], {}, [[]], {"kind": "frame"}, {"": None}),
                *(self.random.choice(NUMBERS), self.random.choice(TEXTS)),
                *([0] * 5000, ["x"] * 200, {str(i): i for i in range(500)}),
            )
        )

    def _bomb(self, manifest: dict[str, Any]) -> dict[str, Any]:
        where = self.random.choice(list(manifest))
        deep: Any = []
        for _ in range(self.random.choice((15, 25, 400))):
            deep = [deep]
        many = self.random.choice((1000, 100_000, 300_000))
        bombs: tuple[Any, ...] = (
            deep,
            [[]] * many,
            [{}] * many,
            "x" * (1 << 20),
            list(range(many)),
        )
        return {**manifest, where: self.random.choice(bombs)}

    # -- prompts that are honest, of constants that are not ----------------------------------------
    def extreme_prompt(self) -> bytes:
        for _ in range(20):
            try:
                with np.errstate(all="ignore"):
                    space = PromptSpace(
                        tuple(self._layers()),
                        self.random.choice((8, 9, 24, 64, 224, 224, 333, 512, 1024, 2048)),
                        self.random.choice(("square", "picture")),
                    )
                    if space.dim > 200_000 and self.random.random() < 0.9:
                        continue
                    return packed(files_of(space.prompt(self._numbers(space.dim))))
            except (BbtvpError, ValueError):
                continue
        return b""

    def _numbers(self, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        rng = np.random.default_rng(self.random.randrange(2**32))
        scale = self.random.choice((0.0, 1.0, 1.0, 30.0, 1e6, 1e100, 1e308, 5e-324))
        z = np.clip(rng.standard_normal(count) * scale, -1.7e308, 1.7e308)
        if count and self.random.random() < 0.3:
            z[rng.integers(count)] = self.random.choice((1.7e308, -1.7e308, 5e-324))
        return z

    def _layers(self) -> list[Layer]:
        some = self.random
        size = some.choice((1, 2, 24, 100, 590, 1024))
        sized = some.choice(("size", "enlarge"))
        search = tuple(some.sample(("zoom", "shrink", "crop", "x", "y", sized), some.randrange(4)))
        texts = [text for text in TEXTS if text.strip()]
        made: list[Callable[[], Layer]] = [
            lambda: Placement(some.choice((1.0, 0.7, 1e-9, 5e-324)), search),
            lambda: Restore(("median", "wide-median", "autocontrast", "equalize", "flatten")),
            lambda: Restore(("smooth", "clahe", "white-balance")),
            Tone,
            Margin,
            lambda: Frame(
                some.choice(("dct", "blocks", "pixels", "color")),
                size,
                some.choice((0.0, 0.5, 1.0, 5e-324)),
                some.choice((1.5, 100.0, 5e-324)),
            ),
            lambda: Overlay(
                some.choice(("dct", "blocks", "pixels")), size, some.choice((0.1, 1.0, 5e-324))
            ),
            lambda: Coordinator(some.choice((1, 16, 64)), some.choice((127 / 255, 5e-324))),
            lambda: Marks(some.choice((0.0, 0.4, -0.4, 5e-324))),
            lambda: Legend(tuple("abcdefghijklmnop"[: some.randrange(1, 16)]), 1 / 30),
            lambda: Guidance(tuple(Wording(f"w{i}", f"{t} {i}") for i, t in enumerate(texts[:9]))),
            Identity,
        ]
        layers = []
        for make in some.sample(made, some.choice((1, 2, 3, 6, 12))):
            try:
                layers.append(make())
            except BbtvpError:
                continue
        kinds = {layer.kind: layer for layer in layers}
        if len(kinds) > 1:
            kinds.pop("identity", None)
        return list(kinds.values())

    # -- pictures ----------------------------------------------------------------------------------
    def picture(self) -> bytes:
        names = [name for name in self.files if name.endswith(".png")]
        if not names:
            names = ["frame.png"]
            self.files["frame.png"] = next(f for f in seeds() if "frame.png" in f)["frame.png"]
        name = self.random.choice(names)
        self.files[name] = self._png(self.files[name])
        found = json.loads(self.files["manifest.json"])
        self.files["manifest.json"] = spelt(found, self.files)
        return packed(self.files)

    def _png(self, data: bytes) -> bytes:
        if self.random.random() < 0.25:
            return self._altered(data)
        header, pixels = data[16:29], data[data.index(b"IDAT") + 4 : -16]
        width, height = struct.unpack(">2L", header[:8])
        depth, colour = header[8:10]
        if self.random.random() < 0.4:
            width = self.random.choice((0, 1, width, 2048, 2049, 65535, 2**31 - 1, 2**32 - 1))
            height = self.random.choice((0, 1, height, 2048, 2049, 65535, 2**31 - 1))
        if self.random.random() < 0.3:
            depth = self.random.choice((1, 2, 4, 8, 16, 255))
            colour = self.random.choice((0, 2, 3, 4, 6, 7))
        if self.random.random() < 0.5:
            size = self.random.choice((0, 10, 1000, 1 << 20, 30 << 20))
            pixels = _bomb(size) + self.random.choice((b"", b"hidden" * 99))
        form = bytes((depth, colour, 0, 0, self.random.choice((0, 0, 0, 1, 2))))
        extra = self.random.choice(
            (
                *((b"", b""), (b"", b""), (b"tEXt", b"Author\0someone"), (b"eXIf", bytes(99))),
                (b"zTXt", b"bomb\0\0" + _bomb(30 << 20)),
                (b"iCCP", b"bomb\0\0" + _bomb(30 << 20)),
                (b"iTXt", b"bomb\0\1\0\0\0" + _bomb(30 << 20)),
                *((b"PLTE", bytes(3 * 256)), (b"acTL", b"\xff" * 8), (b"tRNS", bytes(6))),
            )
        )
        chunks = [(b"IHDR", struct.pack(">2L", width, height) + form)]
        chunks += [extra] if extra[0] else []
        chunks += [(b"IDAT", pixels)] * self.random.choice((1, 1, 1, 0, 2, 3000))
        chunks += [(b"IEND", b"")] * self.random.choice((1, 1, 1, 0, 2))
        tail = self.random.choice((b"", b"", b"", b"tail"))
        return data[:8] + b"".join(_chunk(kind, held) for kind, held in chunks) + tail

    # -- z, signatures, folders --------------------------------------------------------------------
    def z(self) -> bytes:
        found = json.loads(self.files["manifest.json"])
        found["z"] = None
        count = self.random.choice((0, 3, 99, 1080, 1 << 20))
        array = np.resize(self._numbers(1080), count)
        stream = io.BytesIO()
        np.save(stream, array.astype(self.random.choice(("<f8", ">f8", "<f4", "<i8", "O"))))
        data = stream.getvalue()
        if self.random.random() < 0.5:
            shape = self.random.choice((b"(1<<62,)", b"(10,10)", b"(-1,)", b"()" + b"(" * 60))
            data = data[:10] + self.random.choice(
                (
                    b"{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + b", }\n",
                    b"{" * 118,
                )
            )
            data += bytes(80)
        self.files["z.npy"] = self._altered(data) if self.random.random() < 0.3 else data
        self.files = {name: self.files[name] for name in ("manifest.json", "z.npy", *self.files)}
        self.files["manifest.json"] = spelt(found, self.files)
        return packed(self.files)

    def signature(self) -> bytes:
        made = self.random.choice(
            (
                {"algorithm": "ed25519", "public_key": "A" * 44, "signature": "A" * 88},
                {"public_key": self.value(), "signature": self.value(), "algorithm": self.value()},
                *([], "x", {"algorithm": "none"}),
            )
        )
        spelling = (json.dumps(made, indent=2) + "\n").encode()
        self.files["signature.json"] = self._altered(spelling)
        return packed(self.files)

    def folder(self) -> Files:
        name = self.random.choice(list(self.files))
        self.files[name] = self._altered(self.files[name])
        self.files["z.py"] = b"import os"
        return self.files


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


@lru_cache(maxsize=8)
def _bomb(size: int) -> bytes:
    return zlib.compress(bytes(size))
