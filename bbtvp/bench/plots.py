"""The picture of a benchmark: gain against image queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bbtvp.bench.tables import Summary, curve
from bbtvp.report.pictures import new_figure, save_figure


def save_curves(found: Sequence[Summary], path: Path) -> None:
    """Draw the gain, on the source and on other models, against the cap on image queries.

    Each point is the mean of searches planned for that budget; bands are 95 % intervals. Methods
    without a budget are dashed, level lines.
    """
    figure = new_figure(11, 5.2)
    for ax, title, part in zip(
        figure.subplots(1, 2, sharey=True),
        ("source model", "models never asked"),
        ("gain", "transfer"),
        strict=True,
    ):
        for number, method in enumerate(dict.fromkeys(summary.method for summary in found)):
            points = [
                (s.budget, getattr(s, part))
                for s in curve(found, method)
                if getattr(s, part) is not None
            ]
            style = {"color": f"C{number % 10}", "label": method}
            if points and points[0][0] == 0:
                ax.axhline(100 * points[0][1].mean, linestyle="--", linewidth=1, **style)
            elif points:
                budgets = [budget for budget, _ in points]
                values = 100 * np.array([value for _, value in points])
                ax.plot(budgets, values[:, 0], marker="osv^D*"[number // 10 % 6], **style)
                ax.fill_between(
                    budgets,
                    values[:, 1],
                    values[:, 2],
                    alpha=0.12,
                    color=style["color"],
                    linewidth=0,
                )
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_title(title)
        ax.set_xlabel("image queries (cap of a search)")
        if any(summary.budget for summary in found):
            ax.set_xscale("log")
    figure.axes[0].set_ylabel("gain over zero-shot, points")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    save_figure(figure, path)
