"""A text, cut into the words by which labels are found."""

from __future__ import annotations

from functools import lru_cache

from bbtvp.tasks.replies.folding import tokens, unaccented, without_articles
from bbtvp.tasks.replies.languages import spoken


class Text:
    """A text, cut into tokens once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.all = tokens(text)
        self.tokens = without_articles(self.all)
        self.words = [token.text for token in self.tokens]
        self.bare = [unaccented(word) for word in self.words]
        self.languages = spoken(frozenset(token.text for token in self.all))


@lru_cache(maxsize=64)
def text_of(text: str) -> Text:
    """The text, cut; kept for a moment, for the steps of one reading ask for the same ones."""
    return Text(text)
