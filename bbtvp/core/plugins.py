"""Plug-ins by entry point: one way to look up every kind of part.

    OPTIMISERS = Registry("bbtvp.optimisers", "optimiser", builtin=METHODS)
    OPTIMISERS.names()        # what there is, sorted
    OPTIMISERS.load("gp")     # what is registered under that name; imported now, not before
    OPTIMISERS.problems()     # one line for each plug-in that cannot be used

A third party adds a part with one file and one entry point; docs/extending.md shows each kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, final

from bbtvp.core.errors import UsageError, unknown

OURS = "bbtvp"
"""The distribution whose names no plug-in can take."""


@final
@dataclass(frozen=True, eq=False)
class Registry:
    """The parts of one kind: a built-in table, and the entry points of a group.

    group: such as "bbtvp.models". kind: what error messages call a part. check: whether a loaded
    object is one; `expected` says in words what it must be. builtin: our own parts by name, where
    they are not entry points.
    """

    group: str
    kind: str
    _: KW_ONLY
    check: Callable[[Any], bool] = callable
    expected: str = "a function"
    builtin: Mapping[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All names, sorted. Nothing is imported, so a broken plug-in is among them."""
        return sorted({*self.builtin, *(point.name for point in self._points())})

    def load(self, name: str) -> Any:
        """The part of this name.

        UsageError, in one line, if there is none (with the nearest names), if two plug-ins claim
        the name, or if the plug-in cannot be imported or is of the wrong type.
        """
        if name in self.builtin:
            return self.builtin[name]
        claims = self._claims(name)
        if not claims:
            raise unknown(self.kind, name, self.names())
        if len(claims) > 1:
            claimed = " and ".join(_described(point) for point in claims)
            raise UsageError(f"{self.kind} {name!r} is claimed by {claimed}; uninstall one of them")
        return self._loaded(claims[0])

    def describe(self, name: str) -> str:
        """The name, and where a part of somebody else comes from: module and distribution."""
        claims = [] if name in self.builtin else self._claims(name)
        return _described(claims[0]) if claims else repr(name)

    def problems(self) -> list[str]:
        """One line for each plug-in that cannot be used. Imports all plug-ins of the group."""
        found = []
        taken = Counter(point.name for point in self._points())
        taken.update(list(self.builtin))
        for point in self._points():
            if _is_ours(point):
                continue
            if taken[point.name] > 1:
                found.append(f"{self.kind} {_described(point)}: the name is taken; rename it")
                continue
            try:
                self._loaded(point)
            except UsageError as error:
                found.append(str(error))
        return found

    def _claims(self, name: str) -> list[EntryPoint]:
        """The entry points of this name; our own alone, where there is one."""
        claims = [point for point in self._points() if point.name == name]
        own = [point for point in claims if _is_ours(point)]
        return own[:1] or claims

    def _points(self) -> list[EntryPoint]:
        return sorted(entry_points(group=self.group), key=lambda point: (point.name, point.value))

    def _loaded(self, point: EntryPoint) -> Any:
        try:
            loaded = point.load()
        except Exception as error:  # a stranger's module can raise anything
            named = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
            reason = " ".join(str(error).split())
            raise UsageError(
                f"{self.kind} {_described(point)} cannot be loaded: {named}{reason}"
            ) from error
        if not self.check(loaded):
            raise UsageError(
                f"{self.kind} {_described(point)} is not {self.expected}; correct or uninstall it"
            )
        return loaded


def _is_ours(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == OURS


def _described(point: EntryPoint) -> str:
    """`'name' (package.module:object, from the distribution x)`; of ours, the name alone."""
    if _is_ours(point):
        return repr(point.name)
    source = f", from the distribution {point.dist.name}" if point.dist is not None else ""
    return f"{point.name!r} ({point.value}{source})"
