"""`bbtvp demo`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, json_flag, out_option, say, seed_option

if TYPE_CHECKING:
    from bbtvp.search import Run
    from bbtvp.verify import Proof

DEMO_TASK = "zoo/shapes-dark"
DEMO_MODEL = "zoo/llava"


@click.command()
@seed_option
@click.option(
    "--task", default=DEMO_TASK, show_default=True, help="A built-in task; see bbtvp tasks."
)
@click.option(
    "--model",
    default=DEMO_MODEL,
    show_default=True,
    help="The source: the one model that the search may query.",
)
@click.option(
    "--queries", default=1000, show_default=True, help="Cap on image queries of the search."
)
@out_option("Run folder [default: runs/demo-SEED].")
@json_flag
def demo(
    *, seed: int, task: str, model: str, queries: int, out: Path | None, as_json: bool
) -> None:
    """The main job on the embedded miniature models: search on one, prove on all, save the prompt.

    Nothing is downloaded and nothing leaves this machine. Takes a minute or two on two cores.
    """
    from bbtvp.jobs.result import result
    from bbtvp.models import load_model
    from bbtvp.report.progress import Progress
    from bbtvp.runs.folder import BUNDLE
    from bbtvp.search import optimize
    from bbtvp.verify import verify
    from bbtvp.zoo.catalogue import members

    began = time.monotonic()
    folder = out or Path("runs") / f"demo-{seed}"
    watch = Progress(say, sys.stderr)
    source = load_model(model)
    say(
        f"task {task}; source model {model}, a miniature that the search may only ask; "
        f"cap {queries} image queries"
    )
    run = optimize(task, source, queries=queries, seed=seed, out=folder, watch=watch)
    others = [f"zoo/{name}" for name in members() if f"zoo/{name}" != model]
    proof = verify(
        run.prompt, run.task, [source, *others], source=model, seed=seed, out=folder, watch=watch
    )
    seconds = time.monotonic() - began
    document = result(
        run, proof, task=task, seed=seed, prompt=str(folder / BUNDLE), seconds=seconds
    )
    _finish(run, proof, folder, document, as_json=as_json)


def _finish(
    run: Run, proof: Proof, folder: Path, document: dict[str, Any], *, as_json: bool
) -> None:
    """Write result and picture, print the table, say what to do next."""
    from bbtvp.core.files import atomic_write_json
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.terminal import proof_table
    from bbtvp.runs.folder import RESULT

    atomic_write_json(folder / RESULT, document)
    save_gallery(proof, folder / "gallery.png")
    if as_json:
        give(document)
    else:
        click.echo("\n" + proof_table(proof))
    spent = document["queries"]
    say(
        f"image queries: {spent['search']} search + {spent['validation']} validation, "
        f"{spent['verify']} verification; {document['seconds']} s"
    )
    say(
        f"prompt: {document['prompt']}   picture: {folder / 'gallery.png'}   "
        f"result: {folder / RESULT}"
    )
    if not run.improved:
        say(
            "no gain on validation: the bundle leaves images as they are; "
            "try another preset, or more queries"
        )
