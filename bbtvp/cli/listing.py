"""`bbtvp models`, `bbtvp tasks`: lists of what can be named on the command line."""

from __future__ import annotations

import click

from bbtvp.cli.options import give, json_flag, say


@click.command()
@json_flag
def models(as_json: bool) -> None:
    """The miniature models in this package, and the providers of others."""
    from bbtvp.models.registry import PROVIDERS
    from bbtvp.zoo.catalogue import card

    rows = card()
    providers = PROVIDERS.names()
    if as_json:
        give({"models": rows, "providers": providers})
        return
    for row in rows:
        click.echo(
            f"{row['model']:<18} {row['parameters'] / 1e6:.2f} M parameters, "
            f"stands for {row['stands_for']}"
        )
    say(f"providers: {', '.join(f'{name}/…' for name in providers)}")
    for problem in PROVIDERS.problems():
        say(problem)


@click.command()
@json_flag
def tasks(as_json: bool) -> None:
    """The built-in tasks, and the lists of them that have a name."""
    from bbtvp.zoo.suites import SUITES
    from bbtvp.zoo.tasks import describe

    rows = describe()
    if as_json:
        give({"tasks": rows, "suites": {name: list(tasks) for name, tasks in SUITES.items()}})
        return
    for row in rows:
        click.echo(f"{row['task']:<38} {row['question']}")
    suites = ", ".join(f"{name} ({len(tasks)})" for name, tasks in SUITES.items())
    say(f"lists of tasks, for bench --tasks and grids of run: {suites}")
    say(
        "your own: a folder with one sub-folder per class, or a .csv / .jsonl file with the "
        "columns image and answer"
    )
