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
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bbtvp.core.files import atomic_write_json
from bbtvp.core.rng import stream
from bbtvp.zoo import scenes
from bbtvp.zoo.families import FAMILIES, WIDTH
from bbtvp.zoo.member import Member

MIX = {"digit": 0.26, "shape": 0.1, "count": 0.22, "relation": 0.2, "presence": 0.22}
PRESENCES, POSITIONS = len(scenes.CATEGORIES), len(scenes.SHAPES)


class Pool(NamedTuple):
    """Training scenes with their questions, drawn once and shared by all members of the zoo."""

    pixels: Tensor  # (n, 3, 64, 64) uint8
    questions: Tensor  # (n, q) index into `texts`; column 0 is the scene's main question
    answers: Tensor  # (n, q) index into `words`
    digit: Tensor  # (n,) 0 = none, else digit + 1
    number: Tensor  # (n,) number of things
    present: Tensor  # (n, 25) whether each category is there
    things: Tensor  # (n, 6, 4) x, y, radius in [-1, 1] scene coordinates, category; radius 0 where there is none
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
        asked = [scenes.main_question(scene, rng), *(scenes.other_question(scene, rng) for _ in range(others))]
        rows.append((scene, asked))

    def index(table: dict[str, int], key: str) -> int:
        return table.setdefault(key, len(table))

    asked = torch.tensor([[index(texts, q.text) for q in questions] for _, questions in rows])
    answered = torch.tensor([[index(words, q.answer) for q in questions] for _, questions in rows])
    place = torch.full((size, POSITIONS, 2), math.nan)
    present = torch.zeros(size, PRESENCES)
    things = torch.zeros(size, len(scenes.COUNTS), 4)
    for i, (scene, _) in enumerate(rows):
        for j, thing in enumerate(scene.things):
            category = scenes.CATEGORIES.index((thing.color, thing.shape))
            present[i, category] = 1
            half = scenes.SIDE / 2
            things[i, j] = torch.tensor([thing.x / half - 1, thing.y / half - 1, thing.r / half, category])
            if sum(other.shape == thing.shape for other in scene.things) == 1:
                place[i, scenes.SHAPES.index(thing.shape)] = torch.tensor([thing.x, thing.y]) / scenes.SIDE
    return Pool(
        torch.from_numpy(np.stack([scene.pixels for scene, _ in rows])).permute(0, 3, 1, 2).contiguous(),
        asked, answered, torch.tensor([scene.digit + 1 for scene, _ in rows]),
        torch.tensor([len(scene.things) for scene, _ in rows]), present, things, place, list(texts), list(words),
    )  # fmt: skip


