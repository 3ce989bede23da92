"""One row of a benchmark: a cell on one target, with paired statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bbtvp.bench.cells import BenchCell, PackedScores, unpack_scores
from bbtvp.core.errors import ModelError
from bbtvp.rivals.table import UseCost
from bbtvp.stats import paired_gain


def row(
    cell: BenchCell,
    target: str,
    arms: Mapping[str, PackedScores | None],
    queries: int,
    use: UseCost | None = None,
) -> dict[str, Any]:
    """A row of rows.json: mean scores and paired gains on one target.

    use: what an image costs on the source once the method is deployed, None if it is not known.
    arms: the scores of each arm, None for an arm that the method does not have. Means are over
    the `n` test images that were answered in all arms. empty_frame and the figures over it are
    None for a method that places no image, sentence_only for a prompt without a sentence.

    ModelError if no image was answered in all arms.
    """
    found = {arm: unpack_scores(packed) for arm, packed in arms.items() if packed is not None}
    sentence = found.get("sentence_only")
    answered = np.isfinite(np.stack(list(found.values()))).all(axis=0)
    if not answered.any():
        raise ModelError(
            f"{target} answered no test image of {cell.task} in all arms; "
            "nothing can be said about it"
        )
    kept = {arm: values[answered] for arm, values in found.items()}
    gain = paired_gain(kept["zero_shot"], kept["prompted"], seed=cell.seed)
    over = None
    if "empty_frame" in kept:
        over = paired_gain(kept["empty_frame"], kept["prompted"], seed=cell.seed)
    return {
        "method": cell.method,
        "task": cell.task,
        "source": cell.source,
        "target": target,
        "budget": cell.budget,
        "queries": queries,
        "seed": cell.seed,
        **gain.as_json("zero_shot", "prompted"),
        "empty_frame": None if over is None else over.before,
        "sentence_only": None if sentence is None else float(sentence[answered].mean()),
        "over_empty_frame": None if over is None else over.gain,
        "over_empty_frame_ci95": None if over is None else list(over.ci),
        "queries_per_image": use and use.queries,
        "usd_per_1000": use and use.usd_per_1000,
        "failed": sum(int(np.isnan(values).sum()) for values in found.values()),
    }
