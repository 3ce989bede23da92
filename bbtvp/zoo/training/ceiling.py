"""White-box ceilings: what a frame could do if the model gave gradients.

They are a reference, not part of the black-box path.

`python -m bbtvp.zoo.training.ceiling --out ceilings.json` trains, for each miniature and task,
TVP's frame (arXiv 2404.11207: image 164/224 of the canvas, one variable per frame pixel and
channel) on the full training split:

    VP    L = NLL of the answer
    TVP   L = NLL + w_fca · FCA − w_tse · TSE
    (FCA on the model's own image tokens, TSE from zoo/clip)
    δ ← δ − lr · mask · g / ‖g‖₂
    (TVP's update; lr scaled to the number of frame pixels)

Unlike the paper's, the frame is kept in gamut after each step and is scored as uint8 pixels through
the adapter, because only that can be deployed (methods that leave the gamut lose about half of
their values on the way out).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bbtvp.core.arrays import Pixels
from bbtvp.core.files import atomic_write_json
from bbtvp.core.rng import stream
from bbtvp.models import load_model
from bbtvp.prompt import Placement, PromptSpace
from bbtvp.search import LogProbReader, ask
from bbtvp.stats import paired_gain
from bbtvp.surrogate import wording
from bbtvp.tasks import Sample, Task
from bbtvp.zoo import suites, tasks
from bbtvp.zoo.catalogue import members, surrogate, weights
from bbtvp.zoo.member import Member

CANVAS = 64
PER_PIXEL_STEP = 10 / math.sqrt(69_840)
"""TVP's learning rate of 10, as a step per frame variable."""


def geometry() -> PromptSpace:
    """TVP's placement on the zoo's canvas; the frame starts mid grey."""
    return PromptSpace((Placement(164 / 224),), CANVAS)


