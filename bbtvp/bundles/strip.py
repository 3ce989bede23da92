"""A copy of a bundle that keeps the prompt and says nothing of where it was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bbtvp.prompt.bundle import About, read, write

KEPT = ("parent", "licence", "contains_data")
"""What a stripped bundle still says."""


def strip(path: Path, out: Path) -> str:
    """Write the copy, and give its digest.

    Task, question, labels, models, figures and free facts go; all that is drawn or worded stays,
    exemplars too, with the parent, the licence and whether images of the task are inside. A
    signature goes, for it was of another bundle. BundleError for a bundle that cannot be read,
    OSError if the disk refuses.
    """
    bundle = read(path)
    kept = About(**{name: getattr(bundle.about, name) for name in KEPT})
    write(out, replace(bundle, about=kept, free={}, signature=None))
    return read(out).digest
