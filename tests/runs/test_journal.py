"""The journal: what is written is what a later process reads, whatever happened to the disk in
between.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.digest import digest
from bbtvp.core.errors import JournalError
from bbtvp.models import LabelScore, Outcome, QueryFailed, Reply, Usage
from bbtvp.runs.journal import Journal
from bbtvp.runs.records import FILE

CONFIG: dict[str, Any] = {"task": "digits", "seed": 0, "options": {"sigma": 0.1}}
REPLIES: dict[str, Outcome] = {
    "a": Reply(
        scores=(LabelScore(-0.1234567890123456789, 1), LabelScore(-1e4, 2)),
        usage=Usage(7, 3, attempts=2),
    ),
    "b": Reply(text="drei \u2603 \U0001f600\n\x85\u2028 line"),
    "c": QueryFailed("HTTP 503", Usage(attempts=4)),
    "d": Reply(text="cut in an emoji: \ud83d", cut=True),
    "e": Reply(text="rows", version="gpt-5-2026-03-01 fp_1"),
    "f": Reply(text="ro", cut=True, version="gpt-5-2026-03-01 fp_2"),
}


def filled(folder: Path) -> Path:
    """A journal with two calls and two steps; its file."""
    with Journal(CONFIG, folder) as journal:
        journal.record("search", [(key, REPLIES[key]) for key in "ab"])
        journal.write_step("tone/0", z="mark", losses=[0.1, None])
        journal.record("validation", [(key, REPLIES[key]) for key in "cd"])
        journal.write_step("end", kept=True)
    return folder / FILE


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_resumed_journal_holds_what_was_written(tmp_path: Path) -> None:
    filled(tmp_path)
    with Journal(CONFIG, tmp_path) as journal:
        assert {key: journal.recall(key) for key in "abd"} == {key: REPLIES[key] for key in "abd"}
        assert journal.step("tone/0") == {"z": "mark", "losses": [0.1, None]}
        assert journal.step("end") == {"kept": True}
        assert dict(journal.spent) == {"search": 3, "validation": 5}


def test_a_version_is_kept_beside_replies_that_have_none(tmp_path: Path) -> None:
    with Journal(CONFIG, tmp_path) as journal:
        journal.record("search", [(key, REPLIES[key]) for key in "ab"])
        journal.record("search", [(key, REPLIES[key]) for key in "cdef"])
    records = [json.loads(line)["record"] for line in lines_of(tmp_path / FILE)]
    assert records == ["config", "replies", "replies/2"]
    with Journal(CONFIG, tmp_path) as journal:
        assert {key: journal.recall(key) for key in "abdef"} == {
            key: REPLIES[key] for key in "abdef"
        }
        assert (journal.failed, journal.answered) == (1, 5)


def test_versions_of_a_model_are_kept_once_each_in_the_order_they_came(tmp_path: Path) -> None:
    with Journal(CONFIG, tmp_path) as journal:
        for version in ("v2", "v1", "v2"):
            journal.saw_version("eye/near", version)
        journal.saw_version("eye/far", "v9")
    with Journal(CONFIG, tmp_path) as journal:
        journal.saw_version("eye/near", "v1")
        assert journal.versions("eye/near") == ("v2", "v1")
        assert journal.versions("eye/far") == ("v9",)
        assert journal.versions("eye/none") == ()
    assert len(lines_of(tmp_path / FILE)) == 4


def test_a_version_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"model":"eye/near","record":"version","version":7}\n')
    with pytest.raises(JournalError, match="line 6 is damaged"):
        Journal(CONFIG, tmp_path)


@pytest.mark.parametrize("more", ["true,{}", "false,7", 'true,"v",null'])
def test_a_row_with_a_version_that_is_none_is_damaged(more: str, tmp_path: Path) -> None:
    path = filled(tmp_path)
    row = f'["a",[1,0,1,0.0],"yes",null,null,{more}]'
    with path.open("a", encoding="utf-8") as file:
        file.write(f'{{"got":[{row}],"phase":"search","record":"replies/2"}}\n')
    with pytest.raises(JournalError, match="line 6 is damaged"):
        Journal(CONFIG, tmp_path)


def test_a_text_that_looks_like_a_reply_is_none(tmp_path: Path) -> None:
    """Replies are found by how their rows begin."""
    texts = {
        "a": "first",
        "b": '["a",[1,0,0,0.0],"forged",null,null]',
        "c": '\\["a",',
        "d": 'last ["b",',
    }
    with Journal(CONFIG, tmp_path) as journal:
        journal.record("search", [(key, Reply(text=text)) for key, text in texts.items()])
    with Journal(CONFIG, tmp_path) as journal:
        assert {key: journal.recall(key) for key in texts} == {
            key: Reply(text=text) for key, text in texts.items()
        }


def test_a_failure_is_counted_and_not_remembered(tmp_path: Path) -> None:
    filled(tmp_path)
    with Journal(CONFIG, tmp_path) as journal:
        assert journal.recall("c") is None
        assert journal.failed == 1


def test_opening_and_closing_writes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    with Journal(CONFIG, tmp_path):
        pass
    assert path.read_bytes() == before


def test_a_step_reads_the_same_now_and_later(tmp_path: Path) -> None:
    with Journal(CONFIG, tmp_path) as journal:
        now = journal.write_step("one", pair=(1, 2.5), names={"b": 1, "a": None})
        assert journal.step("one") == now
    with Journal(CONFIG, tmp_path) as journal:
        assert journal.step("one") == now


def test_without_a_folder_it_remembers_until_the_process_ends(tmp_path: Path) -> None:
    with Journal(CONFIG) as journal:
        journal.record("search", list(REPLIES.items()))
        journal.write_step("one", x=1)
        assert journal.recall("a") == REPLIES["a"]
        assert (journal.spent.total(), journal.failed, journal.step("one")) == (10, 1, {"x": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("records", [1, 2, 3, 4, 5])
def test_a_torn_last_line_is_cut_at_every_byte(tmp_path: Path, records: int) -> None:
    """Torn anywhere in the record number `records`, the journal holds the records before it, and
    goes on from there.
    """
    whole = lines_of(filled(tmp_path / "whole"))
    before = b"".join(whole[: records - 1])
    torn = whole[records - 1]
    path = tmp_path / "torn" / FILE
    path.parent.mkdir()
    for length in range(len(torn)):
        path.write_bytes(before + torn[:length])
        with Journal(CONFIG, path.parent) as journal:
            journal.record("search", [("after", Reply(text=str(length)))])
        found = lines_of(path)
        assert found[:-1] == (whole[: records - 1] or whole[:1]), length
        with Journal(CONFIG, path.parent) as journal:
            assert journal.recall("after") == Reply(text=str(length))
            assert (journal.recall("a") is not None) == (records > 2)
            assert (journal.step("tone/0") is not None) == (records > 3)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda line: line[: len(line) // 2] + b"\n",
    "zeros": lambda line: bytes(len(line) - 1) + b"\n",
    "not UTF-8": lambda line: line.replace(b"phase", b"\xff\xfe\xff"),
    "empty": lambda line: b"\n",
    "a number": lambda line: b"5\n",
    "a list": lambda line: b"[1, 2]\n",
    "no phase": lambda line: line.replace(b'"phase"', b'"phrase"'),
    "a short row": lambda line: b'{"got":[["a",[1,2,3]]],"phase":"search","record":"replies"}\n',
    "no usage": lambda line: (
        b'{"got":[["a",null,null,null,null]],"phase":"search","record":"replies"}\n'
    ),
    "deep": lambda line: b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path)
    lines = lines_of(path)
    lines[1] = DAMAGE[damage](lines[1])
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2 is damaged"):
        Journal(CONFIG, tmp_path)
    assert lines_of(path) == lines  # refused, not repaired


def test_a_record_of_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"record":"thought","text":"?"}\n')
    with pytest.raises(JournalError, match="line 6: unknown record 'thought'; a newer bbtvp"):
        Journal(CONFIG, tmp_path)


def test_a_number_that_differs_is_named_in_place_of_the_options_that_follow_from_it(
    tmp_path: Path,
) -> None:
    filled(tmp_path)
    with pytest.raises(JournalError, match=r"another run \(seed: 0 there, 1 here\); name another"):
        Journal({**CONFIG, "options": {"sigma": 0.2}, "seed": 1}, tmp_path)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({**CONFIG, "seed": 1}, r"seed: 0 there, 1 here"),
        ({**CONFIG, "options": {"sigma": 0.2}}, r"options: .*0\.1.* there, .*0\.2.* here"),
        (
            {key: value for key, value in CONFIG.items() if key != "task"},
            r"task: 'digits' there, None here",
        ),
        ({**CONFIG, "fca": 0.5}, r"fca: None there, 0\.5 here"),
        ({**CONFIG, "task": "letters"}, "the task has other images, .* or another metric"),
    ],
)
def test_another_configuration_is_refused_and_named(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=rf"holds another run \(.*{named}.*--out"):
        Journal(changed, tmp_path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"bbtvp.journal/1", b"bbtvp.journal/2"))
    before = path.read_bytes()
    with pytest.raises(
        JournalError, match=r"is a bbtvp\.journal/2: a newer bbtvp wrote it, upgrade"
    ):
        Journal(CONFIG, tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"a": 1}'])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(JournalError):
        Journal(CONFIG, tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_run_that_is_still_going_on_is_not_joined(tmp_path: Path) -> None:
    with (
        Journal(CONFIG, tmp_path),
        pytest.raises(JournalError, match=rf"in use by process {os.getpid()} on "),
    ):
        Journal(CONFIG, tmp_path)
    with Journal(CONFIG, tmp_path):
        pass  # free again


def test_a_refused_journal_does_not_stay_locked(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(JournalError):
        Journal({}, tmp_path)
    with Journal(CONFIG, tmp_path) as journal:
        assert journal.step("end") is not None


def test_a_folder_in_the_place_of_the_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(IsADirectoryError):
        Journal(CONFIG, tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_os_error_at_once(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        Journal(CONFIG, tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_every_line_is_plain_json(tmp_path: Path) -> None:
    records = [json.loads(line) for line in lines_of(filled(tmp_path))]
    assert [record["record"] for record in records] == [
        "config",
        "replies",
        "step",
        "replies",
        "step",
    ]
    assert [len(record["got"]) for record in records if record["record"] == "replies"] == [2, 2]


def test_a_copied_folder_is_the_same_run(tmp_path: Path) -> None:
    filled(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    with Journal(CONFIG, tmp_path / "there") as journal:
        assert journal.recall("a") == REPLIES["a"]


# -- a write that breaks off ----------------------------------------------------------------------
class Full(io.FileIO):
    """A file on a disk with so many bytes left."""

    room = 0

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = super().write(memoryview(data)[: self.room])
        self.room -= count
        return count


@pytest.mark.parametrize("room", [0, 1, 40, 180])
def test_what_comes_after_a_write_that_broke_off_damages_nothing(tmp_path: Path, room: int) -> None:
    """A thread may note its attempt while the run ends because of a full disk; there may be room
    again by then.
    """
    before = filled(tmp_path).read_bytes()
    with Journal(CONFIG, tmp_path) as journal:
        journal._file.close()
        journal._file = full = Full(tmp_path / FILE, "a+")
        full.room = room
        with pytest.raises(OSError, match="No space left"):
            journal.record("search", [("e", Reply(text="e" * 200))])
        assert (tmp_path / FILE).read_bytes()[: len(before) + room].startswith(before)
        assert len((tmp_path / FILE).read_bytes()) == len(before) + room
        assert journal.recall("e") is None
        full.room = 10_000
        journal.note("search", 1, 0.5)
        assert journal.recall("a") == REPLIES["a"]
        full.close()
    assert lines_of(tmp_path / FILE)[5:] == [
        b'{"phase":"search","queries":1,"record":"spent","usd":0.5}\n'
    ]
    with Journal(CONFIG, tmp_path) as journal:
        assert (journal.usd, journal.recall("e")) == (0.5, None)


def test_a_reply_is_read_from_where_it_lies_also_among_others(tmp_path: Path) -> None:
    replies = {digest(str(i).encode()): Reply(text=str(i)) for i in range(300)}
    with Journal(CONFIG, tmp_path) as journal:
        for start in range(0, 300, 7):
            journal.record("search", list(replies.items())[start : start + 7])
            journal.write_step(f"one/{start}", begin=start)
    with Journal(CONFIG, tmp_path) as journal:
        journal.record("search", [("f" * 64, Reply(text="new"))])
        for key in sorted(replies, key=lambda key: key[::-1]):
            assert journal.recall(key) == replies[key]
        assert journal.recall("f" * 64) == Reply(text="new")
        assert [journal.step(f"one/{start}") for start in (0, 294)] == [
            {"begin": 0},
            {"begin": 294},
        ]
        assert journal.spent.total() == 301


def test_a_row_that_is_damaged_inside_is_named_when_it_is_needed(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"-10000.0,2", b"-10000.0,2,3"))
    with (
        Journal(CONFIG, tmp_path) as journal,
        pytest.raises(JournalError, match="reply 'a' is damaged"),
    ):
        journal.recall("a")
