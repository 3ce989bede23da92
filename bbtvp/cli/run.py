"""`bbtvp run`."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, json_flag, pairs_of, prices_option, say
from bbtvp.core.errors import BbtvpError, unknown

if TYPE_CHECKING:
    from bbtvp.jobs import SearchJob
    from bbtvp.jobs.runner import JobResult


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    envvar="BBTVP_OUT",
    help="Folder OUT [default: runs/FILE].",
)
@click.option(
    "-s",
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A key of every job: queries=200, prompt=tone.",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Jobs of these names; * and ? stand for anything."
)
@click.option("--limit", type=click.IntRange(1), help="At most so many jobs that are not done yet.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Jobs at once.")
@prices_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check every job and print what it would ask and cost; ask nothing.",
)
@json_flag
def run(
    file: Path,
    out: Path | None,
    pairs: tuple[str, ...],
    only: tuple[str, ...],
    limit: int | None,
    jobs: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a FILE of jobs: tasks × models × methods × seeds, and single jobs.

    \b
    # jobs.toml
    [defaults]                      # of every job; keys are the options of bbtvp optimize
    queries = 1000
    [models."openai/gpt-4o"]        # options of a model, as -M
    rpm = 500
    [[grid]]                        # every combination of what is a list
    task = ["zoo/shapes-dark", "photos/"]
    model = ["zoo/llava", "openai/gpt-4o"]
    seed = [0, 1, 2]
    verify = true                   # the proof on held-out images too; or a list of further models
    [[job]]                         # one job; a list of models is one search on several
    name = "both"
    task = "photos/"
    model = ["zoo/llava", "zoo/paligemma"]

    A key is taken from --set, else from the environment (BBTVP_JOB_QUERIES=200), else from the file. Each job has its
    run folder in OUT; jobs share loaded models, rate limits and the store of replies. A job that fails does not stop
    the others. The same command goes on where it was stopped, and tries failed jobs again; from another terminal,
    bbtvp status OUT tells how far it is. Exit code: 0 if all are done, 1 if one failed.
    """  # noqa: D301
    from bbtvp.jobs import read_jobs
    from bbtvp.jobs.run import finished

    every = read_jobs(file, pairs_of(pairs, "--set", "queries=200"))
    folder = out or Path("runs") / file.stem
    chosen = _chosen(every, only)
    if limit is not None:
        left = [job for job in chosen if finished(job, folder) is None][:limit]
        chosen = [job for job in chosen if job in left or finished(job, folder) is not None]
    if dry_run:
        _show_plan(chosen, as_json)
        return
    ended = _run(chosen, every, folder, jobs)
    failed = [one for one in ended if one.document is None]
    if as_json:
        give(
            {
                "schema": "bbtvp.jobs/1",
                "out": str(folder),
                "jobs": [_row(one, folder) for one in ended],
            }
        )
    else:
        click.echo(_table(ended))
    if failed:
        raise BbtvpError(
            f"{len(failed)} of {len(ended)} jobs failed, the first: {failed[0].job.name}: {failed[0].error}; "
            "the same command tries them again"
        )
    say(f"{len(ended)} jobs done; their prompts, journals and results: {folder}/")


def _chosen(every: Sequence[SearchJob], only: Sequence[str]) -> list[SearchJob]:
    names = [job.name for job in every]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise unknown("job", pattern, names)
    return [
        job
        for job in every
        if not only or any(fnmatch.fnmatchcase(job.name, pattern) for pattern in only)
    ]


