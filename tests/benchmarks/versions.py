"""Two benchmark folders against each other: the same cells under two versions of the code.

Run `python tests/benchmarks/versions.py BEFORE AFTER [--method default]`. Each is a folder of
`bbtvp bench`; cells are paired by task, source and seed. It prints the mean differences, after
minus before, in points with 95 % intervals that resample tasks, sources and seeds, and the cells
that changed most.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bbtvp.bench import report, tables
from bbtvp.bench.deployed import SCORED
from bbtvp.bench.tables import carried, own

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
        before, after = (report.findings(each, scored).rows for each in documents)
        shared = {*tables.figures(before, own("gain"))} & {*tables.figures(after, own("gain"))}
        print(f"{scored}, {len(shared)} cells in both")
        for name, value in FIGURES.items():
            found = tables.paired(after, before, value)
            print(f"  {name}: {report.spanned(found)}")
    for task, change in _by_task(before, after):
        print(f"  {task}: {report.points(change)} on the source")


def _by_task(
    before: list[dict[str, object]], after: list[dict[str, object]]
) -> list[tuple[str, float]]:
    """The mean difference of each task on the source, most negative first."""
    one, other = (tables.by_task(rows, own("gain")) for rows in (before, after))
    return sorted(
        ((task, other[task] - one[task]) for task in one.keys() & other.keys()),
        key=lambda row: row[1],
    )


if __name__ == "__main__":
    main()
