"""What changed between two bundles, as a small `.vpatch` file.

The first line is a JSON object (`PatchHeader`); after it come the contents that it announces, one
after the other. A file that did not change is named only. Any other is deflated (RFC 1951) with
the file of that name in the old bundle as its dictionary; where both have the same length, such as
z, the differences of their 64-bit words are tried too, and the shorter is taken. The picture of the
frame is drawn again from z.

A patch carries no training image unless it says so, and it only gives the very bytes of the new
bundle, from the very old one. Whoever makes a false one gains nothing: what it gives is read as
strictly as any bundle.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bbtvp.bundles.incoming import check_name, loaded
from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.files import atomic_write
from bbtvp.prompt import PromptSpace
from bbtvp.prompt.bundle import (
    FRAME,
    MANIFEST,
    files_of,
    packed,
    png_of,
    undrawn,
)
from bbtvp.prompt.exemplars import MOST_EXEMPLARS, PREFIX

PATCH_SCHEMA = "bbtvp.patch/1"
How: TypeAlias = Literal["same", "drawn", "deflate", "words"]

_SHA256 = r"^[0-9a-f]{64}$"
_HEADER_LIMIT = 1 << 16
_MOST_BYTES = 64 << 20
"""The most bytes of a patch, and of all files of what it gives."""
_MOST_FILES = 4 + MOST_EXEMPLARS
_WINDOW = 1 << 15
"""Bytes that deflate looks back, and so of a dictionary that are of use."""
_AGAIN = "get the patch from its author again"


@final
class PatchedFile(BaseModel):
    """One file of the new bundle.

    how: "same", as in the old one; "drawn", from the others; "deflate", or "words". size: its
    bytes. held: its bytes in the patch, 0 for "same" and "drawn".
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(max_length=64)
    how: How
    size: int = Field(ge=0, le=_MOST_BYTES)
    held: int = Field(ge=0, le=_MOST_BYTES)


