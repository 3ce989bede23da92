"""What a new member takes over from finished ones.

Real MLLMs, too, start from a CLIP and an LLM that exist already.

The names and shapes differ between transformers' classes, the computation hardly: BLIP-2 keeps
query, key and value in one matrix, SigLIP has no class token, neither has CLIP's norm before the
first block, another image size has another grid of positions, another tokenizer other rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from bbtvp.zoo.member import Member

TOWERS = ("model.vision_tower.", "model.vision_model.", "vision_model.")
DECODERS = ("model.language_model.", "model.text_model.", "language_model.model.")
PLACES = "position_embedding.weight"
Tensors = Mapping[str, Tensor]


def inherit(parent: Member, child: Member, pixels: Tensor) -> set[str]:
    """Start `child` from `parent`: the vision tower, a Q-Former, and a decoder of the same class.

    pixels: (n, 3, side, side) in [0, 1], a few scenes as the parent sees them. Gives the names of
    the child's tensors that were taken over.
    """
    theirs = parent.model.state_dict()
    mine = child.model.state_dict()
    found = {
        name: tensor
        for name, tensor in theirs.items()
        if name.startswith(("qformer.", "query_tokens"))
    }
    found |= _tower(theirs | _normed(parent, pixels), mine)
    classes = {type(member.model.config.get_text_config()) for member in (parent, child)}
    if len(classes) == 1 and not child.encoder_decoder:
        found |= _decoder(parent, child)
    fitting = {
        k: v.reshape(mine[k].shape)
        for k, v in found.items()
        if k in mine and v.numel() == mine[k].numel()
    }
    child.model.load_state_dict(fitting, strict=False)
    return {*fitting}


def _part(tensors: Tensors, prefixes: tuple[str, ...]) -> tuple[str, dict[str, Tensor]]:
    """The prefix in use, and what is below it."""
    prefix = next(p for p in prefixes if any(name.startswith(p) for name in tensors))
    return prefix, {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _normed(parent: Member, pixels: Tensor) -> dict[str, Tensor]:
    """CLIP's norm before the first block, folded into the embeddings before it.

    Nothing for a tower without such a norm.

    A norm takes off the mean over channels and divides by the spread; the spread, which differs a
    little from patch to patch, becomes its mean over `pixels`.
    """
    norm = getattr(parent.tower, "pre_layrnorm", None)
    if norm is None:
        return {}
    with torch.no_grad():
        seen = parent.tower.embeddings(parent.images(pixels)["pixel_values"])
        gain = norm.weight / (seen.var(-1, correction=0) + norm.eps).sqrt().mean()
    prefix, given = _part(parent.model.state_dict(), TOWERS)
    patch, place, first = (
        given[f"embeddings.{name}"]
        for name in ("patch_embedding.weight", PLACES, "class_embedding")
    )
    return {
        f"{prefix}embeddings.patch_embedding.weight": (patch - patch.mean(0))
        * gain[:, None, None, None],
        f"{prefix}embeddings.patch_embedding.bias": norm.bias,
        f"{prefix}embeddings.{PLACES}": (place - place.mean(-1, keepdim=True)) * gain,
        f"{prefix}embeddings.class_embedding": (first - first.mean()) * gain + norm.bias,
    }


def _tower(theirs: Tensors, mine: Tensors) -> dict[str, Tensor]:
    (_, given) = _part(theirs, TOWERS)
    (prefix, wanted) = _part(mine, TOWERS)
    return {
        prefix + name: tensor for name, tensor in (_renamed(name, given, wanted) for name in given)
    }


def _renamed(name: str, given: Tensors, wanted: Tensors) -> tuple[str, Tensor]:
    """A tensor of one tower as another tower names and shapes it."""
    if "position_embedding" in name:
        known = next(other for other in wanted if "position_embedding" in other)
        return known, _positions(given[name].flatten(0, -2), wanted[known].flatten(0, -2).shape[0])
    if ".q_proj." in name and name not in wanted:
        three = [given[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
        return name.replace(".q_proj.", ".qkv."), torch.cat(three)
    return name if name in wanted else name.replace(".out_proj.", ".projection."), given[name]


def _positions(table: Tensor, rows: int) -> Tensor:
    """(n, w) → (rows, w): resized positions.

    The positions are those of a class token, if there is one, and of a square grid.
    """
    old = math.isqrt(len(table))
    new = math.isqrt(rows)
    grid = table[len(table) - old**2 :].T.reshape(1, -1, old, old)
    resized = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False).flatten(2)[0].T
    first = table[: len(table) - old**2]
    extra = rows - new**2
    return torch.cat(
        [first if len(first) == extra else table.new_zeros(extra, table.shape[1]), resized]
    )


def _decoder(parent: Member, child: Member) -> dict[str, Tensor]:
    theirs = parent.model.state_dict()
    mine = child.model.state_dict()
    (_, given) = _part(theirs, DECODERS)
    (prefix, wanted) = _part(mine, DECODERS)
    known = parent.processor.tokenizer.get_vocab()
    vocabulary = child.processor.tokenizer.get_vocab()
    rows = wanted["embed_tokens.weight"].clone()
    for token, index in vocabulary.items():
        if token in known:
            rows[index] = given["embed_tokens.weight"][known[token]]
    taken = {prefix + name: tensor for name, tensor in given.items()} | {
        prefix + "embed_tokens.weight": rows
    }
    # The zoo's decoders tie the two embeddings.
    return taken | {name: rows for name in mine if name.endswith("lm_head.weight")}
