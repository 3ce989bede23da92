"""The command line: the only place that prints or exits. Prose goes to stderr; with --json, stdout is one document."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from bbtvp.core.errors import BbtvpError, UsageError

if TYPE_CHECKING:
    from bbtvp.study import Run
    from bbtvp.verify import Proof

DEMO_TASK, DEMO_MODEL = "zoo/shapes-dark", "zoo/llava"
RESULT = "result.json"


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def give(document: Mapping[str, Any]) -> None:
    """The one JSON document, on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def model_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`-M key=value` → options; numbers and true/false are understood. UsageError without a '='."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"-M takes key=value, got {pair!r}; for example -M device=cuda")
        plain = {"true": True, "false": False}.get(value.lower(), value)
        options[key] = int(value) if value.isdecimal() else plain
    return options


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="bbtvp")
def cli() -> None:
    """Find, prove and ship a visual prompt for a multimodal LLM that you can only call.

    \b
    Start here:
      bbtvp demo                                    the whole job on the miniature models in this package
      bbtvp optimize --task photos/ --model hf/llava-hf/llava-1.5-7b-hf --out runs/photos
      bbtvp verify runs/photos/prompt.vprompt --task photos/ --model hf/llava-hf/llava-1.5-7b-hf
      bbtvp apply runs/photos/prompt.vprompt new/*.jpg -o prompted/

    Exit codes: 0 done, 1 failed, 2 usage, 3 budget reached before a usable prompt, 130 interrupted. A run that was
    stopped continues by the same command, and asks nothing twice.
    """


json_flag = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and nothing else there."
)
seed_option = click.option(
    "--seed", default=0, show_default=True, help="Equal seed and equal answers give an equal prompt."
)
model_option_flag = click.option(
    "-M", "options", multiple=True, metavar="KEY=VALUE", help="Model option: device=cuda, dtype=bfloat16, batch=16."
)
reader_option = click.option(
    "--reader",
    type=click.Choice(["auto", "logprob", "text"]),
    default="auto",
    show_default=True,
    help="How answers are read: label log-probabilities, or text.",
)


@cli.command()
@seed_option
@click.option("--task", default=DEMO_TASK, show_default=True, help="A built-in task; see bbtvp tasks.")
@click.option(
    "--model", default=DEMO_MODEL, show_default=True, help="The source: the one model that the search may query."
)
@click.option("--queries", default=1000, show_default=True, help="Cap on image queries of the search.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: runs/demo-SEED].")
@json_flag
def demo(seed: int, task: str, model: str, queries: int, out: Path | None, as_json: bool) -> None:
    """The main job on the embedded miniature models: search on one, prove on all, save the prompt.

    Nothing is downloaded and nothing leaves this machine. Takes a minute or two on two cores.
    """
    from bbtvp.query import load_model
    from bbtvp.report.progress import Progress
    from bbtvp.report.result import result
    from bbtvp.study import optimize
    from bbtvp.study.optimize import BUNDLE
    from bbtvp.verify import verify
    from bbtvp.zoo.catalogue import members

    began = time.monotonic()
    folder, watch = out or Path("runs") / f"demo-{seed}", Progress(say, sys.stderr)
    source = load_model(model)
    say(f"task {task}; source model {model}, a miniature that the search may only ask; cap {queries} image queries")
    run = optimize(task, source, budget=queries, seed=seed, out=folder, watch=watch)
    others = [f"zoo/{name}" for name in members() if f"zoo/{name}" != model]
    proof = verify(run.prompt, run.task, [source, *others], source=model, seed=seed, out=folder, watch=watch)
    seconds = time.monotonic() - began
    document = result(run, proof, task=task, seed=seed, prompt=str(folder / BUNDLE), seconds=seconds)
    finish(run, proof, folder, document, as_json)


def finish(run: Run, proof: Proof, folder: Path, document: dict[str, Any], as_json: bool) -> None:
    """Write result and picture, print the table, say what to do next."""
    from bbtvp.core.files import atomic_write_json
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.terminal import proof_table

    atomic_write_json(folder / RESULT, document)
    save_gallery(proof, folder / "gallery.png")
    (give(document) if as_json else click.echo("\n" + proof_table(proof)))
    spent = document["queries"]
    say(
        f"image queries: {spent['search']} search + {spent['validation']} validation, {spent['verify']} verification; "
        f"{document['seconds']} s"
    )
    say(f"prompt: {document['prompt']}   picture: {folder / 'gallery.png'}   result: {folder / RESULT}")
    if not run.improved:
        say("no gain on validation: this prompt is not worth deploying; try another preset, or more queries")


