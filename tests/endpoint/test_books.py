"""The books of a run that is killed, with a vendor who fails and bills: nothing lost or bought
twice, the cap kept.

What "paid twice" can mean. A reply that was kept is never asked for again: this must hold without
exception. A reply that broke on the wire was billed and cannot be had: it is asked for again and
billed again. So is a reply that was on its way, or read and not yet on the disk, when its process
was killed: nobody can save it, and there are at most as many as requests at once. Both are counted
apart, and every request that was billed more than once must be one of them.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pytest

from bbtvp.core.errors import ModelError
from bbtvp.models import MeteredModel, Request
from bbtvp.models.store import ReplyStore
from bbtvp.runs.journal import Journal
from tests.endpoint.books_child import CONCURRENCY, QUESTION
from tests.endpoint.books_server import INPUT, LOSSY, OUTPUT, Line, answer, picture
from tests.support import ROOT, Vendor

AMPLE = 1000.0
PRICES = f"""[[price]]
service = "openai-api"
model = "books"
input = {INPUT}
output = {OUTPUT}
date = 2026-11-01
source = "own"
"""


@final
@dataclass
class Books:
    """A vendor's books, and those of the runs that ask it. kills: seconds since 1970."""

    folder: Path
    url: str
    kills: list[float] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def lines(self) -> list[Line]:
        return [Line(*json.loads(line)) for line in self.log.read_text().splitlines()]

    @property
    def bill(self) -> float:
        return sum(line.usd for line in self.lines)

    def start(self, count: int, usd: float, queries: int) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "tests.endpoint.books_child",
            self.url,
            self.folder,
            count,
            usd,
            queries,
        ]
        return subprocess.Popen(
            list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def finish(
        self, count: int, usd: float = AMPLE, queries: int = 10**9
    ) -> tuple[int, dict[str, Any]]:
        """Run to the end; the exit code, and what the budget said."""
        with self.start(count, usd, queries) as child:
            said = child.communicate()[0]
        assert child.returncode in (0, 3), said
        return child.returncode, json.loads(said)

    def kill(self, after: int, count: int, usd: float = AMPLE, queries: int = 10**9) -> None:
        """Run until the vendor has seen so many requests more, and kill."""
        goal = self._requests() + after
        with self.start(count, usd, queries) as child:
            while self._requests() < goal:
                assert child.poll() is None, "it ended before it could be killed"
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            self.kills.append(time.time())

    def _requests(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0


@contextmanager
def vendor(folder: Path, *, share: float = 0.05, seed: int = 0) -> Iterator[Books]:
    """A vendor of whose replies a share goes wrong."""
    (folder / "prices.toml").write_text(PRICES)
    command = [
        sys.executable,
        "-m",
        "tests.endpoint.books_server",
        str(folder / "log.jsonl"),
        str(share),
        str(seed),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            yield Books(folder, f"http://127.0.0.1:{int(server.stdout.readline())}")
        finally:
            server.stdin.close()  # it ends, and its log is whole
            server.wait(60)


def kept(folder: Path) -> dict[int, float]:
    """When the reply to each number was kept."""
    store = ReplyStore(folder / "replies.sqlite")
    found: dict[int, float] = {}
    for entry in store.entries():
        reply = store.recall(entry.key)
        assert reply is not None and reply.text is not None
        number = int(reply.text.removeprefix("number "))
        assert number not in found, f"{number} is kept twice"
        found[number] = entry.when
    store.close()
    return found


def audit(books: Books, answered: int) -> dict[str, int]:
    """Nothing lost, nothing kept asked again, and all that was billed again accounted for. What
    there was of each.
    """
    when = kept(books.folder)
    assert set(when) >= set(range(answered)), "a reply is lost"
    by_number = defaultdict(list)
    for line in books.lines:
        by_number[line.number].append(line)
    again = [
        line
        for number, lines in by_number.items()
        for line in lines
        if line.came > when.get(number, 1e12)
    ]
    assert again == [], "asked again though the reply was kept"
    lossy = killed = 0
    for number, lines in by_number.items():
        lossy += sum(line.fault in LOSSY for line in lines)
        good = sorted((line for line in lines if not line.fault), key=lambda line: line.gone)
        unkept = good[: len(good) - (number in when)]
        killed += len(unkept)
        for line in (
            unkept
        ):  # came before a kill (or waited in the socket then) and was not on the disk when it came
            assert any(line.came - 0.5 < kill < line.gone + 0.5 for kill in books.kills), (
                f"{line} was dropped"
            )
    twice = sum(max(0, sum(line.usd > 0 for line in lines) - 1) for lines in by_number.values())
    assert killed <= len(books.kills) * CONCURRENCY
    assert twice <= lossy + killed
    return {
        "requests": len(books.lines),
        "billed again": twice,
        "lossy": lossy,
        "in flight at a kill": killed,
    }


def run(
    books: Books, count: int, kills: int, usd: float = AMPLE, queries: int = 10**9
) -> dict[str, Any]:
    """Ask so many pictures, killed that often at random within the first half."""
    draw = random.Random(count)
    for _ in range(kills):
        books.kill(draw.randrange(count // (20 * kills), count // (2 * kills)), count, usd, queries)
    return books.finish(count, usd, queries)[1]


def total(count: int) -> float:
    """What all pictures cost, each bought once."""
    return sum(answer(number, len(QUESTION))[1] for number in range(count))


@pytest.mark.parametrize(
    ("count", "kills"), [(600, 2), pytest.param(10_000, 5, marks=pytest.mark.slow)]
)
def test_faults_and_kills_lose_nothing_and_buy_nothing_twice(
    tmp_path: Path, count: int, kills: int
) -> None:
    with vendor(tmp_path) as books:
        said = run(books, count, kills)
    found = audit(books, count)
    assert said["answered"] == count and len(kept(tmp_path)) == count
    assert found["lossy"] > 0 and len(books.kills) == kills
    assert books.bill <= said["usd"] <= AMPLE
    assert len(books.lines) <= said["attempts"] <= len(books.lines) + kills * CONCURRENCY


@pytest.mark.parametrize(
    ("count", "kills"), [(600, 2), pytest.param(10_000, 5, marks=pytest.mark.slow)]
)
def test_a_cap_on_money_holds_over_faults_and_kills(tmp_path: Path, count: int, kills: int) -> None:
    cap = 0.6 * total(count)
    with vendor(tmp_path, seed=1) as books:
        said = run(books, count, kills, cap)
    audit(books, said["answered"])
    assert books.bill <= said["usd"] <= cap
    assert 0 < said["answered"] < count


def test_what_a_call_spent_that_ended_in_an_error_stays_counted(tmp_path: Path) -> None:
    """Nobody hands in the outcomes of such a call: the notes of its attempts are all there is."""
    vendor = Vendor(usd=0.01)

    def dies(request: Request) -> bool:
        if vendor.sold == 4:
            raise ModelError("the key has expired")
        return False

    vendor.refuses = dies
    with Journal({}, tmp_path) as journal, pytest.raises(ModelError):
        MeteredModel(vendor, journal).query(
            [Request(picture(number), QUESTION) for number in range(9)]
        )
    with Journal({}, tmp_path) as again:
        assert again.spent == {"search": 4} and again.usd == pytest.approx(0.04)


@pytest.mark.parametrize("lasting", [False, True])
def test_what_was_answered_is_counted_once(tmp_path: Path, lasting: bool) -> None:
    """Also by a batch: one process submits it, and the one that collects it counts it."""
    vendor = Vendor(usd=0.01)
    vendor.lasting = lasting
    with Journal({}, tmp_path) as journal:
        MeteredModel(vendor, journal).query(
            [Request(picture(number), QUESTION) for number in range(9)]
        )
        told = dict(journal.spent), journal.usd
    with Journal({}, tmp_path) as again:
        assert (dict(again.spent), again.usd) == told == ({"search": 9}, pytest.approx(0.09))
    assert ('"spent"' in (tmp_path / "journal.jsonl").read_text()) != lasting


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_request_that_the_vendor_saw_was_counted(tmp_path: Path, count: int) -> None:
    with vendor(tmp_path, seed=2) as books:
        said = books.finish(count)[1]
    assert said["attempts"] == len(books.lines)
    assert books.bill <= said["usd"]
    assert audit(books, count)["in flight at a kill"] == 0
