"""A zoo model opened up: the same processor layout as through the adapter, with gradients.

For the trainer and the white-box ceilings only; nothing of the black-box path imports this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from bbtvp.adapters.hf.inputs import Prompts
from bbtvp.adapters.hf.prompts import prompt_text
from bbtvp.core.rng import derived_seed
from bbtvp.zoo.families import FAMILIES, build_clip


class Member:
    """One model with gradients, with tensors laid out as its own processor does it."""

    def __init__(self, name: str, model: Any, processor: Any, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.processor = processor
        self.model = model.float().to(device)
        self.encoder_decoder = bool(
            getattr(self.model.config.get_text_config(), "is_encoder_decoder", False)
        )
        images = self.processor.image_processor
        probe = images(images=[Image.new("RGB", (64, 64), (255, 0, 0))], return_tensors="pt")[
            "pixel_values"
        ]
        self.side = probe.shape[-1]
        self.mean = torch.tensor(images.image_mean, device=device)[:, None, None]
        self.std = torch.tensor(images.image_std, device=device)[:, None, None]
        self._layouts: dict[str, dict[str, list[int]]] = {}

    @classmethod
    def untrained(cls, name: str, device: torch.device, seed: int = 0) -> Member:
        """A new member, its weights drawn from a seed and its name."""
        # Transformers draws initial weights from the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "zoo-init", name))
            model, processor = build_clip() if name == "clip" else FAMILIES[name].build()
        return cls(name, model, processor, device)

    @classmethod
    def finished(cls, name: str, folder: Path, device: torch.device) -> Member:
        """A trained member from its Hugging Face folder."""
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        return cls(name, model, AutoProcessor.from_pretrained(folder), device)

    def images(self, pixels: Tensor) -> dict[str, Tensor]:
        """(b, 3, side, side) in [0, 1] → what the model takes as images."""
        x = (pixels - self.mean) / self.std
        if self.name != "idefics3":
            return {"pixel_values": x}
        mask = torch.ones(len(x), 1, self.side, self.side, dtype=torch.long, device=self.device)
        return {"pixel_values": x[:, None], "pixel_attention_mask": mask}

    def layout(self, question: str) -> dict[str, list[int]]:
        """Token ids and masks of a prompt, from the processor itself.

        They are cached, since the zoo asks few different questions.
        """
        if question not in self._layouts:
            text = prompt_text(self.processor, question)
            encoded = self.processor(
                images=[Image.new("RGB", (64, 64))], text=[text], return_tensors="pt"
            )
            keep = (
                "input_ids",
                "attention_mask",
                "token_type_ids",
                "qformer_input_ids",
                "qformer_attention_mask",
            )
            self._layouts[question] = {
                key: encoded[key][0].tolist() for key in keep if key in encoded
            }
        return self._layouts[question]

    @cached_property
    def _prompts(self) -> Prompts:
        return Prompts(self.processor, encoder_decoder=self.encoder_decoder, model=self.model)

    def target(self, question: str, answer: str) -> list[int]:
        """Token ids of an answer and the end token."""
        ids = self._prompts.label_ids(question, answer)
        return [*ids, self.processor.tokenizer.eos_token_id]

    def batch(self, questions: list[str], answers: list[str]) -> dict[str, Tensor]:
        """Right-padded training tensors, one row per question, with labels on the answers alone."""
        # PaliGemma's answers are of type 1, in other models what is of type 1 belongs to the image.
        kind = int(self.name == "paligemma")
        rows = []
        for question, answer in zip(questions, answers, strict=True):
            row = dict(self.layout(question))
            target = self.target(question, answer)
            if self.encoder_decoder:
                row["labels"] = target
            else:
                row["labels"] = [-100] * len(row["input_ids"]) + target
                row["input_ids"] = row["input_ids"] + target
                row["attention_mask"] = row["attention_mask"] + [1] * len(target)
                if "token_type_ids" in row:
                    row["token_type_ids"] = row["token_type_ids"] + [kind] * len(target)
            rows.append(row)
        pad = self.processor.tokenizer.pad_token_id
        fills = {
            "input_ids": pad,
            "qformer_input_ids": pad,
            "labels": -100,
            "token_type_ids": kind,
        }
        return {key: self._padded([row[key] for row in rows], fills.get(key, 0)) for key in rows[0]}

    def _padded(self, rows: list[list[int]], fill: int) -> Tensor:
        width = max(map(len, rows))
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=self.device)

    @property
    def packs(self) -> bool:
        """Whether several questions can follow one image in one row.

        Not where the image is read in the question's light (PaliGemma's prefix attention,
        InstructBLIP's Q-Former), nor with an encoder (BLIP-2's T5).
        """
        return not self.encoder_decoder and self.name not in ("paligemma", "instructblip")

    def packed(self, questions: list[list[str]], answers: list[list[str]]) -> dict[str, Tensor]:
        """One row per image: its tokens once, then each question with its answer.

        No question sees the others.

        Each question sees the image at the same positions as if it were asked alone, so the loss is
        the same as that of separate rows at a fraction of the cost.
        """
        ids = []
        labels = []
        places = []
        blocks = []
        for asked, answered in zip(questions, answers, strict=True):
            first = self.layout(asked[0])["input_ids"]
            image = self.processor.tokenizer.convert_tokens_to_ids("<image>")
            cut = len(first) - first[::-1].index(image)
            row = first[:cut]
            label = [-100] * cut
            place = list(range(cut))
            block = [0] * cut
            for number, (question, answer) in enumerate(zip(asked, answered, strict=True), start=1):
                prompt = self.layout(question)["input_ids"][cut:]
                target = self.target(question, answer)
                row = row + prompt + target
                label += [-100] * len(prompt) + target
                length = len(prompt) + len(target)
                place += range(cut, cut + length)
                block += [number] * length
            ids.append(row)
            labels.append(label)
            places.append(place)
            blocks.append(block)
        block_of = self._padded(blocks, -1)
        own = block_of[:, None, :, None] == block_of[:, None, None, :]
        allowed = (own | (block_of == 0)[:, None, None, :]) & torch.ones_like(own[0, 0]).tril()
        pad = self.processor.tokenizer.pad_token_id
        tokens = self._padded(ids, pad)
        if self.name == "gemma3":  # there all parts of an image see one another
            pictured = tokens == self.processor.tokenizer.image_token_id
            allowed = allowed | (pictured[:, None, :, None] & pictured[:, None, None, :])
        mask = torch.zeros(allowed.shape, device=self.device).masked_fill(
            ~allowed, torch.finfo(torch.float32).min
        )
        return {
            "input_ids": tokens,
            "labels": self._padded(labels, -100),
            "position_ids": self._padded(places, 0),
            "attention_mask": mask,
        }

    @property
    def tower(self) -> Any:
        """The vision tower."""
        core = getattr(self.model, "model", self.model)
        return getattr(core, "vision_tower", None) or core.vision_model

    @contextmanager
    def seen_once(self, times: int) -> Iterator[None]:
        """A context in which the tower looks at each image only once.

        Every image must stand `times` times in a row in the batch.
        """
        before = self.tower.register_forward_pre_hook(
            lambda module, args, kwargs: (
                tuple(a[::times] for a in args),
                {k: _every(v, times) for k, v in kwargs.items()},
            ),
            with_kwargs=True,
        )
        after = self.tower.register_forward_hook(
            lambda module, args, output: _repeated(output, times)
        )
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def image_tokens(self, pixels: Tensor) -> Tensor:
        """(b, t, width): the image as the language model reads it.

        Where there is a Q-Former, it gets no question.
        """
        if self.name == "clip":
            patches: Tensor = self.model.vision_model(**self.images(pixels)).last_hidden_state[
                :, 1:
            ]
            return patches
        if hasattr(self.model, "qformer"):
            seen = self.model.vision_model(pixel_values=self.images(pixels)["pixel_values"])[0]
            queries = self.model.query_tokens.expand(len(seen), -1, -1)
            text = {"input_ids": None} if self.name == "instructblip" else {}
            read = self.model.qformer(**text, query_embeds=queries, encoder_hidden_states=seen)[0]
            tokens: Tensor = self.model.language_projection(read)
            return tokens
        found = self.model.get_image_features(**self.images(pixels)).pooler_output
        return found if isinstance(found, Tensor) else torch.stack(list(found))

    def perceive(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens, and the patches of the vision tower.

        The patches, (b, side², width), are those before any projector or Q-Former.
        """
        seen: list[Tensor] = []
        hook = self.tower.register_forward_hook(
            lambda module, inputs, output: seen.append(output[0])
        )
        try:
            tokens = self.image_tokens(pixels)
        finally:
            hook.remove()
        patches = seen[0]
        return tokens, patches[:, patches.shape[1] - math.isqrt(patches.shape[1]) ** 2 :]


def _every(value: Any, times: int) -> Any:
    return value[::times] if isinstance(value, Tensor) else value


def _repeated(output: Any, times: int) -> Any:
    fields = {
        k: v.repeat_interleave(times, 0) if isinstance(v, Tensor) else v for k, v in output.items()
    }
    return type(output)(**fields)
