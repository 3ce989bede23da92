"""The bundle: a prompt as one `.vprompt` file, or as a folder of the same files.

- `manifest.json`: schema, canvas, its shape unless it is square, layers, z (exact float64), theta
  for human eyes, free meta, the SHA-256 of the other files and of the manifest itself;
- `z.npy`: z instead, where it has over 100 values;
- `exemplar-….png`: the images of the task that the prompt shows; such a bundle **holds data**, and
  its meta says `contains_data`;
- `frame.png`: the frame layer, RGBA, transparent where a square image goes; only with a frame
  layer.

The sentence of a guidance layer stands in theta, and a prompt whose z gives another sentence is not
loaded.

Equal content gives equal bytes. The digests show damage and careless edits; they are no signature:
who alters a bundle on purpose can compute them anew. Nothing is unpickled, run, or written to disk
while reading, and every read has a limit.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.digest import digest, digest_json
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.files import atomic_write
from bbtvp.prompt.exemplars import MOST_EXEMPLARS, PREFIX
from bbtvp.prompt.image import DAMAGED
from bbtvp.prompt.layer import MAX_CANVAS, MIN_CANVAS, Layer
from bbtvp.prompt.layers import LAYERS
from bbtvp.prompt.placement import Shape

SCHEMA = "bbtvp.prompt/1"
SUFFIX = ".vprompt"

_MANIFEST = "manifest.json"
_Z = "z.npy"
_FRAME = "frame.png"
_LIMITS = {_MANIFEST: 8 << 20, _Z: 128 << 20, _FRAME: 32 << 20}
"""The most bytes that are read of each file; also their order in the file."""
_EXEMPLAR = re.compile(rf"{PREFIX}[0-9a-f]{{16}}\.png")
_EXEMPLAR_LIMIT = 16 << 20
"""The names of the exemplars' pictures, which come last, and the most bytes of one. No other names
are read.
"""
_LARGEST = sum(_LIMITS.values()) + MOST_EXEMPLARS * _EXEMPLAR_LIMIT
_INLINE = 100
"""Up to so many values, z stands in the manifest."""
_AGAIN = "get the bundle from its author again"
_NEWER = "install a newer bbtvp: pip install -U bbtvp"


@final
@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds.

    z: (d,) float64. frame: (canvas, canvas, 4) uint8 RGBA, None without a frame layer.
    files: those of the layers, by name (`Layer.files`).
    """

    canvas: int
    layers: tuple[Layer, ...]
    z: Vector
    theta: dict[str, dict[str, float | str]]
    meta: dict[str, Any]
    frame: Pixels | None
    shape: Shape = "square"
    files: Mapping[str, bytes] = field(default_factory=dict)


@final
class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    schema_: Literal["bbtvp.prompt/1"] = Field(alias="schema")
    canvas: int = Field(ge=MIN_CANVAS, le=MAX_CANVAS)
    shape: Shape = "square"
    layers: list[dict[str, JsonValue]]
    z: list[float] | None
    theta: dict[str, dict[str, float | str]]
    meta: dict[str, JsonValue]
    files: dict[str, str]
    digest: str


def write(path: Path, bundle: Bundle) -> None:
    """Write one file where the path ends in .vprompt, else a folder.

    UsageError if meta is not JSON, OSError if the disk refuses.
    """
    files = _files(bundle)
    if path.suffix == SUFFIX:
        atomic_write(path, _packed(files))
        return
    for name in set(_names_in(path)) - files.keys():
        (path / name).unlink(missing_ok=True)
    for name in reversed(files):  # the manifest last: cut off before it, the digests do not hold
        atomic_write(path / name, files[name])


