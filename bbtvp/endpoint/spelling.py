"""Tokens and the text that they spell.

Log-probabilities may cover more than the text of a reply: a thought, the marks that end a turn.
Their tokens may also show a vocabulary's own signs, such as "▁" for a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate

from bbtvp.endpoint.provider import Token

_MARK = re.compile(
    r"<[|\uff5c][^<>\s]*>|<[^<>\s]*[|\uff5c]>|</?s>|<(?:bos|eos|eot|pad|(?:end|start)_of_\w+)>"
    r"|\[/?(?:BOS|EOS|PAD|END|INST)\]"
)
"""A token that stands for no text, such as "<|im_end|>", "</s>" or "[EOS]"."""

_OF_A_THOUGHT = re.compile(r"(?i)think|thought|reason")


def aligned(tokens: Sequence[Token], text: str, thought: str = "") -> tuple[Token, ...]:
    """Return the tokens that spell the text of a reply, () if none do.

    The text must be the last that the tokens spell, but for marks that end a turn. What comes
    before it is cut off. thought: what the reply gives apart from its text; tokens of that alone
    spell no text.
    """
    wanted = text.strip()
    if not wanted:
        return ()
    for shown in _variants(tokens):
        spelt = "".join(token.text for token in shown)
        if spelt.strip() == wanted:
            return tuple(shown)
        start = spelt.rfind(wanted)
        apart = thought.strip()
        after = len(apart) + spelt.find(apart) if apart and apart in spelt else 0
        if start >= after and _ends(spelt[start + len(wanted) :]) and _begins(shown, start):
            return tokens_from(shown, start)
    return ()


def tokens_from(tokens: Sequence[Token], start: int) -> tuple[Token, ...]:
    """Return the tokens from a character on of the text that they spell.

    What the first of them has before that character is cut off, unless it is white space.
    """
    kept: list[Token] = []
    end = 0
    for token in tokens:
        begin = end
        end += len(token.text)
        if kept or end > start:
            kept.append(without(token, token.text[: max(start - begin, 0)]))
    return tuple(kept)


def without(token: Token, head: str) -> Token:
    """Return a token without `head`, and those of its alternatives that begin with `head`.

    A head of white space stays, since alternatives may do without it.
    """
    if not head.strip():
        return token
    top = {
        text.removeprefix(head): logprob
        for text, logprob in token.top.items()
        if text.startswith(head)
    }
    return Token(token.text.removeprefix(head), token.logprob, top)


def is_mark(text: str) -> bool:
    """Whether a token stands for no text, and ends no thought."""
    found = _MARK.fullmatch(text.strip())
    return found is not None and not _OF_A_THOUGHT.search(text)


def _ends(rest: str) -> bool:
    """Whether nothing follows but marks that end a turn. The mark that ends a thought does not."""
    return not _MARK.sub("", rest).strip() and not _OF_A_THOUGHT.search(rest)


def _begins(tokens: Sequence[Token], start: int) -> bool:
    """Whether a word begins at this character: at a token, or after what is no letter or digit."""
    spelt = "".join(token.text for token in tokens)
    if start == 0 or not (spelt[start - 1].isalnum() and spelt[start].isalnum()):
        return True
    ends = accumulate(len(token.text) for token in tokens)
    return start in ends


def _variants(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Yield the tokens as they came, without marks, and without a vocabulary's own signs."""
    yield tokens
    plain = [token for token in tokens if not is_mark(token.text)]
    yield plain
    yield readable(plain)


def readable(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the tokens without the signs that a vocabulary has for spaces and bytes, if any."""
    shown = {sign for token in tokens for text in (token.text, *token.top) for sign in text}
    if not shown.isdisjoint("ĠĊ"):
        return [_translated(token, _read_bytes) for token in tokens]
    if "\u2581" in shown:
        return [_translated(token, _read_pieces) for token in tokens]
    return tokens


def _translated(token: Token, read: Callable[[str], str]) -> Token:
    """Return a token in other signs. Of two alternatives that become equal the likelier stays."""
    shown = sorted(token.top.items(), key=lambda item: item[1])
    return Token(read(token.text), token.logprob, {read(text): logprob for text, logprob in shown})


def _read_pieces(text: str) -> str:
    """Return the text of a SentencePiece token: "▁red" is " red", "<0x0A>" a line feed."""
    byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", text)
    return chr(int(byte[1], 16)) if byte else text.replace("\u2581", " ")


def _read_bytes(text: str) -> str:
    """Return the text of a byte-level token: "Ġred" is " red"."""
    table = _byte_table()
    if not all(sign in table for sign in text):
        return text
    return bytes(table[sign] for sign in text).decode(errors="replace")


@cache
def _byte_table() -> dict[str, int]:
    """Return the byte that each character stands for in a byte-level vocabulary.

    Printable bytes stand for themselves, the others for the characters from U+0100 on (Radford et
    al., "Language models are unsupervised multitask learners", 2019, and its code).
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}
