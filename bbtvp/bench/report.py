"""What a benchmark's folder holds, as one document, as Markdown and as pictures."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.bench import methods, plots, tables
from bbtvp.bench.cells import BenchCell, cell_id, slug, unpack_scores
from bbtvp.bench.deployed import Scored, deployed
from bbtvp.bench.tables import AnswerPair, Harm, Interval, Summary, carried, own
from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.files import atomic_write, atomic_write_json
from bbtvp.core.table import markdown_table
from bbtvp.report import figures
from bbtvp.report.figures import share
from bbtvp.report.pictures import save_matrix

SCHEMA = "bbtvp.bench/1"
ROWS = "rows.json"
REPORT = "report.md"
REFERENCE = "default"
"""The method that all others are compared with."""

EXPLAINED = """\
Gains are points over zero-shot on the held-out test images: means over tasks and source models,
each of which counts the same, of the mean over seeds. Brackets: 95 % bootstrap intervals that
resample tasks, sources and seeds. Others: models that the search never asked. Below zero-shot:
(source, target, task) places significantly below the target's own zero-shot, by an exact sign-flip
test over images with seeds pooled, at 5 %, Holm over the places of the method. Below the empty
frame: the same against the empty frame."""

SCORED_AS = {
    "deployed": "Scored: what a run deploys, which is the image as it is where validation found no "
    "gain.",
    "found": "Scored: what the searches found, whether or not validation kept it.",
}

CellDocument = Mapping[str, Any]


@final
class Findings(NamedTuple):
    """All that is said of a set of finished cells."""

    rows: list[dict[str, Any]]
    summaries: list[Summary]
    harms: dict[tuple[str, int], Harm]
    against: list[tuple[str, int, Interval | None, Interval | None]]
    """Method, budget, and its paired difference to the reference: gain on the source, transfer."""
    below_empty: dict[tuple[str, int], Harm]
    """As `harms`, against the empty frame on the models that were shown it."""
    scored: Scored


def collect(folder: Path) -> list[CellDocument]:
    """Every finished cell in a folder whose method still has the constants that it was run with.

    DataError if there is none, or one is damaged.
    """
    found: list[CellDocument] = []
    for path in sorted((folder / "cells").glob("*.json")):
        try:
            document = json.loads(path.read_text("utf-8"))
            cell = BenchCell(**document["cell"])
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path} is damaged; delete it and run the same command again"
            ) from error
        try:
            current = cell_id(cell, methods.get(cell.method).constants)
        except UsageError:  # a method of another version
            continue
        if current == path.stem:
            found.append(document)
    if not found:
        raise DataError(f"{folder} holds no finished cells; run bbtvp bench --out {folder}")
    order = [*methods.METHODS]
    return sorted(
        found, key=lambda d: (order.index(d["cell"]["method"].partition("[")[0]), _place(d["cell"]))
    )


def _place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["method"], cell["budget"], cell["task"], cell["source"], cell["seed"]


def findings(documents: Iterable[CellDocument], scored: Scored = "deployed") -> Findings:
    """Rows, summaries, harm and comparisons, of what runs deploy or of what searches found."""
    kept = list(documents) if scored == "found" else deployed(documents)
    rows = [row for document in kept for row in document["rows"]]
    return Findings(
        rows,
        tables.summaries(rows),
        _harms(kept, "zero_shot"),
        _against(rows),
        _harms(kept, "empty_frame"),
        scored,
    )


def _harms(documents: Iterable[CellDocument], arm: str) -> dict[tuple[str, int], Harm]:
    """How often each method is below or above an arm, where the arm was shown."""
    places: dict[tuple[str, int], dict[tuple[str, str, str], list[AnswerPair]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for document in documents:
        cell = document["cell"]
        of_method = places[cell["method"], cell["budget"]]
        for target, arms in document["targets"].items():
            if arms[arm] is not None:
                pair = (unpack_scores(arms[arm]), unpack_scores(arms["prompted"]))
                of_method[cell["source"], target, cell["task"]].append(pair)
    return {key: tables.harm(of_method) for key, of_method in places.items()}


def _against(
    rows: Sequence[Mapping[str, Any]],
) -> list[tuple[str, int, Interval | None, Interval | None]]:
    parts = tables.groups(rows)
    found: list[tuple[str, int, Interval | None, Interval | None]] = []
    for method, budget in parts:
        for with_budget in sorted(b for name, b in parts if name == REFERENCE and budget in (0, b)):
            pair = parts[method, budget], parts[REFERENCE, with_budget]
            gain, carry = (tables.paired(*pair, value) for value in (own("gain"), carried("gain")))
            if method != REFERENCE and gain is not None:
                found.append((method, with_budget, gain, carry))
    return found


def document(found: Findings, failures: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """The `bbtvp.bench/1` document. JSON-able."""
    named = sorted({row["method"] for row in found.rows})
    against = [
        {
            "method": method,
            "budget": budget,
            "gain": _interval_json(gain),
            "transfer": _interval_json(carry),
        }
        for method, budget, gain, carry in found.against
    ]
    return {
        "schema": SCHEMA,
        "scored": found.scored,
        "rows": found.rows,
        "summary": [_summary_json(summary, found) for summary in found.summaries],
        "against_default": against,
        "methods": [methods.get(name).describe() for name in named],
        "failures": list(failures),
    }


def _summary_json(summary: Summary, found: Findings) -> dict[str, Any]:
    key = summary.method, summary.budget
    values = {
        key: _interval_json(value) if isinstance(value, Interval) else value
        for key, value in summary._asdict().items()
    }
    return {
        **values,
        "harm": _harm_json(found.harms[key]),
        "below_empty_frame": _harm_json(found.below_empty[key]),
    }


def _harm_json(harm: Harm) -> dict[str, Any]:
    worst = [
        dict(zip(("source", "target", "task", "gain", "p_holm"), row, strict=True))
        for row in harm.worst
    ]
    return {"places": harm.places, "below": harm.below, "above": harm.above, "worst": worst}


def _interval_json(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else {"mean": found.mean, "ci95": [found.low, found.high]}


# -- Markdown --------------------------------------------------------------------------------------
def points(value: float | None) -> str:
    """A gain in points with its sign, "–" for None."""
    return "–" if value is None else figures.points(value)


def spanned(found: Interval | None, show: Callable[[float], str] = points) -> str:
    """A figure with its interval, "–" for None."""
    if found is None:
        return "–"
    return f"{show(found.mean)} [{show(found.low)}, {show(found.high)}]"


_HEAD = (
    "method",
    "cap",
    "queries",
    "cells",
    "zero-shot",
    "prompted",
    "gain on source",
    "over empty frame",
    "gain on others",
    "ratio",
    "below zero-shot",
    "below empty frame",
    "queries / image",
    "$ / 1,000 images",
)


def main_table(found: Findings) -> str:
    """One line for each method and budget."""
    ordered = sorted(found.summaries, key=lambda s: (s.budget, -s.gain.mean))
    lines = [_summary_line(summary, found) for summary in ordered]
    return markdown_table([_HEAD, *lines])


def _summary_line(summary: Summary, found: Findings) -> tuple[str, ...]:
    key = summary.method, summary.budget
    harms = (found.harms[key], found.below_empty[key])
    return (
        summary.method,
        str(summary.budget or "–"),
        f"{summary.queries:.0f}",
        str(summary.cells),
        share(summary.zero_shot),
        share(summary.prompted),
        spanned(summary.gain),
        spanned(summary.over_empty),
        spanned(summary.transfer),
        spanned(summary.ratio, "{:.2f}".format),
        *(f"{harm.below} of {harm.places}" if harm.places else "–" for harm in harms),
        "–" if summary.per_image is None else f"{summary.per_image:g}",
        "–" if summary.usd_per_1000 is None else f"{summary.usd_per_1000:,.3f}",
    )


def markdown(found: Findings) -> str:
    """The report."""
    budgets = sorted({s.budget for s in found.summaries})
    text = [
        "# bbtvp bench",
        "",
        EXPLAINED,
        "",
        SCORED_AS[found.scored],
        "",
        main_table(found),
        "",
        "## Against the default, on the same cells",
        "",
        against_table(found),
        "",
        "## Image queries to reach a gain",
        "",
        _reach_table(found, budgets),
        "",
        f"## By task, at a cap of {budgets[-1] or '–'}",
        "",
        _task_table(found, budgets[-1]),
        "",
        "## Methods",
        "",
        _method_table(found),
        "",
    ]
    return "\n".join(text)


def against_table(found: Findings) -> str:
    """One line for each method and budget but the default: its paired difference to the default."""
    lines = [
        (method, str(budget), spanned(gain), spanned(carry))
        for method, budget, gain, carry in found.against
    ]
    head = ("method minus default", "cap of default", "gain on source", "gain on others")
    return markdown_table([head, *lines])


def _reach_table(found: Findings, budgets: Sequence[int]) -> str:
    """Each method's image queries to the mean gain of the best peer at the largest cap."""
    peers = [
        s
        for s in found.summaries
        if s.budget == budgets[-1] and methods.get(s.method).kind == "peer"
    ]
    if not peers:
        return "No peer was run at the largest cap."
    best = max(peers, key=lambda s: s.gain.mean)
    goal = best.gain.mean
    lines = [("method", "image queries", "fewer than the peer")]
    for method in dict.fromkeys(s.method for s in found.summaries if s.budget):
        curve = [(float(s.budget), s.gain.mean) for s in tables.curve(found.summaries, method)]
        queries = tables.reach(curve, goal)
        if queries is None:
            lines.append((method, "not reached", "–"))
            continue
        bound = "at most " if queries == curve[0][0] else ""
        lines.append((method, f"{bound}{queries:.0f}", f"{best.budget / queries:.1f} ×"))
    said = (
        f"Goal: {points(goal)} points on the source, what the best peer ({best.method}) reaches "
        f"at {best.budget}."
    )
    return f"{said}\n\n{markdown_table(lines)}"


