"""What a bundle holds, from its files and to them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.digest import digest, digest_json
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.signing import Signature
from bbtvp.prompt.bundle.archive import FRAME, SIGNATURE, Z, read_files, write_files
from bbtvp.prompt.bundle.manifest import (
    AGAIN,
    MANIFEST,
    NEWER,
    SCHEMA,
    About,
    EvidenceEntry,
    Manifest,
    about_of,
    check_schema,
    dumped,
    parsed,
    parsed_signature,
)
from bbtvp.prompt.bundle.png import checked_png, decoded, plain, png_of
from bbtvp.prompt.exemplars import MOST_PIXELS
from bbtvp.prompt.layer import Layer
from bbtvp.prompt.layers import LAYERS
from bbtvp.prompt.placement import Shape

_INLINE = 100
"""Up to so many values, z stands in the manifest."""
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f8', 'fortran_order': False, "
    rb"'shape': \((\d{1,9}),\), \} *\n",
    re.DOTALL,
)
_LONGEST_HEADER = 1024
"""A row of float64 as `numpy.save` writes it; its own reader evaluates the header as Python."""


@final
@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds.

    z: (d,) float64. theta: by kind of layer, what z stands for. frame: (canvas, canvas, 4) uint8
    RGBA, None without a frame layer. files: those of the layers, by name (`Layer.files`). about:
    what is known of the prompt. free: what its author keeps with it, JSON-able. words: what goes
    around {question}, None for no words. apply: how to apply it, step by step. schema: of the file
    that it was read from; `write` takes the newest.
    """

    canvas: int
    layers: tuple[Layer, ...]
    z: Vector
    theta: Mapping[str, Mapping[str, float | str]]
    about: About
    frame: Pixels | None = None
    shape: Shape = "square"
    files: Mapping[str, bytes] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)
    words: str | None = None
    reply_tokens: int = 0
    apply: Sequence[str] = ()
    signature: Signature | None = None
    schema: str = SCHEMA
    _read: str | None = field(default=None, init=False, repr=False)
    """The digest of the manifest that it was read from."""

    @property
    def meta(self) -> dict[str, Any]:
        """All that is said of the prompt: documented fields that have a value, then free ones."""
        return {**self.about.facts(), **self.free}

    @property
    def parent(self) -> str | None:
        """The digest of the bundle that this one was made from."""
        return self.about.parent

    @property
    def evidence(self) -> tuple[EvidenceEntry, ...]:
        """What proofs found, one entry per model and proof."""
        return tuple(self.about.evidence)

    @property
    def digest(self) -> str:
        """SHA-256 of all but the signature: of the manifest, which names every other file's.

        It is the one of the file that the bundle was read from, or of the file that `write` makes.
        """
        return self._read or str(json.loads(written(self)[MANIFEST])["digest"])

    def with_evidence(self, entries: Iterable[EvidenceEntry]) -> Bundle:
        """The bundle with more entries of evidence; its signature, which was of another, goes."""
        about = self.about.model_copy(update={"evidence": [*self.evidence, *entries]})
        return replace(self, about=about, signature=None)


def write(path: Path, bundle: Bundle) -> None:
    """Write one file where the path ends in .vprompt, else a folder.

    UsageError if the free facts are not JSON, OSError if the disk refuses.
    """
    write_files(path, written(bundle))


def read(path: Path) -> Bundle:
    """Read a bundle and check all digests.

    BundleError, in one line, for a bundle that is missing, damaged, altered or newer.

    Whether the frame is the one that z gives is checked by `Prompt.load`.
    """
    with _named(path):
        return _bundle(read_files(path, _accept))


def files_of(path: Path) -> dict[str, bytes]:
    """Name to content of each file of a bundle, which is checked as `read` does.

    They are in the order in which an archive holds them.
    """
    with _named(path):
        files = read_files(path, _accept)
        _bundle(files)
        return files


def undrawn(files: Mapping[str, bytes]) -> Bundle:
    """The bundle of these files, of which the picture of its frame is missing.

    BundleError where anything else is not as `read` wants it.
    """
    return _bundle(files, drawn=False)


