"""run.json: the record of a run, from which it can be made again.

It says what the run was called with, on what, and with which versions.

    {"schema": "bbtvp.run/1",
     "task": {"name", "digest", "spec", "options"},
     "models": [{"spec", "identity", "revision", "origin", "options"}],
     "surrogate": null or {"spec", "options"},
     "arguments": {…},
     "environments": [{"python", "platform", "packages"}]}

`arguments` are the fields of `SearchConfig`. `environments` has an entry for each set of versions
that worked on the run. `task.spec`, `models[].origin` and `surrogate.spec` are null for what was
made in Python: only the program that made it can make such a run again.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from bbtvp.core.errors import JournalError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.origin import Origin
from bbtvp.models import Model
from bbtvp.runs.documents import read_document
from bbtvp.runs.upgrade import upgraded_arguments
from bbtvp.surrogate import Surrogate
from bbtvp.tasks import Task

SCHEMA = "bbtvp.run/1"
FILE = "run.json"
_NAME_END = re.compile(r"[^\w.-]")
"""The first character after the name in a requirement."""


def write_record(
    folder: Path,
    task: Task,
    models: Sequence[Model],
    *,
    surrogate: Surrogate | None,
    arguments: Mapping[str, Any],
) -> None:
    """Write or renew the record of a run.

    arguments: the options of the search, JSON-able. They are those of the last call: caps may have
    been raised in between.
    """
    known = read_record(folder)["environments"] if (folder / FILE).exists() else []
    here = environment()
    document = {
        "schema": SCHEMA,
        "task": {"name": task.name, "digest": task.digest, **_origin(task.origin, "spec")},
        "models": [
            {
                "spec": model.spec,
                "identity": model.identity,
                "revision": model.capabilities.revision,
                **_origin(model.origin, "origin"),
            }
            for model in models
        ],
        "surrogate": None if surrogate is None else _origin(surrogate.origin, "spec"),
        "arguments": dict(arguments),
        "environments": known if known and known[-1] == here else [*known, here],
    }
    atomic_write_json(folder / FILE, document)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the run in `folder`, its arguments in today's form.

    Raises JournalError if there is none, or none that this version can read.
    """
    path = folder / FILE
    document = read_document(path)
    if document is None:
        raise JournalError(
            f"{folder} is no run folder: it holds no {FILE}; name the --out of a run"
        )
    schema = str(document.get("schema"))
    if schema == SCHEMA:
        return {**document, "arguments": upgraded_arguments(document.get("arguments", {}))}
    if schema.startswith("bbtvp.run/"):
        raise JournalError(f"{path}: a newer bbtvp wrote it; upgrade")
    raise JournalError(f"{path}: not a {SCHEMA} document")


def flattened(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}, at any depth."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def environment() -> dict[str, Any]:
    """Versions of Python, the platform, bbtvp and what it is built on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    names = sorted(
        {_NAME_END.split(line)[0] for line in requires("bbtvp") or () if "extra ==" not in line}
    )
    found = {}
    for name in ("bbtvp", *names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # installed without its dependencies, on purpose
            continue
    return found


def _origin(origin: Origin | None, name: str) -> dict[str, Any]:
    return {
        name: origin.spec if origin else None,
        "options": dict(origin.options) if origin else {},
    }