def _show_plan(jobs: Sequence[SearchJob], as_json: bool) -> None:
    """Each job's plan and the sums; what is wrong with a job is an error, before anything is asked."""
    from bbtvp.endpoint.prices import dollars, duration
    from bbtvp.jobs.plan import plan
    from bbtvp.search.recipe import Loader

    loader = Loader()
    planned = []
    for job in jobs:
        try:
            planned.append(plan(job, loader))
        except BbtvpError as error:
            raise type(error)(f"job {job.name}: {error}") from error
    queries = sum(one.search + one.verify for one in planned)
    known = [one.usd for one in planned if one.usd is not None]
    usd = sum(known) if len(known) == len(planned) else None
    seconds = sum(one.seconds or 0 for one in planned)
    if as_json:
        give({"jobs": [one.as_json() for one in planned], "queries": queries, "usd_bound": usd})
        return
    for one in planned:
        cost = (
            "price unknown"
            if one.usd is None
            else f"at most {dollars(one.usd)}"
            if one.usd
            else "no money"
        )
        proof = f"; verification {one.verify:,}" if one.verify else ""
        click.echo(f"{one.job.name}: {one.plan}{proof}; {cost}")
    money = "price unknown" if usd is None else f"at most {dollars(usd)}"
    time = f", {duration(seconds)} at the rate limits" if seconds else ""
    say(f"{len(planned)} jobs, at most {queries:,} image queries, {money}{time}")


def _run(
    chosen: Sequence[SearchJob], every: Sequence[SearchJob], folder: Path, parallel: int
) -> list[JobResult[SearchJob]]:
    """Run the chosen jobs, and tell how they go. Ends the process after an interrupt that leaves
    threads behind.
    """
    from bbtvp.jobs import run_jobs
    from bbtvp.jobs.runner import StillRunning
    from bbtvp.report.progress import LINES

    def watch(event: str, facts: Mapping[str, Any]) -> None:
        if event == "job":
            say(f"{facts['number']}/{facts['total']} {_told(facts['ended'])}")
        elif event == "begun":
            say(f"{facts['job']}: begins")
        elif event in LINES and parallel == 1:
            say(f"{facts['job']}: {LINES[event](facts)}")

    try:
        return run_jobs(chosen, folder, every=every, parallel=parallel, watch=watch)
    except StillRunning:
        # A normal exit would wait for the threads, and they wait for a model.
        say("interrupted; what was answered is kept: run the same command to continue")
        sys.stderr.flush()
        os._exit(130)


def _told(ended: JobResult[SearchJob]) -> str:
    if ended.document is None:
        return f"FAILED {ended.job.name}: {ended.error}"
    if not ended.fresh:
        return f"{ended.job.name}: done before"
    from bbtvp.report.figures import points

    rows = ended.document["models"]
    gain = f", {points(rows[0]['gain'])} points on {rows[0]['n']} test images" if rows else ""
    better = (
        "better on validation"
        if ended.document["improved_on_validation"]
        else "no gain on validation"
    )
    return f"{ended.job.name}: {better}{gain}, {ended.document['seconds']:.0f} s"


def _row(ended: JobResult[SearchJob], folder: Path) -> dict[str, Any]:
    row = {"name": ended.job.name, "folder": str(folder / ended.job.folder), "fresh": ended.fresh}
    if ended.document is None:
        return {**row, "error": ended.error, "exit_code": ended.exit_code}
    return {**row, "result": ended.document}


HEAD = ("job", "state", "queries", "US$", "validation", "test gain", "95 % interval", "verdict")


def _table(ended: Sequence[JobResult[SearchJob]]) -> str:
    """A line for each job; with the verdicts, if jobs were verified."""
    from bbtvp.core.table import text_table

    rows = [HEAD, *map(_cells, ended)]
    if all(row[-1] == "-" for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return text_table(rows, left={0, 1, len(HEAD) - 1})


def _cells(ended: JobResult[SearchJob]) -> tuple[str, ...]:
    from bbtvp.report.figures import interval, points

    if ended.document is None:
        return (ended.job.name, "failed", "", "", "", "", "", "-")
    document = ended.document
    spent = sum(document["queries"][phase] for phase in ("search", "validation", "probe", "verify"))
    usd = "" if document["usd"] is None else f"{document['usd']:.4f}"
    better = "better" if document["improved_on_validation"] else "no gain"
    gain, ends = next(
        ((points(row["gain"]), interval(row["gain_ci95"])) for row in document["models"]), ("", "")
    )
    verdict = document.get("verdict", {}).get("word", "-")
    return (ended.job.name, "done", f"{spent:,}", usd, better, gain, ends, verdict)