def batches(n: int, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Shuffled epochs, cut into batches."""
    rng = stream(seed, "ceiling")
    order: list[int] = []
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(n).tolist()
        yield [order.pop() for _ in range(size)]


def train_frame(
    member: Member, task: Task, *, fca: float, tse: float, steps: int, batch: int, clip: Any = None
) -> Pixels:
    """(CANVAS, CANVAS, 3) uint8 frame, grey inside, trained with the model's gradients."""
    space = geometry()
    placed = torch.from_numpy(
        np.stack([space.render(space.neutral(), s.pixels()) for s in task.train])
    )
    placed = placed.permute(0, 3, 1, 2).float() / 255
    box = space.geometry.box
    mask = torch.ones(1, 1, CANVAS, CANVAS)
    mask[..., box.top : box.bottom, box.left : box.right] = 0
    frame = torch.full((1, 3, CANVAS, CANVAS), 0.5, requires_grad=True)
    rate = PER_PIXEL_STEP * math.sqrt(3 * float(mask.sum()))
    for index, rows in enumerate(batches(len(task.train), batch, steps, 0)):
        prompted = placed[rows] * (1 - mask) + frame * mask
        samples = [task.train[i] for i in rows]
        loss = member_loss(member, task, samples, prompted)
        if fca:
            loss = loss + fca * consistency(member, prompted, placed[rows])
        if tse:
            loss = loss - tse * semantics(clip, prompted, samples)
        (gradient,) = torch.autograd.grad(loss, frame)
        with torch.no_grad():
            step = rate * 0.5 * (1 + math.cos(math.pi * index / steps))
            frame -= step * mask * gradient / (gradient.norm() + 1e-10)
            frame.clamp_(0, 1)
    found: Pixels = (frame.detach()[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return found


def fit(images: Tensor, side: int) -> Tensor:
    """What a processor's resize does, differentiably."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(
        images, (side, side), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)


def member_loss(member: Member, task: Task, samples: list[Sample], prompted: Tensor) -> Tensor:
    """Mean token NLL of the true answers."""
    inputs = member.batch([task.ask(s) for s in samples], [s.answer for s in samples])
    loss: Tensor = member.model(**inputs, **member.images(fit(prompted, member.side))).loss
    return loss


def consistency(member: Member, prompted: Tensor, clean: Tensor) -> Tensor:
    """TVP's FCA on the model's own image tokens, relative to their norm."""
    with torch.no_grad():
        wanted = member.image_tokens(fit(clean, member.side))
    seen = member.image_tokens(fit(prompted, member.side))
    distance: Tensor = (seen - wanted).norm(dim=-1).mean() / wanted.norm(dim=-1).mean()
    return distance


def semantics(clip: Any, prompted: Tensor, samples: list[Sample]) -> Tensor:
    """TVP's TSE, a cosine in [−1, 1]."""
    images = clip.processor.image_processor
    mean, std = (torch.tensor(v)[:, None, None] for v in (images.image_mean, images.image_std))
    side = clip.model.config.vision_config.image_size
    seen = clip.model.vision_model(pixel_values=(fit(prompted, side) - mean) / std).pooler_output
    embedded = F.normalize(clip.model.visual_projection(seen), dim=-1)
    texts = clip.embedded([wording(s.answer) for s in samples])
    cosine: Tensor = (embedded * texts).sum(-1)
    return cosine.mean()


def cell(name: str, task: Task, *, steps: int, batch: int, clip: Any) -> dict[str, Any]:
    """Zero-shot, empty frame, VP and TVP on the test split of one task, for one miniature."""
    adapter = load_model(f"zoo/{name}")
    opened = Member(name, adapter.model, adapter.processor, torch.device("cpu"))  # type: ignore[attr-defined]
    opened.model.requires_grad_(False)
    space = geometry()
    reader = LogProbReader()
    raw = [sample.pixels() for sample in task.test]
    placed = [space.render(space.neutral(), pixels) for pixels in raw]
    box = space.geometry.box

    def framed(frame: Pixels) -> list[Pixels]:
        images = [frame.copy() for _ in placed]
        for image, inner in zip(images, placed, strict=True):
            box.of(image)[:] = box.of(inner)
        return images

    def correct(images: list[Pixels]) -> np.ndarray:
        return ask(adapter, reader, task, task.test, images=images).correct

    before = correct(raw)
    row: dict[str, Any] = {
        "model": f"zoo/{name}",
        "task": task.name,
        "chance": tasks.chance(task),
        "zero_shot": float(before.mean()),
        "empty_frame": float(correct(placed).mean()),
    }
    for method, fca, tse in (("vp", 0.0, 0.0), ("tvp", 0.05, 0.5)):
        frame = train_frame(opened, task, fca=fca, tse=tse, steps=steps, batch=batch, clip=clip)
        gain = paired_gain(before, correct(framed(frame)))
        row |= {method: gain.after, f"{method}_gain_ci95": list(gain.ci)}
    return row


def main() -> None:
    """Command line of the ceilings; continues where it was stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m bbtvp.zoo.training.ceiling", description=__doc__
    )
    parser.add_argument("--models", nargs="+", default=members(), help="miniatures, without zoo/")
    parser.add_argument("--tasks", nargs="+", default=list(suites.OLD), help="tasks, without zoo/")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=weights() / "ceilings.json")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = (
        json.loads(args.out.read_text("utf-8")) if args.out.exists() else []
    )
    done = {(row["model"], row["task"]) for row in rows}
    clip = surrogate("clip")
    clip.model.requires_grad_(False)
    for name in args.models:
        for subject in args.tasks:
            if (f"zoo/{name}", f"zoo/{subject}") in done:
                continue
            began = time.monotonic()
            rows.append(
                cell(name, tasks.load(subject), steps=args.steps, batch=args.batch, clip=clip)
            )
            atomic_write_json(args.out, rows)
            shown = " ".join(
                f"{k} {100 * rows[-1][k]:.1f}" for k in ("zero_shot", "empty_frame", "vp", "tvp")
            )
            print(f"{name} {subject}: {shown} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
