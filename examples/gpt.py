r"""GPT behind OpenAI's API: what the probe found, and caps on money that no run can pass.

Before every attempt the most that it can cost is set aside, by a dated list of prices that
BBTVP_PRICES replaces; no answer is paid for twice, by whatever run. A model that is told not to
think first (--effort none, where it takes that) is cheaper, and shows log-probabilities. The
miniature zoo/llava stands in, and costs nothing. With a key and images of your own (one sub-folder
per class):

    export OPENAI_API_KEY=…
    python examples/gpt.py --model openai/gpt-6-luna --effort none --task photos/ --usd 2
"""

from __future__ import annotations

import argparse

import bbtvp
from bbtvp.search.events import SearchEvent, SearchPlanned


def watch(event: SearchEvent) -> None:
    if isinstance(event, SearchPlanned):
        for spec, findings in event.probes.items():
            print(*(f"{spec}: {finding}" for finding in findings), sep="\n")
        print(f"answers are read by {event.reader}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/llava", help="the model that the search asks")
    parser.add_argument("--effort", help="GPT: none, low, medium, high, how long it thinks first")
    parser.add_argument(
        "--task",
        default="zoo/digits-low-contrast",
        help="zoo/NAME, an image folder, a .csv or .jsonl",
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=400, help="cap on image queries of the search"
    )
    parser.add_argument(
        "--usd", type=float, default=2.0, help="cap on money, half of it for the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="gpt.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    task = bbtvp.load_task(args.task, limit=args.limit)
    given = {"reasoning_effort": args.effort}
    model = bbtvp.load_model(args.model, **(given if args.effort else {}))
    run = bbtvp.optimize(
        task, model, budget=args.queries, usd=args.usd / 2, seed=args.seed, watch=watch
    )
    print(f"search: {sum(run.queries.values())} image queries, ${run.usd:.4f}")
    run.save(args.out)  # before the proof: if that ends at the cap, the prompt is there
    print(f"saved {args.out}")

    left = args.usd - run.usd
    proof = bbtvp.verify(run.prompt, task, [model], source=model.spec, usd=left, seed=args.seed)
    (row,) = proof.rows
    low, high = row.gain_ci95
    print(
        f"proof: {proof.queries} image queries, ${proof.usd:.4f}; ${left - proof.usd:.4f} of the "
        "cap left"
    )
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )


if __name__ == "__main__":
    main()
