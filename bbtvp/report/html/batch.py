"""A folder of jobs as a page.

It shows the state of each job, transfer between models, between tasks and by the number of
training images, and where a prompt did harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bbtvp.core.errors import UsageError
from bbtvp.jobs.status import JobStatus, StatusMonitor
from bbtvp.jobs.transfer import MeanGain, TransferCell, across, by_size, harmed, matrix, read_cells
from bbtvp.report.html.pictures import figure_uri
from bbtvp.report.html.template import rendered
from bbtvp.report.html.words import NONE, Words, interval, percent, points
from bbtvp.report.pictures import matrix_figure
from bbtvp.runs.tally import ValidationMeans

Pairs = Mapping[tuple[str, str], MeanGain]


def batch_report(folder: Path, language: str = "en") -> str:
    """The jobs that `bbtvp run` made in `folder`, as one HTML document.

    Raises UsageError for a language other than "en" and "ja".
    """
    words = Words(language)
    standings = StatusMonitor([folder]).statuses()
    try:
        cells = read_cells(folder)
    except UsageError:  # none is verified yet
        cells = []
    methods = [
        _method(name, [cell for cell in cells if cell.method == name], words)
        for name in dict.fromkeys(cell.method for cell in cells)
    ]
    sizes = by_size(cells) if len({cell.train for cell in cells}) > 1 else {}
    return rendered(
        "batch.html",
        words,
        title="jobs_title",
        name=folder.resolve().name,
        jobs=[_job(one, words) for one in standings],
        done=sum(one.state == "done" for one in standings),
        methods=methods,
        proofs=len(cells),
        sizes=[
            [
                method,
                words("all_images") if train is None else str(train),
                _figure(own),
                _figure(others),
            ]
            for (method, train), (own, others) in sizes.items()
        ],
        harm=[_harm(cell) for cell in harmed(cells)],
    )


def _job(one: JobStatus, words: Words) -> list[str]:
    shares = f"{_share(one.unprompted)} → {_share(one.best)}"
    state = words(f"state_{one.state}")
    return [
        one.name,
        state,
        one.task or NONE,
        ", ".join(one.models),
        shares,
        f"{one.queries:,}",
        f"{one.usd:.4f}",
    ]


def _share(arm: ValidationMeans | None) -> str:
    return percent(arm.accuracy if arm else None)


def _method(name: str, cells: list[TransferCell], words: Words) -> dict[str, Any]:
    labels = (words("source"), words("proved_on"), words("gain_points"))
    found = matrix(cells)
    tried = across(cells)
    return {
        "name": name,
        "matrix": _map(found, labels),
        "rows": _rows(found),
        "across": _map(tried, (words("searched_on"), words("proved_on"), words("gain_points")))
        if tried
        else None,
        "across_rows": _rows(tried),
    }


def _map(pairs: Pairs, labels: tuple[str, str, str]) -> str | None:
    return (
        figure_uri(matrix_figure({pair: one.gain for pair, one in pairs.items()}, labels=labels))
        if pairs
        else None
    )


def _rows(pairs: Pairs) -> list[list[str]]:
    return [
        [row, column, points(one.gain), interval((one.low, one.high)), str(one.cells)]
        for (row, column), one in pairs.items()
    ]


def _figure(one: MeanGain | None) -> str:
    return NONE if one is None else f"{points(one.gain)} {interval((one.low, one.high))}"


def _harm(cell: TransferCell) -> list[str]:
    return [
        cell.method,
        cell.source,
        cell.target,
        cell.trained,
        cell.task,
        str(cell.seed),
        points(cell.paired.gain),
        interval(cell.paired.ci),
    ]
