r"""Amazon Bedrock: a region, credentials, and a canvas that the model's own rules leave as it is.

A resized image is another image: a frame of a few pixels may not survive. So the canvas is never
larger than what the model is known to take as it is (Claude 5: 1932 px a side), and a --canvas that
would be shrunk is refused, with the size that is not. Nova enlarges what is below 896 px: give it
--canvas 896. Credentials are a Bedrock key, or whatever else botocore finds (pip install
'bbtvp[bedrock]'). The miniature zoo/instructblip stands in. With images of your own (one sub-folder
per class):

    export AWS_BEARER_TOKEN_BEDROCK=…
    python examples/bedrock.py --model bedrock/us.anthropic.claude-haiku-5-5 \
        --region us-east-1 --task photos/
"""

from __future__ import annotations

import argparse

import bbtvp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="zoo/instructblip", help="bedrock/MODEL, an inference profile, or an ARN"
    )
    parser.add_argument("--region", help="Bedrock: else AWS_REGION, or the profile's")
    parser.add_argument("--profile", help="Bedrock: a profile of AWS's configuration files")
    parser.add_argument("--canvas", type=int, help="side of the prompted image, in pixels")
    parser.add_argument(
        "--task",
        default="zoo/shapes-low-contrast",
        help="zoo/NAME, an image folder, a .csv or .jsonl",
    )
    parser.add_argument(
        "--limit", type=int, default=200, help="most test images; the proof asks 3 times about each"
    )
    parser.add_argument(
        "--queries", type=int, default=400, help="cap on image queries of the search"
    )
    parser.add_argument(
        "--usd", type=float, default=5.0, help="cap on money of the search, and again of the proof"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="bedrock.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    given = {"region": args.region, "profile": args.profile}
    model = bbtvp.load_model(
        args.model, **{name: value for name, value in given.items() if value is not None}
    )
    task = bbtvp.load_task(args.task, limit=args.limit)
    height, width = task.test[0].pixels().shape[:2]
    run = bbtvp.optimize(
        task, model, budget=args.queries, usd=args.usd, canvas=args.canvas, seed=args.seed
    )
    side = run.prompt.space.canvas
    print(
        f"an image of {width} x {height} px is sent on a canvas of {side} x {side} px, as PNG: "
        "every pixel"
    )
    run.save(args.out)
    print(f"saved {args.out}, for ${run.usd:.4f}")
    (row,) = bbtvp.verify(
        run.prompt, task, [model], source=model.spec, usd=args.usd, seed=args.seed
    ).rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}]"
    )


if __name__ == "__main__":
    main()
