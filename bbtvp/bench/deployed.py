"""What a run would deploy, from cells that hold what their searches found.

A search that gained nothing on validation deploys the identity: every image as it is. Its answers
are those of zero-shot, so the same cells give both figures, without another image query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from bbtvp.bench.cells import BenchCell
from bbtvp.bench.rows import row

Scored = Literal["deployed", "found"]
SCORED: tuple[Scored, ...] = get_args(Scored)


def deployed(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The documents of cells, with the identity where validation found no gain.

    A method without a choice on validation deploys what it found. The empty frame stays that of the
    prompt that was found: it is what one would have without any search.
    """
    return [_with_identity(document) for document in documents]


def _with_identity(document: Mapping[str, Any]) -> dict[str, Any]:
    if document.get("facts", {}).get("improved", True):
        return dict(document)
    cell = BenchCell(**document["cell"])
    queries = sum(document["queries"].values())
    targets = {
        target: {**arms, "prompted": arms["zero_shot"], "sentence_only": None}
        for target, arms in document["targets"].items()
    }
    rows = [row(cell, target, arms, queries) for target, arms in targets.items()]
    return {**document, "targets": targets, "rows": rows}
