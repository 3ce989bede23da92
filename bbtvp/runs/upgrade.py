"""What older versions of bbtvp wrote, brought into today's form.

Some options are gone: they were measured and did not pay (docs/bench.md). A file that names one
with its default value opens as before; with another value it needs the version that had it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

REMOVED: Mapping[str, Any] = MappingProxyType(
    {"arbiter": False, "paired": False, "control": False, "race": 1, "starts": 1}
)
"""Name and default value of each option that was removed."""

LAST = "bbtvp 0.1.0 at commit 624ab1b"
"""The last version that has them."""

_ARGUMENTS = frozenset(
    {
        "budget",
        "usd",
        "seconds",
        "prompt",
        "canvas",
        "method",
        "fca",
        "tse",
        "matched",
        "warm",
        "prime",
        "arbiter",
        "combine",
        "channel",
        "reader",
        "normalise",
        "images",
        "allocation",
        "popsize",
        "seed",
    }
)
"""Arguments of `optimize` in an older record; all others there are options of the optimiser."""

_SINCE: Mapping[str, Any] = MappingProxyType({"keep_best": True})
"""Arguments that an older record lacks, with the values by which such a run went."""


def removed_option(options: Mapping[str, Any]) -> str | None:
    """What to tell the user if an option that was removed has another value than its default.

    None if there is no such option.
    """
    for name, default in REMOVED.items():
        value = options.get(name, default)
        if not _is_default(value, default):
            return f"{name} = {value} is an option that bbtvp no longer has; {LAST} can run it"
    return None


def without_removed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that were removed and have their default value."""
    return {
        name: value
        for name, value in options.items()
        if name not in REMOVED or not _is_default(value, REMOVED[name])
    }


def upgraded_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The first line of a journal, written by this version or an older one.

    Options that were removed stay if they have another value than their default.
    """
    found = without_removed(config)
    for name in ("reader", "channel"):
        if isinstance(found.get(name), str):
            found[name] = _from_repr(found[name])
    plan = _mapping(found.get("plan"))
    if plan:
        found["plan"] = _upgraded_plan(plan)
        for old, new in (("budget", "queries"), ("options", "method_options")):
            if old in found:
                found[new] = found.pop(old)
    return found


def removed_from_config(config: Mapping[str, Any]) -> str | None:
    """The same as `removed_option`, for the first line of a journal, upgraded or not."""
    plan = _mapping(config.get("plan"))
    return removed_option({**_mapping(plan.get("allocation")), **plan, **config})


def upgraded_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a run's record, by the names that the fields of a search have today.

    Options that were removed stay if they have another value than their default.
    """
    if "budget" not in arguments:
        return {**_SINCE, **arguments}
    found = {name: value for name, value in arguments.items() if name in _ARGUMENTS}
    found["method_options"] = {
        name: value for name, value in arguments.items() if name not in _ARGUMENTS
    }
    found["queries"] = found.pop("budget")
    seconds = found.pop("seconds", None)
    found["minutes"] = None if seconds is None else seconds / 60
    allocation = found.pop("allocation", None) or {}
    return without_removed({**_SINCE, **found, **allocation})


def _upgraded_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    found = without_removed(plan)
    allocation = without_removed(_mapping(found.pop("allocation", None)))
    allocation.pop("images", None)  # each stage says how many it asks about
    return {**found, **allocation}


def _mapping(value: object) -> Mapping[str, Any]:
    """The value, or nothing if it is no mapping."""
    return value if isinstance(value, Mapping) else {}


_READERS = MappingProxyType({"LogProbReader": "logprob", "TextReader": "text"})


def _from_repr(text: str) -> Any:
    """A reader or a channel by its settings, from the way Python writes it: `Channel(crop=0.03)`.

    The text itself if it is nothing of the kind.
    """
    if text == "None":
        return None
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            return text
        settings = {
            each.arg: _as_json(ast.literal_eval(each.value)) for each in call.keywords if each.arg
        }
    except (SyntaxError, ValueError):
        return text
    if call.func.id not in _READERS:
        return settings
    name = "label" if settings.get("forced") else _READERS[call.func.id]
    return {"name": name, **settings}


def _as_json(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _is_default(value: object, default: object) -> bool:
    """Whether a value, which may come from the environment as text, is the default."""
    return str(value).strip().lower() == str(default).lower()
