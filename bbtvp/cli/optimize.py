"""`bbtvp optimize`."""

from __future__ import annotations

import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from bbtvp.cli.groups import (
    BUDGET,
    EVERYDAY,
    MODEL,
    GroupedOption,
    SearchCommand,
    list_settings,
    settings_of,
)
from bbtvp.cli.options import (
    MAX_TOKENS_HELP,
    METRIC_HELP,
    UserPath,
    asked,
    give,
    model_options,
    own_prices,
    say,
)
from bbtvp.core.errors import UsageError

option = partial(click.option, cls=GroupedOption)

_UNFIT = re.compile(r"[\s/'\"{}\\]")
"""Characters that the name of a run folder does without: a command of exec/COMMAND has them."""


@click.command(cls=SearchCommand)
@option(
    "--task",
    required=True,
    group=EVERYDAY,
    help="zoo/NAME, a folder with one sub-folder per class, a .csv / .jsonl file, "
    "or DATA SET:FOLDER (docs/data.md).",
)
@option(
    "--model",
    "models",
    required=True,
    multiple=True,
    group=EVERYDAY,
    help="The source model: zoo/NAME, hf/ORG/NAME, hf/./FOLDER, openai/NAME, …; "
    "repeat it to search on several.",
)
@option(
    "--out",
    type=UserPath(),
    group=EVERYDAY,
    help="Run folder [default: runs/TASK-MODEL-SEED].",
)
@option(
    "--dry-run",
    is_flag=True,
    group=EVERYDAY,
    help="Print what is known before anything is asked: task, images, plan, costs; needs no key.",
)
@option(
    "-S",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    is_eager=True,
    callback=list_settings,
    group=EVERYDAY,
    help="Any option of the search by name: -S images=16. -S help lists them.",
)
@option(
    "--question",
    group=MODEL,
    help="Question, for a folder or file: 'which {kind} is this? answer with one of: {labels}'.",
)
@option(
    "--labels",
    group=MODEL,
    help="The answers allowed: a,b,c; none for free answers "
    "[default: the class folders, or the distinct answers of a table if they are few].",
)
@option(
    "--metric",
    group=MODEL,
    help=f"{METRIC_HELP} [default: accuracy with labels, else exact].",
)
@option(
    "--max-tokens",
    type=click.IntRange(1),
    group=MODEL,
    help=f"{MAX_TOKENS_HELP} [default: 16].",
)
@option(
    "--definitions",
    metavar="FILE",
    group=MODEL,
    help="What the labels mean, for --words task: a .toml or .json file of labels and texts.",
)
@option(
    "-M",
    "model_pairs",
    multiple=True,
    metavar="KEY=VALUE",
    group=MODEL,
    help="Model option: device=cuda, dtype=bfloat16; of an endpoint: rpm=500, base_url=….",
)
@option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False),
    callback=own_prices,
    expose_value=False,
    group=BUDGET,
    help="A price file of your own; see bbtvp doctor.",
)
@option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document on stdout, and nothing else there.",
)
def optimize(
    *,
    task: str,
    models: tuple[str, ...],
    out: Path | None,
    dry_run: bool,
    settings: tuple[str, ...],
    question: str | None,
    labels: str | None,
    metric: str | None,
    max_tokens: int | None,
    definitions: str | None,
    model_pairs: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Search a visual prompt for MODEL on TASK, within a cap of image queries."""
    from bbtvp.cli.plan import show_plan
    from bbtvp.core.files import atomic_write_json
    from bbtvp.endpoint.access import without_keys
    from bbtvp.jobs.result import result
    from bbtvp.models import load_model
    from bbtvp.report.progress import Progress
    from bbtvp.runs.folder import BUNDLE, RESULT, check_folder
    from bbtvp.search import SearchConfig
    from bbtvp.search import optimize as search
    from bbtvp.search.preview import MOST_UNREAD
    from bbtvp.tasks.registry import load_task

    began = time.monotonic()
    given = {name: value for name, value in flags.items() if value not in (None, False)}
    watched = {"unread": MOST_UNREAD} if sys.stdin.isatty() and sys.stderr.isatty() else {}
    chosen = {**given, **settings_of(settings)}
    if "start" in chosen and "prompt" in chosen:  # also where it is the default
        raise UsageError("--start brings the layers of its own prompt; leave out --prompt")
    config = SearchConfig.of({**watched, **chosen})
    defined = {"definitions": definitions} if definitions else {}
    loaded = load_task(task, **asked(question, labels, metric, max_tokens), **defined)
    options = model_options(model_pairs)
    if dry_run:
        with without_keys():
            sources = [load_model(model, **options) for model in models]
        if out is not None:
            check_folder(out)
        show_plan(loaded, sources, config, as_json)
        return
    sources = [load_model(model, **options) for model in models]
    names = "+".join(source.spec for source in sources)
    name = _UNFIT.sub("_", "-".join([loaded.name, names, str(config.seed)]))
    folder = out or Path("runs") / name
    run = search(loaded, sources, config=config, out=folder, watch=Progress(say, sys.stderr))
    document = result(
        run,
        None,
        task=loaded.name,
        seed=config.seed,
        prompt=str(folder / BUNDLE),
        seconds=time.monotonic() - began,
    )
    atomic_write_json(folder / RESULT, document)
    if as_json:
        give(document)
    else:
        click.echo(str(folder / BUNDLE))
    say(run.summary())
