"""Hugging Face `datasets`: what it writes is read; without it one line says what to install."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bbtvp.tasks.task
from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks.formats.hub import hf


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UsageError, match=r"^hf: needs Hugging Face's datasets; pip install 'bbtvp\[datasets\]'$"
    ):
        hf("org/name")


def test_a_version_that_could_run_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = ModuleType("datasets")
    old.__version__ = "3.6.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", old)
    with pytest.raises(
        UsageError,
        match=r"datasets 3.6.0 can run code from a data set; pip install 'bbtvp\[datasets",
    ):
        hf("org/name")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return datasets


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(n)
    return [Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)) for _ in range(n)]


def rows(library: Any, n: int, **others: list[Any]) -> Any:
    names = ["tabby_cat", "dog"]
    features = library.Features(
        {
            "img": library.Image(),
            "kind": library.ClassLabel(names=names),
            **{name: library.Value("string") for name in others},
        }
    )
    return library.Dataset.from_dict(
        {"img": pictures(n), "kind": [number % 2 for number in range(n)], **others},
        features=features,
    )


def test_a_data_set_that_the_library_saved(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.DatasetDict({"train": rows(library, 30), "test": rows(library, 10)}).save_to_disk(
        "saved"
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            bbtvp.tasks.task, "open_image", lambda path: pytest.fail(f"{path} was decoded")
        )
        task = hf("./saved")
    assert tuple(map(len, task.splits.values())) == (21, 9, 10)
    assert task.ask(task.test[0]) == "what is in the image? answer with one of: tabby cat, dog"
    whole = pictures(10)
    for sample in task.test:
        number = int(sample.id.rpartition("/")[2])
        assert sample.answer == task.labels[number % 2]  # type: ignore[index]
        assert np.array_equal(sample.pixels(), np.asarray(whole[number]))
        assert isinstance(sample.image, Path) and tmp_path / "cache" in sample.image.parents
    assert task.name == "hf:saved" and hf("./saved").digest == task.digest


def test_only_what_a_limit_keeps_is_written(library: Any, tmp_path: Path) -> None:
    rows(library, 60).to_parquet("p/train.parquet")
    task = hf("./p", limit=4, labels=["cat", "dog"])
    assert tuple(map(len, task.splits.values())) == (4, 4, 4)
    assert sum(path.is_file() for path in (tmp_path / "cache" / "bbtvp").rglob("*")) == 12
    assert {sample.answer for sample in task.train} == {"cat", "dog"}


def test_splits_and_columns_by_name(library: Any) -> None:
    library.DatasetDict(
        {
            "train": rows(library, 20, animal=["x", "y"] * 10),
            "validation": rows(library, 8, animal=["x", "y"] * 4),
        }
    ).save_to_disk("saved")
    assert tuple(map(len, hf("./saved").splits.values())) == (14, 6, 8)
    task = hf("./saved?label=animal&image=img")
    assert task.labels == ("x", "y")
    for options, message in (
        ("label=animals", r"unknown column 'animals'; did you mean animal\? \(\?label=COLUMN\)"),
        ("image=animal", "the column 'animal' holds no images"),
        ("test=held", "unknown split 'held'; choose from: train, validation"),
        ("train=trian", "unknown split 'trian'; did you mean train"),
        ("label=img", "the column 'img' holds neither classes nor texts"),
    ):
        with pytest.raises((UsageError, DataError), match=message):
            hf(f"./saved?{options}")


def test_rows_without_a_label_or_an_image(library: Any) -> None:
    features = library.Features(
        {"image": library.Image(), "label": library.ClassLabel(names=["a", "b"])}
    )
    hidden = library.Dataset.from_dict({"image": pictures(4), "label": [-1] * 4}, features=features)
    labelled = library.Dataset.from_dict(
        {"image": pictures(9), "label": [0, 1, 0] * 3}, features=features
    )
    library.DatasetDict({"train": labelled, "test": hidden}).save_to_disk("saved")
    with pytest.raises(
        DataError, match="split test, row 0: the label -1 is no class; name another split"
    ):
        hf("./saved")
    absent = library.Dataset.from_dict(
        {"image": [None] * 20, "label": [0, 1] * 10}, features=features
    )
    absent.save_to_disk("absent")
    with pytest.raises(DataError, match=r"split train, row \d+: no image; leave the row out"):
        hf("./absent")
    with pytest.raises(DataError, match=r"hf:\./gone cannot be loaded"):
        hf("./gone")


def test_images_beside_their_table_stay_where_they_are(library: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "f/train" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures(10)):
            picture.save(tmp_path / "f/train" / name / f"{number}.png")
    task = hf("./f")
    assert task.labels == ("a", "b")
    assert all(tmp_path / "f" in Path(str(sample.image)).parents for sample in task.train)
