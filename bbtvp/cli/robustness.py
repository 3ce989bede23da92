"""`bbtvp robustness`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Unpack

import click

from bbtvp.cli.checks import (
    CheckArguments,
    CheckInputs,
    check_options,
    prompt_argument,
    session_options,
    tested_models_option,
    tested_task_option,
)
from bbtvp.cli.options import choice_option, give
from bbtvp.core.errors import UsageError


@click.command()
@prompt_argument
@tested_task_option
@tested_models_option("A model to ask; repeat for more.")
@click.option(
    "--families",
    default="noise,blur,weather,digital,channel,vendor",
    show_default=True,
    help="Families of corruptions, separated by commas.",
)
@click.option(
    "--corruption",
    "names",
    multiple=True,
    help="One corruption by name, in place of families; repeatable.",
)
@click.option(
    "--severities", default="1,2,3,4,5", show_default=True, help="Of 1 to 5, separated by commas."
)
@choice_option(
    "--where",
    choices=["channel", "input"],
    help="What is corrupted: the image that is sent, with the prompt on it, or the camera's image.",
)
@check_options
def robustness(
    *,
    prompt: Path,
    task: str,
    models: tuple[str, ...],
    families: str,
    names: tuple[str, ...],
    severities: str,
    where: Literal["channel", "input"],
    **shared: Unpack[CheckArguments],
) -> None:
    """Accuracy with and without PROMPT on corrupted images.

    Corruptions are noise, blur, weather, digital ones such as JPEG, the way that an image takes to
    the model, and vendors' resizing.
    """
    from bbtvp.checks.robustness import chosen, planned
    from bbtvp.checks.robustness import robustness as check_robustness
    from bbtvp.report.checks import robustness_table

    inputs = CheckInputs.load(
        prompt,
        task,
        models,
        question=shared["question"],
        labels=shared["labels"],
        metric=shared["metric"],
        max_tokens=shared["max_tokens"],
        options=shared["options"],
    )
    limit = shared["limit"]
    as_json = shared["as_json"]
    levels = _numbers(severities)
    asked = () if names else [word.strip() for word in families.split(",")]
    kinds = chosen(inputs.prompt, asked, names)
    if shared["dry_run"]:
        inputs.announce(planned(inputs.task, kinds, levels, limit, len(models)), as_json)
        return
    found = check_robustness(
        inputs.prompt,
        inputs.task,
        inputs.models,
        corruptions=[kind.name for kind in kinds],
        severities=levels,
        where=where,
        limit=limit,
        **session_options(shared),
    )
    if as_json:
        give(found.as_json())
    else:
        click.echo("\n" + robustness_table(found))


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word in ("1", "2", "3", "4", "5") for word in words):
        raise UsageError(f"--severities {text!r}: give some of 1,2,3,4,5")
    return tuple(int(word) for word in words)
