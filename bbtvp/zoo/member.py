"""A zoo model opened up: the same processor layout as through the adapter, with gradients.

For the trainer and the white-box ceilings only; nothing of the black-box path imports this.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from bbtvp.adapters.layout import answer_ids, prompt_text
from bbtvp.core.rng import derived_seed
from bbtvp.zoo.families import FAMILIES, build_clip


class Member:
    """One model with gradients: its processor, and tensors laid out as its processor lays them out."""

    def __init__(self, name: str, model: Any, processor: Any, device: torch.device) -> None:
        self.name, self.device, self.processor = name, device, processor
        self.model = model.float().to(device)
        self.encoder_decoder = bool(getattr(self.model.config.get_text_config(), "is_encoder_decoder", False))
        images = self.processor.image_processor
        probe = images(images=[Image.new("RGB", (64, 64), (255, 0, 0))], return_tensors="pt")["pixel_values"]
        self.side = probe.shape[-1]
        self.mean = torch.tensor(images.image_mean, device=device)[:, None, None]
        self.std = torch.tensor(images.image_std, device=device)[:, None, None]
        self._layouts: dict[str, dict[str, list[int]]] = {}

    @classmethod
    def untrained(cls, name: str, device: torch.device) -> Member:
        """A new member, its weights drawn from a seed of its own."""
        torch.manual_seed(derived_seed(0, "zoo-init", name))
        model, processor = build_clip() if name == "clip" else FAMILIES[name].build()
        return cls(name, model, processor, device)

    def images(self, pixels: Tensor) -> dict[str, Tensor]:
        """(b, 3, side, side) in [0, 1] → what the model takes as images."""
        x = (pixels - self.mean) / self.std
        if self.name != "idefics3":
            return {"pixel_values": x}
        mask = torch.ones(len(x), 1, self.side, self.side, dtype=torch.long, device=self.device)
        return {"pixel_values": x[:, None], "pixel_attention_mask": mask}

    def layout(self, question: str) -> dict[str, list[int]]:
        """Token ids and masks of a prompt, from the processor itself; cached, since the zoo asks few questions."""
        if question not in self._layouts:
            text = prompt_text(self.processor, question)
            encoded = self.processor(images=[Image.new("RGB", (64, 64))], text=[text], return_tensors="pt")
            keep = ("input_ids", "attention_mask", "token_type_ids", "qformer_input_ids", "qformer_attention_mask")
            self._layouts[question] = {key: encoded[key][0].tolist() for key in keep if key in encoded}
        return self._layouts[question]

    def batch(self, questions: list[str], answers: list[str]) -> dict[str, Tensor]:
        """Right-padded training tensors with labels on the answers alone."""
        tok, rows = self.processor.tokenizer, []
        for question, answer in zip(questions, answers, strict=True):
            row = dict(self.layout(question))
            text = prompt_text(self.processor, question)
            target = [*answer_ids(self.processor, text, answer, encoder_decoder=self.encoder_decoder), tok.eos_token_id]
            if self.encoder_decoder:
                row["labels"] = target
            else:
                row["labels"] = [-100] * len(row["input_ids"]) + target
                row["input_ids"] = row["input_ids"] + target
                row["attention_mask"] = row["attention_mask"] + [1] * len(target)
                if "token_type_ids" in row:
                    row["token_type_ids"] = row["token_type_ids"] + [1] * len(target)
            rows.append(row)
        fills = {"input_ids": tok.pad_token_id, "qformer_input_ids": tok.pad_token_id, "labels": -100, "token_type_ids": 1}

        def padded(key: str) -> Tensor:
            width = max(len(row[key]) for row in rows)
            return torch.tensor([row[key] + [fills.get(key, 0)] * (width - len(row[key])) for row in rows])

        return {key: padded(key).to(self.device) for key in rows[0]}

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """(b, t, width): the image as the language model reads it."""
        if self.name == "clip":
            return self.model.vision_model(**self.images(pixels)).last_hidden_state[:, 1:]
        if hasattr(self.model, "qformer"):
            seen = self.model.vision_model(pixel_values=self.images(pixels)["pixel_values"])[0]
            queries = self.model.query_tokens.expand(len(seen), -1, -1)
            out = self.model.qformer(query_embeds=queries, encoder_hidden_states=seen)[0]
            return self.model.language_projection(out)
        found = self.model.get_image_features(**self.images(pixels)).pooler_output
        return found if isinstance(found, Tensor) else torch.stack(list(found))

    def perceive(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens, and the vision tower's own patches (b, side², width) before any projector or Q-Former."""
        core = getattr(self.model, "model", self.model)
        tower = getattr(core, "vision_tower", None) or core.vision_model
        seen: list[Tensor] = []
        hook = tower.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
        try:
            tokens = self.image_tokens(pixels)
        finally:
            hook.remove()
        patches = seen[0]
        return tokens, patches[:, patches.shape[1] - math.isqrt(patches.shape[1]) ** 2 :]
