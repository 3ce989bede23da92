"""What the commands share: what is said where, and the options that mean the same everywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click

from bbtvp.core.errors import UsageError

if TYPE_CHECKING:
    from bbtvp.search.recipe import Loader


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)


def give(document: Mapping[str, Any]) -> None:
    """The one JSON document, on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def together(*options: Callable[..., Any]) -> Callable[..., Any]:
    """One decorator for several options, in the order of the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def model_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`-M key=value` → options; numbers and true/false are understood. UsageError without a '='."""
    return pairs_of(pairs, "-M", "device=cuda")


def pairs_of(
    pairs: tuple[str, ...], flag: str, example: str, *, as_text: bool = False
) -> dict[str, Any]:
    """`key=value` words as a dict; UsageError without a '='.

    Numbers and true/false are understood, unless the values stay text.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"{flag} takes key=value, got {pair!r}; for example {flag} {example}")
        if as_text:
            options[key] = value
            continue
        plain = {"true": True, "false": False}.get(value.lower(), value)
        options[key] = int(value) if value.isdecimal() else plain
    return options


METRIC_HELP = (
    "How replies are scored: exact, anls, 1-cer, token-f1, iou, … (docs/replies.md), or a function "
    "of your own, FILE.py:FUNCTION, which is run"
)
own_metric_option = click.option(
    "--metric",
    help="The metric in code that the run was called with, FILE.py:FUNCTION, which is run.",
)
MAX_TOKENS_HELP = "Tokens of the longest reply that the question needs"


def asked(
    question: str | None,
    labels: str | None,
    metric: str | None = None,
    max_tokens: int | None = None,
) -> dict[str, Any]:
    """Those options of a task that were given; of labels, "a,b" gives a sequence."""
    from bbtvp.cli.metric import open_metric
    from bbtvp.tasks.labels import parse_labels

    found: dict[str, Any] = {"question": question} if question else {}
    found |= {} if labels is None else {"labels": parse_labels(labels)}
    found |= {} if metric is None else {"metric": open_metric(metric)}
    return found | ({} if max_tokens is None else {"max_tokens": max_tokens})


def loader_with(metric: str | None) -> Loader:
    """What loads the task of a run, with the metric that the user names again."""
    from bbtvp.cli.metric import open_metric
    from bbtvp.search.recipe import Loader

    return Loader(None if metric is None else open_metric(metric))


@final
class UserPath(click.Path):
    """A path in which ~ is the user's folder, also where no shell has seen to it.

    Shells do not in `--out=~/runs`, and not in the value of an environment variable.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path that was typed."""
        return Path(os.fsdecode(super().convert(value, param, ctx))).expanduser()


def out_option(help: str, **settings: Any) -> Callable[..., Any]:
    """`--out`, the path of the folder that the command writes."""
    return click.option("--out", type=UserPath(), help=help, **settings)


def number_option(
    *names: str, default: float, type: click.ParamType[Any, Any], help: str
) -> Callable[..., Any]:
    """An option that takes a number, with its default in the help."""
    return click.option(*names, default=default, show_default=True, type=type, help=help)


def jobs_option(help: str) -> Callable[..., Any]:
    """`--jobs`, how many at once: 1 by default."""
    return number_option("--jobs", default=1, type=click.IntRange(1), help=help)


def choice_option(*names: str, choices: Sequence[str], help: str) -> Callable[..., Any]:
    """An option that takes one of a few words, the first by default."""
    return click.option(
        *names, type=click.Choice(choices), default=choices[0], show_default=True, help=help
    )


signed_by_option = click.option(
    "--signed-by",
    multiple=True,
    metavar="PUBLIC",
    help="Take the bundle only if this key signed it: 44 characters, or a .pub file; repeat for "
    "more than one.",
)
json_flag = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document on stdout, and nothing else there.",
)
seed_option = click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Equal seed and equal answers give an equal prompt.",
)
model_option_flag = click.option(
    "-M",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Model option: device=cuda, dtype=bfloat16; of an endpoint: rpm=500, base_url=….",
)


def own_prices(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Where all endpoints of this process look first."""
    if value is not None:
        os.environ["BBTVP_PRICES"] = value


usd_option = click.option(
    "--usd",
    type=click.FloatRange(0, min_open=True),
    help="Cap on money, US dollars; needs a known price.",
)
prices_option = click.option(
    "--prices",
    type=click.Path(exists=True, dir_okay=False),
    callback=own_prices,
    expose_value=False,
    help="A price file of your own; see bbtvp doctor.",
)
reader_option = choice_option(
    "--reader",
    choices=["auto", "logprob", "label", "text"],
    help="How answers are read: label log-probabilities, a forced label, or text.",
)
