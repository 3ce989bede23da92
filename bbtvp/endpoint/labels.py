"""Label log-probabilities from the tokens of one reply and the few alternatives shown for each.

The label is scored where the reply gives its answer: at its beginning, after a lead-in such as
"Answer: ", after a thought, inside JSON. A reply that gives no answer has no scores, and neither
has one whose answer cannot be found among its tokens.

From there on a reply is a path through a tree of tokens. A label leaves the path at the first token
that is not its own. Its share is the probability of the path so far, times what the alternatives at
that token give to the label. Where the rest of the reply can only be one label, that label gets the
whole path. Labels that appear among no alternatives share the rest of the probability, but none of
them gets more than the least likely alternative. An alternative of minus infinity has probability
zero, and so have the labels that it spells: they get the least log-probability that is given.

A text counts as a label under the spelling of the text reader (`tasks.fold`), and also where that
reader reads it as the label: "three" where the label is "3".

The result is exact where all labels differ in their first token and all of these tokens are shown.
Otherwise its accuracy depends on the number of alternatives.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bbtvp.endpoint.provider import Token
from bbtvp.endpoint.spelling import is_mark, readable, tokens_from
from bbtvp.models import LabelScore
from bbtvp.tasks import answer_span, fold, parse_label

_LEAST = 1e-6
"""Least probability that is left for the labels that were not shown."""

_ZERO = -700.0
"""Nats. What is less likely has probability zero: servers write minus infinity in many ways."""


def label_scores(tokens: Sequence[Token], labels: Sequence[str]) -> tuple[LabelScore, ...] | None:
    """Return one log-probability (nats, tokens = 1) per label, in their order.

    None if the text that the tokens spell gives no answer, or none that they and their alternatives
    match.
    """
    known = _labels(tuple(labels))
    found, lowest = _shares([_floored(token) for token in _answering(tokens, known)], known)
    if not found:
        return None
    missing = len(labels) - len(found)
    left = max(1 - sum(math.exp(share) for share in found.values()), _LEAST)
    floor = min(math.log(left / missing), lowest) if missing else 0.0
    return tuple(LabelScore(min(found.get(place, floor), 0.0), 1) for place in range(len(labels)))


# -- where the answer stands -----------------------------------------------------------------------
def _answering(tokens: Sequence[Token], labels: _Labels) -> Sequence[Token]:
    """Return the tokens from the answer on, () if there is none.

    White space and the like before an answer at the beginning stay: their alternatives may be
    labels. A reply that was cut within a label counts as an answer.
    """
    bare = [_unmarked(token) for token in readable(tokens)]
    text = "".join(token.text for token in bare)
    start = _answer_start(text, labels)
    if start is None:
        cut = labels.spell(text)
        return bare if cut and any(label.startswith(cut) for label in labels.spelt) else ()
    return tokens_from(bare, start) if labels.spell(text[:start]) else bare


def _answer_start(text: str, labels: _Labels) -> int | None:
    """Return where a reply first gives the answer that it is read as, None if it gives none.

    Once a reply has given its answer, its words repeat it with certainty, as in "Red, because the
    red channel is high".
    """
    span = answer_span(text, labels.given)
    if span is None:
        return None
    answer = parse_label(text, labels.given)
    while parse_label(text[: span[0]], labels.given) == answer:
        earlier = answer_span(text[: span[0]], labels.given)
        if earlier is None:
            break
        span = earlier
    start, end = span
    marks = (place for place in range(start, end) if labels.spell(text[place]))
    return next(marks, start)


def _unmarked(token: Token) -> Token:
    """Return a token with nothing in place of a mark, such as one that ends the reply."""
    if not any(map(is_mark, token.top)) and not is_mark(token.text):
        return token
    top = {"" if is_mark(text) else text: logprob for text, logprob in token.top.items()}
    return Token("" if is_mark(token.text) else token.text, token.logprob, top)


def _floored(token: Token) -> Token:
    """Return a token whose impossible alternatives have a finite log-probability.

    It is that of the least likely possible one, or less.
    """
    shown = token.top.values()
    if min(shown, default=0.0) > _ZERO and token.logprob > _ZERO:
        return token
    floor = min([math.log(_LEAST), *(logprob for logprob in shown if logprob > _ZERO)])
    top = {text: _above(logprob, floor) for text, logprob in token.top.items()}
    return Token(token.text, _above(token.logprob, floor), top)


def _above(logprob: float, floor: float) -> float:
    return logprob if logprob > _ZERO else floor


# -- shares ----------------------------------------------------------------------------------------
def _shares(tokens: Sequence[Token], labels: _Labels) -> tuple[dict[int, float], float]:
    """Return the log-probability of each label that was found, and the lowest of any alternative.

    Labels are given by their positions.
    """
    found: dict[int, float] = {}
    live: Sequence[int] = range(len(labels.given))
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
            if text != token.text and labels.spell(prefix + text):
                add(labels.fitting(prefix + text, live), path + logprob)
        path += token.logprob
        prefix += token.text
        if not labels.spell(prefix):  # white space, or a quotation mark, before the label
            continue
        live = labels.fitting(prefix, live)
        if len(live) < 2:
            break
    plain = labels.spell(prefix)
    whole = [place for place in live if labels.spelt[place] == plain]
    if plain:
        add(whole or (live if len(live) == 1 else []), path)
    return found, lowest


class _Labels(NamedTuple):
    """Labels as they are given, and as they are spelt for a comparison.

    accents: whether accents tell two of them apart.
    """

    given: tuple[str, ...]
    spelt: tuple[str, ...]
    accents: bool

    def spell(self, text: str) -> str:
        """Return a text in one spelling, without the marks that may precede an answer."""
        return _spell(text, accents=self.accents)

    def fitting(self, text: str, live: Sequence[int]) -> list[int]:
        """Return the positions among `live` of the labels that begin with the text.

        If there are none, return the longest of the labels that the text has completed, or else the
        label that the text reader reads in it.
        """
        plain = self.spell(text)
        begun = [place for place in live if self.spelt[place].startswith(plain)]
        if begun:
            return begun
        completed = [place for place in live if _completed(plain, self.spelt[place])]
        longest = max((len(self.spelt[place]) for place in completed), default=0)
        if completed:
            return [place for place in completed if len(self.spelt[place]) == longest]
        read = _read(text, self.given)
        return [place for place in live if self.given[place] == read]


@lru_cache(maxsize=4096)
def _read(text: str, labels: tuple[str, ...]) -> str | None:
    """Return what the text reader reads: the same alternatives come again and again."""
    return parse_label(text, labels)


@lru_cache(maxsize=256)
def _labels(given: tuple[str, ...]) -> _Labels:
    """Return the labels, without accents if they differ without them."""
    bare = tuple(_spell(label, accents=False) for label in given)
    if len(set(bare)) == len(given):
        return _Labels(given, bare, accents=False)
    return _Labels(given, tuple(_spell(label, accents=True) for label in given), accents=True)


_BEFORE = " \t\r\n\"'`*_([{:\u201c\u2018«「『【《〈"
"""Marks that may precede an answer."""

_ACCENTS = re.compile("[\u0300-\u036f]")


def _spell(text: str, *, accents: bool) -> str:
    plain = fold(text)
    if not accents and not plain.isascii():
        plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", plain)))
    return plain.lstrip(_BEFORE).rstrip()


def _completed(plain: str, label: str) -> bool:
    """Whether the text is the label and then something that makes it no other word or number."""
    rest = plain.removeprefix(label)
    if rest == plain or not rest:
        return False
    return not rest[0].isalnum() and not (label[-1:].isdecimal() and _DECIMALS.match(rest))


_DECIMALS = re.compile(r"[.,]\d")
