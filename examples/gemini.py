r"""Gemini behind Google's API.

Some of its models show log-probabilities, others refuse them; the probe finds out.

A search on probabilities learns more from each answer than one on right or wrong: it is the first
choice, where a model has them, then a forced label, then text. Thoughts count as output and are
billed: --thinking minimal or low, as the model takes it. The miniature zoo/paligemma stands in.
With a key and images of your own (one sub-folder per class):

    export GEMINI_API_KEY=…
    python examples/gemini.py --model gemini/gemini-3.5-flash-lite --thinking minimal \
        --task photos/ --usd 1
"""

from __future__ import annotations

import argparse

import bbtvp
from bbtvp.search.events import SearchEvent, SearchPlanned


def watch(event: SearchEvent) -> None:
    if isinstance(event, SearchPlanned):
        for findings in event.probes.values():
            print(
                *(finding for finding in findings if finding.startswith(("log-prob", "forced"))),
                sep="\n",
            )
        print(f"answers are read by {event.reader}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="zoo/paligemma", help="the model that the search asks")
    parser.add_argument(
        "--thinking",
        help="Gemini: minimal, low, medium or high; a number of tokens before Gemini 4",
    )
    parser.add_argument(
        "--resolution", help="Gemini: low, medium or high, how many tokens an image becomes"
    )
    parser.add_argument(
        "--reader", default="auto", help="auto (the best that there is), logprob, label, text"
    )
    parser.add_argument(
        "--task", default="zoo/counting-low-contrast", help="zoo/NAME, an image folder or a table"
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=400, help="cap on image queries of the search"
    )
    parser.add_argument(
        "--usd", type=float, default=1.0, help="cap on money of the search, and again of the proof"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="gemini.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    thinking = int(args.thinking) if (args.thinking or "").isdecimal() else args.thinking
    given = {"thinking": thinking, "media_resolution": args.resolution}
    model = bbtvp.load_model(
        args.model, **{name: value for name, value in given.items() if value is not None}
    )
    task = bbtvp.load_task(args.task, limit=args.limit)
    asked = {"reader": args.reader, "usd": args.usd}
    run = bbtvp.optimize(task, model, budget=args.queries, seed=args.seed, watch=watch, **asked)
    run.save(args.out)
    print(f"saved {args.out}, for ${run.usd:.4f}")
    (row,) = bbtvp.verify(
        run.prompt, task, [model], source=model.spec, seed=args.seed, **asked
    ).rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )


if __name__ == "__main__":
    main()
