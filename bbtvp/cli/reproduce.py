"""`bbtvp reproduce`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import (
    give,
    json_flag,
    loader_with,
    out_option,
    own_metric_option,
    prices_option,
    say,
)

if TYPE_CHECKING:
    from bbtvp.jobs.reproduce import Reproduction, ReproductionPlan


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@out_option("The new run folder [default: RUN-again; replay: none].")
@click.option(
    "--replay", is_flag=True, help="Ask no model: take every answer from the journal of RUN."
)
@own_metric_option
@prices_option
@click.option(
    "--dry-run", is_flag=True, help="Say what differs here and what it would cost; ask nothing."
)
@json_flag
def reproduce(
    *,
    run: Path,
    out: Path | None,
    replay: bool,
    metric: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make RUN again from its folder, and say whether the prompt is identical.

    If it is not, say where the two runs part, and why. RUN must be finished. With --replay no image
    query is sent: it proves that the journal gives the prompt, with the software that is installed
    here. Exits with 0 if the prompts are identical to the bit, else with 1.
    """
    from bbtvp.jobs.reproduce import plan_reproduction
    from bbtvp.jobs.reproduce import reproduce as again
    from bbtvp.report.progress import Progress
    from bbtvp.search.events import silent

    loader = loader_with(metric)
    found = plan_reproduction(run, loader, replay=replay)
    for line in _before(found):
        say(line)
    if dry_run:
        if as_json:
            give(found.as_json())
        else:
            click.echo(f"at most {found.queries} image queries")
        return
    place = out or (None if replay else run.with_name(f"{run.resolve().name}-again"))
    done = again(found, loader, out=place, watch=silent if replay else Progress(say, sys.stderr))
    if as_json:
        give(done.as_json())
    else:
        click.echo("\n".join(_after(done)))
    if not done.identical:
        sys.exit(1)


def _before(found: ReproductionPlan) -> Iterator[str]:
    """What differs and what it costs, before anything is spent."""
    for title, pairs in (
        ("the task has changed", found.task),
        ("model revision", found.revisions),
        ("environment", found.environment),
    ):
        for name, (then, now) in pairs.items():
            yield f"{title}: {name} {then or 'none'} in the run, {now or 'none'} here"
    yield from (f"note: {doubt}" for doubt in found.doubts)
    if found.replay:
        yield "a replay of the journal: 0 image queries"
        return
    models = ", ".join(origin.spec for origin in found.recipe.models)
    budget = found.recipe.config.queries
    yield (
        f"at most {found.queries} image queries to {models}; "
        f"with those that have to be repeated, at most {budget}"
    )
    yield from (f"{spec}: {cost}" for spec, cost in found.costs.items())
    cap = found.recipe.config.usd
    if cap is not None:
        yield f"and at most ${cap:g}, the cap of the run"


def _after(done: Reproduction) -> Iterator[str]:
    if done.identical:
        yield f"identical: {done.again}"
    elif done.again is None:
        yield f"different: {done.lacking}"
    else:
        yield f"different: {done.plan.prompt} in the run, {done.again} now"
    for name, (then, now) in done.config.items():
        yield f"configuration: {name} {str(then)[:80]} in the run, {str(now)[:80]} now"
    if done.step is not None:
        yield f"first step that differs: {done.step}"
    both, different, largest = done.answers
    if different:
        by = "" if largest is None else f", log-probabilities by up to {largest:.3g}"
        yield f"of {both} questions that both runs asked, {different} got other answers{by}"
    if not done.plan.replay:
        money = f", ${done.usd:.4f}" if done.usd else ""
        yield f"{done.queries} image queries{money}; the new run: {done.out}"
    if done.stored:
        yield (
            f"{done.stored} answers came from the response store, not from the model; "
            "to ask it anew, set BBTVP_STORE to a new file and name another --out"
        )
