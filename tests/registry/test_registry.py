"""A registry in a folder, in an object store and behind a web server, and what may go wrong."""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.errors import BbtvpError, DataError, UsageError
from bbtvp.core.files import atomic_write
from bbtvp.prompt import Placement, Prompt, PromptSpace, Tone
from bbtvp.registry import PromptRegistry
from bbtvp.registry.places import ObjectPrefix, open_place
from bbtvp.registry.records import EVIDENCE, EvidenceRecord, EvidenceRow
from tests.support import ROOT, bbtvp

SPACE = PromptSpace((Placement(), Tone(("contrast", "brightness"))), 32)
RUN = ROOT / "tests/runs/old"


def prompt(number: int) -> Prompt:
    return SPACE.prompt(np.full(SPACE.dim, number / 8))


def bundle(number: int = 1, task: str = "zoo/digits") -> Path:
    path = Path(f"prompt-{number}.vprompt")
    prompt(number).save(path, {"task": task, "source_models": ["zoo/llava"]})
    return path


def row(number: int = 1, model: str = "zoo/llava", **values: object) -> EvidenceRecord:
    """A proof that gained 10 points; `values` replace fields of its row."""
    fields = {
        "prompt": prompt(number).digest,
        "model": model,
        "date": date(2026, 11, 1),
        "task": "zoo/digits",
        "images": 200,
        "zero_shot": 0.6,
        "prompted": 0.7,
        "gain": 0.1,
        "ci": (0.04, 0.16),
        "verdict": "go",
        "role": "source",
    }
    return EvidenceRecord(rows=(EvidenceRow.model_validate({**fields, **values}),))


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty place for a registry of each kind that can be written."""
    return "prompts" if request.param == "folder" else f"memory://{uuid.uuid4().hex}/prompts"


@pytest.fixture
def served() -> Iterator[str]:
    """The address at which the folder `prompts` is shown, as any static host would."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory="prompts"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_prompt_with_its_proofs_is_added_found_shown_and_taken_back(url: str) -> None:
    registry = PromptRegistry.create(url)
    entry = registry.add(RUN)
    assert [one.model for one in entry.evidence] == ["eye/near"]
    registry.add(bundle(1))
    registry.keep(EVIDENCE, row(1))
    again = PromptRegistry.open(url)
    assert len(again.entries()) == 2
    assert again.index.notes == ()
    (found,) = again.search(task="digits", model="llava", status="verified")
    with again.bundle_file(found) as file:
        assert Prompt.load(file).digest == prompt(1).digest
    again.retire(found.short, "its licence has ended", date(2026, 11, 30))
    (retired,) = PromptRegistry.open(url).search(status="retired")
    assert retired.retired is not None
    assert (retired.retired.reason, retired.retired.since) == (
        "its licence has ended",
        date(2026, 11, 30),
    )
    with again.bundle_file(retired) as file:
        assert file.exists()


def test_a_web_server_shows_the_folder_and_nobody_can_write_there(served: str) -> None:
    PromptRegistry.create("prompts").add(bundle(1))
    registry = PromptRegistry.open(served)
    (entry,) = registry.entries()
    with registry.bundle_file(entry) as file:
        assert Prompt.load(file).digest == prompt(1).digest
    with pytest.raises(UsageError, match="can only be read"):
        registry.add(bundle(2))
    with pytest.raises(UsageError, match="is no registry; check the address"):
        PromptRegistry.open(f"{served}/elsewhere")
    with pytest.raises(UsageError, match="is no registry; make one with: bbtvp registry init"):
        PromptRegistry.open("elsewhere")


def test_of_several_files_the_one_that_is_no_bundle_is_named() -> None:
    PromptRegistry.create("prompts")
    Path("photo.jpg").write_bytes(b"no bundle")
    done = bbtvp("registry", "add", "prompts", str(bundle(1)), "photo.jpg")
    assert done.code == 1
    assert done.err.startswith("error: photo.jpg: not a bundle")
    assert len(PromptRegistry.open("prompts").entries()) == 1


def test_an_index_that_is_behind_is_noticed_and_hides_nothing(url: str) -> None:
    registry = PromptRegistry.create(url)
    place = open_place(url)
    registry.add(bundle(1))
    behind = place.read("index.json", 1 << 20)
    assert behind is not None
    registry.add(bundle(2))
    place.write("index.json", behind)
    late = PromptRegistry.open(url)
    assert len(late.entries()) == 2
    assert late.index.notes == ("index.json was behind by 1 files",)
    place.write("index.json", b"{half")
    torn = PromptRegistry.open(url)
    assert len(torn.entries()) == 2
    assert "damaged" in torn.index.notes[0]
    torn.rebuild()
    assert PromptRegistry.open(url).index.notes == ()


def test_equal_files_give_an_equal_index_whoever_wrote_it() -> None:
    first = PromptRegistry.create("one")
    second = PromptRegistry.create("two")
    for number in (1, 2):
        first.add(bundle(number))
    for number in (2, 1):
        second.add(bundle(number))
    assert Path("one/index.json").read_bytes() == Path("two/index.json").read_bytes()


