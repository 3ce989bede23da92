"""Hostile bundles: `python tests/benchmarks/hostile_bundles.py [--cases 100000] [--seed 0]`.

With `--kind patch`, `receipt` or `registry` hostile files of that kind instead.

Each case of `tests/prompt/hostile.py` is loaded in a process of its own limits, and what loads is
rendered once on an image of 512 px. Patches, receipts and registries are those of
`tests/registry/hostile_files.py`: a patch is applied, a receipt computed again and shown, a
registry listed, shown, searched and written as a page. A case may end in an error of bbtvp's own,
of one line, and in nothing else. Seconds
are of the processor, so that a full machine does not count; memory is the peak of the whole
process, Python included. An audit hook sees every file that is opened for writing, every process
and every connection. Prints a table by kind of attack, and each fault with its number, which
`--first N --cases 1` makes again.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

MOST_SECONDS = 2.0
MOST_MEGABYTES = 300.0
_CASES_OF_A_WORKER = 500
"""Then a new process begins, since earlier cases leave memory that the process keeps."""
_PATIENCE = 120.0
"""Seconds of wall clock after which a case counts as one that hangs."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_FORBIDDEN = (
    "os.system",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "subprocess.Popen",
    "socket.connect",
)


class Outcome(NamedTuple):
    """What became of a case."""

    number: int
    way: str
    end: str
    seconds: float
    megabytes: float
    wrote: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = [] if self.end in ("refused", "rendered") else [self.end]
        found += ["slow"] if self.seconds > MOST_SECONDS else []
        found += ["large"] if self.megabytes > MOST_MEGABYTES else []
        return found + [f"touched {one}" for one in self.wrote[:1]]


def _peak() -> float:
    """Megabytes of resident memory at the most, since `_forget`."""
    with Path("/proc/self/status").open() as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class BundleCase:
    """A hostile bundle, as a file in a folder."""

    def __init__(self, seed: int, number: int, place: Path) -> None:
        from bbtvp.core.errors import BundleError
        from tests.prompt import hostile

        attacker = hostile.Attacker(seed, number)
        self.way = attacker.way
        self.errors = BundleError
        self._path = attacker.write(place)

    def use(self) -> None:
        """Load it and render it."""
        from bbtvp.prompt import Prompt

        prompt = Prompt.load(self._path)
        prompt.render(_image())
        prompt.ask("Which?")
        prompt.context()


@lru_cache(maxsize=1)
def _image() -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)


def _case_of(kind: str) -> Callable[[int, int, Path], Any]:
    if kind == "bundle":
        return BundleCase
    from tests.registry import hostile_files  # brings much that counts as memory

    return hostile_files.CASES[kind]


def work(pipe: Connection, seed: int, folder: str, kind: str) -> None:
    """Answer each number with its outcome."""
    from bbtvp.core.errors import BbtvpError

    make = _case_of(kind)
    tempfile.tempdir = folder
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    touched: list[str] = []
    watching = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if not (event in _FORBIDDEN or (event == "open" and (arguments[2] or 0) & _WRITES)):
            return
        # A case may write into its own folder; `rmtree` names what it removes by a descriptor.
        own = str(arguments[0]).startswith(folder) or (event == "os.remove" and arguments[1] >= 0)
        if not own:
            touched.append(f"{event} {arguments[0]}")

    sys.addaudithook(watch)
    with tempfile.TemporaryDirectory(dir=folder) as place, suppress(BbtvpError):
        make(seed, -1, Path(place)).use()  # what is made once is there
    while True:
        number = pipe.recv()
        if number is None:
            return
        with tempfile.TemporaryDirectory(dir=folder) as place:
            case = make(seed, number, Path(place))
            _forget()
            touched.clear()
            began = time.process_time()
            watching = True
            try:
                case.use()
                end = "rendered"
            except case.errors as error:
                end = (
                    "refused" if "\n" not in str(error) and len(str(error)) < 2000 else "long line"
                )
            except BaseException as error:  # noqa: BLE001  # the figure is that there is none
                where = traceback.extract_tb(error.__traceback__)[-1]
                end = f"{type(error).__name__}: {error!s:.80} ({where.filename}:{where.lineno})"
            watching = False
            seconds = time.process_time() - began
            pipe.send(Outcome(number, case.way, end, seconds, _peak(), tuple(touched)))


class Worker:
    """A process that is begun again when it dies or hangs."""

    def __init__(self, seed: int, folder: str, kind: str) -> None:
        self._arguments = (seed, folder, kind)
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        self._done = 0
        theirs.close()

    def outcome(self, number: int) -> Outcome:
        """Of one case; one that seems large is made again in a new process, which holds no more."""
        found = self._first_outcome(number)
        if "large" not in found.faults or self._done == 1:
            return found
        self.end()
        self._begin()
        return self._first_outcome(number)

    def _first_outcome(self, number: int) -> Outcome:
        if self._done == _CASES_OF_A_WORKER:
            self.end()
            self._begin()
        self._done += 1
        try:
            self._pipe.send(number)
            if self._pipe.poll(_PATIENCE):
                found: Outcome = self._pipe.recv()
                return found
            end = "hung"
        except (EOFError, OSError):
            end = "died"
        self._process.kill()
        self._process.join()
        self._begin()
        return Outcome(number, "?", end, 0.0, 0.0, ())

    def end(self) -> None:
        """Stop the process."""
        self._pipe.send(None)
        self._process.join()


def table(outcomes: list[Outcome]) -> str:
    """One row for each kind of attack."""
    rows = ["| attack | cases | refused | rendered | most seconds | most MB | faults |"]
    rows += ["|---|---|---|---|---|---|---|"]
    ways = collections.defaultdict(list)
    for outcome in outcomes:
        ways[outcome.way].append(outcome)
    for way, found in [*sorted(ways.items()), ("all", outcomes)]:
        ends = collections.Counter(outcome.end for outcome in found)
        slowest = max(outcome.seconds for outcome in found)
        largest = max(outcome.megabytes for outcome in found)
        faults = sum(bool(outcome.faults) for outcome in found)
        rows.append(
            f"| {way} | {len(found)} | {ends['refused']} | {ends['rendered']} | {slowest:.2f} | "
            f"{largest:.0f} | {faults} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    kinds = ["bundle", "patch", "receipt", "registry"]
    parser.add_argument("--kind", choices=kinds, default="bundle")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    outcomes = []
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        worker = Worker(options.seed, folder, options.kind)
        for number in range(options.first, options.first + options.cases):
            outcomes.append(worker.outcome(number))
            if faults := outcomes[-1].faults:
                print(f"case {number}: {'; '.join(faults)}: {outcomes[-1]}", flush=True)
            if len(outcomes) % 5000 == 0:
                print(f"{len(outcomes)} cases", file=sys.stderr, flush=True)
        worker.end()
    print(table(outcomes))


if __name__ == "__main__":
    main()
