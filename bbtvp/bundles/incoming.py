"""The bytes of a bundle that comes from somebody else, before they become a file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from bbtvp.core.errors import BundleError, UsageError
from bbtvp.core.files import atomic_write
from bbtvp.prompt import Prompt
from bbtvp.prompt.bundle import SUFFIX


def keep(data: bytes, out: Path, source: str) -> Prompt:
    """Write the bytes of a bundle to `out`, a .vprompt file, if they load; return the prompt.

    source: what the error calls them. BundleError, and `out` stays as it is, for any other bytes;
    UsageError for another name; OSError if the disk refuses.
    """
    check_name(out)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"incoming{SUFFIX}"
        path.write_bytes(data)
        try:
            prompt = Prompt.load(path)
        except BundleError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise BundleError(f"{source} is no usable bundle: {reason}") from error
    atomic_write(out, data)
    return prompt


def check_name(out: Path) -> None:
    """Raise UsageError for a name that no bundle file has."""
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a bundle is one file here; give a name that ends in {SUFFIX}")
