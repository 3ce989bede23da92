"""Hostile patches, receipts and registries end in one line: tests/benchmarks/hostile_bundles.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.registry.hostile_files import CASES


@pytest.mark.parametrize("kind", CASES)
def test_some_dozens_end_in_one_line_or_in_what_they_should(kind: str, tmp_path: Path) -> None:
    ends = []
    for number in range(60):
        place = tmp_path / str(number)
        place.mkdir()
        case = CASES[kind](1, number, place)
        try:
            case.use()
            ends.append("")
        except case.errors as error:
            ends.append(str(error))
    assert [end for end in ends if "\n" in end or len(end) > 2000] == []
    assert 0 < len([end for end in ends if end]) < len(ends)
