"""The table of rivals on a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bbtvp.report.html.words import NONE, Words, interval, percent, points
from bbtvp.runs.proofs import KeptProof

_HEADS = (
    "arm",
    "accuracy",
    "gain",
    "interval",
    "rivals_others",
    "rivals_found",
    "rivals_queries",
    "rivals_in",
    "rivals_out",
    "rivals_usd",
    "rivals_beaten",
)


def rivals_view(proof: KeptProof, words: Words) -> dict[str, Any] | None:
    """What the page shows of the rivals that were asked beside a proof; None if none were."""
    found = proof.rivals
    if found is None:
        return None
    notes = [f"{row['arm']}: {row['note']}" for row in found["arms"] if row["note"]]
    left_out = [f"{name}: {reason}" for name, reason in found["left_out"].items()]
    return {
        "task": proof.document["task"],
        "choice": words("rivals_choice", arm=found["choice"] or NONE, model=found["model"]),
        "head": [words(head) for head in _HEADS],
        "rows": [_cells(row) for row in found["arms"]],
        "notes": notes + left_out,
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    use = row["per_image"]
    gains = [found["gain"] for found in row["transfer"].values()]
    return [
        row["arm"],
        percent(row["score"]),
        points(row["gain"]),
        interval(row["gain_ci95"]),
        points(sum(gains) / len(gains)) if gains else NONE,
        f"{row['tuning']['queries']:,}",
        f"{use['queries']:g}",
        f"{use['input_tokens']:,.0f}" if use["input_tokens"] else NONE,
        f"{use['output_tokens']:,.0f}" if use["output_tokens"] else NONE,
        NONE if row["usd_per_1000"] is None else f"{row['usd_per_1000']:,.3f}",
        ", ".join(row["beaten_by"]) or NONE,
    ]
