"""Image tokens that `--goal cost` saves on pictures larger than need be: `python -m
tests.benchmarks.saving [SEEDS]`.

Two kinds of such pictures: scenes of the zoo enlarged to 512 and 1,024 px, and signs drawn at 1,024
x 512 px. They are asked of a miniature, of RapidOCR and of Tesseract, each billed by the rule that
a vendor publishes. Every search has 1,000 image queries; the proof has 300 test images, and its
verdict is one of non-inferiority.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

import bbtvp
from bbtvp.endpoint.images import resized
from bbtvp.models import Budget, Delivered, Model, Outcome, Request, load_model
from bbtvp.prompt.layer import Size
from bbtvp.search.canvas import sent_size
from bbtvp.search.saving import price_of
from bbtvp.verify import Rule
from tests.benchmarks.ocr import QUESTION, SETS, sign

QUERIES = 1000
TEST = 300
BICUBIC = Image.Resampling.BICUBIC
BILLED_AS = ("openai", "gpt-5.4")


class Billed(Model):
    """A model whose pictures are resized and billed as a vendor's are."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.spec = model.spec
        self.capabilities = replace(model.capabilities, image_side=None)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return self.model.query(requests, budget)

    def delivered(self, width: int, height: int) -> Delivered | None:
        scale = resized(*BILLED_AS, (width, height)).scale or 1.0
        return Delivered(round(width * scale), round(height * scale))

    def image_tokens(self, width: int, height: int) -> int | None:
        return resized(*BILLED_AS, (width, height)).tokens


def enlarged(name: str, side: int) -> bbtvp.Task:
    """A task of the zoo with its pictures enlarged."""
    task = bbtvp.load_task(name)

    def larger(samples: Sequence[bbtvp.Sample]) -> tuple[bbtvp.Sample, ...]:
        return tuple(
            replace(
                one, image=np.asarray(Image.fromarray(one.pixels()).resize((side, side), BICUBIC))
            )
            for one in samples
        )

    return replace(
        task,
        name=f"{name}, {side} px",
        train=larger(task.train),
        validation=larger((*task.validation, *task.test[TEST:])),
        test=larger(task.test[:TEST]),
    )


def signs(seed: int) -> bbtvp.Task:
    """Words on signs that were photographed closer than need be."""
    of = SETS["report"]

    def split(part: str, count: int) -> tuple[bbtvp.Sample, ...]:
        rng = random.Random(f"saving {part} {seed if part != 'test' else 0}")
        return tuple(
            bbtvp.Sample(f"{part}-{i}", word, np.asarray(sign(word, of, (1024, 512), rng)))
            for i, word in ((i, of.words[i % len(of.words)]) for i in range(count))
        )

    return bbtvp.Task(
        "signs, 1024 x 512 px",
        QUESTION,
        of.words,
        train=split("train", 64),
        validation=split("validation", 200),
        test=split("test", TEST),
    )


def cells(seed: int) -> Iterator[tuple[bbtvp.Task, str, int]]:
    """Tasks, models and image queries."""
    for side in (512, 1024):
        for name in ("zoo/shapes", "zoo/digits-dark"):
            yield enlarged(name, side), "zoo/llava", QUERIES
    for engine in ("ocr/rapidocr", "ocr/tesseract"):
        yield signs(seed), engine, QUERIES


def main(seeds: int) -> None:
    """Print a line for each cell."""
    for seed in range(seeds):
        for task, spec, queries in cells(seed):
            model = Billed(load_model(spec))
            run = bbtvp.optimize(
                task, model, goal="cost", queries=queries, prompt="tone", seed=seed
            )
            proof = bbtvp.verify(run.prompt, task, model, rule=Rule(min_gain=-0.02))
            own = Size(*task.test[0].pixels().shape[1::-1])
            sent = sent_size(run.prompt, own)
            saved = 1 - price_of(model, sent) / price_of(model, own)
            row = proof.rows[0]
            print(
                f"{task.name:32} {spec:14} seed {seed}: sent {sent.width} x {sent.height}, "
                f"{saved:.0%} of the tokens saved; {row.zero_shot:.3f} -> {row.prompted:.3f} "
                f"{np.round(row.paired.ci, 3)}: {proof.verdict.word}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
