"""Command line of the converters."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bbtvp.adapters.hf.convert import bliva, minigpt4, templates, visualglm
from bbtvp.adapters.hf.convert.folder import spec_of
from bbtvp.core.errors import BbtvpError

_MEMORY = (
    "Weights are read and written in parts of 1 GB, so memory does not grow with the model. "
    "OUT takes as much disk as the parts that were published, 15 GiB at 7B."
)
_MINIGPT4 = (
    "\b\nExample:\n"
    "  python -m bbtvp.adapters.hf.convert minigpt4 --out minigpt4-7b/ --llm vicuna-7b-v0/\n"
    "    --checkpoint pretrained_minigpt4_7b.pth\n"
    "    --qformer blip2_pretrained_flant5xxl.pth --vit eva_vit_g.pth\n\n"
)
_VPGTRANS = (
    "\b\nExample:\n"
    "  python -m bbtvp.adapters.hf.convert vpgtrans --out vpgtrans-7b/ --llm vicuna-7b-v0/\n"
    "    --checkpoint vl-vicuna.pth --vit eva_vit_g.pth\n\n"
)
_BLIVA = (
    "\b\nExample:\n"
    "  python -m bbtvp.adapters.hf.convert bliva --out bliva-7b/ --llm vicuna-7b-v1.1/\n"
    "    --checkpoint bliva_vicuna7b.pth --vit eva_vit_g.pth\n\n"
)
_VISUALGLM = (
    "\b\nExample:\n"
    "  python -m bbtvp.adapters.hf.convert visualglm --out visualglm/\n"
    "    --checkpoint visualglm-6b/\n\n"
)
_FILE = click.Path(path_type=Path)


def _options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    help_texts = {
        "llm": "Folder of the Vicuna: config.json, tokenizer.model and weights.",
        "checkpoint": "The project's own .pth file.",
        "qformer": "blip2_pretrained_flant5xxl.pth of LAVIS.",
        "vit": "eva_vit_g.pth of LAVIS.",
        "out": "A new folder. Use it as hf/FOLDER, with ./, / or ~/ in front.",
    }

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            command = click.option(f"--{name}", required=True, type=_FILE, help=help_texts[name])(
                command
            )
        return command

    return add


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors that are made on purpose into one line."""

    @wraps(command)
    def run(**options: Any) -> None:
        try:
            command(**options)
        except BbtvpError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"done: bbtvp doctor --model {spec_of(options['out'])}", err=True)

    return run


_PROMPT = click.option(
    "--prompt",
    type=click.Choice(["published", "tvp"]),
    default="published",
    show_default=True,
    help="The project's own turns, or TVP's for classes: the image, then the question, no turns.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Convert published checkpoints into folders that `bbtvp optimize --model hf/./FOLDER` loads.

    docs/paper-models.md says where each file is published.
    """


@main.command("minigpt4", epilog=_MINIGPT4 + _MEMORY)
@_options("llm", "checkpoint", "qformer", "vit", "out")
@_PROMPT
@_told
def _minigpt4(
    *, llm: Path, checkpoint: Path, qformer: Path, vit: Path, out: Path, prompt: str
) -> None:
    """MiniGPT-4 with a Vicuna v0 of 7B or 13B."""
    chosen = templates.MINIGPT4 if prompt == "published" else templates.TVP
    minigpt4.convert(llm=llm, checkpoints=[checkpoint, qformer], vit=vit, out=out, prompt=chosen)


@main.command("vpgtrans", epilog=_VPGTRANS + _MEMORY)
@_options("llm", "checkpoint", "vit", "out")
@_PROMPT
@_told
def _vpgtrans(*, llm: Path, checkpoint: Path, vit: Path, out: Path, prompt: str) -> None:
    """VL-Vicuna of VPGTrans, with a Vicuna v0 of 7B."""
    chosen = templates.VPGTRANS if prompt == "published" else templates.TVP
    minigpt4.convert(llm=llm, checkpoints=[checkpoint], vit=vit, out=out, prompt=chosen)


@main.command("bliva", epilog=_BLIVA + _MEMORY)
@_options("llm", "checkpoint", "vit", "out")
@click.option(
    "--bert",
    default="bert-base-uncased",
    show_default=True,
    help="Folder or hub id of the tokenizer by which the Q-Former reads the question.",
)
@_told
def _bliva(*, llm: Path, checkpoint: Path, vit: Path, out: Path, bert: str) -> None:
    """BLIVA with a Vicuna v1.1 of 7B."""
    bliva.convert(llm=llm, checkpoint=checkpoint, vit=vit, out=out, bert=bert)


@main.command("visualglm", epilog=_VISUALGLM + _MEMORY)
@click.option(
    "--checkpoint",
    required=True,
    type=_FILE,
    help="The whole published folder: config.json, ice_text.model and weights.",
)
@_options("out")
@_PROMPT
@_told
def _visualglm(*, checkpoint: Path, out: Path, prompt: str) -> None:
    """VisualGLM-6B as the hub has it, THUDM/visualglm-6b."""
    chosen = templates.VISUALGLM if prompt == "published" else templates.VISUALGLM_TVP
    visualglm.convert(checkpoint=checkpoint, out=out, prompt=chosen)


if __name__ == "__main__":
    main(prog_name="python -m bbtvp.adapters.hf.convert")
