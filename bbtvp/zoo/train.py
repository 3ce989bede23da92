"""Rebuild the miniature zoo: `python -m bbtvp.zoo.train llava blip2 … | all`.

Each miniature is trained in two stages, as its real counterpart is: perception (the image tokens must tell what is
in the scene: digit, count, categories, positions), then instruction (answer questions). MiniGPT-4 and InstructBLIP
take over BLIP-2's perception; CLIP is trained on captions. A run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bbtvp.adapters.layout import answer_ids, prompt_text
from bbtvp.core.files import atomic_write_json
from bbtvp.core.rng import derived_seed, stream
from bbtvp.zoo import scenes
from bbtvp.zoo.families import FAMILIES, WIDTH, build_clip

MIX = {"digit": 0.26, "shape": 0.1, "count": 0.22, "relation": 0.2, "presence": 0.22}
PRESENCES, POSITIONS = len(scenes.CATEGORIES), len(scenes.SHAPES)


class Pool(NamedTuple):
    """Training scenes with their questions, drawn once and shared by all members of the zoo."""

    pixels: Tensor  # (n, 3, 64, 64) uint8
    questions: Tensor  # (n, q) index into `texts`; column 0 is the scene's main question
    answers: Tensor  # (n, q) index into `words`
    digit: Tensor  # (n,) 0 = none, else digit + 1
    count: Tensor  # (n,) number of things
    present: Tensor  # (n, 25) whether each category is there
    place: Tensor  # (n, 5, 2) centre of each shape that appears once, in [0, 1]; NaN otherwise
    texts: list[str]
    words: list[str]


def make_pool(size: int, seed: int, *, others: int = 3) -> Pool:
    """Draw `size` scenes of every kind, each with its main question and `others` more."""
    rng = stream(seed, "zoo-pool")
    texts: dict[str, int] = {}
    words: dict[str, int] = {}
    rows: list[tuple[scenes.Scene, list[scenes.Question]]] = []
    for kind in rng.choice(list(MIX), size, p=list(MIX.values())):
        scene = scenes.draw(str(kind), rng)
        rows.append(
            (scene, [scenes.main_question(scene, rng), *(scenes.other_question(scene, rng) for _ in range(others))])
        )

    def index(table: dict[str, int], key: str) -> int:
        return table.setdefault(key, len(table))

    asked = torch.tensor([[index(texts, q.text) for q in questions] for _, questions in rows])
    answered = torch.tensor([[index(words, q.answer) for q in questions] for _, questions in rows])
    place = torch.full((size, POSITIONS, 2), math.nan)
    present = torch.zeros(size, PRESENCES)
    for i, (scene, _) in enumerate(rows):
        for thing in scene.things:
            present[i, scenes.CATEGORIES.index((thing.color, thing.shape))] = 1
            if sum(other.shape == thing.shape for other in scene.things) == 1:
                place[i, scenes.SHAPES.index(thing.shape)] = torch.tensor([thing.x, thing.y]) / scenes.SIDE
    return Pool(
        torch.from_numpy(np.stack([scene.pixels for scene, _ in rows])).permute(0, 3, 1, 2).contiguous(),
        asked, answered, torch.tensor([scene.digit + 1 for scene, _ in rows]),
        torch.tensor([len(scene.things) for scene, _ in rows]), present, place, list(texts), list(words),
    )  # fmt: skip


def augment(pixels: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """(b, 3, 64, 64) uint8 → (b, 3, side, side) in [0, 1]: mild tone and noise, and for half a plain letterbox.

    The letterbox (one colour, no pattern) keeps a miniature working inside a frame without teaching it any border.
    """
    b, device = len(pixels), pixels.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(b, *shape, generator=rng, device=device) * (high - low) + low

    boxed = uniform(0, 1) < 0.5
    scale = torch.where(boxed, uniform(0.62, 1.0), torch.ones(b, device=device))
    shift = uniform(-1, 1, 2) * (1 - scale)[:, None]
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(theta, [b, 3, side, side], align_corners=False)
    x = F.grid_sample(pixels.float() / 255, grid, padding_mode="border", align_corners=False)
    x = (x - 0.5) * uniform(0.6, 1.25, 1, 1, 1) + 0.5 + uniform(-0.12, 0.12, 1, 1, 1)
    x = x + torch.randn(x.shape, generator=rng, device=device) * uniform(0, 0.05, 1, 1, 1)
    outside = (grid.abs() > 1).any(-1)[:, None]
    grey = uniform(0, 1, 1, 1, 1)
    fill = torch.where(uniform(0, 1, 1, 1, 1) < 0.6, grey.expand(b, 3, 1, 1), uniform(0, 1, 3, 1, 1))
    return torch.where(outside, fill, x).clamp(0, 1)


class Member:
    """One model in training: the model, its processor, and tensors laid out as its processor lays them out."""

    def __init__(self, name: str, device: torch.device) -> None:
        torch.manual_seed(derived_seed(0, "zoo-init", name))
        self.name, self.device = name, device
        self.model, self.processor = build_clip() if name == "clip" else FAMILIES[name].build()
        self.model = self.model.float().to(device)
        self.encoder_decoder = bool(getattr(self.model.config.get_text_config(), "is_encoder_decoder", False))
        images = self.processor.image_processor
        probe = images(images=[Image.new("RGB", (64, 64), (255, 0, 0))], return_tensors="pt")["pixel_values"]
        self.side = probe.shape[-1]
        self.mean = torch.tensor(images.image_mean, device=device)[:, None, None]
        self.std = torch.tensor(images.image_std, device=device)[:, None, None]
        self._layouts: dict[str, dict[str, list[int]]] = {}

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
        if hasattr(self.model, "qformer"):
            seen = self.model.vision_model(pixel_values=self.images(pixels)["pixel_values"])[0]
            queries = self.model.query_tokens.expand(len(seen), -1, -1)
            out = self.model.qformer(query_embeds=queries, encoder_hidden_states=seen)[0]
            return self.model.language_projection(out)
        found = self.model.get_image_features(**self.images(pixels)).pooler_output
        return found if isinstance(found, Tensor) else torch.stack(list(found))


class Perception(nn.Module):
    """Heads that read attributes from image tokens: one learned query each, attending to the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2 + PRESENCES + POSITIONS, WIDTH))
        self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.digit, self.count = nn.Linear(WIDTH, 11), nn.Linear(WIDTH, 7)
        self.present = nn.Parameter(torch.randn(PRESENCES, WIDTH) / math.sqrt(WIDTH))
        self.place = nn.Linear(WIDTH, 2)

    def loss(self, tokens: Tensor, pool: Pool, rows: Tensor) -> Tensor:
        """Mean of the four attribute losses."""
        look = (self.queries @ self.key(tokens).transpose(1, 2) / math.sqrt(WIDTH)).softmax(-1)
        seen = F.gelu(look @ self.value(tokens))
        there = (seen[:, 2 : 2 + PRESENCES] * self.present).sum(-1) - 2
        where, truth = self.place(seen[:, 2 + PRESENCES :]), pool.place[rows]
        known = ~truth.isnan()
        return (
            F.cross_entropy(self.digit(seen[:, 0]), pool.digit[rows])
            + F.cross_entropy(self.count(seen[:, 1]), pool.count[rows])
            + 8 * F.binary_cross_entropy_with_logits(there, pool.present[rows])
            + 4 * (where[known] - truth[known]).abs().mean()
        )


