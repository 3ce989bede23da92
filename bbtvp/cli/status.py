"""`bbtvp status`, `bbtvp watch`."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import give, json_flag, say

if TYPE_CHECKING:
    from bbtvp.jobs.status import Standing
    from bbtvp.runs.tally import ValidationMeans

HEAD = ("job", "state", "stage", "loss", "validation", "queries", "failed", "US$", "left")
_UP = "\x1b[{}A"
_CLEAR = "\x1b[J"
folders_argument = click.argument(
    "folders", metavar="FOLDER…", nargs=-1, required=True, type=click.Path(path_type=Path)
)


@click.command()
@folders_argument
@json_flag
def status(folders: tuple[Path, ...], as_json: bool) -> None:
    """Where the runs in FOLDER stand: a run folder, a folder of jobs, or a folder that holds such.

    Nothing is locked or asked, so it may be called while they go. Exits with 1 if a job has failed
    or cannot be read.
    """
    from bbtvp.jobs.status import BAD, SCHEMA, Board

    jobs = Board(folders).look()
    states = Counter(job.state for job in jobs)
    if as_json:
        give({"schema": SCHEMA, "states": dict(states), "jobs": [job.as_json() for job in jobs]})
    else:
        click.echo("\n".join([*table(jobs), *errors(jobs)]))
        say(summary(jobs))
    if any(states[bad] for bad in BAD):
        sys.exit(1)


@click.command()
@folders_argument
@click.option(
    "--every",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds from one look to the next.",
)
def watch(folders: tuple[Path, ...], every: float) -> None:
    """The table of `bbtvp status`, drawn again and again until every job is done or has failed.

    Without a terminal, a line whenever a job has come further. A stopped job is waited for: the
    command that began it continues it. Exits with 1 if a job has failed, with 130 on Ctrl-C; the
    runs do not notice either.
    """
    from bbtvp.jobs.status import BAD, ENDED, Board

    board = Board(folders)
    screen = sys.stdout.isatty()
    drawn = 0
    told = dict[Path, str]()
    try:
        while True:
            jobs = board.look()
            if screen:
                drawn = _draw(jobs, drawn)
            else:
                _tell(jobs, told)
            if all(job.state in ENDED for job in jobs):
                break
            time.sleep(every)
    except KeyboardInterrupt:
        sys.exit(130)
    if any(job.state in BAD for job in jobs):
        sys.exit(1)


def _draw(jobs: Sequence[Standing], drawn: int) -> int:
    """Draw over the last table; gives the number of lines."""
    size = get_terminal_size()
    lines = _fitted([*table(jobs), *errors(jobs), summary(jobs)], size)
    click.echo((_UP.format(drawn) if drawn else "") + "\r" + _CLEAR + "\n".join(lines))
    return len(lines)


def _fitted(lines: list[str], size: os.terminal_size) -> list[str]:
    """Cut to the screen: the head and the summary stay."""
    room = max(4, size.lines - 1)
    kept = (
        lines
        if len(lines) <= room
        else [*lines[: room - 2], f"… {len(lines) - room + 1} more", lines[-1]]
    )
    return [line[: size.columns] for line in kept]


def _tell(jobs: Sequence[Standing], told: dict[Path, str]) -> None:
    """A line for each job that has come further since it was told of."""
    for job in jobs:
        name, state, stage, loss, validation, queries, *_ = _cells(job)
        if told.get(job.folder) != f"{state} {stage}":
            told[job.folder] = f"{state} {stage}"
            facts = {"loss": loss, "validation": validation, "image queries": queries}
            more = "".join(f", {fact} {cell}" for fact, cell in facts.items() if cell != "-")
            click.echo(f"{name}: {state}" + ("" if stage == "-" else f", {stage}") + more)
            if job.error:
                click.echo(f"{name}: {job.error}")


def summary(jobs: Sequence[Standing]) -> str:
    """All jobs in one line."""
    states = Counter(job.state for job in jobs)
    asked = sum(job.queries + job.checks for job in jobs)
    usd = sum(job.usd for job in jobs)
    money = f", ${usd:.2f}" if usd else ""
    return f"{', '.join(f'{count} {state}' for state, count in states.items())}; {asked} image queries{money}"


def errors(jobs: Sequence[Standing]) -> list[str]:
    """What went wrong, a line each: why a job failed, or why the last query did that failed."""
    failed = [f"{job.name}: {job.error}" for job in jobs if job.error]
    return failed + [
        f"{job.name}: the last failed query: {job.failure}"
        for job in jobs
        if job.failure and not job.error
    ]


def table(jobs: Sequence[Standing]) -> list[str]:
    """A head, and a line for each job."""
    from bbtvp.core.table import text_table

    return text_table([HEAD, *map(_cells, jobs)], left=3).splitlines()


def _cells(job: Standing) -> tuple[str, ...]:
    from bbtvp.endpoint.prices import duration

    at = job.stage or "-"
    if job.generations is not None:
        at += f" {job.generation}/{job.generations}"
    shares = list(map(_accuracy, (job.unprompted, job.best)))
    asked = f"{job.queries}/{job.cap}" if job.cap else str(job.queries)
    return (
        job.name,
        job.state,
        at,
        "-" if job.loss is None else f"{job.loss:.3f}",
        "-" if shares == ["-", "-"] else f"{' → '.join(shares)} %",
        asked + (f" + {job.checks}" if job.checks else ""),
        str(job.failed),
        "-"
        if not job.usd and not job.usd_cap
        else f"{job.usd:.2f}" + (f"/{job.usd_cap:.2f}" if job.usd_cap else ""),
        "-" if job.seconds_left is None else duration(job.seconds_left),
    )


def _accuracy(arm: ValidationMeans | None) -> str:
    return "-" if arm is None or arm.accuracy is None else f"{100 * arm.accuracy:.1f}"
