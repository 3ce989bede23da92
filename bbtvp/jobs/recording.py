"""A finished run's journal as a recording: its steps, to be compared, and a model that says again
what was said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, JournalError
from bbtvp.jobs.tally import DAMAGED, parsed
from bbtvp.models import (
    Capabilities,
    LabelScore,
    Model,
    Outcome,
    PaidModel,
    Probe,
    Purse,
    QueryFailed,
    Reply,
    Request,
    Usage,
)
from bbtvp.runs.journal import FILE, SCHEMA
from bbtvp.runs.removed import upgraded_config
from bbtvp.search.readers import LogProbReader, Reader, TextReader

Row = Sequence[Any]
"""An outcome as the journal has it: key, usage, text, scores, reason of a failure, and true if it
was a refusal.
"""


class Lacking(JournalError):
    """A query that the recording has no answer to: the search took another way."""


class Kept(NamedTuple):
    """An outcome, and how many steps were written before it."""

    steps: int
    row: Row


@final
@dataclass(frozen=True)
class Recording:
    """config: the first line. steps: by name, in order, probes left out. rows: outcomes by key, in
    order.

    probes: what each endpoint was found to do.
    """

    config: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Sequence[Kept]]
    probes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """From the journal in a folder, without its lock. JournalError if there is none, or none of
        this version.
        """
        path = folder / FILE
        config: dict[str, Any] = {}
        steps: dict[str, dict[str, Any]] = {}
        rows: dict[str, list[Kept]] = {}
        probes: dict[str, dict[str, Any]] = {}
        try:
            records = list(_records(path))
            config = upgraded_config(records[0]) if records else {}
            for record in records[1:]:
                if record["record"] == "replies":
                    for row in record["got"]:
                        rows.setdefault(row[0], []).append(Kept(len(steps), row))
                elif record["record"] == "step":
                    name = record["id"]
                    content = {
                        key: value for key, value in record.items() if key not in ("record", "id")
                    }
                    if name.startswith("probe/"):
                        probes[name.removeprefix("probe/")] = content
                    else:
                        steps[name] = content
        except FileNotFoundError as error:
            raise JournalError(f"{folder} holds no {FILE}; name the --out of a run") from error
        except DAMAGED as error:
            raise JournalError(f"{path} is damaged; restore it") from error
        if config.get("schema") != SCHEMA:
            raise JournalError(
                f"{path} is not a {SCHEMA} journal; a newer bbtvp may have written it: upgrade"
            )
        return cls(config, steps, rows, probes)

    @property
    def answers(self) -> dict[str, Row]:
        """The answered queries by key."""
        last = {key: kept[-1].row for key, kept in self.rows.items()}
        return {key: row for key, row in last.items() if row[4] is None}

    @property
    def reader(self) -> str:
        """The name of the reader that the run took."""
        words = str(self.config.get("reader"))
        return (
            "logprob"
            if words.startswith("LogProb")
            else "label"
            if "forced=True" in words
            else "text"
        )

    def knows(self, request: Request, identity: str) -> bool:
        """Whether the model of this identity was asked this."""
        return key_of(request, identity) in self.rows

    def model(self, spec: str, identity: str) -> Model:
        """Speaks for the model of this spec and identity: see `Recorded`."""
        paid = spec in self.probes
        return RecordedPaid(spec, identity, self) if paid else Recorded(spec, identity, self)


def key_of(request: Request, identity: str) -> str:
    """Under which a journal keeps what the model of this identity answered."""
    return digest(identity.encode(), request.key.encode())


def reader_of(name: str, normalise: str = "mean") -> Reader:
    """The reader of this name, for the requests that it makes of a model and what it reads in the
    replies.
    """
    return LogProbReader(normalise) if name == "logprob" else TextReader(forced=name == "label")


def _records(path: Path) -> Iterator[Any]:
    """Whole lines; a last one without an end is none."""
    with path.open("rb") as file:
        yield from (parsed(line) for line in file if line.endswith(b"\n"))


@final
class _Script:
    """What is left to be said to each query of one model.

    A query that failed may have been asked again. Outcomes between the same two steps are of one
    attempt at the second: a kill came between them, and the last counts, with what all of them
    cost. Outcomes with a step between them were both made something of, one after the other.
    """

    def __init__(self, identity: str, recording: Recording) -> None:
        self._identity = identity
        self._left = {key: deque(_settled(kept)) for key, kept in recording.rows.items()}

    def next(self, request: Request) -> Outcome:
        left = self._left.get(key_of(request, self._identity))
        if not left:
            raise Lacking("the journal has no answer to a query that the search asks here")
        return left.popleft()


def _settled(kept: Iterable[Kept]) -> Iterator[Outcome]:
    before: Kept | None = None
    usage = Usage(0, 0, 0, 0.0)
    for one in kept:
        if before is not None and one.steps != before.steps:
            yield outcome_of(before.row, usage)
            usage = Usage(0, 0, 0, 0.0)
        tokens_in, tokens_out, attempts, usd = one.row[1]
        usage = Usage(tokens_in, tokens_out, usage.attempts + attempts, usage.usd + usd)
        before = one
    if before is not None:
        yield outcome_of(before.row, usage)


def outcome_of(row: Row, usage: Usage) -> Outcome:
    """An outcome as a model gives it."""
    _, _, text, scores, failure, *refused = row
    if failure is not None:
        return QueryFailed(failure, usage, bool(refused))
    return Reply(
        text, None if scores is None else tuple(LabelScore(*score) for score in scores), usage
    )


@final
class Recorded(Model):
    """Says what a recording has of a model, failures too, each as often as it was said. Raises
    Lacking for all else.
    """

    def __init__(self, spec: str, identity: str, recording: Recording) -> None:
        self.spec = spec
        self._identity = identity
        self.capabilities = _capabilities(recording)
        self._script = _Script(identity, recording)

    @property
    def identity(self) -> str:
        return self._identity

    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        return [self._script.next(request) for request in requests]


@final
class RecordedPaid(PaidModel):
    """The same of an endpoint: every attempt is counted before it is made, so that caps fall where
    they fell.
    """

    lasting = True

    def __init__(self, spec: str, identity: str, recording: Recording) -> None:
        self.spec = spec
        self._identity = identity
        self._found = recording.probes[spec]
        self.capabilities = _capabilities(recording)
        self._script = _Script(identity, recording)

    @property
    def identity(self) -> str:
        return self._identity

    def query_paid(self, requests: Sequence[Request], purse: Purse) -> list[Outcome]:
        outcomes = [self._script.next(request) for request in requests]
        refused = [o for o in outcomes if isinstance(o, QueryFailed) and not o.usage.attempts]
        attempts = sum(outcome.usage.attempts for outcome in outcomes) + bool(refused)
        with suppress(BudgetReached):  # as it was: the account remembers, and ends the search
            for _ in range(attempts):
                purse.reserve(0.0)
        return outcomes

    def bound(self, request: Request) -> float:
        return 0.0

    def fitting_canvas(self, wanted: int) -> int:
        return wanted

    def need_price(self) -> None:
        pass

    def probe(self, purse: Purse) -> Probe:
        return Probe(
            self.capabilities,
            tuple(self._found["findings"]),
            self._found["queries"],
            self._found["usd"],
        )


def _capabilities(recording: Recording) -> Capabilities:
    """What the run made use of."""
    name = recording.reader
    return Capabilities(logprobs=name == "logprob", deterministic=True, forced=name == "label")
