"""The share of what a shift takes that a prompt gives back: `python -m tests.benchmarks.recovered
FOLDER…`, each a folder of `bbtvp bench` whose tasks are the zoo's.

Strengths are set by the source's own accuracy, so another model may have lost less to a shift, and
can regain less, in points. The share of a model is its gain over what it lost: its accuracy on the
same scenes without the shift, minus that under it. Shares are ratios of means. Intervals resample
tasks, sources and seeds, all figures together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bbtvp.bench import report, tables
from bbtvp.bench.tables import BenchRow, CellPlace, CellValue, Cube, Interval
from bbtvp.core.table import markdown_table
from bbtvp.models import Model, load_model
from bbtvp.search import LogProbReader, ask
from bbtvp.zoo import tasks

OTHERS = "others"


@cache
def member(spec: str) -> Model:
    """A miniature, loaded once."""
    return load_model(spec, batch=64)


@cache
def unshifted(spec: str, target: str, limit: int | None) -> float:
    """Accuracy on the scenes of a zoo task without its shift."""
    subject, _ = tasks.parts(spec.removeprefix("zoo/"))
    task = tasks.load(subject, limit=limit)
    return float(ask(member(target), LogProbReader(), task, task.test).correct.mean())


def on(target: str, key: str) -> CellValue:
    """A figure of a cell on one target; the mean over those that were not asked for OTHERS."""

    def value(rows: Sequence[BenchRow]) -> float | None:
        found = [
            row[key]
            for row in rows
            if row["target"] == target or (target == OTHERS and row["target"] != row["source"])
        ]
        return float(np.mean(found)) if found else None

    return value


def divided(*pairs: tuple[Mapping[CellPlace, float], Mapping[CellPlace, float]]) -> Interval:
    """The first pair's ratio of means, over the second pair's if there is one."""
    mean = 1.0
    drawn = np.ones(tables.RESAMPLES)
    for number, pair in enumerate(pairs):
        above, below = (Cube(found) for found in pair)
        power = 1 if number == 0 else -1
        mean *= (above.mean / below.mean) ** power
        drawn = drawn * (above.resampled() / below.resampled()) ** power
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def text(rows: Sequence[BenchRow]) -> str:
    """The table of one method, and how far its gain transfers in both units."""
    targets = [*dict.fromkeys(row["target"] for row in rows), OTHERS]
    found = {
        target: {
            key: tables.figures(rows, on(target, key))
            for key in ("unshifted", "zero_shot", "lost", "gain")
        }
        for target in targets
    }
    lines = []
    for target, figures in found.items():
        of = {key: Cube(values).mean for key, values in figures.items()}
        lines.append(
            (
                target,
                f"{100 * of['unshifted']:.1f}",
                f"{100 * of['zero_shot']:.1f}",
                f"{100 * of['lost']:.1f}",
                report.spanned(tables.interval(figures["gain"])),
                report.spanned(divided((figures["gain"], figures["lost"])), "{:.2f}".format),
            )
        )
    head = ("tried on", "without the shift", "zero-shot", "lost", "gain", "share of it")
    return "\n".join([markdown_table([head, *lines]), *_transfer(rows, found)])


def _transfer(
    rows: Sequence[BenchRow], found: Mapping[str, Mapping[str, Mapping[CellPlace, float]]]
) -> list[str]:
    """Others over the source, in points and in shares of what each lost."""
    sources = {row["source"] for row in rows}
    if len(sources) > 1:
        return ["transfer: one source at a time; give folders with one"]
    others, own = found[OTHERS], found[sources.pop()]
    in_points = divided((others["gain"], own["gain"]))
    in_shares = divided((others["gain"], others["lost"]), (own["gain"], own["lost"]))
    return [
        f"transfer, in points: {report.spanned(in_points, '{:.2f}'.format)}",
        f"transfer, in shares: {report.spanned(in_shares, '{:.2f}'.format)}",
    ]


def main() -> None:
    """Print the table of each folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--method", default="default")
    args = parser.parse_args()
    for folder in args.folders:
        limit = json.loads((folder / "bench.json").read_text("utf-8"))["test_limit"]
        cells = [d for d in report.collect(folder) if d["cell"]["method"] == args.method]
        rows = report.findings(cells).rows
        for row in rows:
            row["unshifted"] = unshifted(row["task"], row["target"], limit)
            row["lost"] = row["unshifted"] - row["zero_shot"]
        print(f"\n{folder}, {args.method}, {len(cells)} searches\n\n{text(rows)}", flush=True)


if __name__ == "__main__":
    main()
