r"""A reader of text (OCR) as the model: a prompt for signs that are too faint for it.

RapidOCR needs no key and no network: pip install 'bbtvp[ocr]' brings its weights. It is asked no
question; what it reads is its answer, and the words that may stand on a sign are the labels. The
signs here are drawn in Pillow's own font, dark grey on grey: it reads few of them as they are. With
pictures of your own, one sub-folder per word, and for Tesseract where that program is installed:

    python examples/ocr.py --model ocr/rapidocr --task photos/
    python examples/ocr.py --model ocr/tesseract --task photos/
"""

from __future__ import annotations

import argparse
import random

from PIL import Image, ImageDraw, ImageFont

import bbtvp

WORDS = ("STOP", "EXIT", "OPEN", "SALE", "TAXI", "SLOW", "HOTEL", "TOLL")
SIDE = 96


def sign(word: str, draw: random.Random) -> Image.Image:
    """A word on a plate, `contrast` grey levels apart."""
    grey = draw.randint(70, 180)
    contrast = draw.choice((-1, 1)) * draw.randint(4, 14)
    image = Image.new("RGB", (SIDE, SIDE), (grey,) * 3)
    centre = (SIDE / 2 + draw.uniform(-8, 8), SIDE / 2 + draw.uniform(-20, 20))
    font = ImageFont.load_default(draw.randint(20, 26))
    ImageDraw.Draw(image).text(centre, word, (grey + contrast,) * 3, font, anchor="mm")
    return image


def signs(limit: int, seed: int) -> bbtvp.Task:
    """Signs to search on, to choose the winner on, and `limit` to prove it on."""
    draw = random.Random(seed)  # noqa: S311
    splits = {
        split: tuple(
            bbtvp.Sample(f"{split}-{i}", WORDS[i % len(WORDS)], sign(WORDS[i % len(WORDS)], draw))
            for i in range(count)
        )
        for split, count in (("train", 48), ("validation", 48), ("test", limit))
    }
    return bbtvp.Task("signs", "which word is on the sign?", WORDS, **splits)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ocr/rapidocr", help="or ocr/tesseract, or any other")
    parser.add_argument("--prompt", default="tone", help="tone, default, frame, …")
    parser.add_argument(
        "--task", default="signs", help="signs: drawn here; else an image folder, a .csv or .jsonl"
    )
    parser.add_argument("--limit", type=int, default=120, help="most test images")
    parser.add_argument(
        "--queries", type=int, default=400, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="signs.vprompt", help="where the prompt goes")
    args = parser.parse_args()

    if args.task == "signs":
        task = signs(args.limit, args.seed)
    else:
        task = bbtvp.load_task(args.task, limit=args.limit)
    model = bbtvp.load_model(args.model)
    run = bbtvp.optimize(task, model, budget=args.queries, prompt=args.prompt, seed=args.seed)
    run.save(args.out)
    print(f"saved {args.out}, after {sum(run.queries.values())} image queries")
    proof = bbtvp.verify(run.prompt, task, model, source=model.spec, seed=args.seed)
    (row,) = proof.rows
    low, high = row.gain_ci95
    print(
        f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%} "
        f"[{low:+.1%}, {high:+.1%}] on {row.n} images, {proof.queries} image queries"
    )
    print(f"verdict: {proof.verdict}")


if __name__ == "__main__":
    main()
