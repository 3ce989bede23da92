r"""MiniGPT-4: text in, text out.

The search reads nothing but the written answer, as from a vendor's endpoint.

A reply that names one label counts; one that names none is wrong and is counted as unparsed, never
guessed. The miniature zoo/minigpt4 stands for MiniGPT-4 (BLIP-2's vision tower and Q-Former before
a Vicuna), whose own checkpoint is not in transformers' format; hf/Salesforce/blip2-opt-2.7b is the
same class with another decoder:

    python examples/minigpt4.py --model hf/Salesforce/blip2-opt-2.7b \
        --device cuda --dtype bfloat16 --task photos/
"""

from __future__ import annotations

import argparse

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/minigpt4", help="the model that the search asks")
    parser.add_argument(
        "--task", default="zoo/digits-bright", help="zoo/NAME, an image folder, a .csv or .jsonl"
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="minigpt4.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
    # Right or wrong says less than a probability: three variables, and 16 images for each
    # candidate.
    run = bbtvp.optimize(
        args.task,
        model,
        budget=args.queries,
        prompt="tone",
        reader="text",
        images=16,
        seed=args.seed,
    )
    proof = bbtvp.verify(
        run.prompt, run.task, [model], source=model.spec, reader="text", seed=args.seed
    )
    for example in proof.examples[:4]:
        print(
            f"{example.question} {example.truth}: {example.answer_before} before, "
            f"{example.answer_after} after"
        )
    (row,) = proof.rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    print(f"failed: {row.failed}, unparsed with the prompt: {row.unparsed} of {row.n}")
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
