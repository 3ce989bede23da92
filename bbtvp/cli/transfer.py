"""`bbtvp transfer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbtvp.cli.options import give, json_flag, say
from bbtvp.report.figures import interval, points

if TYPE_CHECKING:
    from bbtvp.jobs.transfer import Cell, Figure


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--pictures", type=click.Path(path_type=Path), help="Folder for a heat map of each method."
)
@json_flag
def transfer(folder: Path, pictures: Path | None, as_json: bool) -> None:
    """Who carries what to whom: the transfer matrix of a FOLDER of jobs that were verified (bbtvp run).

    Means over tasks and seeds with 95 % intervals, for each method, source and target; pairs that harm; where jobs have
    "also", prompts searched on one task and applied to another; where they have "train", gain against the number of
    training images.

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
    from bbtvp.jobs.transfer import across, by_size, document, harmed, matrix, read_cells
    from bbtvp.report.pictures import save_matrix

    cells = read_cells(folder)
    methods = list(dict.fromkeys(cell.method for cell in cells))
    for method in methods if pictures else ():
        found = matrix(cell for cell in cells if cell.method == method)
        path = (pictures or folder) / f"transfer-{methods.index(method)}.png"
        save_matrix({pair: figure.gain for pair, figure in found.items()}, method, path)
        say(f"picture: {path}")
    if as_json:
        give(document(cells))
        return
    for method in methods:
        chosen = [cell for cell in cells if cell.method == method]
        click.echo(f"{method}: gain in points on held-out images, rows are sources")
        click.echo(_square(matrix(chosen), chosen))
        if tried := across(chosen):
            click.echo("\nsearched on the task of the row, applied to that of the column")
            click.echo(_square(tried, []))
        click.echo()
    if len({cell.train for cell in cells}) > 1:
        click.echo(_sizes(by_size(cells)))
    worst = harmed(cells)
    for cell in worst:
        where = (
            cell.task if cell.task == cell.trained else f"{cell.task} (searched on {cell.trained})"
        )
        fewer = f", {cell.train} training images" if cell.train else ""
        click.echo(
            f"harm: {cell.method}: {cell.source} → {cell.target} on {where}{fewer}, seed {cell.seed}: "
            f"{points(cell.gain)} points"
        )
    say(
        f"{len(cells)} proofs, {len(worst)} of them significantly below the target's zero-shot (5 %, Holm)"
    )


def _square(found: Mapping[tuple[str, str], Figure], cells: Sequence[Cell]) -> str:
    from bbtvp.core.table import text_table

    rows, columns = (list(dict.fromkeys(pair[i] for pair in found)) for i in (0, 1))
    lines = [["", *columns]]
    lines += [[row, *(_shown(found.get((row, column))) for column in columns)] for row in rows]
    own = [cell.gain for cell in cells if not cell.carried and cell.task == cell.trained]
    carried = [cell.gain for cell in cells if cell.carried and cell.task == cell.trained]
    text = text_table(lines)
    if own and carried:
        text += f"\nmean {_mean(own)} on models that were asked, {_mean(carried)} on models that were not"
    return text


def _sizes(found: Mapping[tuple[str, int | None], tuple[Figure, Figure | None]]) -> str:
    from bbtvp.core.table import text_table

    lines = [("method", "training images", "sources", "other models")]
    lines += [
        (method, "all" if train is None else str(train), _shown(own), _shown(others))
        for (method, train), (own, others) in found.items()
    ]
    return text_table(lines) + "\n"


def _mean(gains: Sequence[float]) -> str:
    return points(sum(gains) / len(gains))


def _shown(figure: Figure | None) -> str:
    return "-" if figure is None else f"{points(figure.gain)} {interval((figure.low, figure.high))}"
