"""The bytes of a bundle that comes from somebody else, before they become a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, final

from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.files import atomic_write
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import SUFFIX, digest_of


@final
class Loaded(NamedTuple):
    """A bundle that loads: its prompt, and its digest."""

    prompt: Prompt
    digest: str


def keep(data: bytes, out: Path, source: str, *, signed_by: Sequence[str] = ()) -> Loaded:
    """Write the bytes of a bundle to `out`, a .vprompt file, if they load.

    source: what the error calls them. signed_by: as of `Prompt.load`. BundleError, and `out` stays
    as it is, for any other bytes; UsageError for another name; OSError if the disk refuses.
    """
    check_name(out)
    found = loaded(data, source, signed_by=signed_by)
    atomic_write(out, data)
    return found


def loaded(data: bytes, source: str, *, signed_by: Sequence[str] = ()) -> Loaded:
    """What the bytes of a bundle are, checked as for any bundle. BundleError for any other bytes.

    source: what the error calls them. signed_by: as of `Prompt.load`.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"incoming{SUFFIX}"
        path.write_bytes(data)
        try:
            return Loaded(Prompt.load(path, signed_by=signed_by), digest_of(path))
        except BundleError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise BundleError(f"{source} is no usable bundle: {reason}") from error


def check_name(out: Path) -> None:
    """Raise UsageError for a name that no bundle file has."""
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a bundle is one file here; give a name that ends in {SUFFIX}")
