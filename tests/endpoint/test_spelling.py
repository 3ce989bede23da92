"""Only the tokens that spell a reply's text are used."""

from __future__ import annotations

import pytest

from bbtvp.endpoint.provider import Token
from bbtvp.endpoint.spelling import aligned, tokens_from


def tokens(*texts: str) -> list[Token]:
    return [Token(text, -0.5, {text: -0.5}) for text in texts]


def spelt(found: tuple[Token, ...]) -> list[str]:
    return [token.text for token in found]


@pytest.mark.parametrize(
    ("pieces", "text", "kept"),
    [
        (("red",), "red", ["red"]),
        ((" red", "\n"), "red", [" red", "\n"]),
        (("It", " is", " red", "."), "It is red.", ["It", " is", " red", "."]),
        # A thought before the text.
        (("<think>", "blue? no", "</think>", "\n\n", "red"), "red", ["red"]),
        (("blue? no", "</think>", "\n\nred"), "red", ["\n\nred"]),
        (("red, I say</think>\n\nred",), "red", ["red"]),
        (("◁think▷", "hm", "◁/think▷", "Answer", ": red"), "Answer: red", ["Answer", ": red"]),
        (("[THINK]", "red", "[/THINK]", "red", "</s>"), "red", ["red", "</s>"]),
        (("analysis", "It is red.", "assistant", "final", "red"), "red", ["red"]),
        # Marks that end a turn, and marks around the text.
        (("red", "<|im_end|>", "\n"), "red", ["red", "<|im_end|>", "\n"]),
        (("red", "<end_of_turn>"), "red", ["red", "<end_of_turn>"]),
        (("<|begin|>", "dark", "<|x|>", " red"), "dark red", ["dark", " red"]),
        # The signs of a vocabulary.
        (("▁It", "▁is", "▁red"), "It is red", [" It", " is", " red"]),
        (("ĠIt", "Ġis", "ĠcafÃ©", "Ċ"), "It is café", [" It", " is", " café", "\n"]),
        (("▁red", "<0x0A>"), "red", [" red", "\n"]),
    ],
)
def test_tokens_that_spell_the_text_are_kept(
    pieces: tuple[str, ...], text: str, kept: list[str]
) -> None:
    assert spelt(aligned(tokens(*pieces), text)) == kept


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("blue",), "red"),
        ((), "red"),
        (("red",), " "),
        (("Let me see: red.",), "red"),
        (("<think>", "red", "</think>"), "red"),
        (("red", "[/THINK]"), "red"),
        (("token_id:17",), "red"),
        (("unred",), "red"),
        (("red", " or", " blue"), "red"),
    ],
)
def test_tokens_of_something_else_are_not_used(pieces: tuple[str, ...], text: str) -> None:
    assert aligned(tokens(*pieces), text) == ()


def test_tokens_of_the_thought_alone_are_not_used() -> None:
    thought = "It looks like red"
    assert aligned(tokens("It looks", " like", " red"), "red", thought) == ()
    both = tokens("It looks", " like", " red", "red")
    assert spelt(aligned(both, "red", thought)) == ["red"]


def test_a_token_that_is_cut_keeps_the_alternatives_that_begin_like_it() -> None:
    cut = Token(":red", -0.5, {":red": -0.5, ":blue": -2.0, " red": -3.0})
    assert tokens_from([*tokens("answer"), cut], 7) == (
        Token("red", -0.5, {"red": -0.5, "blue": -2.0}),
    )
    spaced = Token(" red", -0.5, {" red": -0.5, "blue": -2.0})
    assert tokens_from([*tokens("is"), spaced], 3) == (spaced,)
