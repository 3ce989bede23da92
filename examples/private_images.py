r"""A folder of your own images, from start to end.

Search, proof, one file, and the images as the model should get them.

The images stay where they are: the saved prompt holds a recipe and figures, no pixels of yours.
Without --folder, a small one is made from a built-in task. The default model is a miniature; with
hf/llava-hf/llava-1.5-7b-hf:

    python examples/private_images.py --folder photos/ --question "which animal is this?" \
        --model hf/llava-hf/llava-1.5-7b-hf --device cuda --dtype bfloat16 --out animals.vprompt
        --prompted prompted/
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image

import bbtvp


def make_folder(root: Path, task: str) -> Path:
    """One sub-folder per class, as `load_task` reads it."""
    for sample in bbtvp.load_task(task).test[:300]:
        (root / sample.answer).mkdir(exist_ok=True)
        Image.fromarray(sample.pixels()).save(root / sample.answer / f"{sample.id}.png")
    return root


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="images, one sub-folder per class; else made from --task"
    )
    parser.add_argument(
        "--task", default="zoo/shapes-low-contrast", help="built-in task to make a folder from"
    )
    parser.add_argument("--question", default="what shape is this?")
    parser.add_argument("--model", default="zoo/llava", help="zoo/NAME, hf/ORG/NAME or hf/./FOLDER")
    parser.add_argument(
        "--queries", type=int, default=600, help="cap on image queries of the search"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="private.vprompt", help="where the prompt goes")
    parser.add_argument(
        "--prompted", type=Path, default=Path("prompted"), help="where the prompted images go"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        task = bbtvp.load_task(
            str(args.folder or make_folder(Path(made), args.task)), question=args.question
        )
        model = bbtvp.load_model(args.model, device=args.device, dtype=args.dtype)
        run = bbtvp.optimize(task, model, budget=args.queries, seed=args.seed)
        (row,) = bbtvp.verify(run.prompt, task, [model], source=model.spec, seed=args.seed).rows
        print(
            f"{row.model}: {row.zero_shot:.1%} -> {row.prompted:.1%}, gain {row.gain:+.1%}, "
            f"{row.n} images held out"
        )
        run.save(args.out)
        args.prompted.mkdir(parents=True, exist_ok=True)
        for i, sample in enumerate(task.test):
            Image.fromarray(run.prompt.render(sample.pixels())).save(
                args.prompted / f"{i:04d}.png"
            )  # PNG: every pixel
    print(f"saved {args.out} and {len(task.test)} images in {args.prompted}")


if __name__ == "__main__":
    main()
