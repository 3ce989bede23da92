"""`bbtvp doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, json_flag, model_option_flag, model_options
from bbtvp.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from bbtvp.models.preprocessing import Preprocessor
    from bbtvp.report.doctor import ModelName


@click.command()
@click.option(
    "--model",
    required=True,
    help="The model: openai/gpt-6-luna, openai-api/vllm/NAME, hf/ORG/NAME, zoo/NAME, …",
)
@click.option(
    "--canvas",
    type=click.IntRange(8, 2048),
    help="Side of the canvas in pixels [default: one that fits].",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["png", "jpeg", "webp"]),
    help="As what images are sent [default: png].",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="An image of yours, for its exact number of bytes.",
)
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    envvar="BBTVP_PRICES",
    help="A price file of your own.",
)
@click.option(
    "--limits",
    type=click.Path(path_type=Path),
    envvar="BBTVP_LIMITS",
    help="A limits file of your own.",
)
@click.option(
    "--probe", is_flag=True, help="Ask the model a few image queries: what does it really honour?"
)
@model_option_flag
@json_flag
def doctor(
    *,
    model: str,
    canvas: int | None,
    format_: str | None,
    image: Path | None,
    prices: Path | None,
    limits: Path | None,
    probe: bool,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Follow an image to MODEL: canvas, bytes, what the vendor does to it, tokens, price, key.

    Vendors scale, cut and pad images before their models see them, and a frame of a few pixels can
    be lost on the way. This command shows what is known of it, from dated files, and which canvas
    passes unchanged.

    It asks nothing, and needs no key, unless you add --probe.

    With --probe the vendor is asked too, where it answers at no cost: how many tokens an image has,
    whether it is scaled down, when the model ends.

    \b
    Try:
      bbtvp doctor --model openai/gpt-6-luna               the canvas that fits, and its cost
      bbtvp doctor --model openai/gpt-6-luna --canvas 2000 scaled down, and the size that passes
      bbtvp doctor --model anthropic/claude-haiku-5-5 --image photo.jpg --format jpeg
      bbtvp doctor --model openai-api/ollama/qwen3-vl:8b --probe
    """  # noqa: D301
    from bbtvp.endpoint.limits import Limits
    from bbtvp.endpoint.prices import Prices
    from bbtvp.models.registry import PROVIDERS
    from bbtvp.report.doctor import LOCAL, ModelName, diagnose

    given = model_options(options)
    subject = ModelName.of(model, given.get("key_env"))
    known = {*LOCAL, *PROVIDERS.names()}
    if subject.service not in known:
        raise unknown("model provider", subject.service, known)
    found = diagnose(
        subject,
        canvas=canvas,
        image=image,
        format=format_ or str(given.get("format", "png")),
        quality=_number(given, "quality") or 90,
        max_tokens=_reply_tokens(given),
        rpm=_number(given, "rpm"),
        batch=given.get("batch") is True,
        detail=_detail(given),
        preprocessor=_preprocessor(subject, given),
        prices=Prices.load(prices or _path(given.get("prices"))),
        limits=Limits.load(limits),
    )
    document = found.as_json()
    if not as_json:
        for line in found.lines():
            click.echo(line)
    if probe:
        ours = {"format": format_, "prices": prices and str(prices)}
        extra = {} if subject.local else {name: value for name, value in ours.items() if value}
        document["probe"] = _probed(model, given | extra, found.canvas, quiet=as_json)
    if as_json:
        give(document)


def _probed(spec: str, options: dict[str, Any], canvas: int, *, quiet: bool) -> dict[str, Any]:
    """Ask the model and its vendor, and say what was found."""
    from dataclasses import asdict

    from bbtvp.endpoint.remote import Endpoint
    from bbtvp.models import Budget, Probe, load_model

    model = load_model(spec, **options)
    local = "a local model: nothing is sent, and nothing need be probed"
    probe = model.probe(Budget()) or Probe(model.capabilities, (local,), 0, 0.0)
    answers = model.examine(canvas) if isinstance(model, Endpoint) else []
    if not quiet:
        for finding in probe.findings:
            click.echo(f"  probe    {finding}")
        for line in answers:
            click.echo(f"  vendor   {line}")
        click.echo(f"           {probe.queries} image queries, ${probe.usd:.4f}")
    capabilities = asdict(model.capabilities)
    return {
        "capabilities": capabilities,
        "findings": list(probe.findings),
        "vendor": answers,
        "queries": probe.queries,
        "usd": probe.usd,
    }


def _preprocessor(subject: ModelName, options: dict[str, Any]) -> Preprocessor | None:
    """The image processor of a local model; None for others, and for one that is not here yet.

    Raises ModelError for a folder without one.
    """
    from bbtvp.core.errors import ModelError
    from bbtvp.models.registry import load_preprocessor

    try:
        return load_preprocessor(subject.spec, **options)
    except ModelError:
        if subject.model.startswith((".", "/", "~")):
            raise
        return None  # a hub id that was never downloaded


def _reply_tokens(given: dict[str, Any]) -> int | None:
    """The longest reply, None for what the model is known to need."""
    told_not_to = given.get("reasoning_effort") == "none" or given.get("reasoning") is False
    return _number(given, "max_tokens") or (16 if told_not_to else None)


def _detail(given: dict[str, Any]) -> str | None:
    """The level of detail at which images are sent, None for the usual one."""
    level = given.get("detail") or given.get("media_resolution") or "high"
    return None if level == "high" else str(level)


def _number(given: dict[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"-M {name}={value} must be a whole number, at least 1")
    return value


def _path(value: object) -> Path | None:
    return Path(str(value)) if value else None
