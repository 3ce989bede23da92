"""Every family that transformers has gives the numbers that docs/families.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.families.all import FAMILIES
from tests.families.check import PROVEN, REFUSED, measure, missing
from tests.families.kit import Family
from tests.families.table import KEYS, PAGE, STATUSES, key_of, read_page, render

QUICK = ("llava", "blip-2 (T5)")
"""Families of each kind that the default tests measure; the others are slow together."""

# Its own classes warn of what is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default")


def parameters() -> list[object]:
    return [
        pytest.param(family, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, family in sorted(FAMILIES.items())
    ]


def test_every_key_of_transformers_has_a_row() -> None:
    assert KEYS.keys() - {key_of(name) for name in read_page()} == set()


def test_every_builder_has_a_row_and_no_row_is_left_over() -> None:
    assert read_page().keys() == FAMILIES.keys()
    assert {family.key for family in FAMILIES.values()} <= KEYS.keys()


def test_no_row_is_wrong() -> None:
    assert {cells["status"] for cells in read_page().values()} <= set(STATUSES)


def test_the_page_is_what_its_rows_give() -> None:
    assert render(read_page()) == PAGE.read_text("utf-8")


@pytest.mark.parametrize("family", parameters())
def test_a_family_is_as_its_row_says(family: Family, tmp_path: Path) -> None:
    wanted = read_page()[family.name]
    if wanted["status"] not in STATUSES:
        pytest.xfail(wanted["status"])
    try:
        row = measure(family, tmp_path)
    except ImportError:
        if not missing(family):
            raise
        pytest.skip(f"its classes cannot be made without {' and '.join(missing(family))}")
    if wanted["status"] == PROVEN and missing(family):
        assert row.status == REFUSED
        assert "bbtvp[families]" in row.reason
    else:
        assert (row.status, row.prompt) == (wanted["status"], wanted["prompt"]), row
        assert row.frame == wanted["frame"]
