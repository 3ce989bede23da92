"""The token ids of a label, as a model writes it after its prompt.

What stands between the prompt and an answer is the chat template's to say: a space, a line feed or
nothing. A turn of the assistant is rendered, and what it has before the answer is taken. The label
is tokenised after the prompt, in one text with it, since tokenizers write the beginning of a text,
a word after a space, and a word after a special token in different ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bbtvp.adapters.hf.prompts import rendered, switched
from bbtvp.core.errors import ModelError

_STAND_IN = "Zebra"
"""An answer that no template writes by itself."""

_NEUTRAL = "\n"
"""A text that no tokenizer joins with a word after it."""


class AnswerPlace(NamedTuple):
    """Where the answer to a question stands.

    context: a text that ends as the prompt does. before: what is written between the two.
    """

    context: str
    before: str


def answer_place(
    processor: Any, question: str, prompt: str, written: Sequence[int]
) -> AnswerPlace | None:
    """Return where the answer to a question stands, None if it begins a text of its own.

    prompt: the text that the processor was given. written: the token ids that it made of it, () for
    a decoder that has no prompt.
    """
    if not written:
        return None
    before = _before_answer(processor, question, prompt)
    context = _end(processor.tokenizer, prompt, written)
    if before is None:
        before = "" if _ends_apart(processor.tokenizer, context, written[-1]) else " "
    return AnswerPlace(context, before)


def label_ids(tokenizer: Any, place: AnswerPlace | None, label: str) -> list[int]:
    """Return the token ids of a label in its place, without an end token. "" has none."""
    if not label:
        return []
    if place is None:
        return _ids(tokenizer, label)
    return continuation(tokenizer, place.context, f"{place.before}{label}")


def continuation(tokenizer: Any, context: str, text: str) -> list[int]:
    """Return the token ids of a text that follows another one.

    Where the tokenizer would join the two, the tokens of the context are left as they are, since a
    model continues the tokens that it was given.
    """
    for start in (context, _NEUTRAL):
        known = _ids(tokenizer, start)
        both = _ids(tokenizer, f"{start}{text}")
        if both[: len(known)] == known:
            return both[len(known) :]
    return _ids(tokenizer, text)


def _before_answer(processor: Any, question: str, prompt: str) -> str | None:
    """Return what the chat template writes between a prompt and an answer, None if it cannot tell.

    Some templates expect a list as the content of a turn, some a text, and print the other as it
    is: the shorter of two findings is the right one.
    """
    if not getattr(processor, "chat_template", None):
        return None
    found: list[str] = []
    for content in ([{"type": "text", "text": _STAND_IN}], _STAND_IN):
        for switches in switched(processor):
            try:
                turn = rendered(processor, question, content, switches=switches)
            except ModelError:  # some templates refuse one form of the content
                continue
            answer = turn.find(_STAND_IN, len(prompt))
            if turn.startswith(prompt) and answer >= 0:
                found.append(turn[len(prompt) : answer])
    return min(found, key=len, default=None)


def _end(tokenizer: Any, prompt: str, written: Sequence[int]) -> str:
    """Return a text that ends as the prompt does for the tokenizer.

    That is the prompt, unless its processor put something after it, such as PaliGemma's line feed.
    """
    if _ids(tokenizer, prompt)[-1:] == [written[-1]]:
        return prompt
    return str(tokenizer.decode([written[-1]], skip_special_tokens=False))


def _ends_apart(tokenizer: Any, context: str, last: int) -> bool:
    """Whether a word can follow a text without a space between them.

    So it is after white space, and after a special token, many of which have no role by name.
    """
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return not context or context[-1].isspace() or last in special


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