@final
class PatchHeader(BaseModel):
    """The first line of a patch.

    parent, result: the digests of the old and the new bundle. archive: SHA-256 of the new bundle as
    one file. contains_data: whether images of the task are in the patch. payload: SHA-256 of what
    follows the line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_: Literal["bbtvp.patch/1"] = Field(alias="schema")
    parent: str = Field(pattern=_SHA256)
    result: str = Field(pattern=_SHA256)
    archive: str = Field(pattern=_SHA256)
    contains_data: bool
    files: list[PatchedFile] = Field(fail_fast=True, max_length=_MOST_FILES)
    payload: str = Field(pattern=_SHA256)


@final
class Patched(NamedTuple):
    """A file that was written, its bytes, and what it says.

    digest: of the new bundle. contains_data: whether images of the task are in the patch.
    """

    path: Path
    size: int
    digest: str
    contains_data: bool


def diff(
    old: Path, new: Path, out: Path, *, with_data: bool = False, with_frame: bool = False
) -> Patched:
    """Write the patch from one bundle to another.

    with_data: whether training images that only the new one has may go into it; without it they
    raise UsageError. with_frame: whether the picture of the frame goes into it, for a receiver
    whose Pillow compresses it into other bytes. BundleError for a bundle that cannot be read,
    OSError if the disk refuses.
    """
    before = files_of(old)
    after = files_of(new)
    whole = packed(after)
    files = []
    payload = b""
    for name, data in after.items():
        drawn = name == FRAME and not with_frame and _drawn(after) == data
        how, held = _encoded(before.get(name, b""), data, drawn=drawn)
        files.append(PatchedFile(name=name, how=how, size=len(data), held=len(held)))
        payload += held
    images = _images(files)
    if images and not with_data:
        raise UsageError(
            f"{new} shows {len(images)} training images that {old} has not; "
            "say --with-data if they may go into the patch"
        )
    header = PatchHeader.model_validate(
        {
            "schema": PATCH_SCHEMA,
            "parent": _digest(before),
            "result": _digest(after),
            "archive": hashlib.sha256(whole).hexdigest(),
            "contains_data": bool(images),
            "files": files,
            "payload": hashlib.sha256(payload).hexdigest(),
        }
    )
    content = _line(header) + payload
    atomic_write(out, content)
    return Patched(out, len(content), header.result, header.contains_data)


def patch(old: Path, difference: Path, out: Path) -> Patched:
    """Write the bundle that a patch makes of an old one: one file, byte for byte the new one.

    BundleError, and nothing is written, for a patch of another bundle, a damaged one, or one whose
    result is not what it says; UsageError for a name without `.vprompt`.
    """
    check_name(out)
    before = files_of(old)
    header, payload = _read(difference)
    parent = _digest(before)
    if header.parent != parent:
        raise BundleError(
            f"{difference} is a patch for another bundle, {header.parent[:12]}, not for {old}, "
            f"which is {parent[:12]}; ask for the patch from that one"
        )
    try:
        files = dict(_applied(header, payload, before))
    except (ValueError, zlib.error) as error:
        raise BundleError(f"{difference} is damaged ({error}); {_AGAIN}") from error
    if any(file.how == "drawn" for file in header.files):
        files[FRAME] = _frame_of(files, difference)
    whole = packed({file.name: files[file.name] for file in header.files})
    if hashlib.sha256(whole).hexdigest() != header.archive:
        raise BundleError(f"{difference} does not give what it says; {_AGAIN}")
    arrived = loaded(whole, f"what {difference} gives")
    if arrived.digest != header.result:
        raise BundleError(f"{difference} gives another bundle than it says; {_AGAIN}")
    atomic_write(out, whole)
    return Patched(out, len(whole), header.result, header.contains_data)


def _digest(files: Mapping[str, bytes]) -> str:
    """`Bundle.digest` of the files of a bundle that was read."""
    return str(json.loads(files[MANIFEST])["digest"])


def _frame_of(files: Mapping[str, bytes], difference: Path) -> bytes:
    """The picture of the frame that the other files of a new bundle give."""
    try:
        drawn = _drawn(files)
        listed = json.loads(files[MANIFEST])["files"].get(FRAME)
    except (BundleError, UsageError, KeyError) as error:
        raise BundleError(f"{difference} gives no usable bundle: {error}") from error
    if digest(drawn) != listed:
        raise BundleError(
            f"{difference}: this Pillow compresses the frame into other bytes than its author's; "
            "ask for a patch made with --with-frame"
        )
    return drawn


def _drawn(files: Mapping[str, bytes]) -> bytes:
    content = undrawn(files)
    space = PromptSpace(content.layers, content.canvas, content.shape)
    frame = space.prompt(content.z).frame
    return b"" if frame is None else png_of(frame)


def _images(files: list[PatchedFile]) -> list[str]:
    """The training images that stand in the patch."""
    return [file.name for file in files if file.name.startswith(PREFIX) and file.how != "same"]


def _encoded(old: bytes, new: bytes, *, drawn: bool) -> tuple[How, bytes]:
    """How a file is told best, given the old one of its name (empty if there is none)."""
    if old == new:
        return "same", b""
    if drawn:
        return "drawn", b""
    packer = zlib.compressobj(9, wbits=-15, zdict=old[-_WINDOW:])
    deflated = packer.compress(new) + packer.flush()
    if len(old) != len(new) or len(new) % 8:
        return "deflate", deflated
    planes = (_words(new) - _words(old)).view(np.uint8).reshape(-1, 8).T
    words = zlib.compress(planes.tobytes(), 9, wbits=-15)
    return ("words", words) if len(words) < len(deflated) else ("deflate", deflated)


def _applied(
    header: PatchHeader, payload: bytes, before: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    """Name and content of the new files. ValueError where the patch is not what it must be."""
    if sum(file.size for file in header.files) > _MOST_BYTES:
        raise ValueError("too large")
    if bool(_images(header.files)) != header.contains_data:
        raise ValueError("it does not say rightly whether it holds images of the task")
    if sum(file.held for file in header.files) != len(payload):
        raise ValueError("its parts do not fill it")
    at = 0
    for file in header.files:
        if file.how == "drawn":
            if file.name != FRAME:
                raise ValueError(f"{file.name:.64} is not drawn")
            continue
        held = payload[at : at + file.held]
        at += file.held
        data = _decoded(file, before.get(file.name, b""), held)
        if len(data) != file.size:
            raise ValueError(f"{file.name:.64} has another size")
        yield file.name, data


def _decoded(file: PatchedFile, old: bytes, held: bytes) -> bytes:
    if file.how == "same":
        return old
    if file.how == "deflate":
        return _inflated(held, file.size, old[-_WINDOW:])
    if len(old) != file.size or file.size % 8:
        raise ValueError(f"{file.name:.64} has another size")
    planes = np.frombuffer(_inflated(held, file.size), np.uint8).reshape(8, -1)
    difference = np.ascontiguousarray(planes.T).view("<u8").ravel()
    return bytes((_words(old) + difference).tobytes())


def _inflated(held: bytes, size: int, dictionary: bytes = b"") -> bytes:
    """Exactly `size` bytes; no more are ever made."""
    opener = zlib.decompressobj(wbits=-15, zdict=dictionary)
    data = opener.decompress(held, size + 1)
    if len(data) != size or not opener.eof or opener.unused_data:
        raise ValueError("a part has another size")
    return data


def _words(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The bytes as little-endian 64-bit words, which wrap around."""
    return np.frombuffer(data, "<u8")


def _line(header: PatchHeader) -> bytes:
    return canonical_json(header.model_dump(by_alias=True)).encode() + b"\n"


def _read(path: Path) -> tuple[PatchHeader, bytes]:
    """The header and the payload of a patch. BundleError for a file that is none."""
    try:
        with path.open("rb") as file:
            line = file.readline(_HEADER_LIMIT)
            payload = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); give the file that bbtvp bundle diff wrote"
        ) from error
    try:
        header = PatchHeader.model_validate_json(line)
        intact = _line(header) == line and hashlib.sha256(payload).hexdigest() == header.payload
    except (ValidationError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} is no patch; give the file that bbtvp bundle diff wrote"
        ) from error
    if not intact:
        raise BundleError(f"{path} is damaged: it does not match its own digest; {_AGAIN}")
    return header, payload
