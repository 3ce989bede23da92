r"""The paper's protocol (arXiv 2404.11207): one source, other targets, VP against TVP, 164 + 30 px in 224.

VP is a per-pixel frame, at 224 px of 69,840 variables; TVP is the same with FCA and TSE. Both are searched by image
queries alone on any source, and by the model's own gradients on a miniature. README.md says what differs from the
paper. By default the miniatures of the paper's families stand in; with CIFAR-10, CLEVR and real models:

    python examples/paper/paper.py --source hf/Salesforce/instructblip-vicuna-7b --surrogate hf/openai/clip-vit-base-patch32 \
        --targets hf/Salesforce/blip2-flan-t5-xl hf/Salesforce/blip2-opt-2.7b --device cuda --dtype bfloat16 \
        --tasks cifar10:data/cifar-10-batches-bin clevr:data/CLEVR_v1.0 --queries 20000 --out runs/paper-cifar10
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from bbtvp.bench import methods
from bbtvp.bench.cells import BenchCell, BenchGrid
from bbtvp.bench.run import BenchSettings, run_bench
from bbtvp.jobs.runner import BatchEvent, JobEnded, JobResult

CLIP = "zoo/clip"


def competitors(source: str, surrogate: str) -> dict[str, str]:
    """What a row is called → the method of `bbtvp bench`."""
    tvp = (
        "prompt=tvp" if source.startswith("zoo/") else "prompt=tvp,canvas=224"
    )  # a miniature has a smaller one
    black_box = {"VP": f"default[{tvp}]", "TVP": f"default+fca+tse[{tvp},surrogate={surrogate}]"}
    white_box = {"VP, gradients": "whitebox-vp", "TVP, gradients": "whitebox-tvp"}
    given = white_box if source.startswith("zoo/") else {}
    return {"empty frame": "empty-frame", **black_box, **given, "bbtvp's default": "default"}


def progress(event: BatchEvent) -> None:
    if isinstance(event, JobEnded):
        print(f"{event.number}/{event.total}: {event.result.job.name}", file=sys.stderr)


def show(name: str, ended: JobResult[BenchCell]) -> None:
    if ended.document is None:
        print(f"{ended.job.task} | {name} | failed: {ended.error}")
        return
    for row in ended.document["rows"]:
        low, high = row["gain_ci95"]
        role = "source" if row["target"] == row["source"] else "target"
        print(f"{row['task']} | {name} | {row['target']}, {role}", end=" | ")
        print(f"{row['zero_shot']:.1%} | {row['prompted']:.1%} | {100 * row['gain']:+.1f}", end=" ")
        print(f"[{100 * low:+.1f}, {100 * high:+.1f}] | {row['queries']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", default="zoo/minigpt4", help="the model that the prompts are made on"
    )
    parser.add_argument(
        "--targets", nargs="*", default=["zoo/blip2", "zoo/instructblip"], help="models never asked"
    )
    parser.add_argument(
        "--tasks", nargs="+", default=["zoo/shapes-blur", "zoo/hallucination-low-contrast"]
    )
    parser.add_argument(
        "--surrogate", default=CLIP, help="the CLIP of FCA and TSE: zoo/clip or hf/ORG/NAME"
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of each search"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; each is shown three times a row"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/paper"), help="the same command goes on from here"
    )
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    args = parser.parse_args()

    given: dict[str, Any] = {"device": args.device, "dtype": args.dtype}
    options = {name: value for name, value in given.items() if value}
    names = competitors(args.source, args.surrogate)
    axes = tuple(methods.get(name).axis for name in names.values())
    grid = BenchGrid(
        axes,
        tuple(args.tasks),
        (args.source,),
        tuple(args.targets),
        (args.queries,),
        tuple(range(args.seeds)),
    )
    called = {method: name for name, method in names.items()}
    found = run_bench(grid, BenchSettings(args.out, args.limit, options=options), watch=progress)
    print("task | prompt | model | zero-shot | prompted | gain in points, 95 % interval | queries")
    for ended in found:
        show(called[ended.job.method], ended)


if __name__ == "__main__":
    main()
