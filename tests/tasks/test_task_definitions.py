"""What labels mean, from a mapping, a file or a column; never made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bbtvp.core.errors import DataError
from bbtvp.tasks.loaders import load

ROUND = "without corners"


def table(folder: Path, definitions: dict[int, str] | None = None) -> Path:
    lines = ["image,answer,definition" if definitions else "image,answer"]
    for i in range(24):
        Image.fromarray(np.full((16, 16, 3), i * 9, np.uint8)).save(folder / f"{i}.png")
        more = f",{definitions.get(i, '')}" if definitions else ""
        lines.append(f"{i}.png,{'circle' if i % 2 else 'square'}{more}")
    path = folder / "shapes.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_mapping_or_a_file_defines_labels(tmp_path: Path) -> None:
    path = table(tmp_path)
    assert load(path).definitions == {}
    assert load(path, definitions={"circle": ROUND}).definitions == {"circle": ROUND}
    (tmp_path / "d.toml").write_text(f'circle = "{ROUND}"\n')
    (tmp_path / "d.json").write_text(f'{{"circle": "{ROUND}"}}')
    for name in ("d.toml", "d.json"):
        found = load(path, definitions=str(tmp_path / name))
        assert found.definitions == {"circle": ROUND}
        assert found.digest == load(path).digest


def test_a_column_defines_labels_and_rows_may_leave_it_empty(tmp_path: Path) -> None:
    path = table(tmp_path, {1: ROUND, 3: ROUND})
    assert load(path).definitions == {"circle": ROUND}
    assert load(path, labels="none", question="Which?").definitions == {}


def test_two_definitions_of_one_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'circle' is defined as 'oval' here and as"):
        load(table(tmp_path, {1: ROUND, 3: "oval"}))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("circle = 3", "holds no definitions; give names and texts"),
        ("circle =", "cannot be read"),
        ('oval = "x"', "a definition of an unknown label 'oval'"),
    ],
)
def test_a_file_that_defines_nothing(content: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text(content)
    with pytest.raises(DataError, match=line):
        load(table(tmp_path), definitions=tmp_path / "d.toml")
    with pytest.raises(DataError, match="no such file of definitions"):
        load(table(tmp_path), definitions="nowhere.toml")
