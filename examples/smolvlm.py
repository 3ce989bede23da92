r"""SmolVLM: small enough for a processor without a graphics card.

Time is then what a search costs.

Its image processor brings every image to 2048 px and cuts it into 16 squares of 512 px, with the
whole as a 17th: so a canvas of 512 px is scaled by four exactly, and a larger one takes no longer.
Memory goes with 17 pictures an answer: lower --batch if it runs out. A search on 100 image queries
shows what one takes. The miniature zoo/idefics3 stands in. With the real model and images of your
own (one sub-folder per class), on a graphics card if there is one:

    python examples/smolvlm.py --model hf/HuggingFaceTB/SmolVLM-256M-Instruct \
        --device cuda --dtype bfloat16 \
        --task photos/ --canvas 512 --batch 4
"""

from __future__ import annotations

import argparse
import time

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/idefics3", help="the model that the search asks")
    parser.add_argument(
        "--canvas", type=int, help="side of the prompted image, in pixels; else as the model has it"
    )
    parser.add_argument(
        "--batch", type=int, default=32, help="answers worked out at once; fewer take less memory"
    )
    parser.add_argument(
        "--task",
        default="zoo/digits-low-contrast",
        help="zoo/NAME, an image folder, a .csv or .jsonl",
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=600, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="smolvlm.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype, batch=args.batch)
    task = bbtvp.load_task(args.task, limit=args.limit)
    began = time.monotonic()
    run = bbtvp.optimize(task, model, budget=args.queries, canvas=args.canvas, seed=args.seed)
    asked = sum(run.queries.values())
    seconds = time.monotonic() - began
    print(
        f"{asked} image queries on a canvas of {run.prompt.space.canvas} px, {seconds / asked:.3f} "
        "s each"
    )
    run.save(args.out)
    print(f"saved {args.out}")
    (row,) = bbtvp.verify(run.prompt, task, [model], source=model.spec, seed=args.seed).rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )


if __name__ == "__main__":
    main()
