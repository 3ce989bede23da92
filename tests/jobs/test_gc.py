"""What the response store holds, and what is removed from it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bbtvp.cli.gc import seconds_of
from bbtvp.core.errors import UsageError
from bbtvp.models import Reply
from bbtvp.models.store import ReplyStore
from tests.support import bbtvp

DAY = 86_400
NOW = 1_800_000_000.0
AGES = {"openai/gpt-4o": (1, 40, 100), "openai/gpt-5": (2, 3), "gemini/flash": (400,)}
"""Days since each reply of a model was kept."""


@pytest.fixture
def path() -> Path:
    return Path(os.environ["BBTVP_STORE"])


@pytest.fixture
def filled(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with closing(ReplyStore(path)) as store:
        for model, ages in AGES.items():
            for age in ages:
                monkeypatch.setattr("bbtvp.models.store.time.time", lambda age=age: NOW - age * DAY)
                store.keep(f"{model} {age}", Reply("x" * 50_000), model=model)
        store.begin_batch("b", "openai/gpt-4o", ["wanted"])
    monkeypatch.setattr("bbtvp.cli.gc.time.time", lambda: NOW)
    return path


def left(path: Path) -> set[str]:
    with closing(ReplyStore(path)) as store:
        return {entry.key for entry in store.entries()}


def everything() -> set[str]:
    return {f"{model} {age}" for model, ages in AGES.items() for age in ages}


def test_what_is_held_is_listed_and_nothing_removed(filled: Path) -> None:
    ran = bbtvp("gc", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document.keys() == {"schema", "store", "bytes", "removed", "models"}
    assert (document["schema"], document["removed"], document["store"]) == (
        "bbtvp.gc/1",
        False,
        str(filled),
    )
    assert document["bytes"]["before"] == document["bytes"]["after"] > 300_000
    first, second, third = document["models"]
    assert [row["model"] for row in document["models"]] == sorted(AGES)
    assert (second["model"], second["replies"]) == ("openai/gpt-4o", 3)
    assert 150_000 < second["bytes"] < 151_000
    assert second["oldest"] == "2026-10-07T08:00:00+00:00"
    assert second["newest"] == "2027-01-14T08:00:00+00:00"
    assert first["oldest"] == first["newest"]
    assert third["to_remove"] == {"replies": 0, "bytes": 0}
    text = bbtvp("gc", "--older-than", "30d")
    assert "openai/gpt-4o         3    150.1 kB  2026-10-07  2027-01-14  2" in text.out
    assert "3 replies, 150.1 kB, would go: add --remove" in text.err
    assert left(filled) == everything()


CHOICES = [
    (("--older-than", "30d"), {"openai/gpt-4o 40", "openai/gpt-4o 100", "gemini/flash 400"}),
    (("--older-than", "8w", "--model", "openai/gpt-4o"), {"openai/gpt-4o 100"}),
    (
        ("--model", "openai/gpt-5", "--model", "gemini/flash"),
        {"openai/gpt-5 2", "openai/gpt-5 3", "gemini/flash 400"},
    ),
    (("--older-than", "72h", "--model", "openai/gpt-5"), {"openai/gpt-5 3"}),
    (("--older-than", "0d"), everything()),
]


@pytest.mark.parametrize(("asked", "gone"), CHOICES)
def test_what_is_chosen_is_removed_and_its_room_given_back(
    filled: Path, asked: tuple[str, ...], gone: set[str]
) -> None:
    listed = json.loads(bbtvp("gc", *asked, "--json").out)
    assert sum(row["to_remove"]["replies"] for row in listed["models"]) == len(gone)
    assert left(filled) == everything()
    ran = bbtvp("gc", *asked, "--remove")
    assert ran.code == 0
    assert f"removed {len(gone)} replies; " in ran.err
    assert left(filled) == everything() - gone
    with closing(ReplyStore(filled)) as store:
        assert store.size() < listed["bytes"]["before"] - 40_000 * len(gone)
        assert store.open_batches("openai/gpt-4o") == {"b": ["wanted"]}, (
            "what a vendor works on is still known"
        )


def test_more_than_one_transaction(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bbtvp.cli.gc._TOGETHER", 2)
    assert bbtvp("gc", "--older-than", "0d", "--remove").code == 0
    assert left(filled) == set()


def test_removal_needs_a_choice_and_known_names(filled: Path) -> None:
    ran = bbtvp("gc", "--remove")
    assert ran.code == 2
    assert "say what to remove: --older-than 30d" in ran.err
    ran = bbtvp("gc", "--model", "openai/gpt-4", "--remove")
    assert ran.code == 2
    assert "unknown model in the store 'openai/gpt-4'; did you mean openai/gpt-4o" in ran.err
    ran = bbtvp("gc", "--older-than", "a month")
    assert ran.code == 2
    assert "write 90m, 12h, 30d or 8w" in ran.err
    assert left(filled) == everything()


def test_durations() -> None:
    assert [seconds_of(text) for text in ("90m", "12h", "30d", "8w")] == [
        5400,
        43_200,
        30 * DAY,
        56 * DAY,
    ]
    for text in ("", "3", "d", "-3d", "1.5d", "3 d", "3y"):
        with pytest.raises(UsageError):
            seconds_of(text)


def test_a_store_that_is_not_there_is_not_made(path: Path) -> None:
    ran = bbtvp("gc")
    assert (ran.code, ran.out) == (0, "no replies are kept\n")
    assert bbtvp("gc", "--older-than", "1d", "--remove").code == 0
    assert not path.exists()


def test_a_damaged_store_is_an_error_and_stays(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + b"\x07" * 5000)
    before = path.read_bytes()
    ran = bbtvp("gc", "--older-than", "1d", "--remove")
    assert ran.code == 1
    assert "is damaged" in ran.err
    assert path.read_bytes() == before


def test_a_store_of_a_newer_version_is_an_error_and_stays(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as disk:
        disk.execute("PRAGMA user_version = 99")
    ran = bbtvp("gc", "--older-than", "0d", "--remove")
    assert ran.code == 1
    assert "was written by a newer bbtvp; upgrade" in ran.err
    with closing(sqlite3.connect(filled)) as disk:
        assert disk.execute("SELECT count(*) FROM replies").fetchone() == (6,)


def test_a_store_that_another_process_writes_to_is_an_error(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bbtvp.models.store_file._BUSY", 0.1)
    with closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = bbtvp("gc", "--older-than", "0d", "--remove")
        assert ran.code == 1
        assert "is held by another process; wait for it" in ran.err
        other.execute("ROLLBACK")
    assert left(filled) == everything()