def test_two_writers_lose_nothing(url: str) -> None:
    """Each opens the registry before the other writes, so that both indexes are stale."""
    PromptRegistry.create(url)
    writers = [PromptRegistry.open(url) for _ in range(4)]
    files = [bundle(number) for number in range(4)]
    for writer in writers:
        assert writer.entries() == []
    threads = [
        threading.Thread(target=writer.add, args=(file,))
        for writer, file in zip(writers, files, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = PromptRegistry.open(url)
    assert len(found.entries()) == 4


def test_a_file_that_was_cut_off_is_named_and_mended_by_adding_it_again(url: str) -> None:
    registry = PromptRegistry.create(url)
    entry = registry.add(bundle(1))
    path = f"bundles/{entry.digest}.vprompt"
    place = open_place(url)
    whole = place.read(path, 1 << 20)
    assert whole is not None
    place.write(path, whole[:300])
    rebuilt = PromptRegistry.open(url).rebuild()
    assert list(rebuilt.damaged) == [path]
    with (
        pytest.raises(BbtvpError, match=r"missing or damaged|not a bundle"),
        registry.bundle_file(entry),
    ):
        pass
    mended = PromptRegistry.open(url)
    assert mended.entries() == []
    mended.add(bundle(1))
    assert place.read(path, 1 << 20) == whole
    assert mended.index.damaged == {}


def test_what_a_killed_writer_left_is_swept_when_it_is_old() -> None:
    registry = PromptRegistry.create("prompts")
    left = Path("prompts/bundles/.x.vprompt.0123456789abcdef")
    atomic_write(left, b"half")
    registry.rebuild()
    assert left.exists()  # it may be another process's
    os.utime(left, (1, 1))
    registry.rebuild()
    assert not left.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": {"../../etc/passwd": {}}}, "no file of a registry"),
        ({"files": {"bundles/x": {}}}, "no file of a registry"),
        ({"files": []}, "not of the schema"),
        ({"schema": "other/9"}, "not of the schema"),
    ],
)
def test_a_hostile_index_is_not_believed(change: dict[str, object], said: str) -> None:
    PromptRegistry.create("prompts").add(bundle(1))
    index = json.loads(Path("prompts/index.json").read_text())
    Path("prompts/index.json").write_text(json.dumps(index | change))
    registry = PromptRegistry.open("prompts")
    assert said in registry.index.notes[0]
    assert len(registry.entries()) == 1


def test_deep_and_large_json_of_a_web_server_is_refused_in_one_line(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PromptRegistry.create("prompts")
    Path("prompts/index.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="damaged") as caught:
        PromptRegistry.open(served).entries()
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("bbtvp.registry.index.INDEX_LIMIT", 1000)
    Path("prompts/index.json").write_bytes(b" " * 2000)
    with pytest.raises(DataError, match="over 1,000 bytes"):
        PromptRegistry.open(served).entries()


def test_what_a_strangers_bundle_says_of_proofs_counts_only_where_it_can_be() -> None:
    good = {
        "model": "a/b",
        "date": "2026-11-01",
        "task": "t",
        "images": 50,
        "zero_shot": 0.5,
        "prompted": 0.7,
        "gain": 0.2,
        "ci": [0.1, 0.3],
        "verdict": "go",
    }
    told = [good, {**good, "gain": 5.0}, {**good, "date": "soon"}, {**good, "ci": None}]
    prompt(1).save("told.vprompt", {"task": "t", "evidence": told})
    registry = PromptRegistry.create("prompts")
    entry = registry.add(Path("told.vprompt"))
    assert [row.gain for row in entry.evidence] == [0.2]
    assert entry.status(date(2026, 11, 30)) == "verified"
    registry.keep(EVIDENCE, row(1, model="c/d\x1b[2J\n"))
    assert PromptRegistry.open("prompts").entries()[0].models == ["a/b", "c/d [2J "]


def test_a_reason_that_is_missing_or_a_book() -> None:
    registry = PromptRegistry.create("prompts")
    entry = registry.add(bundle(1))
    for reason in (" ", "x" * 5000):
        with pytest.raises(UsageError, match="say why"):
            registry.retire(entry.digest, reason)


def test_a_place_that_is_no_registry_or_a_newer_one() -> None:
    with pytest.raises(UsageError, match="bbtvp registry init"):
        PromptRegistry.open("nowhere")
    Path("own").mkdir()
    Path("own/letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="name an empty folder"):
        PromptRegistry.create("own")
    PromptRegistry.create("prompts")
    Path("prompts/registry.json").write_text('{"schema": "bbtvp.registry/2"}')
    with pytest.raises(UsageError, match="install a newer bbtvp"):
        PromptRegistry.open("prompts")


def test_a_kind_of_url_without_its_package_is_one_line() -> None:
    for url in ("s3://bucket/prompts", "nothing-like-this://x"):
        with pytest.raises(UsageError) as caught:
            ObjectPrefix(url)
        assert url in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["abc", "0000000", ""])
def test_an_entry_that_is_not_there(name: str) -> None:
    registry = PromptRegistry.create("prompts")
    registry.add(bundle(1))
    with pytest.raises(UsageError, match="at least four"):
        registry.entry(name)


def test_the_commands() -> None:
    assert bbtvp("registry", "init", "prompts").code == 0
    added = bbtvp("registry", "add", "prompts", bundle(1), RUN, "--json")
    entries = {one["task"]: one for one in json.loads(added.out)["entries"]}
    assert entries["zoo/digits"]["status"] == "unproven"
    found = bbtvp("registry", "search", "prompts", "--model", "eye", "--json")
    (one,) = json.loads(found.out)["entries"]
    assert one["models"][0]["evidence"]["gain"] == pytest.approx(0.75)
    shown = bbtvp("registry", "show", "prompts", one["bundle"][:8])
    assert "+75.0 [+58.3, +91.7]" in shown.out
    retired = bbtvp("registry", "retire", "prompts", one["bundle"][:8], "--reason", "too old")
    assert "retired" in retired.out
    shutil.rmtree("prompts/bundles")
    assert "no prompts" in bbtvp("registry", "list", "prompts").out
    assert bbtvp("registry", "index", "prompts").out.endswith(" 0 damaged\n")
