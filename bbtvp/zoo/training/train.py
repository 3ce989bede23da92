"""Rebuild the miniature zoo: `python -m bbtvp.zoo.training.train llava blip2 … | all`.

Each miniature is trained in two stages, as its real counterpart is: perception (the image tokens
must tell what is in the scene: digit, count, categories, positions), then instruction (answer
questions); CLIP is trained on captions. A member starts from the finished members that
`families.py` names as its parents, or from nothing if it names none. A member with a recipe
(`recipes.py`) is trained by it. A run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bbtvp.core.files import atomic_write_json
from bbtvp.core.rng import derived_seed, stream
from bbtvp.zoo import scenes
from bbtvp.zoo.families import FAMILIES, WIDTH
from bbtvp.zoo.member import Member
from bbtvp.zoo.training.lineage import inherit
from bbtvp.zoo.training.pool import POSITIONS, PRESENCES, Pool, augment, caption, make_pool
from bbtvp.zoo.training.recipes import RECIPES, TrainingRecipe, recipe_of


class Perception(nn.Module):
    """Heads that read the scene from image tokens and from the tower's patches.

    The image tokens are read by one learned query per attribute.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.patch_norm = nn.LayerNorm(WIDTH)
        self.queries = nn.Parameter(torch.randn(2 + PRESENCES + POSITIONS, WIDTH) / 2)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.digit = nn.Linear(WIDTH, 11)
        self.count = nn.Linear(WIDTH, 7)
        self.present = nn.Parameter(torch.randn(PRESENCES, WIDTH) / math.sqrt(WIDTH))
        self.place = nn.Linear(WIDTH, 2)
        self.shape = nn.Linear(WIDTH, 1 + len(scenes.SHAPES))
        self.color = nn.Linear(WIDTH, 1 + len(scenes.COLORS))

    def loss(
        self, tokens: Tensor, patches: Tensor, theta: Tensor, pool: Pool, rows: Tensor
    ) -> Tensor:
        """The loss of perception.

        The sum of the losses on attributes (through the image tokens) and on what each patch shows
        (in the tower).
        """
        tokens = self.norm(tokens)
        look = (self.queries @ self.key(tokens).transpose(1, 2) / math.sqrt(WIDTH)).softmax(-1)
        seen = look @ self.value(tokens)
        there = (seen[:, 2 : 2 + PRESENCES] * self.present).sum(-1) - 2
        where = self.place(seen[:, 2 + PRESENCES :])
        truth = pool.place[rows]
        known = ~truth.isnan()
        shape, color = patch_labels(pool.things[rows], theta, patches.shape[1])
        patches = self.patch_norm(patches).flatten(0, 1)
        loss: Tensor = (
            F.cross_entropy(self.digit(seen[:, 0]), pool.digit[rows])
            + F.cross_entropy(self.count(seen[:, 1]), pool.number[rows])
            + 8 * F.binary_cross_entropy_with_logits(there, pool.present[rows])
            + 4 * (where[known] - truth[known]).abs().mean()
            + 2 * F.cross_entropy(self.shape(patches), shape.flatten())
            + 2 * F.cross_entropy(self.color(patches), color.flatten())
        )
        return loss


def patch_labels(things: Tensor, theta: Tensor, patches: int) -> tuple[Tensor, Tensor]:
    """(b, patches): shape and colour at the centre of each patch of a square grid.

    0 stands for nothing, other values for the index + 1.
    """
    side = math.isqrt(patches)
    grid = F.affine_grid(theta, [len(theta), 1, side, side], align_corners=False).flatten(1, 2)
    away = (grid[:, :, None] - things[:, None, :, :2]).norm(dim=-1)
    covered = away < things[:, None, :, 2] * 1.1
    category = (covered * (things[:, None, :, 3] + 1)).amax(-1).long()
    there = category > 0
    colors = len(scenes.COLORS)
    return there * ((category - 1) // colors + 1), there * ((category - 1) % colors + 1)


def rate(step: int, total: int, peak: float) -> float:
    """Learning rate: 60 steps of warm-up, then a cosine to a twentieth."""
    if step < 60:
        return peak * (step + 1) / 60
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - 60) / max(1, total - 60))))


Step = Callable[[Tensor, torch.Generator], Tensor]