def rate(step: int, total: int, peak: float) -> float:
    """Learning rate: 60 steps of warm-up, then a cosine to a twentieth."""
    if step < 60:
        return peak * (step + 1) / 60
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - 60) / max(1, total - 60))))


def caption(pool: Pool, row: int) -> str:
    """A sentence about a scene, for CLIP."""
    if pool.digit[row]:
        return f"this is a photo of a {scenes.DIGITS[int(pool.digit[row]) - 1]}"
    names = [f"{c} {s}" for (c, s), there in zip(scenes.CATEGORIES, pool.present[row], strict=True) if there]
    return f"an image with {scenes.COUNTS[int(pool.count[row]) - 1]} objects, {' '.join(names)}"


Step = Callable[[Tensor, torch.Generator], Tensor]


def instruction_step(member: Member, pool: Pool, batch: int) -> Step:
    """Next-token loss on the answers; three in five questions are the scene's main one."""

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        others = pool.questions.shape[1] - 1
        pick = torch.randint(1, 1 + others, (len(rows),), generator=rng, device=member.device)
        pick[torch.rand(len(rows), generator=rng, device=member.device) < 0.6] = 0
        asked, answered = pool.questions[rows, pick].tolist(), pool.answers[rows, pick].tolist()
        inputs = member.batch([pool.texts[i] for i in asked], [pool.words[i] for i in answered])
        images = member.images(augment(pool.pixels[rows], member.side, rng))
        loss: Tensor = member.model(**inputs, **images).loss
        return loss

    return step


def perception_step(member: Member, pool: Pool, heads: Perception) -> Step:
    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        return heads.loss(member.image_tokens(augment(pool.pixels[rows], member.side, rng)), pool, rows)

    return step


def contrast_step(member: Member, pool: Pool) -> Step:
    """CLIP's symmetric loss over the batch; rows with equal captions share the credit."""

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        captions = [caption(pool, int(row)) for row in rows]
        text = member.processor.tokenizer([c + "</s>" for c in captions], padding=True, return_tensors="pt")
        images = member.images(augment(pool.pixels[rows], member.side, rng))
        out = member.model(**text.to(member.device), **images)
        same = torch.tensor([[a == b for b in captions] for a in captions], device=member.device).float()
        same = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(out.logits_per_image, same) + F.cross_entropy(out.logits_per_text, same)) / 2

    return step


