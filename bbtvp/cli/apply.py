"""`bbtvp apply`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bbtvp.cli.options import say, signed_by_option
from bbtvp.core.errors import UsageError


@click.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="A .png file for one image, or a folder.",
)
@signed_by_option
def apply(*, prompt: Path, images: tuple[Path, ...], out: Path, signed_by: tuple[str, ...]) -> None:
    """Put PROMPT on IMAGES: exactly the pixels to send to the model, as PNG."""
    from PIL import Image

    from bbtvp.prompt import Prompt, open_image

    loaded = Prompt.load(prompt, signed_by=signed_by)
    targets = prompted_files(images, out)
    for image, target in zip(images, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(loaded.render(open_image(image))).save(target)
        say(f"{image} -> {target}")
    question = "YOUR QUESTION"
    if loaded.ask(question) != question:
        say(f"this prompt has words that go with the image; ask: {loaded.ask(question)}")
    for number, shown in enumerate(loaded.context(), 1):
        example = examples_folder(out) / f"exemplar-{number}.png"
        Image.fromarray(shown.image).save(example)
        said = " ".join(shown.text.split())
        say(f"before every image send {example}, then the text: {said}")
    if loaded.contains_data:
        say("this prompt holds training images of its task: keep them where the task may be")
    if loaded.reply_tokens:
        say(f"an answer to these words needs up to {loaded.reply_tokens} tokens")


def examples_folder(out: Path) -> Path:
    """Where the images go that a prompt shows before every image: beside the prompted ones."""
    folder = out.parent if out.suffix.lower() == ".png" else out
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
