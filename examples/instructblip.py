r"""InstructBLIP: whether the prompt makes the model see things.

Searched on random negatives, proved on harder ones.

Its Q-Former reads the question, so the image tokens depend on what is asked: every object is
another image to it. POPE asks about absent objects that are drawn at random, that are popular, or
that go with what is there (adversarial). The miniature zoo/instructblip stands for
hf/Salesforce/instructblip-vicuna-7b. With that model and a table of your own (columns image, answer
and object; yes and no as answers):

    python examples/instructblip.py --model hf/Salesforce/instructblip-vicuna-7b \
        --device cuda --dtype bfloat16 \
        --task objects.csv --question "is there a {object} in the image?" --also
"""

from __future__ import annotations

import argparse

import bbtvp

HARDER = ["zoo/hallucination-popular-low-contrast", "zoo/hallucination-adversarial-low-contrast"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="zoo/instructblip", help="the model that the search asks"
    )
    parser.add_argument(
        "--task", default="zoo/hallucination-low-contrast", help="zoo/NAME, a .csv or .jsonl"
    )
    parser.add_argument(
        "--question",
        default="is there a {object} in the image?",
        help="may name the task's columns",
    )
    parser.add_argument(
        "--also", nargs="*", default=HARDER, help="further tasks to prove the prompt on"
    )
    parser.add_argument(
        "--queries", type=int, default=1000, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="instructblip.vprompt", help="where the prompt goes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
    first, *others = (
        bbtvp.load_task(task, question=args.question) for task in [args.task, *args.also]
    )
    run = bbtvp.optimize(first, model, budget=args.queries, seed=args.seed)
    for task in (first, *others):
        (row,) = bbtvp.verify(run.prompt, task, [model], source=model.spec, seed=args.seed).rows
        low, high = row.gain_ci95
        print(
            f"{task.name}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
            f"[{low:+.1%}, {high:+.1%}]"
        )
    run.save(args.out)
    print(f"saved {args.out}")


if __name__ == "__main__":
    main()
