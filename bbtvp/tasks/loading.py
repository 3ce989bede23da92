"""What a loader has to tell of the files that it read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

_SHOWN = 3
"""Files that are named of those passed over for one reason."""


@final
class PassedOver(NamedTuple):
    """A file or folder that is no sample, and the kind that it was passed over as: ".txt"."""

    path: Path
    kind: str


@final
@dataclass(frozen=True)
class LoadReport:
    """How a task was read from files.

    notes: a sentence for each choice that the loader made: columns, separator, labels. passed_over:
    files below the folder that are no samples.
    """

    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()

    def lines(self) -> list[str]:
        """One line for each note, and one for all that was passed over."""
        said = describe_passed_over(self.passed_over)
        return [*self.notes, *([f"passed over: {said}"] if said else [])]

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        files = [{"path": str(one.path), "kind": one.kind} for one in self.passed_over]
        return {"notes": list(self.notes), "passed_over": files}


def describe_passed_over(found: Iterable[PassedOver]) -> str:
    """The files by kind, with their number and the names of a few; "" if there are none."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for path, kind in found:
        kinds[kind].append(f"{path.parent.name}/{path.name}")
    parts = []
    for kind, names in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        more = ", …" if len(names) > _SHOWN else ""
        parts.append(f"{len(names):,} {kind} ({', '.join(names[:_SHOWN])}{more})")
    return "; ".join(parts)
