"""`bbtvp transfer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import give, json_flag, say
from bbtvp.report.figures import interval, points

if TYPE_CHECKING:
    from bbtvp.jobs.transfer import MeanGain, TransferCell


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--pictures", type=click.Path(path_type=Path), help="Folder for a heat map of each method."
)
@json_flag
def transfer(*, folder: Path, pictures: Path | None, as_json: bool) -> None:
    """Show which prompts help which models: the transfer matrix of a FOLDER of bbtvp run.

    The jobs must be verified. The tables show, for each method, source and target, means over tasks
    and seeds with 95 % intervals, and which pairs harm. Where jobs have "also", they show prompts
    that were searched on one task and applied to another; where jobs have "train", the gain against
    the number of training images.

    \b
    # VP against TVP, single sources against an ensemble, each model left out once:
    [[grid]]
    task = ["zoo/shapes-dark", "zoo/digits-noise"]
    model = ["zoo/llava", "zoo/blip2", ["zoo/llava", "zoo/blip2"]]
    seed = [0, 1, 2]
    prompt = "frame"
    surrogate = "zoo/clip"
    fca = [0, 0.5]
    verify = ["zoo/llava", "zoo/blip2", "zoo/paligemma"]
    """  # noqa: D301
    from bbtvp.jobs.transfer import document, read_cells

    cells = read_cells(folder)
    methods: dict[str, list[TransferCell]] = {}
    for cell in cells:
        methods.setdefault(cell.method, []).append(cell)
    if pictures is not None:
        _save_pictures(methods, pictures)
    if as_json:
        give(document(cells))
    else:
        _show(methods, cells)


def _save_pictures(methods: Mapping[str, Sequence[TransferCell]], folder: Path) -> None:
    from bbtvp.jobs.transfer import matrix
    from bbtvp.report.pictures import save_matrix

    for number, (method, cells) in enumerate(methods.items()):
        path = folder / f"transfer-{number}.png"
        gains = {pair: found.gain for pair, found in matrix(cells).items()}
        save_matrix(gains, method, path)
        say(f"picture: {path}")


def _show(methods: Mapping[str, Sequence[TransferCell]], cells: Sequence[TransferCell]) -> None:
    """The tables, then a line for each pair that harms."""
    from bbtvp.jobs.transfer import across, by_size, harmed, matrix

    for method, of_method in methods.items():
        click.echo(f"{method}: gain in points on held-out images, rows are sources")
        click.echo(_square(matrix(of_method)))
        if means := _means(of_method):
            click.echo(means)
        if tried := across(of_method):
            click.echo("\nsearched on the task of the row, applied to that of the column")
            click.echo(_square(tried))
        click.echo()
    if len({cell.train for cell in cells}) > 1:
        click.echo(_sizes(by_size(cells)))
    worst = harmed(cells)
    for cell in worst:
        click.echo(_harm(cell))
    say(
        f"{len(cells)} proofs, {len(worst)} of them significantly below the target's zero-shot "
        "(5 %, Holm)"
    )


def _harm(cell: TransferCell) -> str:
    where = cell.task
    if cell.task != cell.trained:
        where += f" (searched on {cell.trained})"
    if cell.train:
        where += f", {cell.train} training images"
    return (
        f"harm: {cell.method}: {cell.source} → {cell.target} on {where}, seed {cell.seed}: "
        f"{points(cell.paired.gain)} points"
    )


def _square(found: Mapping[tuple[str, str], MeanGain]) -> str:
    """A table with a row for each first name and a column for each second."""
    from bbtvp.core.table import text_table

    rows = list(dict.fromkeys(row for row, _ in found))
    columns = list(dict.fromkeys(column for _, column in found))
    lines = [["", *columns]]
    lines += [[row, *(_shown(found.get((row, column))) for column in columns)] for row in rows]
    return text_table(lines)


def _means(cells: Sequence[TransferCell]) -> str:
    """The means on sources and on other models; empty if either is missing."""
    proofs = [cell for cell in cells if cell.task == cell.trained]
    own = [cell.paired.gain for cell in proofs if not cell.carried]
    carried = [cell.paired.gain for cell in proofs if cell.carried]
    if not own or not carried:
        return ""
    return f"mean {_mean(own)} on models that were asked, {_mean(carried)} on models that were not"


def _sizes(found: Mapping[tuple[str, int | None], tuple[MeanGain, MeanGain | None]]) -> str:
    from bbtvp.core.table import text_table

    lines = [("method", "training images", "sources", "other models")]
    for (method, train), (own, others) in found.items():
        images = "all" if train is None else str(train)
        lines.append((method, images, _shown(own), _shown(others)))
    return text_table(lines) + "\n"


def _mean(gains: Sequence[float]) -> str:
    return points(sum(gains) / len(gains))


def _shown(found: MeanGain | None) -> str:
    return "-" if found is None else f"{points(found.gain)} {interval((found.low, found.high))}"
