"""Graded scores of texts: edit distances, and words in common."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_THRESHOLD = 0.5
"""Normalised distance from which ANLS gives nothing."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def anls(given: str, answer: str) -> float:
    """Average normalised Levenshtein similarity of one answer (Biten et al., ICCV 2019, eq. 1).

    1 − d / (length of the longer text) where that ratio is below 0.5, else 0; case and repeated
    spaces do not count. At a ratio of exactly 0.5 the paper gives 0, as here, and the competition's
    own script 0.5.
    """
    first = _spaced(given).lower()
    second = _spaced(answer).lower()
    longest = max(len(first), len(second))
    ratio = _distance(first, second) / longest if longest else 0.0
    return 1 - ratio if ratio < _THRESHOLD else 0.0


def character_accuracy(given: str, answer: str) -> float:
    """1 − min(1, CER): the edits per character of the answer. Case counts, repeated spaces not."""
    return _accuracy(_spaced(given), _spaced(answer))


def word_accuracy(given: str, answer: str) -> float:
    """1 − min(1, WER): the edits per word of the answer. Case and punctuation count."""
    return _accuracy(_spaced(given).split(), _spaced(answer).split())


def token_f1(given: str, answer: str) -> float:
    """F1 of the words in common (SQuAD: Rajpurkar et al., EMNLP 2016).

    Case, punctuation and English articles do not count. Of two texts without words 1, of one 0.
    """
    first = _tokens(given)
    second = _tokens(answer)
    if not first or not second:
        return float(first == second)
    shared = (Counter(first) & Counter(second)).total()
    return 2 * shared / (len(first) + len(second))


def _accuracy(given: Sequence[str], answer: Sequence[str]) -> float:
    if not answer:
        return float(not given)
    return 1 - min(1.0, _distance(given, answer) / len(answer))


def _distance(first: Sequence[str], second: Sequence[str]) -> int:
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(first, second)


def _spaced(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _tokens(text: str) -> list[str]:
    kept = (char for char in text.lower() if not unicodedata.category(char).startswith("P"))
    return _ARTICLES.sub(" ", "".join(kept)).split()
