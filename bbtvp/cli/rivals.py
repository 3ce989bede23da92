"""The rivals of `bbtvp verify`: options, the plan, and the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from bbtvp.cli.options import number_option, say, together

if TYPE_CHECKING:
    from bbtvp.cli.checks import CheckInputs
    from bbtvp.rivals import RivalTable

rival_options = together(
    click.option(
        "--rivals",
        metavar="NAMES",
        help="What to ask beside it: names with commas between them, or all. Without PROMPT: "
        "which is the cheapest that works?",
    ),
    number_option(
        "--rival-queries",
        default=1000,
        type=click.IntRange(1),
        help="Image queries that a searched rival may send.",
    ),
)


class RivalArguments(TypedDict):
    """What both the plan and the comparison take."""

    rivals: list[str]
    reader: str
    tuning: int


def rival_arguments(rivals: str, reader: str, tuning: int) -> RivalArguments:
    """The arguments of `compare_rivals`. UsageError for an unknown name, before models load."""
    from bbtvp.rivals import rivals_named

    names = [name.strip() for name in rivals.split(",")]
    rivals_named(names)
    return {"rivals": names, "reader": reader, "tuning": tuning}


def ask_rivals(
    inputs: CheckInputs,
    given: RivalArguments,
    *,
    sources: tuple[str, ...],
    usd: float | None,
    seed: int,
    out: Path | None,
) -> RivalTable:
    """The table, with a line on stderr for each arm."""
    from bbtvp.rivals import compare_rivals

    return compare_rivals(
        inputs.task,
        inputs.models,
        prompt=inputs.prompt,
        source=sources or inputs.facts.get("source_models"),
        facts=inputs.facts,
        usd=usd,
        seed=seed,
        out=out,
        watch=_tell,
        **given,
    )


def rival_plan(inputs: CheckInputs, given: RivalArguments) -> dict[str, Any]:
    """What the rivals take at most, for `--dry-run`."""
    from bbtvp.rivals import plan_rivals

    planned = plan_rivals(inputs.task, inputs.models, prompt=inputs.prompt, **given)
    return {"queries": planned.queries, "tuning": planned.tuning, "arms": list(planned.arms)}


def _tell(event: Any) -> None:
    from bbtvp.rivals.compare import RivalAsked
    from bbtvp.verify.events import ModelProbed

    match event:
        case RivalAsked(name, model, score):
            say(f"{model}: {name} {100 * score:.1f} % right")
        case ModelProbed(spec, findings):
            say(f"{spec}: {'; '.join(findings)}")
