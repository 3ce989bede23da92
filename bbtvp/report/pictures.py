"""Drawings that several reports share: a heat map of gains, and figures without global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def save_matrix(gains: Mapping[tuple[str, str], float], title: str, path: Path) -> None:
    """Write a heat map of mean gain as a PNG: a row for each source, a column for each target.

    gains: by (source, target), as shares; the diagonal is the source itself.
    """
    sources = sorted({source for source, _ in gains})
    targets = list(dict.fromkeys([*sources, *sorted(target for _, target in gains)]))
    save_figure(matrix_figure(gains, title, (sources, targets)), path)


def matrix_figure(
    gains: Mapping[tuple[str, str], float],
    title: str = "",
    order: tuple[Sequence[str], Sequence[str]] | None = None,
    *,
    labels: tuple[str, str, str] = ("source", "target", "gain, points"),
) -> Any:
    """A matplotlib figure: a heat map of gains, shares by (row, column), shown in points.

    order: the rows and the columns; by default as they come. labels: of rows, columns and scale.
    """
    rows, columns = order or tuple(list(dict.fromkeys(pair[i] for pair in gains)) for i in (0, 1))
    values = np.array(
        [[100 * gains.get((row, column), np.nan) for column in columns] for row in rows]
    )
    limit = max(5.0, float(np.nanmax(np.abs(values))))
    figure = new_figure(2.4 + 0.95 * len(columns), 1.8 + 0.6 * len(rows))
    ax = figure.subplots()
    image = ax.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(column, row, f"{value:+.1f}", ha="center", va="center", color=shade)
    ax.set_xticks(
        range(len(columns)),
        [_short(name) for name in columns],
        rotation=30,
        ha="right",
        parse_math=False,
    )
    ax.set_yticks(range(len(rows)), [_short(name) for name in rows], parse_math=False)
    ax.set_ylabel(labels[0])
    ax.set_xlabel(labels[1])
    ax.set_title(title, fontsize=10, parse_math=False)
    figure.colorbar(image, ax=ax, label=labels[2])
    return figure


def _short(spec: str) -> str:
    return spec.removeprefix("zoo/")


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches. It has its own canvas, since pyplot keeps global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG that has the same bytes whenever it is drawn again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})
