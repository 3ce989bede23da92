r"""InternVL: one prompt searched on two sources at once.

Such a prompt carries further than one that was searched on a single model.

The loss is that of the source where it is worse, so no gain is bought at the other's expense; an
image costs a query of each. A canvas of 448 px is one tile of InternVL; a larger one may be cut
into tiles, and the prompt with it. The miniatures zoo/llava and zoo/paligemma stand in, and
zoo/minigpt4 is never searched on. With real models and images of your own (one sub-folder per
class):

    python examples/internvl.py --model hf/OpenGVLab/InternVL3-1B-hf \
        --device cuda --dtype bfloat16 \
        --second hf/OpenGVLab/InternVL3-2B-hf --also hf/OpenGVLab/InternVL3-8B-hf --task photos/
        --canvas 448
"""

from __future__ import annotations

import argparse

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="zoo/llava", help="a source: a model that the search asks"
    )
    parser.add_argument("--second", default="zoo/paligemma", help="the other source")
    parser.add_argument(
        "--also",
        nargs="*",
        default=["zoo/minigpt4"],
        help="targets: models that only the proof asks",
    )
    parser.add_argument(
        "--task",
        default="zoo/digits-low-contrast",
        help="zoo/NAME, an image folder, a .csv or .jsonl",
    )
    parser.add_argument(
        "--canvas",
        type=int,
        help="side of the prompted image, in pixels; else by models and images",
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="internvl.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    specs = [args.model, args.second, *args.also]
    models = [bbtvp.load_model(spec, device=args.device, dtype=args.dtype) for spec in specs]
    task = bbtvp.load_task(args.task, limit=args.limit)
    run = bbtvp.optimize(
        task, models[:2], combine="worst", budget=args.queries, canvas=args.canvas, seed=args.seed
    )
    print(f"asked {sum(run.queries.values())} times, on a canvas of {run.prompt.space.canvas} px")
    for row in bbtvp.verify(run.prompt, task, models, seed=args.seed).rows:
        role = "searched on" if row.model in specs[:2] else "never searched on"
        low, high = row.gain_ci95
        print(f"{row.model}, {role}: {row.zero_shot:.1%} -> {row.prompted:.1%}", end=", ")
        print(f"gain {row.gain:+.1%} [{low:+.1%}, {high:+.1%}]")
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
