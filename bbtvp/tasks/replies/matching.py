"""The labels of a question, and where a text names them.

A label is named by its words in a row, whole words only, whatever their case. What would make it
another word or value is looked at: a longer label around it, a sign ("C" in "C++", "5" in "5 %"), a
hyphen ("red" in "red-brown"), a longer word in a script without spaces (良品 in 不良品).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import regex

from bbtvp.tasks.replies.boundaries import bounded, lexicon, stands_alone
from bbtvp.tasks.replies.counts import (
    enumerators,
    is_definite,
    is_limit,
    is_reference,
    is_thing,
    number_words,
    spoken_number,
)
from bbtvp.tasks.replies.folding import TextToken, fold, tokens, unaccented, without_articles
from bbtvp.tasks.replies.languages import Span, entries, languages, spans, words
from bbtvp.tasks.replies.letters import ALONE, BARE, NAMED, is_bare, is_letter, is_own_case
from bbtvp.tasks.replies.texts import Text, text_of

_DECORATION = 24
"""Characters by which a whole reply may be longer than the longest label."""

RIVAL = ""
"""Stands for a number that is none of the labels, where the labels are numbers."""


class Mention(NamedTuple):
    """A place where a text names a label. reference: as the name of something, "figure A"."""

    start: int
    end: int
    label: str
    reference: bool = False


class _Form(NamedTuple):
    """A way to write a label. language: only in replies in that language; "" in all."""

    words: tuple[str, ...]
    label: str
    language: str = ""


_ASKED = regex.compile(r"[?？]\W*$")


class Labels:
    """Labels prepared for matching: folded once.

    endings: plurals, other endings and missing accents name a label too, where they name one only.
    """

    def __init__(self, labels: tuple[str, ...], *, endings: bool = True) -> None:
        self.labels = labels
        self.tokens = {label: without_articles(tokens(label)) for label in labels}
        self.polar = _polarity(labels)
        self.letters = {label for label in labels if is_letter(label)}
        self.numbers = {
            found[0].text: label
            for label, found in self.tokens.items()
            if len(found) == 1 and found[0].kind == "number"
        }
        self.counts = len(self.numbers) == len(labels)
        self._plain = _unique((fold(label.strip()), label) for label in labels)
        self._exact = _unique((_words(found), label) for label, found in self.tokens.items())
        self._longest = max(map(len, labels)) + _DECORATION
        self._forms: dict[tuple[str, ...], list[_Form]] = defaultdict(list)
        self._bare: dict[tuple[str, ...], list[_Form]] = defaultdict(list)
        self._index_exact()
        if endings:
            self._index_similar()
        self._lengths = sorted({len(words) for words in (*self._forms, *self._bare)})

    def _index_exact(self) -> None:
        for form in (_Form(*pair) for pair in self._exact.items()):
            if form.words and form.label not in self.letters:
                self._forms[form.words].append(form)

    def _index_similar(self) -> None:
        loose: dict[tuple[str, ...], set[_Form]] = defaultdict(set)
        for known, label in self._exact.items():
            if known and label not in self.letters and label not in self.polar.values():
                for form in _inflected(known, label):
                    loose[form.words].add(form)
        for written, forms in loose.items():
            if written not in self._exact and len({form.label for form in forms}) == 1:
                self._forms[written].extend(forms)
        bare = _unique((_bare(known), label) for known, label in self._exact.items())
        for form in (_Form(*pair) for pair in bare.items()):
            if len("".join(form.words)) > 3:
                self._bare[form.words].append(form)

    def whole(self, text: str) -> str | None:
        """The label that the whole text is, decorations aside; the plain spelling first."""
        text = text.strip()
        if len(text) > self._longest:
            return None
        plain = self._plain.get(fold(text))
        if plain is not None:
            return plain
        if _ASKED.search(text):
            return None
        return self._whole_words(text) or self._whole_letter(text)

    def _whole_words(self, text: str) -> str | None:
        found = text_of(text)
        known = self._exact.get(tuple(found.words))
        if known is not None:
            return None if known in self.letters and not is_bare(text) else known
        numeral = self.numbers.get(spoken_number(text) or "") if self.counts else None
        if numeral is not None:
            return numeral
        forms = self._forms.get(tuple(found.words)) or self._bare.get(tuple(found.bare))
        return forms[0].label if forms else None

    def _whole_letter(self, text: str) -> str | None:
        match = words(ALONE).fullmatch(text)
        found = match["letter"] if match else None
        same = [label for label in self.letters if found and fold(label.strip()) == fold(found)]
        return same[0] if len(same) == 1 else None

    def is_label(self, text: str) -> bool:
        """Whether the whole text is a label."""
        return self.whole(text) is not None

    def mentions(self, text: str) -> list[Mention]:
        """Where the text names labels, in order; a label inside a longer one is left out."""
        read = text_of(text)
        found = [*self._named(read), *self._lettered(text)]
        if self.counts:
            found = list(self._counted(read))
        outer = _outer({(one.start, one.end) for one in found})
        return sorted({one for one in found if (one.start, one.end) in outer})

    def _named(self, read: Text) -> Iterator[Mention]:
        polar = set(self.polar.values())
        for at in range(len(read.tokens)):
            for form, length in self._forms_at(read, at):
                first = read.tokens[at]
                last = read.tokens[at + length - 1]
                place = (first.start, last.end)
                if "\n" in read.text[first.start : last.end]:
                    continue
                if form.label in polar and not stands_alone(read.text, place):
                    continue
                if bounded(read, at, at + length):
                    yield Mention(first.start, last.end, form.label)

    def _forms_at(self, read: Text, at: int) -> Iterator[tuple[_Form, int]]:
        for length in self._lengths:
            if at + length > len(read.words):
                break
            known = self._forms.get(tuple(read.words[at : at + length]), [])
            similar = self._bare.get(tuple(read.bare[at : at + length]), [])
            for form in known or similar:
                if not form.language or form.language in read.languages:
                    yield form, length

    def _lettered(self, text: str) -> Iterator[Mention]:
        if not self.letters:
            return
        known = {fold(label.strip()): label for label in self.letters}
        listed = enumerators(text, r"\p{L}")
        named = [found.span("letter") for found in words(NAMED).finditer(text)]
        bare = [found.span() for found in BARE.finditer(text)]
        for start, end in sorted({*named, *bare}):
            label = known.get(fold(text[start:end]))
            if label is None or start in listed or is_thing(text, start):
                continue
            if (start, end) in named or is_own_case(text, start, end):
                yield Mention(start, end, label, is_reference(text, start))

    def _counted(self, read: Text) -> Iterator[Mention]:
        """Numbers: every one in the text, those that are no label as RIVAL.

        "The two dogs" speaks of dogs that were counted before: it is a reference.
        """
        text = read.text
        listed = enumerators(text, r"\d+")
        idle = spans("not_counts", text)
        for at, token in enumerate(read.tokens):
            if token.kind != "number" or token.start in listed or not bounded(read, at, at + 1):
                continue
            if any(start <= token.start < end for start, end in idle):
                continue
            label = self.numbers.get(token.text, RIVAL)
            if label == RIVAL and self._no_rival(token):
                continue
            if is_limit(text, token.start, token.end):
                label = RIVAL
            reference = is_reference(text, token.start) or is_definite(text, token.start)
            yield Mention(token.start, token.end, label, reference)
        for start, end, value in number_words(read):
            if any(a <= start < b for a, b in idle):
                continue
            label = self.numbers.get(value, RIVAL)
            yield Mention(start, end, RIVAL if is_limit(text, start, end) else label)

    def _no_rival(self, token: TextToken) -> bool:
        """Whether a number is of another sort than the labels: whole beside fractions."""
        return token.text.isdecimal() and not any(map(str.isdecimal, self.numbers))


@lru_cache(maxsize=256)
def table(labels: tuple[str, ...]) -> Labels:
    """The labels, prepared; kept, for a task asks about the same ones again and again."""
    return Labels(labels)


@lru_cache(maxsize=1024)
def _phrase(phrase: str) -> Labels:
    return Labels((phrase,), endings=False)


def names(text: str, phrase: str) -> bool:
    """Whether `text` names `phrase`, as whole words and with the signs that matter."""
    found = _phrase(phrase)
    return found.whole(text) is not None or any(one.label for one in found.mentions(text))


def _unique(pairs: Iterable[tuple[Any, str]]) -> dict[Any, str]:
    """Key → label, without keys that two labels share."""
    found: dict[Any, set[str]] = defaultdict(set)
    for key, label in pairs:
        found[key].add(label)
    return {key: min(labels) for key, labels in found.items() if len(labels) == 1}


def _words(found: Sequence[TextToken]) -> tuple[str, ...]:
    return tuple(token.text for token in found)


def _bare(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(unaccented(word) for word in words)


def _outer(places: set[Span]) -> set[Span]:
    """The places that do not lie inside a longer one."""
    outer = set()
    reached = -1
    for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
        if end > reached:
            outer.add((start, end))
            reached = end
    return outer


def _polarity(labels: Sequence[str]) -> Mapping[str, str]:
    """Side, "yes" or "no" → the label that says so, where there is one of each."""
    sides = {
        side: [label for label in labels if fold(label.strip()) in lexicon(side)]
        for side in ("yes", "no")
    }
    if any(len(found) != 1 for found in sides.values()):
        return {}
    return {side: found[0] for side, found in sides.items()}


def _inflected(words: tuple[str, ...], label: str) -> Iterator[_Form]:
    """Plurals and endings of the last word; English ones everywhere, others in their language."""
    *head, last = words
    if len(last) < 3 or not regex.fullmatch(r"[\p{Latin}\p{Cyrillic}]+", last):
        return
    for language, listed in languages().items():
        tag = "" if language == "en" else language
        for ending, stem in listed.get("inflections", ()):
            for one, other in ((ending, stem), (stem, ending)):
                form = last.removesuffix(one) + other
                if last.endswith(one) and form != last and len(form) > 2:
                    yield _Form((*head, form), label, tag)
    for pair in entries("irregular"):
        if last in pair:
            yield _Form((*head, pair[1 - pair.index(last)]), label)
