"""What a page shows of the checks other than the proof: robustness, side effects, saliency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bbtvp.report.html import charts
from bbtvp.report.html.pictures import figure_uri, file_uri
from bbtvp.report.html.words import NONE, Words, interval, p_value, percent, points

_BROKEN = 40
"""Broken images that are listed by name."""


def robustness_view(document: Mapping[str, Any], words: Words) -> Iterator[dict[str, Any]]:
    """The view of each model, from robustness.json."""
    for model in document["models"]:
        cells = model["cells"]
        significant = [cell for cell in cells if cell["holm_p"] < 0.05]
        kinds = list(dict.fromkeys(cell["corruption"] for cell in cells))
        yield {
            "where": document["where"],
            "summary": words(
                "robustness_mean",
                model=model["model"],
                kinds=len(kinds),
                before=percent(model["mean_zero_shot"]),
                after=percent(model["mean_prompted"]),
                gain=points(model["mean_gain"]),
                interval=interval(model["mean_gain_ci95"]),
                cells=len(cells),
                helped=sum(cell["gain"] > 0 for cell in significant),
                harmed=sum(cell["gain"] < 0 for cell in significant),
            ),
            "chart": figure_uri(charts.robustness(cells, words)),
            "rows": [
                _kind(kind, [cell for cell in cells if cell["corruption"] == kind])
                for kind in kinds
            ],
        }


def _kind(kind: str, cells: list[Mapping[str, Any]]) -> list[str]:
    before, after = (
        float(np.mean([cell[key] for cell in cells])) for key in ("zero_shot", "prompted")
    )
    harms = [str(cell["severity"]) for cell in cells if cell["gain"] < 0 and cell["holm_p"] < 0.05]
    return [kind, percent(before), percent(after), points(after - before), ", ".join(harms)]


def effects_view(document: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """The view of effects.json."""
    broken = document["broken"]
    stability = document["stability"]
    same = [percent(stability[arm]) for arm in ("before", "after")]
    return {
        "model": document["model"],
        "chart": figure_uri(charts.effects(document["tasks"], words)),
        "rows": [
            [
                f"{one['task']} ({words('own')})" if one["role"] == "own" else one["task"],
                str(one["n"]),
                percent(one["before"]),
                percent(one["after"]),
                points(one["change"]),
                interval(one["change_ci95"]),
                p_value(one["holm_p"]),
                _moved(one["shift"]),
            ]
            for one in document["tasks"]
        ],
        "strays": [
            [
                one["images"],
                _moved(one["shift"]),
                _commonest(one["shift"]),
                f"{one['refused_before']} → {one['refused_after']}",
            ]
            for one in document["strays"]
        ],
        "stability": words("stability_exact")
        if stability["exact"]
        else words("stability", before=same[0], after=same[1]),
        "broken_count": len(broken),
        "broken_left": max(0, len(broken) - _BROKEN),
        "broken": [
            [one["task"], one["id"], one["truth"], one["before"] or NONE, one["after"] or NONE]
            for one in broken[:_BROKEN]
        ],
    }


def _moved(shift: Mapping[str, Any] | None) -> str:
    return (
        NONE
        if shift is None
        else f"{percent(shift['distance'])} ({shift['label']} {points(shift['change'])})"
    )


def _commonest(shift: Mapping[str, Any] | None) -> str:
    if shift is None:
        return NONE
    shares = (max(shift[arm].items(), key=lambda item: item[1]) for arm in ("before", "after"))
    return " → ".join(f"{label} {100 * share:.0f} %" for label, share in shares)


def saliency_view(folder: Path, document: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """The view of saliency.json and of the pictures in its folder."""
    looks = []
    for look, name in zip(document["looks"], document["files"], strict=True):
        uri = file_uri(folder / name)
        if uri is not None:
            text = words(
                "saliency_look",
                id=look["id"],
                arm=words(look["arm"]),
                label=look["label"],
                share=percent(look["in_picture"]),
            )
            looks.append({"uri": uri, "text": text})
    return {"method": document["way"]["method"], "looks": looks}
