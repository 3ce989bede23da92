r"""BLIP-2 with a T5: a prompt space of your own choice.

The question is put in the words that the model was trained on.

The miniature zoo/blip2 stands for hf/Salesforce/blip2-flan-t5-xl: a vision tower, a Q-Former with
16 (32) queries, and an encoder-decoder, which begins its answer afresh. With that model and your
own images (one sub-folder per class):

    python examples/blip2.py --model hf/Salesforce/blip2-flan-t5-xl \
        --device cuda --dtype bfloat16 --canvas 224 \
        --task photos/ --question "Question: what is in the image? Answer:"
"""

from __future__ import annotations

import argparse

import bbtvp
from bbtvp.prompt import Placement, Tone


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/blip2", help="the model that the search asks")
    parser.add_argument(
        "--task", default="zoo/shapes-dark", help="zoo/NAME, an image folder, a .csv or .jsonl"
    )
    parser.add_argument("--question", help="other words for the task's question")
    parser.add_argument(
        "--canvas", type=int, default=64, help="side of the prompted image, in pixels"
    )
    parser.add_argument(
        "--queries", type=int, default=600, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="blip2.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    task = bbtvp.load_task(args.task, **({"question": args.question} if args.question else {}))
    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
    # Few variables, each with a meaning: this is for images that are too dark, and may be too
    # small.
    space = bbtvp.PromptSpace(
        (Placement(search=("zoom",)), Tone(("brightness", "contrast", "gamma"))), args.canvas
    )
    run = bbtvp.optimize(task, model, budget=args.queries, prompt=space, seed=args.seed)
    for layer, values in run.prompt.theta.items():
        print(f"{layer}: " + ", ".join(f"{name} {value:.2f}" for name, value in values.items()))

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
