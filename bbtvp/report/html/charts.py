"""The drawings of a page.

Nothing is told by colour alone: a shape, a number or a place tells it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from bbtvp.report.html.curve import Curve, Generation, Validated
from bbtvp.report.pictures import new_figure

Say = Callable[..., str]
"""Gives a sentence of the catalogue in the language of the page."""
Row = Mapping[str, Any]

BEFORE = "#5b6472"
AFTER = "#0b5cad"
LOSS = "#a5351e"
"""Without the prompt, with it, and a loss. Each has a contrast of at least 4.5 : 1 on white."""
WIDTH = 7.6
"""Width of every drawing in inches."""


def gains(rows: Sequence[Row], margin: float, say: Say) -> Any:
    """For each model the share of right answers before and after, and the gain with its interval.

    rows: of a proof. margin: the least gain that its rule asks for, as a share.
    """
    figure = new_figure(WIDTH, 1.3 + 0.42 * len(rows))
    shares, change = figure.subplots(1, 2, sharey=True)
    for y, row in enumerate(rows):
        before = 100 * row["zero_shot"]
        after = 100 * row["prompted"]
        shares.plot([before, after], [y, y], color="#b8bec8", zorder=1)
        shares.plot(
            before, y, "o", mfc="white", color=BEFORE, label=say("zero_shot") if not y else None
        )
        shares.plot(after, y, "o", color=AFTER, label=say("prompted") if not y else None)
        _interval(change, 100 * row["gain"], [100 * bound for bound in row["gain_ci95"]], y)
    shares.set_yticks(range(len(rows)), [row["model"] for row in rows], parse_math=False)
    shares.set_ylim(len(rows) - 0.5, -0.5)
    shares.set_xlim(0, 100)
    shares.set_xlabel(say("right_percent"))
    shares.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    change.axvline(0, color="#333", lw=0.8)
    if margin:
        change.axvline(100 * margin, color="#333", lw=0.8, ls=":")
        change.text(100 * margin, -0.5, f" {say('margin')}", va="bottom", fontsize=8)
    change.set_xlabel(say("gain_points"))
    _plain(shares, change)
    return figure


def curve(found: Curve, proved: Row | None, say: Say) -> Any:
    """The gain against image queries, and below it the losses of the candidates.

    The gain is that on validation. proved: the row of the proof on the same task, whose gain on
    test is drawn at the end.
    """
    figure = new_figure(WIDTH, 4.6)
    gain, loss = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _validated_gains(gain, found.validated)
    if proved is not None:
        steps = [row.queries for row in found.generations]
        steps += [row.queries for row in found.validated]
        _proved_gain(gain, proved, max(steps, default=1), say)
    gain.axhline(0, color="#333", lw=0.8)
    gain.set_ylabel(say("gain_points"))
    _losses(loss, found.generations, say)
    loss.set_ylabel(say("loss"))
    loss.set_xlabel(say("image_queries"))
    _plain(gain, loss)
    return figure


def _validated_gains(panel: Any, validated: Sequence[Validated]) -> None:
    """A dot with its interval for each stage, and steps between them."""
    places = [0, *(row.queries for row in validated)]
    heights = [0, *(100 * row.paired.gain for row in validated)]
    panel.step(places, heights, where="post", color="#b8bec8", zorder=1)
    for row in validated:
        height = 100 * row.paired.gain
        low, high = (100 * bound for bound in row.paired.ci)
        bars = [[height - low], [high - height]]
        panel.errorbar(row.queries, height, bars, fmt="o", color=AFTER, capsize=4)
        panel.annotate(
            f"{row.name} {height:+.1f}",
            (row.queries, height),
            xytext=(-6, 6),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            parse_math=False,
        )


def _proved_gain(panel: Any, proved: Row, last: int, say: Say) -> None:
    """The gain on test, to the right of the last image query of the search."""
    place = 1.04 * last
    height = 100 * proved["gain"]
    low, high = (100 * bound for bound in proved["gain_ci95"])
    bars = [[height - low], [high - height]]
    panel.errorbar(place, height, bars, fmt="D", mfc="white", color=BEFORE, capsize=4)
    panel.annotate(
        f" {say('test')} {height:+.1f}",
        (place, height),
        xytext=(4, -12),
        textcoords="offset points",
        fontsize=8,
    )
    panel.set_xlim(-0.02 * last, 1.16 * last)


def _losses(panel: Any, generations: Sequence[Generation], say: Say) -> None:
    """Two lines for each stage: the mean of a generation, and its best candidate."""
    for name, stage in groupby(generations, key=lambda row: row.stage):
        rows = list(stage)
        places = [row.queries for row in rows]
        means = [row.mean for row in rows]
        best = [row.best for row in rows]
        panel.plot(places, means, "-o", ms=3, color=BEFORE, label=f"{name}: {say('loss_mean')}")
        panel.plot(places, best, "--^", ms=3, color=AFTER, label=f"{name}: {say('loss_best')}")
    if generations:
        panel.legend(frameon=False, fontsize=8)


def robustness(cells: Sequence[Row], say: Say) -> Any:
    """Accuracy against severity: a panel for each family of corruptions, the mean over its kinds.

    cells: of one model.
    """
    families = list(dict.fromkeys(cell["family"] for cell in cells))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    figure = new_figure(WIDTH, 0.7 + 1.9 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for panel, family in zip(panels, families, strict=False):
        of = [cell for cell in cells if cell["family"] == family]
        severities = sorted({cell["severity"] for cell in of})
        for key, style, color in (("zero_shot", "--o", BEFORE), ("prompted", "-s", AFTER)):
            means = [
                100 * np.mean([cell[key] for cell in of if cell["severity"] == s])
                for s in severities
            ]
            panel.plot(
                severities,
                means,
                style,
                ms=4,
                mfc="white" if key == "zero_shot" else color,
                color=color,
                label=say(key),
            )
        panel.set_title(family, fontsize=9, parse_math=False)
        panel.set_ylim(0, 100)
        panel.set_xticks(range(1, 6))
    for panel in panels[len(families) :]:
        panel.set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    figure.supxlabel(say("severity"), fontsize=9)
    figure.supylabel(say("right_percent"), fontsize=9)
    _plain(*panels)
    return figure


def effects(rows: Sequence[Row], say: Say) -> Any:
    """The change of accuracy on each task, with its interval."""
    figure = new_figure(WIDTH, 0.9 + 0.32 * len(rows))
    panel = figure.subplots()
    for y, row in enumerate(rows):
        _interval(panel, 100 * row["change"], [100 * bound for bound in row["change_ci95"]], y)
    panel.axvline(0, color="#333", lw=0.8)
    names = [
        f"{row['task']} ({say('own')})" if row["role"] == "own" else row["task"] for row in rows
    ]
    panel.set_yticks(range(len(rows)), names, parse_math=False)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlabel(say("change_points"))
    _plain(panel)
    return figure


def confusions(
    before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]], say: Say
) -> Any:
    """Which answers were given to the images of each class, in percent, before and after."""
    truths = list(before)
    given = (
        answer for table in (before, after) for answers in table.values() for answer in answers
    )
    said = list(dict.fromkeys([*truths, *given]))
    figure = new_figure(WIDTH, 1.4 + 0.3 * len(truths))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, table, title in zip(panels, (before, after), ("zero_shot", "prompted"), strict=True):
        counts = np.array(
            [[table.get(truth, {}).get(answer, 0) for answer in said] for truth in truths], float
        )
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if share:
                shade = "white" if share > 55 else "black"
                panel.text(
                    column, row, f"{share:.0f}", ha="center", va="center", color=shade, fontsize=8
                )
        panel.set_xticks(
            range(len(said)),
            [answer or say("none_said") for answer in said],
            rotation=40,
            ha="right",
            parse_math=False,
        )
        panel.set_yticks(range(len(truths)), truths, parse_math=False)
        panel.set_title(say(title), fontsize=9)
        panel.set_xlabel(say("answer"))
    panels[0].set_ylabel(say("truth"))
    return figure


def _interval(panel: Any, value: float, interval: Sequence[float], y: float) -> None:
    """A dot with its interval and its number; the dot is hollow if the interval holds 0."""
    low, high = interval
    sure = low > 0 or high < 0
    color = LOSS if value < 0 else AFTER
    panel.errorbar(
        value,
        y,
        xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
        fmt="o",
        capsize=3,
        color=color,
        mfc=color if sure else "white",
    )
    panel.annotate(
        f"{value:+.1f}",
        (value, y),
        xytext=(0, 5),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )


def _plain(*panels: Any) -> None:
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#e5e7eb", lw=0.6)
        panel.set_axisbelow(True)
