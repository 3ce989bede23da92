"""`bbtvp gc`: what the response store holds, and making room in it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, final

import click

from bbtvp.cli.options import give, json_flag, say
from bbtvp.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from bbtvp.models.store import ReplyStore, StoreEntry

SCHEMA = "bbtvp.gc/1"
SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TOGETHER = 10_000
"""Replies removed in one transaction. Other processes wait while it runs."""


def seconds_of(text: str) -> int:
    """`12h`, `30d`, `8w` (and `90m`) in seconds. UsageError for anything else."""
    match = re.fullmatch(r"(\d+)([mhdw])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no duration; write 90m, 12h, 30d or 8w")
    return int(match[1]) * SECONDS[match[2]]


@click.command()
@click.option(
    "--older-than",
    "age",
    metavar="DURATION",
    help="Only replies kept longer ago than 12h, 30d, 8w.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="SPEC",
    help="Only replies of this model; repeat for more.",
)
@click.option(
    "--remove",
    is_flag=True,
    help="Remove what is listed for removal. Without it, nothing is changed.",
)
@json_flag
def gc(*, age: str | None, models: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """List what the response store holds, and with --remove make room in it.

    A reply that is removed is paid for again by the next run that asks for it. Run folders do not
    need the store: a run that is finished, or goes on, has its replies in its journal.
    """
    from bbtvp.models.store import ReplyStore, default_path

    if remove and age is None and not models:
        raise UsageError(
            "say what to remove: --older-than 30d, --model SPEC, or --older-than 0d for everything"
        )
    before = None if age is None else time.time() - seconds_of(age)
    path = default_path()
    store = ReplyStore(path)
    try:
        if not path.exists():  # the store is made when a run first needs it, not by looking for it
            held = {}
            size = 0
        else:
            held = _held(store.entries(), models, before)
            size = store.size()
        for spec in models:
            if spec not in held:
                raise unknown("model in the store", spec, held)
        if remove:
            _forget(store, [key for found in held.values() for key in found.going])
        after = store.size() if remove and path.exists() else size
    finally:
        store.close()
    document = {
        "schema": SCHEMA,
        "store": str(path),
        "bytes": {"before": size, "after": after},
        "removed": remove,
        "models": [found.as_json() for _, found in sorted(held.items())],
    }
    if as_json:
        give(document)
    else:
        _show(document, chosen=age is not None or bool(models))


@final
@dataclass
class Held:
    """The replies of one model, and those of them that are chosen for removal.

    oldest, newest: seconds since 1970. going: keys of the chosen replies.
    """

    model: str
    replies: int = 0
    bytes: int = 0
    oldest: float = float("inf")
    newest: float = float("-inf")
    going: list[str] = field(default_factory=list)
    going_bytes: int = 0

    def add(self, entry: StoreEntry, *, goes: bool) -> None:
        self.replies += 1
        self.bytes += entry.bytes
        self.oldest = min(self.oldest, entry.when)
        self.newest = max(self.newest, entry.when)
        if goes:
            self.going.append(entry.key)
            self.going_bytes += entry.bytes

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "replies": self.replies,
            "bytes": self.bytes,
            "oldest": _date(self.oldest),
            "newest": _date(self.newest),
            "to_remove": {"replies": len(self.going), "bytes": self.going_bytes},
        }


def _held(
    entries: Iterable[StoreEntry], models: tuple[str, ...], before: float | None
) -> dict[str, Held]:
    chosen = before is not None or bool(models)
    held: dict[str, Held] = {}
    for entry in entries:
        goes = (
            chosen
            and (not models or entry.model in models)
            and (before is None or entry.when <= before)
        )
        held.setdefault(entry.model, Held(entry.model)).add(entry, goes=goes)
    return held


def _forget(store: ReplyStore, keys: list[str]) -> None:
    for first in range(0, len(keys), _TOGETHER):
        store.forget(keys[first : first + _TOGETHER])


def _date(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")


def _show(document: dict[str, Any], *, chosen: bool) -> None:
    for line in _lines(document["models"]):
        click.echo(line)
    count, size = (
        sum(row["to_remove"][name] for row in document["models"]) for name in ("replies", "bytes")
    )
    before = document["bytes"]["before"]
    after = document["bytes"]["after"]
    say(f"{document['store']}: {_size(after)} on the disk")
    if document["removed"]:
        say(f"removed {count} replies; {_size(before - after)} given back")
    elif chosen:
        say(f"{count} replies, {_size(size)}, would go: add --remove")
    else:
        say("choose what may go: --older-than 30d, --model SPEC")


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "no replies are kept"
        return
    width = max(len(row["model"]) for row in rows)
    yield (
        f"{'model':<{width}}  {'replies':>8}  {'size':>10}  "
        f"{'oldest':<10}  {'newest':<10}  to remove"
    )
    for row in rows:
        yield (
            f"{row['model']:<{width}}  {row['replies']:>8}  {_size(row['bytes']):>10}  "
            f"{row['oldest'][:10]}  {row['newest'][:10]}  {row['to_remove']['replies']}"
        )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