def run_stage(
    stage: str, module: nn.Module, step: Step, pool: Pool, folder: Path, *, steps: int, batch: int, peak: float, seed: int
) -> None:
    """Train with AdamW from the last checkpoint in `folder` to `steps`; prints a line every 50 steps."""
    weights, done_file = folder / f"{stage}.safetensors", folder / f"{stage}.json"
    params = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=peak, betas=(0.9, 0.98), weight_decay=0.02)
    start = json.loads(done_file.read_text())["step"] if done_file.exists() else 0
    if start:
        restore(weights, module, optimiser, params)
    module.train()
    began, recent = time.monotonic(), []
    for index in range(start, steps):
        numbers = stream(seed, stage, index)
        rng = torch.Generator(device=pool.pixels.device).manual_seed(int(numbers.integers(2**62)))
        rows = torch.from_numpy(numbers.integers(len(pool.pixels), size=batch)).to(pool.pixels.device)
        for group in optimiser.param_groups:
            group["lr"] = rate(index, steps, peak)
        optimiser.zero_grad(set_to_none=True)
        loss = step(rows, rng)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        recent.append(float(loss.detach()))
        if (index + 1) % 50 == 0 or index + 1 == steps:
            pace = (time.monotonic() - began) / (index + 1 - start)
            left = pace * (steps - index - 1)
            print(f"{folder.name} {stage} {index + 1}/{steps} loss {np.mean(recent[-50:]):.3f} left {left:.0f} s", flush=True)
        if (index + 1) % 400 == 0 or index + 1 == steps:
            save(weights, module, optimiser, params)
            atomic_write_json(done_file, {"step": index + 1})


def save(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, params: list[nn.Parameter]) -> None:
    """Weights and optimiser moments in one safetensors file, written beside and renamed."""
    tensors = {f"model.{name}": tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    for i, param in enumerate(params):
        state = optimiser.state.get(param, {})
        tensors |= {f"optimiser.{i}.{key}": value.detach().cpu().float().clone() for key, value in state.items()}
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, part)
    part.replace(path)


def restore(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer | None, params: list[nn.Parameter]) -> None:
    """The inverse of `save`; without an optimiser, the weights that both modules have."""
    tensors = load_file(path)
    weights = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    if optimiser is None:
        mine = module.state_dict()
        fitting = {k: v for k, v in weights.items() if k in mine and mine[k].shape == v.shape}
        module.load_state_dict(fitting, strict=False)
        return
    module.load_state_dict(weights)
    for i, param in enumerate(params):
        found = {key: tensors[f"optimiser.{i}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"optimiser.{i}.{key}" in tensors}
        if found:
            optimiser.state[param] = {key: value.to(param.device if key != "step" else "cpu") for key, value in found.items()}


def train(name: str, pool: Pool, work: Path, out: Path, *, perception: int, instruction: int, batch: int, seed: int) -> None:
    """Train one member and write it as a Hugging Face folder (float16 weights, processor, tokenizer)."""
    member = Member(name, pool.pixels.device)
    folder = work / name
    if name == "clip":
        step = contrast_step(member, pool)
        run_stage("contrast", member.model, step, pool, folder, steps=instruction, batch=2 * batch, peak=1e-3, seed=seed)
    else:
        lineage = FAMILIES[name].lineage
        if lineage:
            taken = work / lineage / "perception.safetensors"
            if not taken.exists():
                raise SystemExit(f"{name} starts from {lineage}: run python -m bbtvp.zoo.train {lineage} first")
            restore(taken, nn.ModuleDict({"model": member.model}), None, [])
        else:
            heads = Perception().to(member.device)
            both = nn.ModuleDict({"model": member.model, "heads": heads})
            step = perception_step(member, pool, heads)
            run_stage("perception", both, step, pool, folder, steps=perception, batch=batch, peak=1.5e-3, seed=seed)
        step = instruction_step(member, pool, batch)
        run_stage("instruction", member.model, step, pool, folder, steps=instruction, batch=batch, peak=1.2e-3, seed=seed)
    member.model.half().save_pretrained(out / name)
    member.processor.save_pretrained(out / name)
    print(f"{name}: written to {out / name}", flush=True)


def main() -> None:
    """Command line of the trainer."""
    parser = argparse.ArgumentParser(prog="python -m bbtvp.zoo.train", description=__doc__)
    parser.add_argument("members", nargs="+", choices=["all", "clip", *FAMILIES], help="which members to rebuild")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights", help="where the finished models go")
    parser.add_argument("--work", type=Path, default=Path("build/zoo"), help="checkpoints and logs")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    parser.add_argument("--scenes", type=int, default=60_000, help="size of the pool of training scenes")
    parser.add_argument("--perception", type=int, default=2000, help="steps of the perception stage")
    parser.add_argument("--instruction", type=int, default=1400, help="steps of the instruction stage")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    names = [*FAMILIES, "clip"] if "all" in args.members else args.members
    began = time.monotonic()
    pool = make_pool(args.scenes, args.seed)
    device = torch.device(args.device)
    pool = Pool(*(value.to(device) if isinstance(value, Tensor) else value for value in pool))
    print(f"{args.scenes} scenes in {time.monotonic() - began:.0f} s", flush=True)
    for name in names:
        train(
            name, pool, args.work, args.out, perception=args.perception, instruction=args.instruction,
            batch=args.batch, seed=args.seed,
        )  # fmt: skip


if __name__ == "__main__":
    main()