def put_signature(path: Path, signature: Signature) -> None:
    """Put a signature into a bundle, in place of an earlier one; all else stays byte for byte."""
    content = dumped(signature.as_json())
    write_files(path, {**files_of(path), SIGNATURE: content})


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the path before what goes wrong in the block."""
    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(f"{path}: no such bundle; check the path") from error
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); check the disk and the permissions"
        ) from error
    except BundleError as error:
        raise BundleError(f"{path}: {error!s:.1000}") from error


def digest_of(path: Path) -> str:
    """`Bundle.digest` of a bundle file or folder, which is read and checked.

    BundleError as of `read`.
    """
    return read(path).digest


def written(bundle: Bundle) -> dict[str, bytes]:
    """Name to content of each file that `write` makes, in the order of the archive."""
    inline = bundle.z.size <= _INLINE
    others = {} if inline else {Z: _npy(bundle.z)}
    if bundle.frame is not None:
        others[FRAME] = png_of(bundle.frame)
    others |= {name: plain(data, name) for name, data in sorted(bundle.files.items())}
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "canvas": bundle.canvas,
        **({} if bundle.shape == "square" else {"shape": bundle.shape}),
        "layers": [layer.config() for layer in bundle.layers],
        "theta": bundle.theta,
        **({} if bundle.words is None else {"words": bundle.words}),
        **({"reply_tokens": bundle.reply_tokens} if bundle.reply_tokens else {}),
        **({"apply": list(bundle.apply)} if bundle.apply else {}),
        **bundle.about.facts(),
        "contains_data": bundle.about.contains_data,
        **({"meta": bundle.free} if bundle.free else {}),
        "z": bundle.z.tolist() if inline else None,
        "files": {name: digest(data) for name, data in others.items()},
    }
    try:
        said = json.loads(dumped(manifest))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"what the bundle says is not JSON ({error}); give plain numbers, strings, lists "
            "and dicts"
        ) from error
    signed = {SIGNATURE: dumped(bundle.signature.as_json())} if bundle.signature else {}
    return {MANIFEST: dumped({**said, "digest": digest_json(said)}), **others, **signed}


def _accept(manifest: bytes) -> None:
    """Raise BundleError for a manifest of a newer schema; all else is said later."""
    try:
        raw = json.loads(manifest)
    except (ValueError, RecursionError):
        return
    if isinstance(raw, dict):
        check_schema(raw)


def _bundle(files: Mapping[str, bytes], *, drawn: bool = True) -> Bundle:
    manifest, schema = parsed(files[MANIFEST])
    found = {name: digest(data) for name, data in files.items() if name not in _UNLISTED}
    for name in found.keys() | manifest.files.keys():
        if name == FRAME and not drawn:
            continue
        if found.get(name) != manifest.files.get(name):
            raise BundleError(
                f"{name:.80} is missing, altered or not listed in {MANIFEST}; {AGAIN}"
            )
    held = {name: data for name, data in files.items() if name not in (*_UNLISTED, Z, FRAME)}
    _check_pictures(held)
    signature = files.get(SIGNATURE)
    bundle = Bundle(
        canvas=manifest.canvas,
        layers=tuple(_with_files(layer_of(config), held) for config in manifest.layers),
        z=_z(manifest, files),
        theta=manifest.theta,
        about=about_of(manifest),
        frame=_frame(files[FRAME], manifest.canvas) if FRAME in files else None,
        shape=manifest.shape,
        files=held,
        free=manifest.meta,
        words=manifest.words,
        reply_tokens=manifest.reply_tokens,
        apply=manifest.apply,
        signature=None if signature is None else parsed_signature(signature, SIGNATURE),
        schema=schema,
    )
    object.__setattr__(bundle, "_read", manifest.digest)
    return bundle


_UNLISTED = (MANIFEST, SIGNATURE)
"""Files that the manifest does not list: itself, and what is made from its digest."""


def layer_of(config: Mapping[str, JsonValue]) -> Layer:
    """The layer that `Layer.config` describes.

    BundleError for one that is not known, cannot be loaded or is not valid here.
    """
    values = dict(config)
    kind = values.pop("kind", None)
    package = values.pop("package", None)
    if not isinstance(kind, str) or not _is_known(kind):
        remedy = (
            NEWER if package is None else f"install the plug-in {package!r:.80}, which draws it"
        )
        raise BundleError(f"layer {kind!r:.80} is not known here; {remedy}")
    try:
        layer: type[Layer] = LAYERS.load(kind)
    except UsageError as error:
        raise BundleError(str(error)) from error
    unknown = sorted(values.keys() - {field.name for field in fields(layer)})
    if unknown:
        named = repr(", ".join(unknown))[1:-1]
        raise BundleError(f"layer {kind!r}: unknown fields {named:.80}; {NEWER}")
    try:
        return _adapter(layer).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise BundleError(f"layer {kind!r}: {error.errors()[0]['msg']:.300}; {AGAIN}") from error
    except UsageError as error:
        raise BundleError(f"layer {kind!r}: {error}") from error


def _is_known(kind: str) -> bool:
    """Whether a layer of this kind is here; plug-ins are looked up for none of ours."""
    return kind in LAYERS.builtin or kind in LAYERS.names()


@lru_cache(maxsize=64)
def _adapter(layer: type[Layer]) -> TypeAdapter[Layer]:
    return TypeAdapter(layer)


def _with_files(layer: Layer, files: Mapping[str, bytes]) -> Layer:
    try:
        return layer.with_files(files)
    except UsageError as error:
        raise BundleError(f"layer {layer.kind!r}: {error}; {AGAIN}") from error


def _z(manifest: Manifest, files: Mapping[str, bytes]) -> Vector:
    if (manifest.z is None) != (Z in files):
        raise BundleError(f"z must stand in {MANIFEST} or in {Z}, and not in both; {AGAIN}")
    if manifest.z is not None:
        try:
            return np.array(manifest.z, np.float64)
        except OverflowError as error:
            raise BundleError(f"z holds a number too large for float64; {AGAIN}") from error
    data = files[Z]
    header = _NPY.match(data[:_LONGEST_HEADER])
    if header is None or len(data) - header.end() != 8 * int(header[1]):
        raise BundleError(f"{Z} is not one row of float64; {AGAIN}")
    return np.frombuffer(data, "<f8", offset=header.end()).astype(np.float64)


def _frame(data: bytes, canvas: int) -> Pixels:
    size = checked_png(data, FRAME, "RGBA")
    if size != (canvas, canvas):
        raise BundleError(f"{FRAME} is not RGBA of {canvas} x {canvas} px; {AGAIN}")
    return decoded(data, FRAME, "RGBA")


def _check_pictures(files: Mapping[str, bytes]) -> None:
    """Raise BundleError for pictures that hold more than pixels, or too many pixels."""
    pixels = sum(checked_png(data, name, "RGB").pixels for name, data in files.items())
    if pixels > MOST_PIXELS:
        raise BundleError(f"its exemplars have {pixels} pixels, over {MOST_PIXELS}; {AGAIN}")


def _npy(z: Vector) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, z.astype("<f8"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()
