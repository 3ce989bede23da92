"""`bbtvp run`."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, jobs_option, json_flag, out_option, pairs_of, prices_option, say
from bbtvp.core.errors import BbtvpError, unknown

if TYPE_CHECKING:
    from bbtvp.jobs import SearchJob
    from bbtvp.jobs.plan import JobPlan
    from bbtvp.jobs.runner import JobResult


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@out_option("Folder OUT [default: runs/FILE].", envvar="BBTVP_OUT")
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
@jobs_option("Jobs at once.")
@prices_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check every job and print what it would ask and cost; ask nothing.",
)
@json_flag
def run(
    *,
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
    [models."openai/gpt-6-luna"]        # options of a model, as -M
    rpm = 500
    [[grid]]                        # every combination of what is a list
    task = ["zoo/shapes-dark", "photos/"]
    model = ["zoo/llava", "openai/gpt-6-luna"]
    seed = [0, 1, 2]
    verify = true                   # prove it on held-out images too; or a list of more models
    [[job]]                         # one job; a list of models is one search on several
    name = "both"
    task = "photos/"
    model = ["zoo/llava", "zoo/paligemma"]

    A key is taken from --set, else from the environment (BBTVP_JOB_QUERIES=200), else from the
    file. Each job has its run folder in OUT. Jobs share loaded models, rate limits and the reply
    cache. A job that fails does not stop the others. The same command goes on where it was stopped,
    and tries failed jobs again; bbtvp status OUT shows the progress from another terminal. Exit
    code: 0 if all jobs are done, 1 if one failed.
    """  # noqa: D301
    from bbtvp.jobs import read_jobs
    from bbtvp.jobs.run import finished

    every = read_jobs(file, pairs_of(pairs, "--set", "queries=200"))
    folder = out or Path("runs") / file.stem
    chosen = _chosen(every, only)
    if limit is not None:
        done = [job for job in chosen if finished(job, folder) is not None]
        left = [job for job in chosen if job not in done][:limit]
        chosen = [job for job in chosen if job in done or job in left]
    if dry_run:
        _show_plan(chosen, as_json)
        return
    ended = _run(chosen, every, folder, jobs)
    if as_json:
        rows = [_row(one, folder) for one in ended]
        give({"schema": "bbtvp.jobs/1", "out": str(folder), "jobs": rows})
    else:
        click.echo(_table(ended))
    failed = [one for one in ended if one.document is None]
    if failed:
        first = failed[0]
        raise BbtvpError(
            f"{len(failed)} of {len(ended)} jobs failed, the first: {first.job.name}: "
            f"{first.error}; the same command tries them again"
        )
    say(f"{len(ended)} jobs done; their prompts, journals and results: {folder}/")


def _chosen(every: Sequence[SearchJob], only: Sequence[str]) -> list[SearchJob]:
    names = [job.name for job in every]
    for pattern in only:
        if not any(_matches(name, pattern) for name in names):
            raise unknown("job", pattern, names)
    return [
        job for job in every if not only or any(_matches(job.name, pattern) for pattern in only)
    ]


def _matches(name: str, pattern: str) -> bool:
    """Whether a job is meant: by its name, which may hold brackets, or by * and ?."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _show_plan(jobs: Sequence[SearchJob], as_json: bool) -> None:
    """Print each job's plan and the sums. Raises what is wrong with a job; asks nothing."""
    plans = _plans(jobs)
    queries = sum(one.search + one.verify for one in plans)
    usd: float | None = None
    if all(one.usd is not None for one in plans):
        usd = sum(one.usd or 0 for one in plans)
    if as_json:
        give({"jobs": [one.as_json() for one in plans], "queries": queries, "usd_bound": usd})
        return
    for one in plans:
        click.echo(_planned(one))
    say(_sum(plans, queries, usd))


def _plans(jobs: Sequence[SearchJob]) -> list[JobPlan]:
    from bbtvp.endpoint.access import without_keys
    from bbtvp.jobs.plan import plan
    from bbtvp.search.recipe import Loader

    loader = Loader()
    plans = []
    for job in jobs:
        try:
            with without_keys():
                plans.append(plan(job, loader))
        except BbtvpError as error:
            raise type(error)(f"job {job.name}: {error}") from error
    return plans


