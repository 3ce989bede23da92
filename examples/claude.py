r"""Claude behind Anthropic's API.

It gives words and no probabilities, and not always the same ones.

Right or wrong is all that an answer says, and chance has a part in it: so each candidate sees more
images, which tells more than to ask about the same ones again, and the search has few variables.
Forced labels leave nothing to parse. The miniature zoo/minigpt4 stands in, read by its text alone.
With a key and images of your own (one sub-folder per class); "annotate" draws marks over the image
and names them in a sentence, whose own part in the gain is shown:

    export ANTHROPIC_API_KEY=…
    python examples/claude.py --model anthropic/claude-haiku-5-5 \
        --task photos/ --reader label --usd 5
    python examples/claude.py --model anthropic/claude-haiku-5-5 \
        --task photos/ --reader label --prompt annotate
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
        "--reader", default="text", help="text, or label: a reply that is forced to be one of them"
    )
    parser.add_argument("--prompt", default="tone", help="tone, annotate, frame, default, tvp")
    parser.add_argument("--images", type=int, default=16, help="images that each candidate sees")
    parser.add_argument(
        "--task",
        default="zoo/digits-low-contrast",
        help="zoo/NAME, an image folder, a .csv or .jsonl",
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=500, help="cap on image queries of the search"
    )
    parser.add_argument(
        "--usd", type=float, default=5.0, help="cap on money of the search, and again of the proof"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="claude.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    task = bbtvp.load_task(args.task, limit=args.limit)
    model = bbtvp.load_model(args.model)
    run = bbtvp.optimize(
        task,
        model,
        budget=args.queries,
        usd=args.usd,
        prompt=args.prompt,
        reader=args.reader,
        images=args.images,
        seed=args.seed,
    )
    print(
        "the same request, the same answer: "
        f"{'yes' if model.capabilities.deterministic else 'not promised'}"
    )
    run.save(args.out)
    print(f"saved {args.out}, for ${run.usd:.4f}")
    proof = bbtvp.verify(
        run.prompt,
        task,
        [model],
        source=model.spec,
        reader=args.reader,
        usd=args.usd,
        seed=args.seed,
    )
    (row,) = proof.rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )
    if row.sentence_only is not None and row.image_only is not None:
        print(
            f"the sentence without the marks: {row.sentence_only:.1%}; the marks without it: "
            f"{row.image_only:.1%}"
        )
    print(f"unparsed with the prompt: {row.unparsed} of {row.n}; the proof cost ${proof.usd:.4f}")


if __name__ == "__main__":
    main()
