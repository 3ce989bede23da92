"""The file of the response store: where it lies, who may read it, and what is said when it cannot
be used.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bbtvp.core.errors import BbtvpError
from bbtvp.models import Reply, store_file
from bbtvp.models.store import ReplyStore, default_path
from bbtvp.models.store_file import VERSION, StoreError, on_one_machine

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReplyStore]:
    store = ReplyStore(tmp_path / "replies.sqlite")
    yield store
    store.close()


# -- the file --------------------------------------------------------------------------------------
def test_it_lies_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BBTVP_STORE", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert default_path() == Path("/home/me/.cache/bbtvp/replies.sqlite")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert ReplyStore().path == Path("/caches/bbtvp/replies.sqlite")
    monkeypatch.setenv("BBTVP_STORE", "~/mine.sqlite")
    assert ReplyStore().path == Path("/home/me/mine.sqlite")


def test_nothing_is_made_before_it_is_used_and_others_may_not_read_it(store: ReplyStore) -> None:
    assert not store.path.exists()
    before = os.umask(0)
    try:
        store.keep("a", Reply("private"), model="m")
    finally:
        os.umask(before)
    made = {file.name: stat.S_IMODE(file.stat().st_mode) for file in store.path.parent.iterdir()}
    assert made == dict.fromkeys(
        ["replies.sqlite", "replies.sqlite-wal", "replies.sqlite-shm"], 0o600
    )


def refused(store: ReplyStore, *says: str) -> None:
    """The store refuses, in one line, and leaves the file as it is."""
    before = store.path.read_bytes() if store.path.is_file() else None
    with pytest.raises(StoreError) as caught:
        store.recall("a")
    assert all(word in str(caught.value) for word in (*says, "-M store=false", store.path.name)), (
        caught.value
    )
    assert "\n" not in str(caught.value) and isinstance(caught.value, BbtvpError)
    assert before is None or store.path.read_bytes() == before


def test_a_newer_version_is_left_alone(store: ReplyStore) -> None:
    store.keep("a", Reply(), model="m")
    store.close()
    with sqlite3.connect(store.path) as disk:
        disk.execute(f"PRAGMA user_version = {VERSION + 1}")
    disk.close()
    refused(store, "newer bbtvp; upgrade", f"mv {store.path}")


def test_a_file_of_another_program_is_left_alone(store: ReplyStore) -> None:
    with sqlite3.connect(store.path) as disk:
        disk.execute("CREATE TABLE bookmarks (url)")
    disk.close()
    refused(store, "another program's", "BBTVP_STORE=FILE")


def test_a_file_that_is_no_database(store: ReplyStore) -> None:
    store.path.write_bytes(b"not a database, but long enough to be looked at" * 50)
    refused(store, "damaged", f"mv {store.path}")


def test_damaged_pages_are_noticed(store: ReplyStore) -> None:
    for i in range(30):
        store.keep(f"{i}", Reply("x" * 5000), model="m")
    store.close()
    data = bytearray(store.path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = os.urandom(64)
    store.path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged .*move it away"):
        store.recall("7")


def test_a_reply_of_which_one_letter_changed_is_noticed(store: ReplyStore) -> None:
    store.keep("a", Reply("the answer is yes"), model="m")
    store.close()
    data = store.path.read_bytes()
    assert data.count(b"answer is yes") == 1
    store.path.write_bytes(data.replace(b"answer is yes", b"answer is yet"))
    with pytest.raises(StoreError, match="not as it was written"):
        store.recall("a")


def test_a_folder_in_the_place_of_the_file(store: ReplyStore) -> None:
    store.path.mkdir()
    refused(store, "BBTVP_STORE=FILE")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(ReplyStore(tmp_path / "file" / "replies.sqlite"), "BBTVP_STORE=FILE")


@pytest.mark.parametrize("there", [True, False], ids=["file", "no file"])
def test_a_folder_that_may_not_be_written(
    tmp_path_factory: pytest.TempPathFactory, there: bool
) -> None:
    folder = Path(
        subprocess.check_output(["mktemp", "-d"], text=True).strip()
    )  # root owns pytest's own folders
    store = ReplyStore(folder / "replies.sqlite")
    if there:
        store.keep("a", Reply(), model="m")
        store.close()
        store.path.chmod(0o444)
    folder.chmod(0o555)

    def child() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        refused(store, "writable" if there else "denied")

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    folder.chmod(0o755)
    for file in [*folder.iterdir(), folder]:
        file.unlink() if file.is_file() else file.rmdir()


def test_a_full_disk_loses_nothing_that_was_kept(store: ReplyStore) -> None:
    """The system refuses to let the file grow, as a full disk would."""
    kept = [f"{i}" for i in range(20)]
    for key in kept:
        store.keep(key, Reply("x" * 1000), model="m")

    def child() -> None:
        store.recall("0")
        limit = Path(f"{store.path}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(StoreError, match="-M store=false"):
            store.keep("big", Reply("x" * 100_000), model="m")
        assert store.recall("0") is not None

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert all(store.recall(key) for key in kept)
    assert store.recall("big") is None


def test_a_full_file_says_so_and_what_could_not_be_kept_is_kept_later(store: ReplyStore) -> None:
    store.keep("a", Reply("x"), model="m")
    disk = store._file.connections().writer
    disk.execute(f"PRAGMA max_page_count = {disk.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreError, match="disk is full; make room"):
        store.keep("b", Reply("x" * 100_000), model="m")
    disk.execute("PRAGMA max_page_count = 100000")
    store.keep("c", Reply("x"), model="m")
    assert [entry.key for entry in store.entries()] == ["a", "b", "c"]


def test_a_file_that_another_process_holds(
    store: ReplyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.rows()
    store.close()
    monkeypatch.setattr(store_file, "_BUSY", 0.05)
    with sqlite3.connect(store.path, isolation_level=None) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="held by another process; wait"):
            store.keep("a", Reply(), model="m")
        holder.execute("ROLLBACK")
        store.keep("b", Reply(), model="m")
    holder.close()


def test_an_interrupt_in_a_transaction_leaves_the_store_usable(store: ReplyStore) -> None:
    def interrupted(disk: sqlite3.Connection) -> None:
        disk.execute("INSERT INTO batches VALUES ('half', 'm', 0, '[]')")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._file.write(interrupted)
    store.keep("a", Reply("x"), model="m")
    assert store.recall("a") is not None
    assert store.open_batches("m") == {}


MOUNTS = """proc /proc proc rw 0 0
/dev/sda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/fast\\040disk xfs rw 0 0
grid /grid fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/var/x", True),
        ("/home/me/x", False),
        ("/home/fast disk/x", True),
        ("/grid/deep/x", False),
        ("/homely/x", True),
    ],
)
def test_a_file_system_of_a_network_is_known(path: str, local: bool, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert on_one_machine(Path(path), mounts) is local
    assert on_one_machine(Path(path), tmp_path / "missing")


def test_on_a_network_there_is_no_shared_memory(
    store: ReplyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_file, "on_one_machine", lambda _: False)
    store.keep("a", Reply("x"), model="m")
    assert [file.name for file in store.path.parent.iterdir()] == ["replies.sqlite"]
    assert store.recall("a") is not None
