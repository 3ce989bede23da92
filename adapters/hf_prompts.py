"""How a question becomes the text and the tokens that a Hugging Face model was trained on."""

from __future__ import annotations

from typing import Any


def prompt_text(processor: Any, question: str) -> str:
    """Return the full text prompt for one image and one question, with the image placeholder.

    A chat template is used where the processor has one. Otherwise the placeholder comes first,
    except for processors of the BLIP-2 family, which insert it themselves.
    """
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        chat = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
    if hasattr(processor, "num_query_tokens"):
        return question
    return f"{processor.image_token}{question}"


def answer_ids(processor: Any, prompt: str, answer: str, *, encoder_decoder: bool) -> list[int]:
    """Return the token ids of an answer as the model would write it, without the end token.

    A decoder-only model continues the prompt, so a word is preceded by a space unless the prompt
    already ends a line. The decoder of an encoder-decoder model starts a new text.
    """
    # PaliGemma's processor ends every prompt with a line feed of its own.
    fresh = (
        encoder_decoder or prompt[-1:].isspace() or type(processor).__name__ == "PaliGemmaProcessor"
    )
    text = answer if fresh else f" {answer}"
    return list(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
