"""Asks N pictures of a vendor, within a cap, as a run does that may be killed at any moment.

    python -m tests.endpoint.books_child URL FOLDER N USD QUERIES

The journal and the store in FOLDER are all that one process has of those before it. Prints what the
budget says in the end, and exits with 3 if not even one more picture can be paid.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bbtvp.core.errors import BudgetReached
from bbtvp.models import Budget, MeteredModel, QueryFailed, Request, load_model
from bbtvp.runs.journal import Journal
from tests.endpoint.books_server import picture

CALL = 500
CONCURRENCY = 32
QUESTION = "which number is this?"


def ask(metered: MeteredModel, count: int) -> int:
    """Ask the pictures in calls of 500, smaller ones where the cap allows no more; how many were
    answered.
    """
    at = 0
    most = CALL
    while at < count:
        numbers = range(at, min(at + most, count))
        try:
            outcomes = metered.query([Request(picture(number), QUESTION) for number in numbers])
        except BudgetReached:
            if most == 1:
                return at
            most //= 2
            continue
        for number, outcome in zip(numbers, outcomes, strict=True):
            if isinstance(outcome, QueryFailed) or outcome.text != f"number {number}":
                raise SystemExit(f"{number} was answered with {outcome}")
        at += len(numbers)
    return at


def main(url: str, folder: Path, count: int, usd: float, queries: int) -> int:
    model = load_model(
        "openai-api/books/books",
        base_url=url,
        store=str(folder / "replies.sqlite"),
        prices=str(folder / "prices.toml"),
        concurrency=CONCURRENCY,
    )
    with Journal({"books": count}, folder / "run") as journal:
        budget = Budget(queries, journal.spent, journal.failed, usd_cap=usd, usd=journal.usd)
        answered = ask(MeteredModel(model, journal, budget=budget), count)
    said = {
        "answered": answered,
        "attempts": budget.total,
        "usd": budget.usd,
        "failed": budget.failed,
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return 0 if answered == count else 3


if __name__ == "__main__":
    url, folder, *numbers = sys.argv[1:]
    sys.exit(main(url, Path(folder), int(numbers[0]), float(numbers[1]), int(numbers[2])))
