"""A family as transformers has it: prompt and answer read together, one label at a time.

It shares no code with bbtvp's adapter. It holds the model and the processor that were built in
memory, asks by the processor's own `apply_chat_template` (or as the family's documentation asks,
where there is no template), and uses no cache, batch or padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from PIL import Image
from torch import Tensor

from bbtvp.core.arrays import Pixels
from tests.families.kit import Family, build


@final
class Reference:
    """A family's own model and processor."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.model, self.processor = build(family)
        config = self.model.config
        settings = (config, config.get_text_config())
        self.encoder_decoder = any(getattr(one, "is_encoder_decoder", False) for one in settings)
        self.begun = [] if not self.encoder_decoder else self._begun(settings)

    def inputs(self, image: Pixels, question: str) -> dict[str, Any]:
        picture = Image.fromarray(image)
        if self.family.ask is not None:
            return dict(self.family.ask(self.processor, picture, question))
        return dict(
            self.processor.apply_chat_template(
                chat_of(picture, question),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        )

    def answer_ids(self, question: str, label: str, *, fresh: bool) -> list[int]:
        """The ids of a label where a reply stands: in the template's assistant turn."""
        tokens = self.processor.tokenizer
        if self.encoder_decoder or self.family.ask is not None:
            text = label if fresh else f"{self.family.before}{label}"
            return list(tokens(text, add_special_tokens=False)["input_ids"])
        chat = chat_of(None, question)
        prompt = self.processor.apply_chat_template(chat, add_generation_prompt=True)
        reply = {"role": "assistant", "content": [{"type": "text", "text": label}]}
        whole = self.processor.apply_chat_template([*chat, reply])
        if not whole.startswith(prompt):
            raise ValueError(f"{self.family.name}: the reply does not continue the prompt")
        until = whole.index(label, len(prompt)) + len(label)
        before = tokens(prompt, add_special_tokens=False)["input_ids"]
        ids = tokens(whole[:until], add_special_tokens=False)["input_ids"]
        if ids[: len(before)] != before:
            raise ValueError(f"{self.family.name}: the reply changes the tokens of the prompt")
        return list(ids[len(before) :])

    @torch.inference_mode()
    def following(self, inputs: dict[str, Any], ids: Sequence[int]) -> Tensor:
        """(len(ids) + 1, vocabulary) log-probabilities of what follows the prompt and each id."""
        if self.family.read is not None:
            inputs = self.family.read(self.processor, inputs)
        if self.encoder_decoder:
            begun = inputs.get("decoder_input_ids", torch.tensor([self.begun]))
            read = torch.cat([begun, torch.tensor([ids], dtype=torch.long)], 1)
            given = {**inputs, "decoder_input_ids": read}
        else:
            given = self._grown(inputs, ids)
        logits = self.model(**given, use_cache=False).logits[0, -len(ids) - 1 :]
        return logits.float().log_softmax(-1)

    def _begun(self, settings: Sequence[Any]) -> list[int]:
        """What a decoder begins with: its start token, and a BOS that generation forces."""
        generation = self.model.generation_config
        starts = [getattr(one, "decoder_start_token_id", None) for one in (generation, *settings)]
        starts.append(generation.bos_token_id)  # as generation does where no start is given
        forced = generation.forced_bos_token_id
        return [
            next(start for start in starts if start is not None),
            *([] if forced is None else [forced]),
        ]

    def scores(self, image: Pixels, question: str, labels: Sequence[str]) -> list[float]:
        inputs = self.inputs(image, question)
        # A decoder that reads a prompt of its own goes on with it; any other begins a text.
        fresh = self.encoder_decoder and "decoder_input_ids" not in inputs
        found = []
        for label in labels:
            ids = self.answer_ids(question, label, fresh=fresh)
            following = self.following(inputs, ids)
            found.append(sum(float(following[i, token]) for i, token in enumerate(ids)))
        return found

    @torch.inference_mode()
    def text(self, image: Pixels, question: str, most: int) -> str:
        """The greedy reply."""
        inputs = self.inputs(image, question)
        if "decoder_input_ids" not in inputs:
            most -= len(self.begun[1:])  # a BOS that generation forces is one of its new tokens
        generation = self.model.generation_config
        if generation.forced_eos_token_id is not None:
            most -= 1
        ends = generation.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        never = generation.suppress_tokens or []
        ids: list[int] = []
        while len(ids) < most:
            following = self.following(inputs, ids)[-1]
            following[never] = -torch.inf
            token = int(following.argmax())
            if token in ends:
                break
            ids.append(token)
        return str(self.processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _grown(self, inputs: dict[str, Any], ids: Sequence[int]) -> dict[str, Any]:
        """Inputs of the prompt and an answer: what runs along the sequence grows with it."""
        width = inputs["input_ids"].shape[1]
        grown = dict(inputs)
        for name, value in inputs.items():
            if name == "input_ids":
                more = torch.tensor([ids], dtype=torch.long)
            elif not isinstance(value, Tensor) or value.shape[:2] != (1, width):
                continue
            elif name in ("cross_attention_mask", "image_attention_mask"):
                more = value[:, -1:].expand(1, len(ids), *value.shape[2:])
            else:
                fill = 1 if name == "attention_mask" else self.family.grow.get(name, 0)
                more = value.new_full((1, len(ids), *value.shape[2:]), fill)
            grown[name] = torch.cat([value, more], 1)
        return grown


def chat_of(image: Any, question: str) -> list[dict[str, Any]]:
    shown = {"type": "image"} if image is None else {"type": "image", "image": image}
    return [{"role": "user", "content": [shown, {"type": "text", "text": question}]}]
