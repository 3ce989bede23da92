"""The rivals by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from bbtvp.core.errors import unknown
from bbtvp.rivals.closer import CloserLook
from bbtvp.rivals.examples import FewShot, ReferencePicture
from bbtvp.rivals.handmade import HandMade
from bbtvp.rivals.rival import Rival
from bbtvp.rivals.thinking import ChainOfThought
from bbtvp.rivals.vote import Vote
from bbtvp.rivals.words import WordsAlone

_BUILT_IN: tuple[Rival, ...] = (
    ChainOfThought(),
    FewShot(),
    HandMade(),
    ReferencePicture(),
    Vote(),
    WordsAlone(),
    CloserLook(),
)

RIVALS: Mapping[str, Rival] = MappingProxyType({rival.name: rival for rival in _BUILT_IN})

ALL = "all"


def rivals_named(names: Iterable[str]) -> list[Rival]:
    """The rivals of these names, each once; "all" stands for every one.

    UsageError with the nearest names for an unknown one.
    """
    found: dict[str, Rival] = {}
    for name in names:
        if name == ALL:
            found |= RIVALS
        elif name in RIVALS:
            found[name] = RIVALS[name]
        else:
            raise unknown("rival", name, (ALL, *RIVALS))
    return list(found.values())
