r"""Azure OpenAI: a deployment by its name.

Its content filter refuses some requests. Refusals are counted, never scored.

A filtered query is missing data: it is no wrong answer, and the proof compares on the images that
were answered in all arms. A deployment's name says nothing of its price: a cap on money needs a
price file of your own. The miniature zoo/blip2 stands in, and refuses nothing. With a deployment
and images of your own (one sub-folder per class):

    export AZURE_OPENAI_API_KEY=… AZURE_OPENAI_ENDPOINT=https://my-resource.openai.azure.com
    python examples/azure.py --model azure/my-deployment --task photos/ --usd 2 --prices prices.toml
"""

from __future__ import annotations

import argparse

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/blip2", help="azure/DEPLOYMENT, or any other model")
    parser.add_argument(
        "--api-version", help="Azure: a date such as 2024-10-21, for the older addresses"
    )
    parser.add_argument(
        "--prices",
        help="Azure: a price file; without one, a cap on money says what to write into it",
    )
    parser.add_argument(
        "--task", default="zoo/shapes-dark", help="zoo/NAME, an image folder, a .csv or .jsonl"
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=400, help="cap on image queries of the search"
    )
    parser.add_argument(
        "--usd", type=float, help="cap on money of the search, and again of the proof"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="azure.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    given = {"api_version": args.api_version, "prices": args.prices}
    model = bbtvp.load_model(
        args.model, **{name: value for name, value in given.items() if value is not None}
    )
    task = bbtvp.load_task(args.task, limit=args.limit)
    run = bbtvp.optimize(task, model, budget=args.queries, usd=args.usd, seed=args.seed)
    asked = sum(run.queries.values())
    print(
        f"search: {asked} image queries, {run.failed} without an answer, {run.refused} of these "
        "refused"
    )
    run.save(args.out)
    print(f"saved {args.out}")

    proof = bbtvp.verify(run.prompt, task, [model], source=model.spec, usd=args.usd, seed=args.seed)
    (row,) = proof.rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    print(
        f"on {row.n} of {len(task.test)} images; {row.failed} without an answer, {proof.refused} "
        "of these refused"
    )
    if proof.refused > 0.02 * proof.queries:
        print("many refusals: look at the images that are left out before you trust the gain")


if __name__ == "__main__":
    main()