def read(path: Path) -> Bundle:
    """Read a bundle and check all digests.

    BundleError, in one line, for a bundle that is missing, damaged, altered or newer.

    Whether the frame is the one that z gives is checked by `Prompt.load`.
    """
    try:
        return _bundle(_folder(path) if path.is_dir() else _unpacked(_bounded(path, _LARGEST)))
    except FileNotFoundError as error:
        raise BundleError(f"{path}: no such bundle; check the path") from error
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); check the disk and the permissions"
        ) from error
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def _files(bundle: Bundle) -> dict[str, bytes]:
    """Name to content of each file, in the order of the archive."""
    inline = bundle.z.size <= _INLINE
    others = {} if inline else {_Z: _npy(bundle.z)}
    if bundle.frame is not None:
        others[_FRAME] = _png(bundle.frame)
    others |= dict(sorted(bundle.files.items()))
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "canvas": bundle.canvas,
        **({} if bundle.shape == "square" else {"shape": bundle.shape}),
        "layers": [layer.config() for layer in bundle.layers],
        "theta": bundle.theta,
        "meta": _plain(bundle.meta),
        "z": bundle.z.tolist() if inline else None,
        "files": {name: digest(data) for name, data in others.items()},
    }
    plain = json.loads(_dumped(manifest))
    return {_MANIFEST: _dumped({**plain, "digest": digest_json(plain)}), **others}


def _bundle(files: Mapping[str, bytes]) -> Bundle:
    if _MANIFEST not in files:
        raise BundleError(
            f"not a bundle, {_MANIFEST} is missing; give the file or folder that bbtvp wrote"
        )
    manifest = _manifest(files[_MANIFEST])
    found = {name: digest(data) for name, data in files.items() if name != _MANIFEST}
    for name in found.keys() | manifest.files.keys():
        if found.get(name) != manifest.files.get(name):
            raise BundleError(f"{name} is missing, altered or not listed in {_MANIFEST}; {_AGAIN}")
    held = {name: data for name, data in files.items() if name not in _LIMITS}
    return Bundle(
        canvas=manifest.canvas,
        shape=manifest.shape,
        files=held,
        layers=tuple(_with_files(layer_of(config), held) for config in manifest.layers),
        z=_z(manifest, files),
        theta=manifest.theta,
        meta=dict(manifest.meta),
        frame=_frame(files[_FRAME], manifest.canvas) if _FRAME in files else None,
    )


def _manifest(data: bytes) -> _Manifest:
    try:
        raw = json.loads(data)
        if isinstance(raw, dict) and raw.get("schema", SCHEMA) != SCHEMA:
            raise BundleError(
                f"schema {raw['schema']!r} is not {SCHEMA}, the one known here; {_NEWER}"
            )
        manifest = _Manifest.model_validate(raw)
        content = {name: value for name, value in raw.items() if name != "digest"}
        intact = _dumped(raw) == data and digest_json(content) == manifest.digest
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise BundleError(f"{_MANIFEST}: {where}: {first['msg']}; {_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{_MANIFEST} is not JSON; {_AGAIN}") from error
    if not intact:
        raise BundleError(f"{_MANIFEST} was altered: it does not match its own digest; {_AGAIN}")
    return manifest


def layer_of(config: Mapping[str, JsonValue]) -> Layer:
    """The layer that `Layer.config` describes.

    BundleError for one that is not known, cannot be loaded or is not valid here.
    """
    values = dict(config)
    kind = values.pop("kind", None)
    package = values.pop("package", None)
    if not isinstance(kind, str) or kind not in LAYERS.names():
        remedy = _NEWER if package is None else f"install the plug-in {package}, which draws it"
        raise BundleError(f"layer {kind!r} is not known here; {remedy}")
    try:
        layer: type[Layer] = LAYERS.load(kind)
    except UsageError as error:
        raise BundleError(str(error)) from error
    unknown = sorted(values.keys() - {field.name for field in fields(layer)})
    if unknown:
        raise BundleError(f"layer {kind!r}: unknown fields {', '.join(unknown)}; {_NEWER}")
    try:
        return TypeAdapter(layer).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise BundleError(f"layer {kind!r}: {error.errors()[0]['msg']}; {_AGAIN}") from error
    except UsageError as error:
        raise BundleError(f"layer {kind!r}: {error}") from error


