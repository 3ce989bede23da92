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

from bbtvp.cli.options import give, json_flag, number_option, say

if TYPE_CHECKING:
    from bbtvp.jobs.status import JobStatus
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
    """Show how far the runs in FOLDER have come.

    FOLDER is a run folder, a folder of jobs, or a folder that holds such. Nothing is locked and no
    model is asked, so the runs may go on meanwhile. Exits with 1 if a job has failed or cannot be
    read.
    """
    from bbtvp.jobs.status import BAD, SCHEMA, StatusMonitor

    jobs = StatusMonitor(folders).statuses()
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
@number_option(
    "--every",
    default=2.0,
    type=click.FloatRange(0.1),
    help="Seconds between two updates.",
)
def watch(folders: tuple[Path, ...], every: float) -> None:
    """Show the table of `bbtvp status` until every job is done or has failed.

    Without a terminal, print a line whenever a job has come further. A stopped job is waited for:
    the command that began it continues it. Exits with 1 if a job has failed, and with 130 on
    Ctrl-C, which does not disturb the runs.
    """
    from bbtvp.jobs.status import BAD, ENDED, StatusMonitor

    monitor = StatusMonitor(folders)
    screen = sys.stdout.isatty()
    drawn = 0
    told = dict[Path, str]()
    try:
        while True:
            jobs = monitor.statuses()
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


def _draw(jobs: Sequence[JobStatus], drawn: int) -> int:
    """Draw the table over the last one, and give the number of its lines."""
    size = get_terminal_size()
    lines = _fitted([*table(jobs), *errors(jobs), summary(jobs)], size)
    click.echo((_UP.format(drawn) if drawn else "") + "\r" + _CLEAR + "\n".join(lines))
    return len(lines)


def _fitted(lines: list[str], size: os.terminal_size) -> list[str]:
    """The lines cut to the screen; the head and the summary stay."""
    room = max(4, size.lines - 1)
    if len(lines) > room:
        lines = [*lines[: room - 2], f"… {len(lines) - room + 1} more", lines[-1]]
    return [line[: size.columns] for line in lines]


def _tell(jobs: Sequence[JobStatus], told: dict[Path, str]) -> None:
    """Print a line for each job that has come further since its last line."""
    for job in jobs:
        name, state, stage, loss, validation, queries, *_ = _cells(job)
        if told.get(job.folder) != f"{state} {stage}":
            told[job.folder] = f"{state} {stage}"
            facts = {"loss": loss, "validation": validation, "image queries": queries}
            more = "".join(f", {fact} {cell}" for fact, cell in facts.items() if cell != "-")
            click.echo(f"{name}: {state}" + ("" if stage == "-" else f", {stage}") + more)
            if job.error:
                click.echo(f"{name}: {job.error}")


def summary(jobs: Sequence[JobStatus]) -> str:
    """All jobs in one line."""
    from bbtvp.endpoint.prices import dollars

    states = Counter(job.state for job in jobs)
    asked = sum(job.queries + job.checks for job in jobs)
    usd = sum(job.usd for job in jobs)
    money = f", {dollars(usd)}" if usd else ""
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{counts}; {asked} image queries{money}"


def errors(jobs: Sequence[JobStatus]) -> list[str]:
    """A line for each failed job, and for each other job whose queries failed, with the reason."""
    failed = [f"{job.name}: {job.error}" for job in jobs if job.error]
    return failed + [
        f"{job.name}: the last failed query: {job.failure}"
        for job in jobs
        if job.failure and not job.error
    ]


def table(jobs: Sequence[JobStatus]) -> list[str]:
    """The lines of the table: a head, and one for each job."""
    from bbtvp.core.table import text_table

    return text_table([HEAD, *map(_cells, jobs)], left=3).splitlines()


def _cells(job: JobStatus) -> tuple[str, ...]:
    from bbtvp.endpoint.prices import duration

    return (
        job.name,
        job.state,
        _stage(job),
        "-" if job.loss is None else f"{job.loss:.3f}",
        _accuracies(job),
        _queries(job),
        str(job.failed),
        _dollars(job),
        "-" if job.seconds_left is None else duration(job.seconds_left),
    )


def _stage(job: JobStatus) -> str:
    stage = job.stage or "-"
    return stage if job.generations is None else f"{stage} {job.generation}/{job.generations}"


def _accuracies(job: JobStatus) -> str:
    """The share of right answers without a prompt, and with the best one."""
    before = _accuracy(job.unprompted)
    after = _accuracy(job.best)
    return "-" if before == after == "-" else f"{before} → {after} %"


def _accuracy(validated: ValidationMeans | None) -> str:
    if validated is None or validated.accuracy is None:
        return "-"
    return f"{100 * validated.accuracy:.1f}"


def _queries(job: JobStatus) -> str:
    search = f"{job.queries}/{job.cap}" if job.cap else str(job.queries)
    return f"{search} + {job.checks}" if job.checks else search


def _dollars(job: JobStatus) -> str:
    from bbtvp.endpoint.prices import dollars

    if not job.usd and not job.usd_cap:
        return "-"
    spent = dollars(job.usd).removeprefix("$")
    return f"{spent}/{dollars(job.usd_cap).removeprefix('$')}" if job.usd_cap else spent
