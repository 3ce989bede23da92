"""White-box references: VP and TVP by the model's own gradients, on the full training split.

They send no image query. The frames of `bbtvp.zoo.training.ceiling` become prompts, so that they
are rendered, verified and transferred like all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bbtvp.bench.method import MethodInput, MethodOutcome
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError, UsageError
from bbtvp.prompt import Frame, Placement, Prompt, PromptSpace
from bbtvp.surrogate import ClipSurrogate

INSIDE = 164 / 224


def train(job: MethodInput, constants: Mapping[str, Any]) -> MethodOutcome:
    """Train a frame on the source's gradients.

    constants: fca, tse (weights), steps, batch, surrogate. UsageError for a source that is no
    miniature.
    """
    import torch

    from bbtvp.zoo.member import Member
    from bbtvp.zoo.training.ceiling import train_frame

    provider, _, name = job.model.spec.partition("/")
    if provider != "zoo":
        raise UsageError(
            f"the white-box references need a miniature's gradients; {job.model.spec} gives none"
        )
    adapter: Any = job.model
    member = Member(name, adapter.model, adapter.processor, torch.device("cpu"))
    clip = job.surrogate(constants["surrogate"])
    if not isinstance(clip, ClipSurrogate):
        raise UsageError(f"the white-box references need a CLIP, and {clip.spec} is none")
    for part in (member.model, clip.model):
        part.requires_grad_(False)
    frame = train_frame(
        member,
        job.task,
        fca=constants["fca"],
        tse=constants["tse"],
        steps=constants["steps"],
        batch=constants["batch"],
        clip=clip,
    )
    facts = {"gradients": constants["steps"], "training images": len(job.task.train)}
    return MethodOutcome(as_prompt(frame), facts=facts)


def as_prompt(frame: Pixels) -> Prompt:
    """A prompt of TVP's geometry that renders exactly this frame around the image.

    frame: (side, side, 3) uint8.
    """
    layer = Frame("pixels")
    space = PromptSpace((Placement(INSIDE), layer), len(frame))
    box = space.geometry.box
    border = np.ones(frame.shape[:2], np.bool_)
    border[box.top : box.bottom, box.left : box.right] = False
    start = math.floor(layer.init * 255 + 0.5) / 255
    # The layer shows floor(128 + 127.5 tanh(x / 2)): aim at the middle of each level, inside the
    # range at its ends.
    aims = np.clip(frame[border].astype(np.float64) + 0.5, 0.75, 255.25)
    logits = 2 * np.arctanh((aims - 128) / 127.5)
    prompt = space.prompt(((logits - math.log(start / (1 - start))) / layer.amplitude).ravel())
    shown = prompt.render(np.zeros((8, 8, 3), np.uint8))
    if not np.array_equal(shown[border], frame[border]):
        raise BbtvpError(
            "a trained frame does not survive as a prompt: Frame's map from z to levels has changed"
        )
    return prompt
