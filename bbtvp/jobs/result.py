"""The `bbtvp.result/1` document: what a run cost and what it proved, for machines."""

from __future__ import annotations

from typing import Any

from bbtvp.search import Run
from bbtvp.verify import Proof


def result(
    run: Run | None, proof: Proof | None, *, task: str, seed: int, prompt: str, seconds: float
) -> dict[str, Any]:
    """The document of a search (`run`), a proof with its verdict, or both. JSON-able.

    prompt: the path of the bundle.
    """
    queries = dict(run.queries) if run else {}
    failed = (run.failed if run else 0) + (proof.failed if proof else 0)
    document = {
        "schema": "bbtvp.result/1",
        "task": task,
        "seed": seed,
        "prompt": prompt,
        "improved_on_validation": run.improved if run else None,
        "queries": {
            "search": queries.get("search", 0),
            "validation": queries.get("validation", 0),
            "probe": queries.get("probe", 0),
            "verify": proof.queries if proof else 0,
            "failed": failed,
            "refused": (run.refused if run else 0) + (proof.refused if proof else 0),
        },
        "seconds": round(seconds, 1),
        "usd": _usd(run, proof),
        "models": proof.as_json() if proof else [],
    }
    if proof:
        document |= proof.words()
    return document


def _usd(run: Run | None, proof: Proof | None) -> float | None:
    """US dollars; None where all models are free, or where no price is known."""
    spent = (run.usd if run else 0.0) + (proof.usd if proof else 0.0)
    return round(spent, 6) or None
