"""Pictures that several reports draw: a heat map of who carries what to whom, and figures on a canvas of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def save_matrix(gains: Mapping[tuple[str, str], float], title: str, path: Path) -> None:
    """Heat map of mean gain, a row for each source, a column for each target; the diagonal is the source itself."""
    sources = sorted({source for source, _ in gains})
    targets = list(dict.fromkeys([*sources, *sorted(target for _, target in gains)]))
    values = np.array([[100 * gains.get((source, target), np.nan) for target in targets] for source in sources])
    limit = max(5.0, float(np.nanmax(np.abs(values))))
    figure = new_figure(2.4 + 0.95 * len(targets), 1.8 + 0.6 * len(sources))
    ax = figure.subplots()
    image = ax.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            shade = "white" if abs(value) > 0.6 * limit else "black"
            ax.text(column, row, f"{value:+.1f}", ha="center", va="center", color=shade)
    ax.set_xticks(range(len(targets)), [_short(name) for name in targets], rotation=30, ha="right")
    ax.set_yticks(range(len(sources)), [_short(name) for name in sources])
    ax.set_xlabel("target")
    ax.set_ylabel("source")
    ax.set_title(title, fontsize=10, parse_math=False)
    figure.colorbar(image, ax=ax, label="gain, points")
    save_figure(figure, path)


def _short(spec: str) -> str:
    return spec.removeprefix("zoo/")


def new_figure(width: float, height: float) -> Any:
    """A figure of its own canvas: pyplot would keep global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG that is the same whenever it is drawn again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})
