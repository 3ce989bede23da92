"""Options that bbtvp no longer has, and what is said of files that name them.

They were measured and did not pay: see docs/bench.md. A file that names one with its default value
opens as before; with another value it needs the version that had it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

REMOVED: Mapping[str, Any] = MappingProxyType(
    {"arbiter": False, "paired": False, "control": False, "race": 1}
)
"""Name and default value of each."""

LAST = "bbtvp 0.1.0 at commit 624ab1b"
"""The last version that has them."""


def removed_option(options: Mapping[str, Any]) -> str | None:
    """What to tell the user if an option that was removed has another value than its default; else
    None.
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
    """The first line of a journal, written by this version or an older one, in today's form.

    Options that were removed stay if they have another value than their default.
    """
    found = without_removed(config)
    plan = found.get("plan")
    if isinstance(plan, Mapping):
        plan = without_removed(plan)
        if isinstance(plan.get("allocation"), Mapping):
            plan["allocation"] = without_removed(plan["allocation"])
        found["plan"] = plan
    return found


def removed_from_config(config: Mapping[str, Any]) -> str | None:
    """The same as `removed_option`, for the first line of a journal."""
    plan = config.get("plan")
    allocation = plan.get("allocation") if isinstance(plan, Mapping) else None
    named = allocation if isinstance(allocation, Mapping) else {}
    return removed_option({**named, **config})


def _is_default(value: object, default: object) -> bool:
    """Whether a value, which may come from the environment as text, is the default."""
    return str(value).strip().lower() == str(default).lower()
