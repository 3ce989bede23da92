"""From finished cells to the document, the report and the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bbtvp.bench import methods, report
from bbtvp.bench.cells import BenchCell, cell_id
from bbtvp.bench.rows import row
from bbtvp.core.errors import DataError, ModelError

ZERO = "1100110011" * 6
"""Sixty test images, 36 of them right."""


def answers(gained: int, lost: int = 0) -> str:
    """ZERO with some wrong answers made right, and some right ones wrong."""
    bits = list(ZERO)
    wrong = [i for i, bit in enumerate(ZERO) if bit == "0"][:gained]
    right = [i for i, bit in enumerate(ZERO) if bit == "1"][:lost]
    for i in wrong:
        bits[i] = "1"
    for i in right:
        bits[i] = "0"
    return "".join(bits)


def finished(method: str, budget: int, own: str, other: str, *, seed: int = 0) -> dict[str, Any]:
    """A cell with the source a and the target b."""
    cell = BenchCell(method, "zoo/digits", "a", budget, seed)
    targets = {
        target: {"zero_shot": ZERO, "empty_frame": ZERO, "sentence_only": None, "prompted": bits}
        for target, bits in (("a", own), ("b", other))
    }
    rows = [row(cell, target, arms, budget) for target, arms in targets.items()]
    return {"cell": cell.as_json(), "targets": targets, "rows": rows}


def save(folder: Path, *documents: dict[str, Any], constants: Any = None) -> None:
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    for document in documents:
        cell = BenchCell(**document["cell"])
        name = cell_id(cell, methods.get(cell.method).constants if constants is None else constants)
        (folder / "cells" / f"{name}.json").write_text(json.dumps(document))


DOCUMENTS = (
    finished("default", 500, answers(6), answers(3)),
    finished("default", 1000, answers(18), answers(12)),
    finished("default", 1000, answers(24), answers(12), seed=1),
    finished("random", 500, answers(0), answers(0, 20)),
    finished("random", 1000, answers(12), answers(0, 20)),
    finished("empty-frame", 0, answers(3), answers(3)),
)


def test_the_document_holds_what_the_cells_say() -> None:
    found = report.document(report.findings(DOCUMENTS))
    assert found["schema"] == "bbtvp.bench/1"
    assert len(found["rows"]) == 12
    summary = {(s["method"], s["budget"]): s for s in found["summary"]}
    best = summary["default", 1000]
    assert best["gain"]["mean"] == pytest.approx(21 / 60)
    assert best["transfer"]["mean"] == pytest.approx(12 / 60)
    assert best["ratio"]["mean"] == pytest.approx(12 / 21)
    assert (best["harm"]["places"], best["harm"]["below"], best["harm"]["above"]) == (2, 0, 2)
    harmful = summary["random", 1000]["harm"]
    assert harmful["below"] == 1
    assert harmful["worst"][0]["target"] == "b" and harmful["worst"][0]["gain"] == pytest.approx(
        -20 / 60
    )
    against = {(a["method"], a["budget"]): a for a in found["against_default"]}
    assert against["random", 1000]["gain"]["mean"] == pytest.approx(
        (12 - 18) / 60
    )  # on the seed that both have
    assert against["empty-frame", 1000]["gain"]["mean"] == pytest.approx((3 - 21) / 60)
    json.dumps(found, allow_nan=False)


def test_the_report_says_how_many_queries_a_gain_takes() -> None:
    text = report.markdown(report.findings(DOCUMENTS))
    assert "what the best peer (random) reaches at 1000" in text
    line = next(line for line in text.splitlines() if line.startswith("| default") and "×" in line)
    assert (
        "660" in line and "1.5 ×" in line
    )  # 12 of 60 between 6 at 500 and 21 at 1000, on a log scale
    for table in text.split("\n\n"):
        if table.startswith("| "):
            assert len({line.count("|") for line in table.strip().splitlines()}) == 1


def test_a_folder_is_read_back_without_cells_of_other_constants(tmp_path: Path) -> None:
    save(tmp_path, *DOCUMENTS)
    save(tmp_path, finished("bar", 1000, answers(1), answers(1)), constants={"images": 99})
    found = report.collect(tmp_path)
    assert [d["cell"]["method"] for d in found] == ["default"] * 3 + ["empty-frame"] + [
        "random"
    ] * 2
    paths = report.write(tmp_path, report.findings(found))
    assert all(path.stat().st_size > 100 for path in paths)
    assert {path.name for path in paths} >= {
        "rows.json",
        "report.md",
        "curves.png",
        "default.png",
        "random.png",
    }


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    save(tmp_path, *DOCUMENTS)
    path = next((tmp_path / "cells").iterdir())
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        report.collect(tmp_path)


def test_a_row_counts_the_images_that_were_answered_in_all_arms() -> None:
    cell = BenchCell("default", "t", "a", 100, 0)
    found = row(cell, "a", {"zero_shot": "10-1", "empty_frame": "1111", "prompted": "11-0"}, 90)
    assert (found["n"], found["failed"]) == (3, 2)
    assert (found["zero_shot"], found["prompted"], found["empty_frame"]) == (2 / 3, 2 / 3, 1)
    assert found["sentence_only"] is None
    with pytest.raises(ModelError, match="answered no test image"):
        row(cell, "a", {"zero_shot": "--", "empty_frame": None, "prompted": "11"}, 90)


def without_gain(document: dict[str, Any]) -> dict[str, Any]:
    """The same cell, had validation found no gain."""
    return {**document, "queries": {"search": 700}, "facts": {"improved": False}}


def test_where_validation_found_no_gain_the_image_as_it_is_is_scored() -> None:
    harmful = without_gain(finished("default", 1000, answers(0, 20), answers(0, 20)))
    useful = finished("default", 1000, answers(18), answers(12), seed=1)
    deployed = report.findings([harmful, useful])
    found = report.findings([harmful, useful], "found")
    assert [row["gain"] for row in deployed.rows] == [0, 0, 18 / 60, 12 / 60]
    assert [row["gain"] for row in found.rows] == [-20 / 60, -20 / 60, 18 / 60, 12 / 60]
    assert deployed.rows[0]["queries"] == 700  # the search was paid for all the same
    assert report.document(deployed)["scored"] == "deployed"
    assert "what a run deploys" in report.markdown(deployed)
    assert "what the searches found" in report.markdown(found)


def test_prompts_that_the_empty_frame_beats_are_counted_apart() -> None:
    document = finished("default", 1000, answers(2), answers(2))
    for arms in document["targets"].values():
        arms["empty_frame"] = answers(20)
    document["targets"]["b"]["empty_frame"] = None  # --controls source
    found = report.findings([document])
    (summary,) = report.document(found)["summary"]
    assert (summary["harm"]["places"], summary["harm"]["below"]) == (2, 0)
    assert (summary["below_empty_frame"]["places"], summary["below_empty_frame"]["below"]) == (1, 1)
    assert "1 of 1" in report.main_table(found).splitlines()[-1]