def _with_files(layer: Layer, files: Mapping[str, bytes]) -> Layer:
    try:
        return layer.with_files(files)
    except UsageError as error:
        raise BundleError(f"layer {layer.kind!r}: {error}; {_AGAIN}") from error


def _z(manifest: _Manifest, files: Mapping[str, bytes]) -> Vector:
    if (manifest.z is None) != (_Z in files):
        raise BundleError(f"z must stand in {_MANIFEST} or in {_Z}, and not in both; {_AGAIN}")
    if manifest.z is not None:
        return np.array(manifest.z, np.float64)
    stream = io.BytesIO(files[_Z])
    try:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        z = np.frombuffer(stream.read(), "<f8")
    except ValueError as error:
        raise BundleError(f"{_Z} cannot be read ({error}); {_AGAIN}") from error
    if (version, shape, dtype) != ((1, 0), z.shape, np.dtype("<f8")):
        raise BundleError(f"{_Z} is not one row of float64; {_AGAIN}")
    return z.astype(np.float64)


def _frame(data: bytes, canvas: int) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if (image.mode, image.size) != ("RGBA", (canvas, canvas)):
                raise BundleError(f"{_FRAME} is not RGBA of {canvas} x {canvas} px; {_AGAIN}")
            return np.array(image)
    except DAMAGED as error:
        raise BundleError(f"{_FRAME} cannot be decoded; {_AGAIN}") from error


def _npy(z: Vector) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, z.astype("<f8"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _png(frame: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "PNG")
    return stream.getvalue()


def _plain(meta: Mapping[str, Any]) -> Any:
    """meta as it will be read back: tuples are lists, keys strings."""
    try:
        return json.loads(_dumped(dict(meta)))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"meta is not JSON ({error}); give plain numbers, strings, lists and dicts"
        ) from error


def _dumped(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _packed(files: Mapping[str, bytes]) -> bytes:
    """A zip archive, stored, with no clock and no platform in it: equal files give equal bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()


def _unpacked(data: bytes) -> dict[str, bytes]:
    """The files of an archive that is, to the byte, as `_packed` makes it.

    It is read in memory, by known names only.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {
                entry.filename: archive.read(entry)
                for entry in archive.infolist()
                if _plausible(entry)
            }
    except (
        zipfile.BadZipFile,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        OverflowError,
        struct.error,
    ) as error:
        raise BundleError(f"not a bundle, or damaged ({error}); {_AGAIN}") from error
    if _packed(files) != data:
        raise BundleError(f"the archive is not as bbtvp wrote it; {_AGAIN}")
    return files


def _plausible(entry: zipfile.ZipInfo) -> bool:
    """Whether the entry has a known name, is stored, and is within its limit.

    Other entries are left out, and the comparison of bytes then fails.
    """
    limit = _limit(entry.filename)
    return entry.compress_type == zipfile.ZIP_STORED and entry.file_size <= limit


def _limit(name: str) -> int:
    """The most bytes of a file of this name; −1 for a name that no bundle has."""
    return _EXEMPLAR_LIMIT if _EXEMPLAR.fullmatch(name) else _LIMITS.get(name, -1)


def _names_in(folder: Path) -> list[str]:
    """The files of a bundle that lie in a folder, in their order."""
    if not folder.is_dir():
        return []
    exemplars = sorted(path.name for path in folder.iterdir() if _EXEMPLAR.fullmatch(path.name))
    return [*(name for name in _LIMITS if (folder / name).exists()), *exemplars]


def _folder(path: Path) -> dict[str, bytes]:
    """The files of a folder; others that lie there are not looked at."""
    return {name: _bounded(path / name, _limit(name)) for name in _names_in(path)}


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BundleError(f"{path.name} is over {limit >> 20} MiB; {_AGAIN}")
    return data
