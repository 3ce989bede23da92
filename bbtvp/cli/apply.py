"""`bbtvp apply`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import UserPath, give, json_flag, say, signed_by_option
from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.files import atomic_write

if TYPE_CHECKING:
    from bbtvp.core.arrays import Pixels
    from bbtvp.prompt import Prompt


@click.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=UserPath(),
    help="A .png file for one image, or a folder.",
)
@signed_by_option
@json_flag
def apply(
    *,
    prompt: Path,
    images: tuple[Path, ...],
    out: Path,
    signed_by: tuple[str, ...],
    as_json: bool,
) -> None:
    """Put PROMPT on IMAGES: exactly the pixels to send to the model, as PNG.

    An image that cannot be read is named, the others are written, and the exit code is 1.
    """
    from bbtvp.prompt import Prompt

    loaded = Prompt.load(prompt, signed_by=signed_by)
    targets = prompted_files(images, out)
    examples = _example_files(loaded, out)
    taken = {path.resolve() for path in (*images, *targets)}
    for example in examples:
        if example.resolve() in taken:
            raise UsageError(f"{example} is a name for what this prompt shows; rename that image")
    failed = _write_images(loaded, images, targets, as_json)
    shown = _write_examples(loaded, examples)
    if as_json:
        give(
            {
                "schema": "bbtvp.apply/1",
                "prompt": loaded.digest,
                "images": [
                    {"image": str(image), "out": None if image in failed else str(target)}
                    for image, target in zip(images, targets, strict=True)
                ],
                "failed": [{"image": str(image), "error": said} for image, said in failed.items()],
                "words": loaded.words,
                "before_every_image": shown,
                "contains_data": loaded.contains_data,
                "reply_tokens": loaded.reply_tokens,
            }
        )
    else:
        _say_the_rest(loaded, shown)
    if failed:
        first = next(iter(failed.values()))
        more = f"; so {len(failed)} of {len(images)} images" if len(images) > 1 else ""
        raise DataError(f"{first}{more}")


def _write_images(
    prompt: Prompt, images: Sequence[Path], targets: Sequence[Path], as_json: bool
) -> dict[Path, str]:
    """Write the prompted images; return those that cannot be read, and what is wrong with each."""
    from bbtvp.prompt import open_image

    failed = {}
    for image, target in zip(images, targets, strict=True):
        try:
            pixels = prompt.render(open_image(image))
        except DataError as error:
            failed[image] = str(error)
            continue
        _save(pixels, target)
        if not as_json:
            say(f"{image} -> {target}")
    return failed


def _save(pixels: Pixels, target: Path) -> None:
    """Write a PNG that is there whole or not at all."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    atomic_write(target, stream.getvalue())


def _example_files(prompt: Prompt, out: Path) -> list[Path]:
    """Where the images go that the prompt shows before every image: beside the prompted ones."""
    folder = out.parent if out.suffix.lower() == ".png" else out
    return [folder / f"exemplar-{number}.png" for number, _ in enumerate(prompt.context(), 1)]


def _write_examples(prompt: Prompt, files: Sequence[Path]) -> list[dict[str, str]]:
    """Write the images that go before every image; return file and text of each."""
    found = []
    for shown, file in zip(prompt.context(), files, strict=True):
        _save(shown.image, file)
        found.append({"file": str(file), "text": shown.text})
    return found


def _say_the_rest(prompt: Prompt, examples: Sequence[dict[str, str]]) -> None:
    """Say what goes with the prompted images."""
    question = "YOUR QUESTION"
    if prompt.ask(question) != question:
        say(f"this prompt has words that go with the image; ask: {prompt.ask(question)}")
    for example in examples:
        said = " ".join(example["text"].split())
        say(f"before every image send {example['file']}, then the text: {said}")
    if prompt.contains_data:
        say("this prompt holds training images of its task: keep them where the task may be")
    if prompt.reply_tokens:
        say(f"an answer to these words needs up to {prompt.reply_tokens} tokens")


def prompted_files(images: Sequence[Path], out: Path) -> list[Path]:
    """Where each prompted image goes.

    UsageError if that is no PNG, if two images would go to one file, or if one would replace an
    image.
    """
    suffix = out.suffix.lower()
    if suffix in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"):
        raise UsageError(
            f"{out} would not keep every pixel as the model must see it; "
            "give a .png file or a folder"
        )
    if suffix == ".png" and len(images) > 1:
        raise UsageError(
            f"{len(images)} images do not fit into one file {out}; give a folder to -o"
        )
    targets = [out if suffix == ".png" else out / f"{image.stem}.png" for image in images]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise UsageError(
            f"two images would be written to {min(twice)}; apply them to different folders"
        )
    overwritten = {image.resolve() for image in images} & {target.resolve() for target in targets}
    if overwritten:
        raise UsageError(
            f"{min(overwritten)} would be replaced by its prompted image; give another folder to -o"
        )
    return targets