def augment(pixels: Tensor, side: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(b, 3, 64, 64) uint8 → (b, 3, side, side) in [0, 1]: mild tone and noise, and for two in five a plain letterbox.

    The letterbox (one colour, no pattern) keeps a miniature working inside a frame without teaching it any border.
    Also gives (b, 2, 3), the map from the new image's coordinates in [-1, 1] to the scene's.
    """
    b, device = len(pixels), pixels.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(b, *shape, generator=rng, device=device) * (high - low) + low

    boxed = uniform(0, 1) < 0.4
    scale = torch.where(boxed, uniform(0.62, 1.0), torch.ones(b, device=device))
    shift = uniform(-1, 1, 2) * (1 - scale)[:, None]
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(theta, [b, 3, side, side], align_corners=False)
    x = F.grid_sample(pixels.float() / 255, grid, padding_mode="border", align_corners=False)
    x = (x - 0.5) * uniform(0.75, 1.2, 1, 1, 1) + 0.5 + uniform(-0.08, 0.08, 1, 1, 1)
    x = x + torch.randn(x.shape, generator=rng, device=device) * uniform(0, 0.03, 1, 1, 1)
    outside = (grid.abs() > 1).any(-1)[:, None]
    grey = uniform(0, 1, 1, 1, 1)
    fill = torch.where(uniform(0, 1, 1, 1, 1) < 0.6, grey.expand(b, 3, 1, 1), uniform(0, 1, 3, 1, 1))
    return torch.where(outside, fill, x).clamp(0, 1), theta


class Perception(nn.Module):
    """Heads that read the scene from image tokens (one learned query per attribute), and from the tower's patches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.patch_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.queries = nn.Parameter(torch.randn(2 + PRESENCES + POSITIONS, WIDTH) / 2)
        self.key, self.value = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.digit, self.count = nn.Linear(WIDTH, 11), nn.Linear(WIDTH, 7)
        self.present = nn.Parameter(torch.randn(PRESENCES, WIDTH) / math.sqrt(WIDTH))
        self.place = nn.Linear(WIDTH, 2)
        self.shape, self.color = nn.Linear(WIDTH, 1 + len(scenes.SHAPES)), nn.Linear(WIDTH, 1 + len(scenes.COLORS))

    def loss(self, tokens: Tensor, patches: Tensor, theta: Tensor, pool: Pool, rows: Tensor) -> Tensor:
        """Sum of the losses on attributes (through the image tokens) and on what each patch shows (through the tower)."""
        tokens = self.norm(tokens)
        look = (self.queries @ self.key(tokens).transpose(1, 2) / math.sqrt(WIDTH)).softmax(-1)
        seen = look @ self.value(tokens)
        there = (seen[:, 2 : 2 + PRESENCES] * self.present).sum(-1) - 2
        where, truth = self.place(seen[:, 2 + PRESENCES :]), pool.place[rows]
        known = ~truth.isnan()
        shape, color = patch_labels(pool.things[rows], theta, patches.shape[1])
        patches = self.patch_norm(patches).flatten(0, 1)
        return (
            F.cross_entropy(self.digit(seen[:, 0]), pool.digit[rows])
            + F.cross_entropy(self.count(seen[:, 1]), pool.number[rows])
            + 8 * F.binary_cross_entropy_with_logits(there, pool.present[rows])
            + 4 * (where[known] - truth[known]).abs().mean()
            + 2 * F.cross_entropy(self.shape(patches), shape.flatten())
            + 2 * F.cross_entropy(self.color(patches), color.flatten())
        )


def patch_labels(things: Tensor, theta: Tensor, patches: int) -> tuple[Tensor, Tensor]:
    """(b, patches) shape and colour at the centre of each patch of a square grid: 0 nothing, else index + 1."""
    side = math.isqrt(patches)
    grid = F.affine_grid(theta, [len(theta), 1, side, side], align_corners=False).flatten(1, 2)
    away = (grid[:, :, None] - things[:, None, :, :2]).norm(dim=-1)
    covered = away < things[:, None, :, 2] * 1.1
    category = (covered * (things[:, None, :, 3] + 1)).amax(-1).long()
    there, colors = category > 0, len(scenes.COLORS)
    return there * ((category - 1) // colors + 1), there * ((category - 1) % colors + 1)


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
    return f"an image with {scenes.COUNTS[int(pool.number[row]) - 1]} objects, {' '.join(names)}"


Step = Callable[[Tensor, torch.Generator], Tensor]


def instruction_step(member: Member, pool: Pool) -> Step:
    """Loss on the answers to all questions about each image."""
    several = pool.questions.shape[1]

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        rows = rows[: len(rows) * 2 // 3] if member.packs else rows[: len(rows) // (4 if member.name == "paligemma" else 2)]
        asked = [[pool.texts[i] for i in row] for row in pool.questions[rows].tolist()]
        answered = [[pool.words[i] for i in row] for row in pool.answers[rows].tolist()]
        pixels = augment(pool.pixels[rows], member.side, rng)[0]
        if member.packs:
            inputs = member.packed(asked, answered)
            labels = inputs.pop("labels")
            return answer_loss(member.model(**inputs, **member.images(pixels)).logits, labels)
        inputs = member.batch([q for row in asked for q in row], [a for row in answered for a in row])
        images = {key: value.repeat_interleave(several, 0) for key, value in member.images(pixels).items()}
        with member.seen_once(several):
            loss: Tensor = member.model(**inputs, **images).loss
        return loss

    return step


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean next-token loss where there are labels; only those positions are computed."""
    wanted = labels[:, 1:]
    return F.cross_entropy(logits[:, :-1][wanted != -100], wanted[wanted != -100])


def perception_step(member: Member, pool: Pool, heads: Perception) -> Step:
    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        pixels, theta = augment(pool.pixels[rows], member.side, rng)
        tokens, patches = member.perceive(pixels)
        return heads.loss(tokens, patches, theta, pool, rows)

    return step


def contrast_step(member: Member, pool: Pool) -> Step:
    """CLIP's symmetric loss over the batch; rows with equal captions share the credit."""

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        captions = [caption(pool, int(row)) for row in rows]
        text = member.processor.tokenizer([c + "</s>" for c in captions], padding=True, return_tensors="pt")
        images = member.images(augment(pool.pixels[rows], member.side, rng)[0])
        out = member.model(**text.to(member.device), **images)
        same = torch.tensor([[a == b for b in captions] for a in captions], device=member.device).float()
        same = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(out.logits_per_image, same) + F.cross_entropy(out.logits_per_text, same)) / 2

    return step


def optimisers(module: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the hidden matrices, AdamW for embeddings, heads, norms and biases.

    From nothing, at this width, Muon needs about half of AdamW's steps.
    """
    outer = ("embed", "queries", "query_tokens", "present", "lm_head", "shared", "heads.")
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, param in module.named_parameters():
        inner = param.ndim == 2 and not any(part in name for part in outer)
        (hidden if inner else rest).append(param)
    return [
        torch.optim.Muon(hidden, lr=0.025, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.02),
    ]


def run_stage(
    stage: str, module: nn.Module, step: Step, pool: Pool, folder: Path, *, steps: int, batch: int, seed: int, peak: float = 1.0
) -> None:
    """Train from the last checkpoint in `folder` to `steps`; prints a line every 50 steps. `peak` scales the rates."""
    weights, done_file = folder / f"{stage}.safetensors", folder / f"{stage}.json"
    engines = optimisers(module)
    rates = [group["lr"] for engine in engines for group in engine.param_groups]
    params = [p for engine in engines for group in engine.param_groups for p in group["params"]]
    start = json.loads(done_file.read_text())["step"] if done_file.exists() else 0
    if start:
        restore(weights, module, engines)
    module.train()
    began, recent = time.monotonic(), []
    for index in range(start, steps):
        numbers = stream(seed, stage, index)
        rng = torch.Generator(device=pool.pixels.device).manual_seed(int(numbers.integers(2**62)))
        rows = torch.from_numpy(numbers.integers(len(pool.pixels), size=batch)).to(pool.pixels.device)
        groups = (group for engine in engines for group in engine.param_groups)
        for group, full in zip(groups, rates, strict=True):
            group["lr"] = rate(index, steps, full * peak)
        module.zero_grad(set_to_none=True)
        loss = step(rows, rng)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(params, 1.0)
        for engine in engines:
            engine.step()
        recent.append(float(loss.detach()))
        if (index + 1) % 50 == 0 or index + 1 == steps:
            left = (time.monotonic() - began) / (index + 1 - start) * (steps - index - 1)
            print(f"{folder.name} {stage} {index + 1}/{steps} loss {np.mean(recent[-50:]):.3f} left {left:.0f} s", flush=True)
        if (index + 1) % 400 == 0 or index + 1 == steps:
            save(weights, module, engines)
            atomic_write_json(done_file, {"step": index + 1})


def _states(engines: list[torch.optim.Optimizer]) -> list[tuple[torch.optim.Optimizer, nn.Parameter]]:
    return [(engine, p) for engine in engines for group in engine.param_groups for p in group["params"]]


def save(path: Path, module: nn.Module, engines: list[torch.optim.Optimizer]) -> None:
    """Weights and optimiser states in one safetensors file, written beside and renamed."""
    tensors = {f"model.{name}": tensor.detach().cpu().clone().contiguous() for name, tensor in module.state_dict().items()}
    for i, (engine, param) in enumerate(_states(engines)):
        for key, value in engine.state.get(param, {}).items():
            tensors[f"state.{i}.{key}"] = value.detach().cpu().float().clone().contiguous()
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, part)
    part.replace(path)


def restore(path: Path, module: nn.Module, engines: list[torch.optim.Optimizer]) -> None:
    """The inverse of `save`; without optimisers, only the weights that fit `module`, for a member of another class."""
    tensors = load_file(path)
    weights = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    if not engines:
        mine = module.state_dict()
        fitting = {key: value for key, value in weights.items() if key in mine and mine[key].shape == value.shape}
        module.load_state_dict(fitting, strict=False)
        return
    module.load_state_dict(weights)
    for i, (engine, param) in enumerate(_states(engines)):
        prefix = f"state.{i}."
        found = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
        if found:
            engine.state[param] = {key: value if key == "step" else value.to(param.device) for key, value in found.items()}


def train(name: str, pool: Pool, work: Path, out: Path, *, perception: int, instruction: int, batch: int, seed: int) -> None:
    """Train one member and write it as a Hugging Face folder (float16 weights, processor, tokenizer)."""
    member = Member.untrained(name, pool.pixels.device)
    folder = work / name
    lineage = FAMILIES[name].lineage if name in FAMILIES else ""
    if lineage:
        taken = work / lineage / "perception.safetensors"
        if not taken.exists():
            raise SystemExit(f"{name} starts from {lineage}: run python -m bbtvp.zoo.train {lineage} first")
        restore(taken, nn.ModuleDict({"model": member.model}), [])
    else:
        heads = Perception().to(member.device)
        both = nn.ModuleDict({"model": member.model, "heads": heads})
        step = perception_step(member, pool, heads)
        run_stage("perception", both, step, pool, folder, steps=perception, batch=batch, seed=seed)
    step = contrast_step(member, pool) if name == "clip" else instruction_step(member, pool)
    # Half the rate: perception is to be refined now, not learned again.
    run_stage("instruction", member.model, step, pool, folder, steps=instruction, batch=batch, seed=seed, peak=0.6)
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
    parser.add_argument("--perception", type=int, default=1500, help="steps of the perception stage")
    parser.add_argument("--instruction", type=int, default=700, help="steps of the instruction stage")
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
    pool = pool._replace(**{k: v.to(device) for k, v in pool._asdict().items() if isinstance(v, Tensor)})
    print(f"{args.scenes} scenes in {time.monotonic() - began:.0f} s", flush=True)
    for name in names:
        train(
            name, pool, args.work, args.out, perception=args.perception, instruction=args.instruction,
            batch=args.batch, seed=args.seed,
        )  # fmt: skip


if __name__ == "__main__":
    main()
