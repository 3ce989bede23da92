r"""PaliGemma: a surrogate CLIP keeps the prompted image close to what it was, at no image query.

Adds TVP's two terms to the loss: FCA, the distance that the prompt moves the surrogate's image
tokens, and TSE, how well the surrogate finds the answer in the image. The miniatures zoo/paligemma
and zoo/clip stand for hf/google/paligemma-3b-mix-224 and hf/openai/clip-vit-base-patch32. With
those and your own images:

    python examples/paligemma.py --model hf/google/paligemma-3b-mix-224 \
        --surrogate hf/openai/clip-vit-base-patch32 \
        --device cuda --dtype bfloat16 --task photos/
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
        "--surrogate", default="zoo/clip", help="a local CLIP, asked as often as it takes"
    )
    parser.add_argument("--fca", type=float, default=0.5, help="weight of FCA, in nats per unit")
    parser.add_argument(
        "--tse", type=float, default=0.1, help="weight of TSE, in nats per unit of cosine"
    )
    parser.add_argument(
        "--task", default="zoo/counting-low-contrast", help="zoo/NAME, an image folder or a table"
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="paligemma.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
    surrogate = bbtvp.load_surrogate(args.surrogate, device=args.device)
    run = bbtvp.optimize(
        args.task,
        model,
        budget=args.queries,
        surrogate=surrogate,
        fca=args.fca,
        tse=args.tse,
        seed=args.seed,
    )
    for arm in run.arms:
        print(
            f"validation, {arm.name}: {arm.accuracy:.1%} right, loss "
            f"{arm.loss:.3f}{'' if arm.kept else ', left'}"
        )

    (row,) = bbtvp.verify(run.prompt, run.task, [model], source=model.spec, seed=args.seed).rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    print(f"over an empty frame: {row.over_empty_frame:+.1%}")
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
