"""Two benchmark folders against each other: the same cells under two versions of the code.

Run `python tests/benchmarks/versions.py BEFORE AFTER [--method default]`. Each is a folder of
`bbtvp bench`; cells are paired by task, source and seed. It prints the table of each version and
the mean differences, after minus before, in points with 95 % intervals that resample tasks, sources
and seeds, of what runs deploy and of what searches found.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bbtvp.bench import report, tables
from bbtvp.bench.deployed import SCORED, Scored
from bbtvp.bench.report import Findings
from bbtvp.bench.tables import BenchRow, carried, own

FIGURES = {
    "gain on the source": own("gain"),
    "gain on others": carried("gain"),
    "over the empty frame, source": own("over_empty_frame"),
    "over the empty frame, others": carried("over_empty_frame"),
}


def main() -> None:
    """Print a table for each way of scoring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--method", default="default")
    args = parser.parse_args()
    documents = [
        [d for d in report.collect(folder) if d["cell"]["method"] == args.method]
        for folder in (args.before, args.after)
    ]
    for scored in SCORED:
        found = [report.findings(each, scored) for each in documents]
        _print(scored, *found)


def _print(scored: Scored, before: Findings, after: Findings) -> None:
    """The table of each version, then the paired differences."""
    print(f"## {scored}")
    for name, version in (("before", before), ("after", after)):
        print(f"\n{name}:\n{report.main_table(version)}")
    cells = [{*tables.figures(version.rows, own("gain"))} for version in (before, after)]
    print(f"\nafter minus before, {len(cells[0] & cells[1])} cells in both:")
    for name, value in FIGURES.items():
        print(f"  {name}: {report.spanned(tables.paired(after.rows, before.rows, value))}")
    for task, change in _by_task(before.rows, after.rows):
        print(f"  {task}: {report.points(change)} on the source")
    print()


def _by_task(before: Sequence[BenchRow], after: Sequence[BenchRow]) -> list[tuple[str, float]]:
    """The mean difference of each task on the source, most negative first."""
    one, other = (tables.by_task(rows, own("gain")) for rows in (before, after))
    return sorted(
        ((task, other[task] - one[task]) for task in one.keys() & other.keys()),
        key=lambda row: row[1],
    )


if __name__ == "__main__":
    main()
