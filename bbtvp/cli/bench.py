"""`bbtvp bench`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import (
    choice_option,
    give,
    jobs_option,
    json_flag,
    model_option_flag,
    model_options,
    out_option,
    say,
)
from bbtvp.core.errors import BbtvpError, UsageError, unknown

if TYPE_CHECKING:
    from bbtvp.bench.cells import BenchCell, BenchGrid
    from bbtvp.bench.deployed import Scored
    from bbtvp.bench.run import BenchSettings
    from bbtvp.jobs.runner import JobResult

HELP = """Compare methods: methods × tasks × source models × seeds, at given budgets.

    Every cell is one search with a cap of image queries on its source. Its prompt is then tried on
    the held-out test images, on the source and on models that the search never asked. Zero-shot and
    the empty frame are asked once and shared. Give lists with commas, or repeat the option.

    \b
      bbtvp bench --list                     the methods, their sources and constants
      bbtvp bench --dry-run --seeds 5        how many cells and image queries that would be
      bbtvp bench --methods default,random --models zoo/llava --test-limit 200
      bbtvp bench --budgets 250,500,1000,2000,5000 --seeds 5 --jobs 8 --out bench/curve
      bbtvp bench --methods 'bar[eta=3,images=16]' …          a method with other constants
      bbtvp bench --report --out bench/curve                  only the report of what is finished

    Results: rows.json, report.md, curves.png and transfer/*.png in DIR. They cover all finished
    cells of DIR. Ctrl-C loses nothing: the same command goes on. More seeds, methods, budgets or
    targets in the same DIR add to it.
    """

_COMMA = re.compile(r",(?![^\[]*\])")
"""A comma that is not inside brackets."""


def listed(values: tuple[str, ...]) -> list[str]:
    """`a,b` and repeated options → names, in order."""
    return [name.strip() for value in values for name in _COMMA.split(value) if name.strip()]


def numbers(values: tuple[str, ...], option: str) -> list[int]:
    """The same for whole numbers. UsageError for anything else."""
    found = listed(values)
    wrong = [value for value in found if not value.isdecimal()]
    if wrong:
        raise UsageError(
            f"{option} takes whole numbers, got {wrong[0]!r}; for example {option} 500,1000"
        )
    return [int(value) for value in found]


def _specs_option(name: str, help: str) -> Callable[..., Any]:
    return click.option(name, multiple=True, metavar="SPECS", help=help)


@click.command(help=HELP, short_help="Compare methods under one count of image queries.")
@click.option("--methods", multiple=True, metavar="NAMES", help="Methods [default: see --list].")
@_specs_option("--tasks", "Tasks, or a suite of them [default: suite/old; see bbtvp tasks].")
@_specs_option("--models", "Source models [default: all miniatures].")
@_specs_option("--targets", "Models to try prompts on [default: all miniatures].")
@click.option(
    "--budgets", multiple=True, default=("1000",), show_default=True, help="Caps on image queries."
)
@click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1), help="Seeds 0 … N-1."
)
@click.option("--test-limit", type=click.IntRange(1), help="Test images per task [default: all].")
@choice_option(
    "--controls",
    choices=["all", "source"],
    help="Models that are shown the empty frame too; source saves a third of the verification.",
)
@choice_option(
    "--scored",
    choices=["deployed", "found"],
    help="The prompt that is reported: what a run deploys, the image as it is where validation "
    "found no gain; or what the search found. Both come from the same cells.",
)
@jobs_option("Processes, one thread each.")
@out_option("Folder DIR.", default="runs/bench", show_default=True)
@model_option_flag
@click.option("--list", "only_list", is_flag=True, help="List the methods and stop.")
@click.option(
    "--dry-run", is_flag=True, help="Print the number of cells and image queries and stop."
)
@click.option(
    "--report", "only_report", is_flag=True, help="Report on the finished cells of DIR and stop."
)
@json_flag
def bench(
    *,
    methods: tuple[str, ...],
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    targets: tuple[str, ...],
    budgets: tuple[str, ...],
    seeds: int,
    test_limit: int | None,
    controls: str,
    scored: Scored,
    jobs: int,
    out: Path,
    options: tuple[str, ...],
    only_list: bool,
    dry_run: bool,
    only_report: bool,
    as_json: bool,
) -> None:
    """Check the options, then list, plan, run or report."""
    from bbtvp.bench.run import BenchSettings

    if only_list:
        _list(as_json)
        return
    if only_report:
        _report(out, [], scored, as_json)
        return
    grid = _grid(
        methods=listed(methods),
        tasks=listed(tasks),
        models=listed(models),
        targets=listed(targets),
        budgets=numbers(budgets, "--budgets"),
        seeds=seeds,
    )
    settings = BenchSettings(out, test_limit, controls, model_options(options))
    if dry_run:
        _plan(grid, settings, as_json)
    else:
        _report(out, _run(grid, settings, jobs), scored, as_json)


def _grid(
    *,
    methods: list[str],
    tasks: list[str],
    models: list[str],
    targets: list[str],
    budgets: list[int],
    seeds: int,
) -> BenchGrid:
    """The grid, with every name checked before the first query."""
    from bbtvp.bench.cells import BenchGrid
    from bbtvp.bench.methods import DEFAULT, get
    from bbtvp.zoo.catalogue import members
    from bbtvp.zoo.suites import expanded

    zoo = [f"zoo/{name}" for name in members()]
    sources = models or zoo
    tried = targets or zoo
    for spec in (*sources, *tried):
        _check_model(spec)
    return BenchGrid(
        methods=tuple(get(name).axis for name in methods or DEFAULT),
        tasks=tuple(expanded(tasks or ["suite/old"])),
        sources=tuple(sources),
        targets=tuple(tried),
        budgets=tuple(budgets),
        seeds=tuple(range(seeds)),
    )


def _check_model(spec: str) -> None:
    """Raise UsageError for a name that no provider has. Workers would find out only later."""
    from bbtvp.models.registry import PROVIDERS
    from bbtvp.zoo.catalogue import model_folder

    provider, slash, name = spec.partition("/")
    if not slash:
        raise UsageError(f"model {spec!r} needs a provider, such as zoo/llava")
    if provider not in PROVIDERS.names():
        raise unknown(PROVIDERS.kind, provider, PROVIDERS.names())
    if provider == "zoo":
        model_folder(name)


def _run(grid: BenchGrid, settings: BenchSettings, parallel: int) -> list[dict[str, str]]:
    """Run all cells; what failed, as rows of cell and reason."""
    from bbtvp.bench.run import limited, run_bench
    from bbtvp.jobs.runner import BatchEvent, BatchStarted, JobEnded

    for spec in grid.tasks:  # a misspelt task is an error now, not in an hour
        limited(spec, settings.test_limit)
    began = time.monotonic()
    before = 0

    def watch(event: BatchEvent) -> None:
        nonlocal before
        if isinstance(event, BatchStarted):
            before = event.done
            kept = f"; {before} are finished already" if before else ""
            say(f"{event.total} cells{kept}")
        if isinstance(event, JobEnded) and event.result.fresh:
            left = ""
            if event.number < event.total:
                pace = (time.monotonic() - began) / max(1, event.number - before)
                left = f"; about {_span(pace * (event.total - event.number))} left"
            say(f"{event.number}/{event.total} {_told(event.result)}{left}")

    ended = run_bench(grid, settings, parallel=parallel, watch=watch)
    return [{"cell": one.job.name, "reason": one.error} for one in ended if one.document is None]


def _told(ended: JobResult[BenchCell]) -> str:
    """What became of a cell, in a few words."""
    if ended.document is None:
        return f"FAILED {ended.job.name}: {ended.error}"
    rows = ended.document["rows"]
    own = [100 * row["gain"] for row in rows if row["target"] == ended.job.source]
    others = [100 * row["gain"] for row in rows if row["target"] != ended.job.source]
    carried = f", others {sum(others) / len(others):+.1f}" if others else ""
    seconds = ended.document["seconds"]["all"]
    return f"{ended.job.name}: source {own[0]:+.1f}{carried} points, {seconds:.0f} s"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _report(out: Path, failures: list[dict[str, str]], scored: Scored, as_json: bool) -> None:
    """Write the files, show the main table or the document. BbtvpError if cells failed."""
    from bbtvp.bench import report

    found = report.findings(report.collect(out), scored)
    rows, page, curves, *matrices = report.write(out, found, failures)
    if as_json:
        give(report.document(found, failures))
    else:
        click.echo(report.main_table(found))
        if found.against:
            click.echo(f"\n{report.against_table(found)}")
        say(report.SCORED_AS[scored])
    pictures = f"{curves} and {len(matrices)} transfer matrices"
    say(f"report: {page}   rows: {rows}   pictures: {pictures}")
    if failures:
        first = failures[0]
        raise BbtvpError(
            f"{len(failures)} cells failed, the first: {first['cell']}: {first['reason']}; "
            "the same command tries again"
        )


def _list(as_json: bool) -> None:
    from bbtvp.bench.methods import DEFAULT, METHODS

    if as_json:
        rows = [
            {**method.describe(), "default": name in DEFAULT} for name, method in METHODS.items()
        ]
        give({"methods": rows})
        return
    for name, method in METHODS.items():
        mark = "*" if name in DEFAULT else " "
        click.echo(f"{mark} {name:<18} {method.kind:<9} {method.about}; {method.source}")
        constants = ", ".join(f"{key}={value}" for key, value in method.constants.items())
        if constants:
            click.echo(f"{'':21}{constants}")
    say("* runs by default. Constants can be changed: --methods 'bar[eta=3,images=16]'")


def _plan(grid: BenchGrid, settings: BenchSettings, as_json: bool) -> None:
    """How much there is to do, at most: equal images and texts are asked once."""
    from bbtvp.bench.run import BenchBatch, limited

    tests = {spec: len(limited(spec, settings.test_limit).test) for spec in grid.tasks}
    cells = list(grid.cells())
    batch = BenchBatch(settings, grid)
    left = [cell for cell in cells if batch.finished(cell) is None]
    unprompted = {(cell.task, spec) for cell in left for spec in grid.asked(cell.source)}
    trials = sum(tests[cell.task] * len(grid.asked(cell.source)) for cell in left)
    framed = trials if settings.controls == "all" else sum(tests[cell.task] for cell in left)
    plan = {
        "cells": len(cells),
        "finished": len(cells) - len(left),
        "search_queries": sum(cell.budget for cell in left),
        "zero_shot_queries": sum(tests[task] for task, _ in unprompted),
        "verification_queries": trials + framed,
    }
    if as_json:
        give({**plan, "plan": [cell.as_json() for cell in left]})
        return
    for cell in left:
        click.echo(cell.name)
    say(
        f"{plan['cells']} cells, {plan['finished']} finished; at most {plan['search_queries']} "
        f"image queries of search, {plan['zero_shot_queries']} zero-shot, "
        f"{plan['verification_queries']} of verification (the empty frame on {settings.controls})"
    )
