"""Write docs/families.md: `python -m tests.families.table`, in a checkout with `bbtvp[families]`.

python -m tests.families.table            every family
python -m tests.families.table llava git  these keys; the rest stays as the page has it
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from bbtvp.core.files import atomic_write
from tests.families.all import FAMILIES
from tests.families.check import FAULT, PROVEN, REFUSED, Row, measure, missing

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
KEYS: Mapping[str, str] = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
STATUSES = (PROVEN, REFUSED, FAULT)
COLUMNS = (
    "family",
    "class",
    "status",
    "prompt",
    "scores",
    "batch",
    "text",
    "search",
    "frame",
    "needs",
    "why",
)
INTRODUCTION = Path(__file__).with_name("introduction.md").read_text("utf-8")


def read_page(page: Path = PAGE) -> dict[str, dict[str, str]]:
    """Return the rows of the page by family, each as cells by column."""
    if not page.exists():
        return {}
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rows = rows[rows.index(list(COLUMNS)) + 2 :]
    return {cells[0]: dict(zip(COLUMNS, cells, strict=True)) for cells in rows}


def key_of(name: str) -> str:
    """Return the key of a family's name, which may end with a variant in brackets."""
    return name.partition(" (")[0]


def cells_of(row: Row) -> dict[str, str]:
    """Return a row as the page shows it."""
    values = (
        row.name,
        f"`{KEYS[key_of(row.name)]}`",
        row.status,
        row.prompt,
        _nats(row.score),
        _nats(row.batch),
        _word(row.text),
        _word(row.search),
        row.frame,
        ", ".join(row.needs),
        row.reason,
    )
    return dict(zip(COLUMNS, (value.replace("|", "¦") for value in values), strict=True))


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}" if value else "0"


def _word(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def render(rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page."""
    by_key: dict[str, list[Mapping[str, str]]] = {}
    for name, cells in rows.items():
        by_key.setdefault(key_of(name), []).append(cells)
    proven = [k for k, found in by_key.items() if all(c["status"] == PROVEN for c in found)]
    introduction = INTRODUCTION.format(
        keys=len(KEYS),
        version=transformers.__version__,
        proven=len(proven),
        bare=sum(not any(cells["needs"] for cells in by_key[key]) for key in proven),
        refused=sum(any(c["status"] == REFUSED for c in found) for found in by_key.values()),
        fault=sum(any(c["status"] == FAULT for c in found) for found in by_key.values()),
        wrong=sum(any(c["status"] not in STATUSES for c in found) for found in by_key.values()),
    )
    table = [list(COLUMNS), ["---"] * len(COLUMNS)]
    table += [[rows[name][column] for column in COLUMNS] for name in sorted(rows)]
    return introduction + "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def measured(name: str) -> Row:
    """Measure one family, in a folder that is gone afterwards."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        return measure(FAMILIES[name], Path(folder))


def main(keys: Sequence[str]) -> None:
    """Measure the families of some keys, or of all, and write the page."""
    chosen = [name for name, family in FAMILIES.items() if not keys or family.key in keys]
    lacking = sorted({package for name in chosen for package in missing(FAMILIES[name])})
    if lacking:
        sys.exit(f"{', '.join(lacking)} is missing: pip install 'bbtvp[families]'")
    rows = {name: cells for name, cells in read_page().items() if name in FAMILIES}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for row in pool.map(measured, chosen):
            rows[row.name] = cells_of(row)
            sys.stderr.write(f"{row.name}: {row.status} {row.reason}\n")
    atomic_write(PAGE, render(rows).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
