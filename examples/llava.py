r"""LLaVA: search a prompt on one model, prove it there and on another.

The proof takes held-out images, and a model that the search never asked.

The miniature zoo/llava stands for hf/llava-hf/llava-1.5-7b-hf: a CLIP tower, a projector and a
Llama, with a chat template. With that model and your own images (one sub-folder per class):

    python examples/llava.py --model hf/llava-hf/llava-1.5-7b-hf --device cuda --dtype bfloat16 \
        --task photos/ --also hf/google/paligemma-3b-mix-224
"""

from __future__ import annotations

import argparse

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="zoo/llava", help="the source: the one model that the search asks"
    )
    parser.add_argument(
        "--also",
        nargs="*",
        default=["zoo/paligemma"],
        help="targets: models that only the proof asks",
    )
    parser.add_argument(
        "--task",
        default="zoo/digits-low-contrast",
        help="zoo/NAME, an image folder, a .csv or .jsonl",
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="llava.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    source, *targets = (
        bbtvp.load_model(m, device=args.device, dtype=args.dtype) for m in [args.model, *args.also]
    )
    run = bbtvp.optimize(args.task, source, budget=args.queries, seed=args.seed)
    print(
        f"asked {sum(run.queries.values())} times; better on validation: "
        f"{'yes' if run.improved else 'no'}"
    )

    proof = bbtvp.verify(
        run.prompt, run.task, [source, *targets], source=source.spec, seed=args.seed
    )
    for row in proof.rows:
        low, high = row.gain_ci95
        print(
            f"{row.model}, {row.role}: {row.zero_shot:.1%} alone, {row.empty_frame:.1%} in an "
            "empty frame,",
            end=" ",
        )
        print(
            f"{row.prompted:.1%} prompted: gain {row.gain:+.1%} [{low:+.1%}, {high:+.1%}] on "
            f"{row.n} images"
        )
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
