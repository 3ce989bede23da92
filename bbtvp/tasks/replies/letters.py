"""Labels of one letter: A, B, C. A capital A may be an article, and an I a pronoun."""

from __future__ import annotations

import regex

from bbtvp.tasks.replies.folding import UNSPACED
from bbtvp.tasks.replies.languages import pattern, words

BARE = regex.compile(
    r"(?<![\w'\u2019.\-&/+#@])\p{L}(?![\w'\u2019+#&/@]|\.\w|[-\u2010]\w|[-\u2212\u2013](?!\s\w|\w))"
)
_ARTICLE_LIKE = frozenset("AEIOUYÀ")


NAMED = r"""
    [(\[]\s*(?P<letter>\p{L})\s*[)\]]
    |\A[^\p{L}\p{N}]*(?P<letter>\p{L})\s?[).:](?=\s|$)
    |^[^\p{L}\p{N}]*(?P<letter>\p{L})\s?\)(?=\s|$)
    |["\u201c\u300c'](?P<letter>\p{L})["\u201d\u300d']
    |@choices@\s*["'(\u300c]?(?P<letter>[\p{L}--[aeiouy]])(?![\p{L}\p{N}'\u2019+\#-])
    |@choices@\s*["'(\u300c]?(?P<letter>[aeiouy])(?=\W*$|\s?[).,:;"']|\s+@after_letter@)
"""
"""A letter that can be nothing else, of any case: "(b)", "b)", "option b"."""

ALONE = (
    rf"\W*(?:(?:the|la|le|el|die|der|das)\s+)?(?:@choices@\W*)*(?P<letter>[\p{{L}}--{UNSPACED.pattern}])(?![-+\#\u2212])\W*"
    r"(?:@choices@)?(?:@after_polar@)?\W*"
)
"""A whole text that is a letter and decorations."""


def is_letter(label: str) -> bool:
    """Whether a label is one letter of a script with spaces."""
    bare = label.strip()
    return len(bare) == 1 and bare.isalpha() and not UNSPACED.match(bare)


_UNDECORATED = regex.compile(r"[^\p{L}\p{N}]*\p{L}[^\p{L}\p{N}]*")


def is_bare(text: str) -> bool:
    """Whether a text is one letter and marks around it."""
    return _UNDECORATED.fullmatch(text) is not None


def is_own_case(text: str, start: int, end: int) -> bool:
    """Whether a bare letter is one: a capital that is neither an article nor a pronoun."""
    letter = text[start:end]
    if not letter.isupper() and letter.upper() != letter.lower():
        return False
    if words(r"@lettered@\s+$").search(text, max(0, start - 20), start):
        return True
    following = regex.match(r"\s+(?=\p{L})", text[end:])
    if letter not in _ARTICLE_LIKE or following is None:
        return True
    return pattern("after_letter").match(text, end + following.end()) is not None
