"""Label log-probabilities from what an API shows: the tokens of one reply, each with a few
alternatives.

A reply is a path. A label leaves it at the first token that is not the label's; what the
alternatives there say about the label, times the probability of the path so far, is its share.
Where the rest of the reply can only be one label, it gets the whole path. Labels among no
alternatives share what is left, but none gets more than the least alternative.

This is exact where every label differs in its first token and all are shown; else it is as good as
`top` is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bbtvp.endpoint.dialect import Token
from bbtvp.models import LabelScore

_LEAST = 1e-6
"""Probability that is left for labels which were not shown, at least."""


def label_scores(tokens: Sequence[Token], labels: Sequence[str]) -> tuple[LabelScore, ...] | None:
    """One log-probability (nats, tokens = 1) per label, in their order; None if the reply comes
    near none of them.
    """
    found, lowest = _shares(tokens, [_plain(label) for label in labels])
    if not found:
        return None
    missing = len(labels) - len(found)
    left = max(1 - sum(math.exp(share) for share in found.values()), _LEAST)
    floor = min(math.log(left / missing), lowest) if missing else 0.0
    return tuple(LabelScore(min(found.get(place, floor), 0.0), 1) for place in range(len(labels)))


def _shares(tokens: Sequence[Token], labels: Sequence[str]) -> tuple[dict[int, float], float]:
    """Log-probability by place of label, of those that were met; and the least of all alternatives."""
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
    """The live labels that begin with the text; where there are none, the longest of those that it
    has completed.
    """
    plain = _plain(text)
    begun = [place for place in live if labels[place].startswith(plain)]
    completed = [] if begun else [place for place in live if _completed(plain, labels[place])]
    longest = max((len(labels[place]) for place in completed), default=0)
    return begun + [place for place in completed if len(labels[place]) == longest]


def _completed(plain: str, label: str) -> bool:
    return plain.startswith(label) and not plain[len(label)].isalnum()


def _plain(text: str) -> str:
    """As compared: without case, and without what may stand before an answer."""
    return text.casefold().lstrip(" \t\r\n\"'`*_([{:▁Ġ").rstrip()
