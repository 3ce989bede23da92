"""Pictures of a benchmark: gain against image queries, and who carries what to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bbtvp.bench.tables import Summary, curve


def save_curves(found: Sequence[Summary], path: Path) -> None:
    """Gain on the source, and on models never asked, against the cap on image queries; bands are 95 % intervals.

    Each point is the mean of searches planned for that budget. Methods without a budget are level, dashed.
    """
    figure = _figure(11, 5.2)
    for ax, title, part in zip(
        figure.subplots(1, 2, sharey=True), ("source model", "models never asked"), ("gain", "transfer"), strict=True
    ):
        for number, method in enumerate(dict.fromkeys(summary.method for summary in found)):
            points = [(s.budget, getattr(s, part)) for s in curve(found, method) if getattr(s, part) is not None]
            style = {"color": f"C{number % 10}", "label": method}
            if points and points[0][0] == 0:
                ax.axhline(100 * points[0][1].mean, linestyle="--", linewidth=1, **style)
            elif points:
                budgets = [budget for budget, _ in points]
                values = 100 * np.array([value for _, value in points])
                ax.plot(budgets, values[:, 0], marker="osv^D*"[number // 10 % 6], **style)
                ax.fill_between(budgets, values[:, 1], values[:, 2], alpha=0.12, color=style["color"], linewidth=0)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(title)
        ax.set_xlabel("image queries (cap of a search)")
        if any(summary.budget for summary in found):
            ax.set_xscale("log")
    figure.axes[0].set_ylabel("gain over zero-shot, points")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    _save(figure, path)


def save_matrix(gains: Mapping[tuple[str, str], float], title: str, path: Path) -> None:
    """Heat map of mean gain, a row for each source, a column for each target; the diagonal is the source itself."""
    sources = sorted({source for source, _ in gains})
    targets = list(dict.fromkeys([*sources, *sorted(target for _, target in gains)]))
    values = np.array([[100 * gains.get((source, target), np.nan) for target in targets] for source in sources])
    limit = max(5.0, float(np.nanmax(np.abs(values))))
    figure = _figure(2.4 + 0.95 * len(targets), 1.8 + 0.6 * len(sources))
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
    _save(figure, path)


def _short(spec: str) -> str:
    return spec.removeprefix("zoo/")


def _figure(width: float, height: float) -> Any:
    """A figure of its own canvas: pyplot would keep global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})
