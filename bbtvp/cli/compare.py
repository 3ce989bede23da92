"""`bbtvp compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbtvp.cli.options import give, json_flag, loader_with, own_metric_option
from bbtvp.report.figures import P_NAMES, change, interval, points, share

if TYPE_CHECKING:
    from bbtvp.jobs.compare import Comparison
    from bbtvp.runs.tally import ValidationMeans


@click.command()
@click.argument("first", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("second", metavar="RUN", type=click.Path(path_type=Path))
@own_metric_option
@json_flag
def compare(*, first: Path, second: Path, metric: str | None, as_json: bool) -> None:
    """Compare two runs: how they were called, their prompts, their cost and their proofs.

    No model is asked. Where both prompts were verified on the same images and model, they are
    compared image by image.
    """
    from bbtvp.jobs.compare import compare as compared

    found = compared(first, second, loader_with(metric))
    if as_json:
        give(found.as_json())
    else:
        click.echo("\n\n".join(part for part in _parts(found) if part))


def _parts(found: Comparison) -> Iterator[str]:
    """The paragraphs of the comparison; some may be empty."""
    names = [run.name for run in found.runs]
    if names[0] == names[1]:
        names = [str(run.path) for run in found.runs]
    yield _pairs("configuration", names, found.configuration) or "configuration: the same"
    yield _pairs("environment", names, found.environment) or "environment: the same"
    yield f"prompts: {_IDENTICAL[found.identical]}"
    yield _pairs("parameter", names, found.theta)
    yield "\n".join(_journals(found))
    validated = {name: (_arm(a), _arm(b)) for name, (a, b) in found.validated.items()}
    yield _pairs("validation", names, validated)
    yield _pairs("spent", names, found.spent)
    proofs = {model: (_proof(a), _proof(b)) for model, (a, b) in found.proofs.items()}
    first, second = found.verdicts
    if first or second:
        proofs["verdict"] = (first, second)
    yield _pairs("proof", names, proofs)
    yield "\n".join(_paired(found))


_IDENTICAL = {True: "identical to the bit", False: "different", None: "one run is not finished"}


def _pairs(title: str, names: Sequence[str], pairs: Mapping[str, tuple[Any, Any]]) -> str:
    from bbtvp.core.table import text_table

    rows = [(name, *map(_cell, values)) for name, values in pairs.items()]
    return text_table([(title, *names), *rows], left=3) if rows else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None or value == "" else str(value)


def _arm(arm: ValidationMeans | None) -> str | None:
    if arm is None or arm.accuracy is None or arm.loss is None:
        return None
    return f"{share(arm.accuracy)}, loss {arm.loss:.3f}"


def _proof(row: Mapping[str, Any] | None) -> str | None:
    if row is None:
        return None
    shares = f"{share(row['zero_shot'])} → {share(row['prompted'])}"
    return f"{shares}, gain {points(row['gain'])} {interval(row['gain_ci95'])}, n {row['n']}"


def _journals(found: Comparison) -> Iterator[str]:
    if found.step is None:
        yield "journals: the same steps"
        return
    yield f"journals: the first step that differs is {found.step}"
    both, different, _ = found.answers
    yield f"{both} image queries are in both, {different} of them with different answers"


def _paired(found: Comparison) -> Iterator[str]:
    if found.unpaired:
        yield f"no paired comparison on test images: {found.unpaired}"
    for model, row in found.paired.items():
        yield (
            f"{model}, the same {row.n} test images: {share(row.before)} → {share(row.after)}, "
            f"second − first {change(row.gain, row.ci)}, {P_NAMES[row.graded]} p {row.p:.3g}"
        )
