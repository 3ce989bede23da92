"""Label scoring against the plain way, one forward pass per label: images per second, and how many
times as many.

    python tests/benchmarks/scoring.py [--models zoo/llava …] [--images 128] [--batch 32] [--runs 7]
    python tests/benchmarks/scoring.py --size llava-7b --device cuda [--batch 16]
        [--tokens 20000] [--dtype bfloat16]
    python tests/benchmarks/scoring.py --size qwen-3b --device cuda
        (sizes: llava-1b, qwen-3b, llava-7b, qwen-7b, llava-13b)

Ten labels, twice: all of one token, and of several. The plain way runs image, question and label
together for each label, in the same batches, keeps no cache, takes the logits of the label's tokens
only where the model can, and makes a batch's inputs once for all labels. The bare forward pass
reads image and question only. The ways alternate in one process; medians. --layers N: a model cut
to N layers for whoever has no GPU. --clock cpu counts the seconds of the processor, which other
processes on the machine do not lengthen; for models on the CPU. Memory: the peak of a way on a GPU;
on the CPU, what the process has held so far.
"""

from __future__ import annotations

import argparse
import inspect
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded

import numpy as np
import torch
from PIL import Image
from sizes import QUESTION, SIZES, drawn

from bbtvp.adapters.hf import HuggingFaceModel
from bbtvp.adapters.hf.batches import BatchSizer
from bbtvp.adapters.hf.inputs import Prompts
from bbtvp.adapters.hf.prompts import prompt_text
from bbtvp.core.rng import stream
from bbtvp.models import Model, Reply, Request, load_model
from bbtvp.zoo import scenes
from bbtvp.zoo.catalogue import members

LABELS = {
    "one token": tuple(scenes.DIGITS),
    "several tokens": (
        "red circle",
        "red square",
        "blue circle",
        "blue square",
        "green triangle",
        "yellow triangle",
        "yellow square",
        "two cats",
        "two dogs",
        "no object at all",
    ),
}