def instruction_step(member: Member, pool: Pool) -> Step:
    """Loss on the answers to questions about each image."""
    # Where each question is a row of its own, more images teach more than more questions about
    # them.
    columns = list(range(pool.questions.shape[1])) if member.packs else [0, -1]

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        rows = rows[: len(rows) * 2 // 3]
        asked = [[pool.texts[i] for i in row] for row in pool.questions[rows][:, columns].tolist()]
        answered = [[pool.words[i] for i in row] for row in pool.answers[rows][:, columns].tolist()]
        pixels = augment(pool.pixels[rows], member.side, rng)[0]
        if member.packs:
            inputs = member.packed(asked, answered)
            labels = inputs.pop("labels")
            return answer_loss(member.model(**inputs, **member.images(pixels)).logits, labels)
        inputs = member.batch(
            [q for row in asked for q in row], [a for row in answered for a in row]
        )
        images = {
            key: value.repeat_interleave(len(columns), 0)
            for key, value in member.images(pixels).items()
        }
        with member.seen_once(len(columns)):
            loss: Tensor = member.model(**inputs, **images).loss
        return loss

    return step


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean next-token loss where there are labels; only those positions are computed."""
    wanted = labels[:, 1:]
    return F.cross_entropy(logits[:, :-1][wanted != -100], wanted[wanted != -100])


def perception_step(member: Member, pool: Pool, heads: Perception) -> Step:
    """Loss on what a scene holds, read off the member's image tokens."""

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        pixels, theta = augment(pool.pixels[rows], member.side, rng)
        tokens, patches = member.perceive(pixels)
        return heads.loss(tokens, patches, theta, pool, rows)

    return step


def contrast_step(member: Member, pool: Pool) -> Step:
    """CLIP's symmetric loss over the batch; rows with equal captions share the credit."""

    def step(rows: Tensor, rng: torch.Generator) -> Tensor:
        captions = [caption(pool, int(row)) for row in rows]
        text = member.processor.tokenizer(captions, padding=True, return_tensors="pt")
        images = member.images(augment(pool.pixels[rows], member.side, rng)[0])
        out = member.model(**text.to(member.device), **images)
        same = torch.tensor(
            [[a == b for b in captions] for a in captions], device=member.device
        ).float()
        same = same / same.sum(1, keepdim=True)
        return (
            F.cross_entropy(out.logits_per_image, same) + F.cross_entropy(out.logits_per_text, same)
        ) / 2

    return step


def optimisers(module: nn.Module, slow: Iterable[nn.Parameter] = ()) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al., 2024) for the hidden matrices, AdamW for the rest.

    The rest: embeddings, heads, norms and biases.

    From nothing, at this width, Muon needs about half of AdamW's steps. `slow` (an inherited tower)
    learns at a tenth of the rate, or what it knows is gone before the rest can read it.
    """
    outer = ("embed", "queries", "query_tokens", "present", "lm_head", "shared", "heads.")
    slowly = {*slow}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, param in module.named_parameters():
        hidden = param.ndim == 2 and not any(part in name for part in outer)
        groups[hidden, param in slowly].append(param)

    def at(peak: float, *, hidden: bool) -> list[dict[str, Any]]:
        rates = {False: peak, True: peak / 10}
        return [
            {"params": groups[hidden, late], "lr": rates[late]}
            for late in rates
            if groups[hidden, late]
        ]

    return [
        torch.optim.Muon(at(0.025, hidden=True), lr=0.025, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(at(1.5e-3, hidden=False), betas=(0.9, 0.98), weight_decay=0.02),
    ]


def run_stage(
    stage: str,
    module: nn.Module,
    step: Step,
    pool: Pool,
    folder: Path,
    *,
    steps: int,
    batch: int,
    seed: int,
    peak: float = 1.0,
    slow: Iterable[nn.Parameter] = (),
) -> None:
    """Train from the last checkpoint in `folder` to `steps`; prints a line every 50 steps.

    `peak` scales the rates; for `slow` see `optimisers`.
    """
    weights = folder / f"{stage}.safetensors"
    done_file = folder / f"{stage}.json"
    engines = optimisers(module, slow)
    rates = [group["lr"] for engine in engines for group in engine.param_groups]
    params = [p for engine in engines for group in engine.param_groups for p in group["params"]]
    start = json.loads(done_file.read_text("utf-8"))["step"] if done_file.exists() else 0
    if start:
        restore(weights, module, engines)
    module.train()
    began = time.monotonic()
    recent = []
    for index in range(start, steps):
        numbers = stream(seed, stage, index)
        rng = torch.Generator(device=pool.pixels.device).manual_seed(int(numbers.integers(2**62)))
        rows = torch.from_numpy(numbers.integers(len(pool.pixels), size=batch)).to(
            pool.pixels.device
        )
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
            loss_now = np.mean(recent[-50:])
            place = f"{index + 1}/{steps}"
            print(
                f"{folder.name} {stage} {place} loss {loss_now:.3f} left {left:.0f} s", flush=True
            )
        if (index + 1) % 400 == 0 or index + 1 == steps:
            save(weights, module, engines)
            atomic_write_json(done_file, {"step": index + 1})


def _states(
    engines: list[torch.optim.Optimizer],
) -> list[tuple[torch.optim.Optimizer, nn.Parameter]]:
    return [
        (engine, p) for engine in engines for group in engine.param_groups for p in group["params"]
    ]


def save(path: Path, module: nn.Module, engines: list[torch.optim.Optimizer]) -> None:
    """Weights and optimiser states in one safetensors file, written beside and renamed."""
    tensors = {
        f"model.{name}": tensor.detach().cpu().clone().contiguous()
        for name, tensor in module.state_dict().items()
    }
    for i, (engine, param) in enumerate(_states(engines)):
        for key, value in engine.state.get(param, {}).items():
            tensors[f"state.{i}.{key}"] = value.detach().cpu().float().clone().contiguous()
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, part)
    part.replace(path)


def restore(path: Path, module: nn.Module, engines: list[torch.optim.Optimizer]) -> None:
    """The inverse of `save`."""
    tensors = load_file(path)
    module.load_state_dict(
        {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    )
    for i, (engine, param) in enumerate(_states(engines)):
        prefix = f"state.{i}."
        found = {
            key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)
        }
        if found:
            engine.state[param] = {
                key: value if key == "step" else value.to(param.device)
                for key, value in found.items()
            }


def train(name: str, recipe: TrainingRecipe, pool: Pool, work: Path, out: Path) -> None:
    """Train one member and write it as a Hugging Face folder.

    The folder holds float16 weights, the processor and the tokenizer.

    A member with parents starts from theirs in `out`. It then needs no perception stage, or a third
    of it for a Q-Former that is new. SystemExit with the command to run first if a parent is not
    there.
    """
    seed = recipe.seed
    member = Member.untrained(recipe.family, pool.pixels.device, seed)
    folder = work / name
    parents = FAMILIES[recipe.family].parents if recipe.family in FAMILIES else ()
    taken: set[str] = set()
    for parent in parents:
        if not (out / parent / "config.json").is_file():
            raise SystemExit(
                f"{name} starts from {parent}: run python -m bbtvp.zoo.training.train {parent} "
                "first"
            )
        finished = Member.finished(parent, out / parent, member.device)
        rng = torch.Generator(device=member.device).manual_seed(seed)
        taken |= inherit(finished, member, augment(pool.pixels[:256], finished.side, rng)[0])
    tower = [*member.tower.parameters()] if taken else []
    learns = partial(run_stage, pool=pool, folder=folder, batch=recipe.batch, seed=seed, slow=tower)
    if not taken or (hasattr(member.model, "qformer") and "query_tokens" not in taken):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "zoo-heads", recipe.family))
            heads = Perception().to(member.device)
        both = nn.ModuleDict({"model": member.model, "heads": heads})
        steps = math.ceil(recipe.perception / 3) if taken else recipe.perception
        learns("perception", both, perception_step(member, pool, heads), steps=steps)
    captions = recipe.family == "clip"
    step = contrast_step(member, pool) if captions else instruction_step(member, pool)
    # Half the rate: perception is to be refined now, not learned again.
    learns("instruction", member.model, step, steps=recipe.instruction, peak=0.6)
    if recipe.refinement:
        learns("refinement", member.model, step, steps=recipe.refinement, peak=0.6)
    member.model.half().save_pretrained(out / name)
    member.processor.save_pretrained(out / name)
    print(f"{name}: written to {out / name}", flush=True)


def main() -> None:
    """Command line of the trainer."""
    known = [*(family for family in FAMILIES if family not in RECIPES), "clip", *RECIPES]
    parser = argparse.ArgumentParser(prog="python -m bbtvp.zoo.training.train", description=__doc__)
    parser.add_argument(
        "members", nargs="+", choices=["all", *known], help="which members to rebuild"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[1] / "weights",
        help="where the finished models go",
    )
    parser.add_argument("--work", type=Path, default=Path("build/zoo"), help="checkpoints and logs")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    of_recipe = parser.add_argument_group("recipe", "what replaces the member's own recipe")
    of_recipe.add_argument("--scenes", type=int, help="size of the pool of training scenes")
    of_recipe.add_argument("--perception", type=int, help="steps of the perception stage")
    of_recipe.add_argument("--instruction", type=int, help="steps of the instruction stage")
    of_recipe.add_argument("--refinement", type=int, help="steps of more instruction after it")
    of_recipe.add_argument("--batch", type=int, help="scenes of a step")
    of_recipe.add_argument("--threads", type=int, help="CPU threads (0: all)")
    of_recipe.add_argument("--seed", type=int)
    args = parser.parse_args()
    given = {
        field: getattr(args, field)
        for field in TrainingRecipe._fields
        if getattr(args, field, None) is not None
    }
    device = torch.device(args.device)
    for name in known if "all" in args.members else args.members:
        recipe = recipe_of(name)._replace(**given)
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        train(name, recipe, _pool(recipe, device), args.work, args.out)


@lru_cache(maxsize=1)
def _drawn(scenes: int, seed: int) -> Pool:
    began = time.monotonic()
    pool = make_pool(scenes, seed)
    print(f"{scenes} scenes in {time.monotonic() - began:.0f} s", flush=True)
    return pool


def _pool(recipe: TrainingRecipe, device: torch.device) -> Pool:
    """The scenes of a recipe; those of the last one are kept."""
    return _drawn(recipe.scenes, recipe.seed).to(device)


if __name__ == "__main__":
    main()
