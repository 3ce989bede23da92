"""Two sources in place of one, for the same image queries: `python -m tests.benchmarks.two_sources
FOLDER --second zoo/llava-seed1 …`.

FOLDER is a finished folder of `bbtvp bench --methods default`, with one source. Each of its
searches is made again with a second source, which gets half of the image queries. Its prompt is
tried on those of the folder's targets that were not asked by either, and on both sources. Found
searches are kept in `two_sources.jsonl` of the folder `--out`: a run that was killed goes on.

Differences are paired, on the same tasks, seeds and test images; intervals resample tasks and
seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import bbtvp
from bbtvp.bench.tables import CellPlace, interval
from bbtvp.core.table import markdown_table
from bbtvp.models import Model, load_model
from bbtvp.search import LogProbReader, ask

FILE = "two_sources.jsonl"


@cache
def member(spec: str) -> Model:
    """A miniature, loaded once."""
    return load_model(spec, batch=64)


def measured(
    spec: str, sources: Sequence[str], targets: Sequence[str], seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """One search, and accuracy on each target without and with what it deploys."""
    task = bbtvp.load_task(spec, limit=args.test_limit)
    run = bbtvp.optimize(
        task, [member(source) for source in sources], queries=args.queries, seed=seed
    )
    found = {}
    for target in targets:
        arms = (None, run.prompt) if run.improved else (None,)
        right = [
            float(ask(member(target), LogProbReader(), task, task.test, prompt).correct.mean())
            for prompt in arms
        ]
        found[target] = {"zero_shot": right[0], "prompted": right[-1]}
    return {
        "task": spec,
        "sources": list(sources),
        "seed": seed,
        "queries": sum(run.queries.values()),
        "improved": run.improved,
        "targets": found,
    }


def gains(rows: Iterable[Mapping[str, Any]], targets: Sequence[str]) -> dict[CellPlace, float]:
    """Mean gain over these targets of each search."""
    return {
        (row["task"], " and ".join(row["sources"]), row["seed"]): statistics.mean(
            row["targets"][target]["prompted"] - row["targets"][target]["zero_shot"]
            for target in targets
        )
        for row in rows
    }


def single(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The folder's searches, in the form of `measured`."""
    found: dict[CellPlace, dict[str, Any]] = {}
    for row in rows:
        place = (row["task"], row["source"], row["seed"])
        one = {"task": row["task"], "sources": [row["source"]], "seed": row["seed"], "targets": {}}
        found.setdefault(place, one)["targets"][row["target"]] = row
    return list(found.values())


def table(
    one: Sequence[Mapping[str, Any]], two: Sequence[Mapping[str, Any]], asked: Sequence[str]
) -> str:
    """Gains of one and of two sources on both sources, and on targets that neither search asked."""
    every = list(two[0]["targets"])
    others = [target for target in every if target not in asked]
    groups = {**{f"{target} (asked)": [target] for target in asked}, **{t: [t] for t in others}}
    groups["those not asked"] = others
    lines = [["tried on", "one source", "two sources", "two − one"]]
    for name, targets in groups.items():
        before, now = (
            {(task, "", seed): gain for (task, _, seed), gain in gains(rows, targets).items()}
            for rows in (one, two)
        )
        both = before.keys() & now.keys()
        figures = (
            {place: before[place] for place in both},
            {place: now[place] for place in both},
            {place: now[place] - before[place] for place in both},
        )
        lines.append([name, *map(_points, figures)])
    return markdown_table(lines)


def _points(found: Mapping[CellPlace, float]) -> str:
    span = interval(found)
    return "–" if span is None else " ".join(f"{100 * value:+.1f}" for value in span)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--second", nargs="+", required=True, help="second sources, each in turn")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1000, help="to both sources together")
    parser.add_argument("--test-limit", type=int, default=200, help="that of the folder")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / FILE
    done = (
        [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    )
    one = single(json.loads((args.folder / "rows.json").read_text("utf-8"))["rows"])
    for second in args.second:
        found = []
        for cell in one:
            if cell["seed"] >= args.seeds:
                continue
            sources = [*cell["sources"], second]
            key = (cell["task"], sources, cell["seed"])
            made = next((r for r in done if (r["task"], r["sources"], r["seed"]) == key), None)
            if made is None:
                made = measured(cell["task"], sources, list(cell["targets"]), cell["seed"], args)
                with file.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(made) + "\n")
            found.append(made)
            print(made["task"], second, made["seed"], gains([made], sources), flush=True)
        print(table(one, found, [*one[0]["sources"], second]), flush=True)


if __name__ == "__main__":
    main()
