r"""Qwen-VL, here: a canvas that its processor takes as it is.

It looks at an image in its own size, in squares of 28 px (Qwen3-VL: 32), and resizes whatever is no
multiple of them: a canvas of 768 px would become 756. So the canvas is a multiple, and large enough
for the images; tokens grow with its square. The miniature zoo/paligemma stands in. With the real
model and images of your own (one sub-folder per class):

    python examples/qwen_vl.py --model hf/Qwen/Qwen2.5-VL-3B-Instruct \
        --device cuda --dtype bfloat16 \
        --task photos/ --canvas 448
"""

from __future__ import annotations

import argparse

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/paligemma", help="the model that the search asks")
    parser.add_argument(
        "--canvas", type=int, default=224, help="side of the prompted image, in pixels"
    )
    parser.add_argument(
        "--square", type=int, default=28, help="side of what becomes one token; 32 for Qwen3-VL"
    )
    parser.add_argument(
        "--task", default="zoo/digits-dark", help="zoo/NAME, an image folder, a .csv or .jsonl"
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=600, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="qwen_vl.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    if args.canvas % args.square:
        parser.error(
            f"a canvas of {args.canvas} px would be resized; give a multiple of {args.square}"
        )

    task = bbtvp.load_task(args.task, limit=args.limit)
    needed = max(max(sample.pixels().shape[:2]) for sample in task.train[:16])
    print(
        f"{(args.canvas // args.square) ** 2} tokens an image; the images are up to {needed} px a "
        "side"
    )
    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
    run = bbtvp.optimize(task, model, budget=args.queries, canvas=args.canvas, seed=args.seed)
    (row,) = bbtvp.verify(run.prompt, task, [model], source=model.spec, seed=args.seed).rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