def plain(
    model: HuggingFaceModel, requests: Sequence[Request], labels: Sequence[str], batch: int
) -> torch.Tensor:
    """(requests, labels) log-probabilities, the plain way."""
    core = model.model
    processor = model.processor
    prompt = prompt_text(processor, requests[0].text)
    prompts = Prompts(processor, encoder_decoder=model.encoder_decoder, model=core)
    ids = [prompts.label_ids(requests[0].text, label) for label in labels]
    found = []
    with torch.inference_mode():
        for start in range(0, len(requests), batch):
            part = requests[start : start + batch]
            images = [[Image.fromarray(request.image)] for request in part]
            inputs = dict(
                processor(
                    images=images, text=[prompt] * len(part), return_tensors="pt", padding=True
                )
            )
            inputs.pop("labels", None)
            kept = {k: v.to(core.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
            kept = {k: v.to(core.device) for k, v in kept.items()}
            found.append(
                torch.stack([one_forward(model, kept, torch.tensor(label)) for label in ids], 1)
            )
    return torch.cat(found).cpu()


def one_forward(
    model: HuggingFaceModel, inputs: dict[str, Any], label: torch.Tensor
) -> torch.Tensor:
    """(b,) log-probabilities of one label, from one pass over all of it."""
    core = model.model
    rows = len(inputs["input_ids"])
    tail = label.to(core.device).expand(rows, -1)
    logits: torch.Tensor
    if model.encoder_decoder:
        start = torch.full_like(tail[:, :1], core.config.get_text_config().decoder_start_token_id)
        logits = core(**inputs, decoder_input_ids=torch.cat([start, tail[:, :-1]], 1)).logits
    else:
        full = {**inputs, "input_ids": torch.cat([inputs["input_ids"], tail[:, :-1]], 1)}
        full["attention_mask"] = torch.ones_like(full["input_ids"])
        # PaliGemma's answer is 1, Gemma 3's images are.
        kind = int(core.config.model_type == "paligemma")
        for key, filler in {"token_type_ids": kind, "mm_token_type_ids": 0}.items():
            if key in inputs:
                more = torch.full_like(tail[:, :-1], filler, dtype=inputs[key].dtype)
                full[key] = torch.cat([inputs[key], more], 1)
        last = (
            {"logits_to_keep": len(label)}
            if "logits_to_keep" in inspect.signature(core.forward).parameters
            else {}
        )
        logits = core(**full, use_cache=False, **last).logits[:, -len(label) :]
    return logits.float().log_softmax(-1).gather(-1, tail[..., None]).sum((1, 2))


def ours(
    model: HuggingFaceModel, requests: Sequence[Request], labels: Sequence[str], batch: int
) -> torch.Tensor:
    rows = [reply.scores or () for reply in model.query(requests) if isinstance(reply, Reply)]
    return torch.tensor([[score.logprob for score in row] for row in rows])


def bare(
    model: HuggingFaceModel, requests: Sequence[Request], labels: Sequence[str], batch: int
) -> torch.Tensor:
    """(requests,) a logit each: one forward pass of image and question, and no label at all.

    The inputs are made as for `ours`, in the same batches.
    """
    found = []
    with torch.inference_mode():
        for start in range(0, len(requests), batch):
            inputs = model._inputs(requests[start : start + batch])
            found.append(model._scorer.first(inputs)[:, 0])
    return torch.cat(found).cpu()


def peak(device: torch.device) -> float:
    """GB at most, so far: on the device, or for a CPU in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e9 if sys.platform == "darwin" else 1e6
    )


def measured(
    model: HuggingFaceModel, name: str, images: int, side: int, batch: int, runs: int, clock: str
) -> None:
    """One line for each set of labels."""
    pixels = stream(0, "bench-scoring").integers(0, 256, (images, side, side, 3), np.uint8)
    now = time.process_time if clock == "cpu" else time.perf_counter
    ways: dict[str, Callable[..., torch.Tensor]] = {"ours": ours, "plain": plain, "bare": bare}
    for kind, labels in LABELS.items():
        requests = [Request(image, QUESTION, labels) for image in pixels]
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        found = {}
        held = {}
        for (
            way,
            score,
        ) in ways.items():  # imports, first touch of memory, and the answers to compare
            if model.model.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            found[way] = score(model, requests[: 2 * batch], labels, batch)
            held[way] = peak(model.model.device)
        for _ in range(runs):
            for way, score in ways.items():
                began = now()
                score(model, requests, labels, batch)
                seconds[way].append(now() - began)
        median = {way: statistics.median(times) for way, times in seconds.items()}
        apart = float((found["ours"] - found["plain"]).abs().max())
        rate = {way: images / median[way] for way in ways}
        print(
            f"{name}, ten labels of {kind}: {rate['ours']:.3g} images/s against "
            f"{rate['plain']:.3g}, "
            f"{rate['ours'] / rate['plain']:.2f} x; "
            f"{rate['ours'] / rate['bare']:.0%} of the bare forward pass; "
            f"at most {apart:.1e} nats apart; "
            f"peak {held['ours']:.2f} GB (plain {held['plain']:.2f}); median of {runs}",
            flush=True,
        )


def main() -> None:
    """Print two lines per model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=[f"zoo/{name}" for name in members()])
    parser.add_argument(
        "--size",
        choices=SIZES,
        help="a model of this size with random weights, instead of --models",
    )
    parser.add_argument(
        "--layers",
        type=int,
        help="with --size: so many layers, of the tower and of the language model",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16", help="with --size")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--side", type=int, help="pixels; default 64, with --size 448")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if args.size:
        config, processor = SIZES[args.size](args.layers)
        name = args.size if args.layers is None else f"{args.size} cut to {args.layers} layers"
        core = drawn(config, args.device, getattr(torch, args.dtype))
        models: dict[str, Model] = {
            name: HuggingFaceModel(name, core, processor, BatchSizer(name, args.batch, args.tokens))
        }
    else:
        options = {"device": args.device, "batch": args.batch, "tokens": args.tokens}
        models = {name: load_model(name, **options) for name in args.models}
    for name, model in models.items():
        if not isinstance(model, HuggingFaceModel):
            raise SystemExit(f"{name} is not run by transformers")
        measured(
            model,
            name,
            args.images,
            args.side or (448 if args.size else 64),
            args.batch,
            args.runs,
            args.clock,
        )


if __name__ == "__main__":
    main()