def _planned(one: JobPlan) -> str:
    from bbtvp.endpoint.prices import dollars

    cost = "no money"
    if one.usd is None:
        cost = "price unknown"
    elif one.usd:
        cost = f"at most {dollars(one.usd)}"
    proof = f"; verification {one.verify:,}" if one.verify else ""
    return f"{one.job.name}: {one.plan}{proof}; {cost}"


def _sum(plans: Sequence[JobPlan], queries: int, usd: float | None) -> str:
    from bbtvp.endpoint.prices import dollars, duration

    money = "price unknown" if usd is None else f"at most {dollars(usd)}"
    seconds = sum(one.seconds or 0 for one in plans)
    time = f", {duration(seconds)} at the rate limits" if seconds else ""
    return f"{len(plans)} jobs, at most {queries:,} image queries, {money}{time}"


def _run(
    chosen: Sequence[SearchJob], every: Sequence[SearchJob], folder: Path, parallel: int
) -> list[JobResult[SearchJob]]:
    """Run the chosen jobs and tell how they go.

    Ends the process if an interrupt leaves threads behind.
    """
    from bbtvp.jobs import run_jobs
    from bbtvp.jobs.runner import BatchEvent, JobEnded, JobEvent, JobStarted, StillRunning
    from bbtvp.report.progress import lines_of

    def watch(event: BatchEvent) -> None:
        match event:
            case JobEnded(result, number, total):
                say(f"{number}/{total} {_told(result)}")
            case JobStarted(job):
                say(f"{job}: begins")
            case JobEvent(job, told) if parallel == 1:
                for line in lines_of(told):
                    say(f"{job}: {line}")

    try:
        return run_jobs(chosen, folder, every=every, parallel=parallel, watch=watch)
    except StillRunning:
        # A normal exit would wait for the threads, and they wait for a model.
        say("interrupted; what was answered is kept: run the same command to continue")
        sys.stderr.flush()
        os._exit(130)


def _told(ended: JobResult[SearchJob]) -> str:
    """What became of a job, in a line."""
    from bbtvp.report.figures import points

    name = ended.job.name
    document = ended.document
    if document is None:
        return f"FAILED {name}: {ended.error}"
    if not ended.fresh:
        return f"{name}: done before"
    said = _validated(document) + " on validation"
    for row in document["models"][:1]:
        said += f", {points(row['gain'])} points on {row['n']} test images"
    return f"{name}: {said}, {document['seconds']:.0f} s"


def _validated(document: Mapping[str, Any]) -> str:
    return "better" if document["improved_on_validation"] else "no gain"


def _row(ended: JobResult[SearchJob], folder: Path) -> dict[str, Any]:
    row = {"name": ended.job.name, "folder": str(folder / ended.job.folder), "fresh": ended.fresh}
    if ended.document is None:
        return {**row, "error": ended.error, "exit_code": ended.exit_code}
    return {**row, "result": ended.document}


HEAD = ("job", "state", "queries", "US$", "validation", "test gain", "95 % interval", "verdict")


def _table(ended: Sequence[JobResult[SearchJob]]) -> str:
    """A line for each job; the last column, verdicts, only if a job has one."""
    from bbtvp.core.table import text_table

    rows = [HEAD, *map(_cells, ended)]
    if all(row[-1] == "-" for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return text_table(rows, left={0, 1, len(HEAD) - 1})


def _cells(ended: JobResult[SearchJob]) -> tuple[str, ...]:
    from bbtvp.report.figures import interval, points

    document = ended.document
    if document is None:
        return (ended.job.name, "failed", "", "", "", "", "", "-")
    spent = sum(document["queries"][phase] for phase in ("search", "validation", "probe", "verify"))
    usd = "" if document["usd"] is None else f"{document['usd']:.4f}"
    gain = ends = ""
    for row in document["models"][:1]:
        gain = points(row["gain"])
        ends = interval(row["gain_ci95"])
    verdict = document.get("verdict", {}).get("word", "-")
    better = _validated(document)
    return (ended.job.name, "done", f"{spent:,}", usd, better, gain, ends, verdict)