@cli.command()
@click.option(
    "--task", required=True, help="zoo/NAME, a folder with one sub-folder per class, or a .csv / .jsonl file."
)
@click.option("--model", required=True, help="The source model: zoo/NAME, hf/ORG/NAME, hf/./FOLDER, …")
@click.option("--surrogate", help="A local CLIP for FCA and TSE: zoo/clip, hf/ORG/NAME.")
@click.option("--fca", default=0.0, show_default=True, help="Weight of feature consistency alignment, nats per unit.")
@click.option(
    "--tse", default=0.0, show_default=True, help="Weight of task semantics enrichment, nats per unit cosine."
)
@click.option("--prompt", default="default", show_default=True, help="Preset: default, tone, frame, tvp.")
@click.option(
    "--canvas", type=click.IntRange(8, 2048), help="Side of the canvas in pixels [default: from model and images]."
)
@click.option("--method", default="cma", show_default=True, help="cma, cma-diagonal, spsa-gc, random, ng:NGOpt, ng:…")
@click.option(
    "--queries", default=1000, show_default=True, help="Cap on image queries: search, validation, retries, failures."
)
@click.option(
    "--images", default=8, show_default=True, type=click.IntRange(1), help="Images per candidate and generation."
)
@click.option("--question", help="Question, for a folder or file: 'which {kind} is this?'.")
@reader_option
@seed_option
@model_option_flag
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: runs/TASK-MODEL-SEED].")
@click.option("--dry-run", is_flag=True, help="Print the plan; ask nothing.")
@json_flag
def optimize(
    task: str, model: str, surrogate: str | None, fca: float, tse: float, prompt: str, canvas: int | None, method: str,
    queries: int, images: int, question: str | None, reader: str, seed: int, options: tuple[str, ...], out: Path | None,
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Search a visual prompt for MODEL on TASK, within a cap of image queries."""
    from bbtvp.core.files import atomic_write_json
    from bbtvp.query import load_model
    from bbtvp.report.progress import Progress
    from bbtvp.report.result import result
    from bbtvp.study import optimize as search
    from bbtvp.study.optimize import BUNDLE, describe_plan, set_up
    from bbtvp.task.registry import task as load_task

    began = time.monotonic()
    loaded = load_task(task, **({"question": question} if question else {}))
    source = load_model(model, **model_options(options))
    if dry_run:
        space, chosen, plan = set_up(
            loaded, source, budget=queries, prompt=prompt, canvas=canvas, method=method, reader=reader, images=images
        )
        say(
            f"{loaded.name} on {source.spec}, canvas {space.canvas} px, {space.dim} variables; "
            f"answers read as {chosen.name}"
        )
        (give({"queries": plan.queries, "plan": describe_plan(plan)}) if as_json else click.echo(describe_plan(plan)))
        return
    folder = out or Path("runs") / "-".join([loaded.name, source.spec, str(seed)]).replace("/", "_")
    run = search(
        loaded, source, budget=queries, prompt=prompt, canvas=canvas, method=method, surrogate=surrogate, fca=fca,
        tse=tse, reader=reader, images=images, seed=seed, out=folder, watch=Progress(say, sys.stderr),
    )  # fmt: skip
    seconds = time.monotonic() - began
    document = result(run, None, task=loaded.name, seed=seed, prompt=str(folder / BUNDLE), seconds=seconds)
    atomic_write_json(folder / RESULT, document)
    (give(document) if as_json else click.echo(str(folder / BUNDLE)))
    if not run.improved:
        say("no gain on validation: this prompt is not worth deploying; try another preset, or more queries")
    again = [f"--task {shlex.quote(task)}", f"--model {shlex.quote(model)}", *(f"-M {pair}" for pair in options)]
    say(f"next, the proof: bbtvp verify {folder / BUNDLE} {' '.join(again)}")


@cli.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.option("--task", required=True, help="As for optimize; its test split is used.")
@click.option("--model", "models", required=True, multiple=True, help="A model to verify on; repeat for more.")
@click.option("--source", help="The model that the search queried [default: as the bundle says].")
@click.option("--question", help="Question, for a folder or file [default: the one the prompt was searched with].")
@reader_option
@seed_option
@model_option_flag
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder: makes the verification resumable, keeps its picture."
)
@json_flag
def verify(
    prompt: Path, task: str, models: tuple[str, ...], source: str | None, question: str | None, reader: str, seed: int,
    options: tuple[str, ...], out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Prove PROMPT on held-out images: zero-shot, empty-frame control and prompt, with intervals, on each model."""
    from bbtvp.prompt import Prompt
    from bbtvp.query import load_model
    from bbtvp.report.gallery import save_gallery
    from bbtvp.report.progress import Progress
    from bbtvp.report.result import result
    from bbtvp.report.terminal import proof_table
    from bbtvp.task.registry import task as load_task
    from bbtvp.verify import verify as prove

    began = time.monotonic()
    loaded, facts = Prompt.load(prompt), bundle_meta(prompt)
    if question is None and Path(task).exists():
        question = facts.get("question")
    subject = load_task(task, **({"question": question} if question else {}))
    say(f"question: {subject.question}")
    asked = [load_model(spec, **model_options(options)) for spec in models]
    source = source or facts.get("source_model")
    proof = prove(
        loaded, subject, asked, source=source, reader=reader, seed=seed, out=out, watch=Progress(say, sys.stderr)
    )
    if out is not None:
        save_gallery(proof, out / "gallery.png")
    seconds = time.monotonic() - began
    document = result(None, proof, task=subject.name, seed=seed, prompt=str(prompt), seconds=seconds)
    (give(document) if as_json else click.echo("\n" + proof_table(proof)))


def bundle_meta(path: Path) -> Mapping[str, Any]:
    """What a bundle says of its origin."""
    from bbtvp.prompt import bundle

    return bundle.read(path).meta


@cli.command()
@click.argument("prompt", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="A .png file for one image, or a folder."
)
def apply(prompt: Path, images: tuple[Path, ...], out: Path) -> None:
    """Put PROMPT on IMAGES: exactly the pixels to send to the model, as PNG."""
    from PIL import Image

    from bbtvp.prompt import Prompt, open_image

    loaded, targets = Prompt.load(prompt), prompted_files(images, out)
    for image, target in zip(images, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(loaded.render(open_image(image))).save(target)
        say(f"{image} -> {target}")


def prompted_files(images: Sequence[Path], out: Path) -> list[Path]:
    """Where each prompted image goes. UsageError if that is no PNG, the same file twice, or one of the images."""
    suffix = out.suffix.lower()
    if suffix in (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"):
        raise UsageError(f"{out} would not keep every pixel as the model must see it; give a .png file or a folder")
    if suffix == ".png" and len(images) > 1:
        raise UsageError(f"{len(images)} images do not fit into one file {out}; give a folder to -o")
    targets = [out if suffix == ".png" else out / f"{image.stem}.png" for image in images]
    twice = {target for target in targets if targets.count(target) > 1}
    if twice:
        raise UsageError(f"two images would be written to {min(twice)}; apply them to different folders")
    overwritten = {image.resolve() for image in images} & {target.resolve() for target in targets}
    if overwritten:
        raise UsageError(f"{min(overwritten)} would be replaced by its prompted image; give another folder to -o")
    return targets


@cli.command()
@json_flag
def models(as_json: bool) -> None:
    """The miniature models in this package, and the providers of others."""
    from bbtvp.core import plugins
    from bbtvp.zoo.catalogue import card

    rows = card()
    providers = plugins.names("bbtvp.models")
    if as_json:
        give({"models": rows, "providers": providers})
        return
    for row in rows:
        click.echo(f"{row['model']:<18} {row['parameters'] / 1e6:.2f} M parameters, stands for {row['stands_for']}")
    say(f"providers: {', '.join(f'{name}/…' for name in providers)}")


@cli.command()
@json_flag
def tasks(as_json: bool) -> None:
    """The built-in tasks."""
    from bbtvp.zoo.tasks import describe

    rows = describe()
    if as_json:
        give({"tasks": rows})
        return
    for row in rows:
        click.echo(f"{row['task']:<38} {row['question']}")
    say("your own: a folder with one sub-folder per class, or a .csv / .jsonl file with the columns image and answer")


def main() -> None:
    """Entry point: every error raised on purpose is one line and an exit code; anything else is a bug and shows."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cli(prog_name="bbtvp", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        say("interrupted; what was answered is kept: run the same command to continue")
        sys.exit(130)
    except BbtvpError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        say(f"error: {_disk(error)}")
        sys.exit(1)


def _disk(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}no space left on the disk; free some and run the same command: what was answered is kept"
    return f"{where}{error.strerror or error}"


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
