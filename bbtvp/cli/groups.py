"""Help in groups, and the options of a search made from the fields of `SearchConfig`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, final

import click

from bbtvp.cli.options import pairs_of

if TYPE_CHECKING:
    from bbtvp.search.config import Option

EVERYDAY = "everyday"
MODEL = "the task and the model"
BUDGET = "budget"
OUTPUT = "output"
TITLES = (
    EVERYDAY,
    MODEL,
    BUDGET,
    "what is searched",
    "how it is searched",
    "surrogate",
    OUTPUT,
)
"""Groups in the order of the help."""

_ORDER = (
    "--task",
    "--model",
    "--queries",
    "--usd",
    "--prompt",
    "--seed",
    "--out",
    "--dry-run",
    "-S",
)


@final
class GroupedOption(click.Option):
    """An option with the group that it is shown in."""

    def __init__(self, *arguments: Any, group: str = OUTPUT, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.group = group


@final
class SearchCommand(click.Command):
    """A command that takes the fields of `SearchConfig`: as flags, or as -S KEY=VALUE.

    They are looked up when the command is used, so that importing it stays light.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_search_flags()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if said := _without_flag(error.option_name):
                raise click.UsageError(said, ctx) from error
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in TITLES}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                rows[getattr(parameter, "group", OUTPUT)].append(record)
        for option in _without_flags():
            rows[option.group].append(_setting_row(option))
        rows[EVERYDAY].sort(key=_place)
        for title, records in rows.items():
            with formatter.section(title[0].upper() + title[1:]):
                formatter.write_dl(records)


def _place(record: tuple[str, str]) -> int:
    """Where an everyday option stands in the help."""
    return _ORDER.index(record[0].split()[0])


def settings_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`-S KEY=VALUE` words by field; the values stay text, which `SearchConfig` reads."""
    return pairs_of(pairs, "-S", "images=8", as_text=True)


def list_settings(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Print the fields and end, if `-S help` is given."""
    if "help" in value:
        from bbtvp.search.config import options

        formatter = context.make_formatter()
        formatter.write_dl([_setting_row(option) for option in options()])
        click.echo(formatter.getvalue().rstrip())
        context.exit()
    return value


def _search_flags() -> Iterable[click.Option]:
    from bbtvp.search.config import options

    for option in options():
        if not option.flag:
            continue
        default = "" if option.is_switch or option.default is None else f"  [{option.default}]"
        yield GroupedOption(
            [f"--{option.name.replace('_', '-')}"],
            group=EVERYDAY if option.everyday else option.group,
            help=option.help + default,
            **({"is_flag": True} if option.is_switch else {"metavar": option.metavar}),
            **({"multiple": True, "callback": _joined(option.repeats)} if option.repeats else {}),
            default=None,
        )


def _joined(between: str) -> Callable[[click.Context, click.Parameter, Any], str | None]:
    """What makes one value of a repeated flag; None if it was not given."""
    return lambda context, parameter, values: between.join(values) or None


def _without_flags() -> list[Option]:
    from bbtvp.search.config import options

    return [option for option in options() if not option.flag]


def _setting_row(option: Option) -> tuple[str, str]:
    default = "" if option.default is None else f"  [{str(option.default).lower()}]"
    return f"-S {option.name}={option.metavar}", option.help + default


def _without_flag(flag: str) -> str | None:
    """What to tell of a flag that an older version had."""
    from bbtvp.runs.upgrade import LAST, REMOVED

    name = flag.lstrip("-").replace("-", "_")
    if name in REMOVED:
        return f"{flag} was removed, for it did not pay (docs/bench.md); {LAST} still has it"
    for option in _without_flags():
        if option.name == name:
            value = option.metavar if option.default is None else option.default
            return f"{flag} is no flag; write -S {name}={value}"
    return None
