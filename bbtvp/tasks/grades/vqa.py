"""The soft accuracy of VQA, over the answers of several people to one question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_FEWEST = 4
"""Answers from which each of them can reach the full score without itself."""

_ARTICLES = ("a", "an", "the")
_DIGITS = {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_APOSTROPHES = re.compile("['\u2019`]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_\-><@,?!]|\.(?!\d)")


def vqa_accuracy(given: str, answers: Sequence[str]) -> float:
    """The mean over the answers of min(1, matches among the others / 3).

    Antol et al. (ICCV 2015), as their evaluation computes it: each of the ten human answers is left
    out once. Texts are compared after their rules: lower case, digits for number words, no articles
    and no punctuation. In place of their table of contractions, apostrophes are left out.
    """
    if len(answers) < _FEWEST:
        return max(vqa_match(given, answer) for answer in answers)
    said = _plain(given)
    counts = Counter(map(_plain, answers))
    total = sum(
        count * min(1.0, (counts[said] - (answer == said)) / 3) for answer, count in counts.items()
    )
    return total / len(answers)


def vqa_match(given: str, answer: str) -> float:
    """1 for the same text after the rules of `vqa_accuracy`, else 0."""
    return float(_plain(given) == _plain(answer))


def vqa_problem(answers: Sequence[str]) -> str:
    """Why these answers have no soft accuracy."""
    if len(answers) == 1 or len(answers) >= _FEWEST:
        return ""
    return (
        f"{len(answers)} answers, of which 'vqa' needs {_FEWEST} or more (ten, as published); "
        "'exact' and 'anls' take the best of a few"
    )


def _plain(text: str) -> str:
    bare = _THOUSANDS.sub("", _APOSTROPHES.sub("", text.lower()))
    words = (_DIGITS.get(word, word) for word in _PUNCTUATION.sub(" ", bare).split())
    return " ".join(word for word in words if word not in _ARTICLES)