def _task_table(found: Findings, budget: int) -> str:
    """Gains by task, on the source and on others, of methods at this budget or without one."""
    tasks = sorted({row["task"] for row in found.rows})
    lines = [("method: source / others", *(task.removeprefix("zoo/") for task in tasks))]
    for (method, at), rows in tables.groups(found.rows).items():
        if at not in (0, budget):
            continue
        gain = tables.by_task(rows, own("gain"))
        carry = tables.by_task(rows, carried("gain"))
        cells = (f"{points(gain.get(task))} / {points(carry.get(task))}" for task in tasks)
        lines.append((method, *cells))
    return markdown_table(lines)


def _method_table(found: Findings) -> str:
    lines = []
    for name in dict.fromkeys(s.method for s in found.summaries):
        said = methods.get(name).describe()
        constants = ", ".join(f"{key} {value}" for key, value in said["constants"].items())
        lines.append(
            (
                name,
                said["kind"],
                said["about"],
                said["source"],
                constants or "–",
                said["tuned"] or "–",
            )
        )
    head = ("method", "kind", "what it is", "source", "constants", "how chosen")
    return markdown_table([head, *lines])


# -- files -----------------------------------------------------------------------------------------
def write(folder: Path, found: Findings, failures: Sequence[Mapping[str, str]] = ()) -> list[Path]:
    """Write rows.json, report.md, curves.png and the transfer matrices; their paths.

    A method has a matrix at its largest budget, if it was tried on models beside its source.
    """
    atomic_write_json(folder / ROWS, document(found, failures))
    atomic_write(folder / REPORT, markdown(found).encode())
    paths = [folder / ROWS, folder / REPORT, folder / "curves.png"]
    plots.save_curves(found.summaries, paths[-1])
    largest = dict(sorted(tables.groups(found.rows)))  # the last of a method is its largest
    for (method, budget), rows in tables.groups(found.rows).items():
        if largest[method] == budget and any(row["target"] != row["source"] for row in rows):
            path = folder / "transfer" / f"{slug(method)}.png"
            asked = f", {budget} image queries" if budget else ""
            save_matrix(tables.matrix(rows), f"{method}{asked}: mean gain", path)
            paths.append(path)
    return paths
