"""Label log-probabilities from the tokens of one reply and the few alternatives shown for each.

A reply is a path through a tree of tokens. A label leaves the path at the first token that is not
its own. Its share is the probability of the path so far, times what the alternatives at that token
give to the label. Where the rest of the reply can only be one label, that label gets the whole
path. Labels that appear among no alternatives share the rest of the probability, but none of them
gets more than the least likely alternative.

The result is exact where all labels differ in their first token and all of these tokens are shown.
Otherwise its accuracy depends on the number of alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bbtvp.endpoint.provider import Token
from bbtvp.models import LabelScore

_LEAST = 1e-6
"""Least probability that is left for the labels that were not shown."""


def label_scores(tokens: Sequence[Token], labels: Sequence[str]) -> tuple[LabelScore, ...] | None:
    """Return one log-probability (nats, tokens = 1) per label, in their order.

    None if the reply and its alternatives match none of the labels.
    """
    found, lowest = _shares(tokens, [_plain(label) for label in labels])
    if not found:
        return None
    missing = len(labels) - len(found)
    left = max(1 - sum(math.exp(share) for share in found.values()), _LEAST)
    floor = min(math.log(left / missing), lowest) if missing else 0.0
    return tuple(LabelScore(min(found.get(place, floor), 0.0), 1) for place in range(len(labels)))


def _shares(tokens: Sequence[Token], labels: Sequence[str]) -> tuple[dict[int, float], float]:
    """Return the log-probability of each label that was found, and the lowest of any alternative.

    Labels are given by their positions.
    """
    found: dict[int, float] = {}
    live = list(range(len(labels)))
    path = 0.0
    prefix = ""
    lowest = 0.0

    def add(places: Sequence[int], share: float) -> None:
        for place in places:
            found[place] = float(
                np.logaddexp(found.get(place, -math.inf), share - math.log(len(places)))
            )

    for token in tokens:
        for text, logprob in token.top.items():
            lowest = min(lowest, path + logprob)
            if text != token.text and _plain(prefix + text):
                add(_fitting(prefix + text, labels, live), path + logprob)
        path += token.logprob
        prefix += token.text
        if not _plain(prefix):  # white space, or a quotation mark, before the label
            continue
        live = _fitting(prefix, labels, live)
        if len(live) < 2:
            break
    whole = [place for place in live if labels[place] == _plain(prefix)]
    if _plain(prefix):
        add(whole or (live if len(live) == 1 else []), path)
    return found, lowest


def _fitting(text: str, labels: Sequence[str], live: Sequence[int]) -> list[int]:
    """Return the positions among `live` of the labels that begin with the text.

    If there are none, return the longest of the labels that the text has completed.
    """
    plain = _plain(text)
    begun = [place for place in live if labels[place].startswith(plain)]
    completed = [] if begun else [place for place in live if _completed(plain, labels[place])]
    longest = max((len(labels[place]) for place in completed), default=0)
    return begun + [place for place in completed if len(labels[place]) == longest]


def _completed(plain: str, label: str) -> bool:
    return plain.startswith(label) and not plain[len(label)].isalnum()


def _plain(text: str) -> str:
    """Normalise a text: no case, and none of the marks that may precede an answer."""
    return text.casefold().lstrip(" \t\r\n\"'`*_([{:▁Ġ").rstrip()
