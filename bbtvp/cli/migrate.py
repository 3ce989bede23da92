"""`bbtvp migrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.checks import labels_option, question_option, scoring_options
from bbtvp.cli.options import (
    asked,
    give,
    json_flag,
    model_option_flag,
    model_options,
    number_option,
    out_option,
    prices_option,
    reader_option,
    say,
    seed_option,
    usd_option,
)
from bbtvp.core.errors import BbtvpError, UsageError

if TYPE_CHECKING:
    from bbtvp.endpoint.prices import Estimate
    from bbtvp.jobs.migrate import MigrateOptions
    from bbtvp.jobs.migrate_many import LoadedPrompts
    from bbtvp.models import Model


@click.command()
@click.argument(
    "prompts", metavar="PROMPT...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--from", "old", required=True, help="The model that the prompts were made for.")
@click.option(
    "--to",
    "new",
    multiple=True,
    help="The model that they move to; repeat for more. Without it, the successor that the vendor "
    "names is shown, and nothing is asked.",
)
@click.option("--task", help="As for optimize, for all prompts [default: the one that each names].")
@question_option
@labels_option
@scoring_options
@number_option(
    "--queries",
    default=300,
    type=click.IntRange(1),
    help="Image queries of each refinement; proofs are bounded by the test images.",
)
@usd_option
@prices_option
@reader_option
@seed_option
@model_option_flag
@out_option(
    "The folder of journals, refined prompts, page and document.",
    default="migration",
    show_default=True,
)
@click.option(
    "--dry-run", is_flag=True, help="Print the most image queries of each pair; ask nothing."
)
@json_flag
def migrate(
    *,
    prompts: tuple[Path, ...],
    old: str,
    new: tuple[str, ...],
    task: str | None,
    question: str | None,
    labels: str | None,
    metric: str | None,
    max_tokens: int | None,
    queries: int,
    usd: float | None,
    reader: str,
    seed: int,
    options: tuple[str, ...],
    out: Path,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Decide whether each PROMPT holds on a new model: keep, refined, needs none, drop.

    PROMPT is a bundle, a run folder, or a folder of such. Each is verified on each new model; where
    it does not hold, the new model without a prompt is set beside the old one with it; where that
    is worse, the prompt is refined within --queries and verified again. One page and one JSON
    document are written into --out, and the same command goes on where it was stopped.

    Exit codes: 0 all is decided, 5 something is not, 1 something could not be done.
    """
    from bbtvp.core.files import atomic_write
    from bbtvp.jobs.migrate import MigrateOptions
    from bbtvp.jobs.migrate_cost import ModelEnding
    from bbtvp.jobs.migrate_many import PAGE, load_prompts, migrate_all
    from bbtvp.report.html.migrate import migrate_page
    from bbtvp.report.migrate import migrate_text, moved_line

    ending = ModelEnding(old)
    specs = _successors(new, ending, dry_run=dry_run)
    given = asked(question, labels, metric, max_tokens)
    loaded = load_prompts(prompts, lambda opened, spec: opened.task(spec, **given), task)
    for lost in loaded.unmoved:
        say(moved_line(lost))
    settings = model_options(options)
    old_model, missing = _old_model(old, ending, settings, dry_run=dry_run)
    models = _models(specs, settings, dry_run=dry_run)
    shared = MigrateOptions(
        old=old,
        out=out,
        queries=queries,
        usd=usd,
        seed=seed,
        reader=reader,
        old_model=old_model,
        old_missing=missing,
    )
    if dry_run:
        _show_plan(loaded, models, shared, as_json=as_json)
        return
    if not loaded.prompts:
        raise UsageError("none of the prompts can be moved; see the lines above")
    if old_model is None:
        say(f"{old} cannot be asked ({missing}); its figures come from the bundles")
    report = migrate_all(loaded, models, shared, each=lambda found: say(moved_line(found)))
    atomic_write(out / PAGE, migrate_page(report).encode("utf-8"))
    if as_json:
        give(report.as_json())
    else:
        click.echo(migrate_text(report))
        say(f"page: {out / PAGE}")
    sys.exit(report.exit_code)


def _successors(new: Sequence[str], ending: Any, *, dry_run: bool) -> tuple[str, ...]:
    """The new models; a plan takes the successor where none is named.

    UsageError where nobody has named a model and something would be asked.
    """
    if str(ending):
        say(str(ending))
    if new:
        return tuple(new)
    if ending.successor is None:
        raise UsageError(f"no successor of {ending.spec} is known; name the new model: --to MODEL")
    if not dry_run:
        raise UsageError(f"to confirm the successor, say so: --to {ending.successor}")
    return (ending.successor,)


def _models(specs: Sequence[str], settings: dict[str, Any], *, dry_run: bool) -> list[Model]:
    from bbtvp.endpoint.access import without_keys
    from bbtvp.models import load_model

    if not dry_run:
        return [load_model(spec, **settings) for spec in specs]
    with without_keys():
        return [load_model(spec, **settings) for spec in specs]


def _old_model(
    spec: str, ending: Any, settings: dict[str, Any], *, dry_run: bool
) -> tuple[Model | None, str]:
    """The old model; None with the reason where it cannot be asked any more."""
    if ending.known.over():
        return None, f"it ended on {ending.known.shutdown}"
    try:
        (model,) = _models([spec], settings, dry_run=dry_run)
    except BbtvpError as error:
        return None, str(error)
    return model, ""


def _show_plan(
    loaded: LoadedPrompts, models: Sequence[Model], options: MigrateOptions, *, as_json: bool
) -> None:
    """Print the most image queries of each pair, and what each endpoint costs at most."""
    from bbtvp.cli.plan import tell
    from bbtvp.jobs.migrate import plan_migration

    plans = [plan_migration(moved, model, options) for moved in loaded.prompts for model in models]
    total = sum(plan.queries for plan in plans)
    lines = [
        f"{plan.prompt} to {plan.new}: at most {plan.queries:,} image queries "
        f"({plan.proof:,} proof, {plan.comparison:,} of the old model, {plan.refinement:,} "
        f"refinement, {plan.second_proof:,} second proof)"
        for plan in plans
    ]
    lines.append(f"together: at most {total:,} image queries")
    document = {
        "queries": total,
        "pairs": [{**plan._asdict(), "queries": plan.queries} for plan in plans],
        "unmoved": [one._asdict() for one in loaded.unmoved],
    }
    tell(document, lines, _costs(loaded, models, options), as_json)


def _costs(
    loaded: LoadedPrompts, models: Sequence[Model], options: MigrateOptions
) -> dict[str, Estimate]:
    """The most that the new models cost, the longest question and the largest canvas of all."""
    from bbtvp.endpoint.remote import bounds
    from bbtvp.jobs.migrate import plan_migration

    if not loaded.prompts:
        return {}
    each = [
        sum(plan_migration(moved, model, options).queries for moved in loaded.prompts)
        for model in models
    ]
    pairs = [(moved, sample) for moved in loaded.prompts for sample in moved.task.test]
    sides = (max(moved.prompt.space.canvas, *sample.pixels().shape[:2]) for moved, sample in pairs)
    texts = (moved.prompt.ask(moved.task.ask(sample)) for moved, sample in pairs)
    shown = max((moved.prompt.context() for moved in loaded.prompts), key=len)
    return bounds(models, each, sides, texts, shown)
