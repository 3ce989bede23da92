"""A journal as a recording: its steps, to be compared, and a model that gives its answers again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.digest import digest
from bbtvp.core.errors import BudgetReached, JournalError
from bbtvp.models import Budget, Capabilities, Model, Outcome, Probe, QueryFailed, Request
from bbtvp.models.port import ANY_NUMBER
from bbtvp.runs.records import (
    FILE,
    PREVIEW,
    ConfigRecord,
    JournalRecord,
    QueryRecord,
    RepliesRecord,
    StepRecord,
    StoredReader,
    read_records,
    stored_reader,
)


class NotRecorded(JournalError):
    """The search asks a query that the recording has no answer to."""


class RecordedQuery(NamedTuple):
    """An image query, and how many steps were written before it."""

    steps: int
    query: QueryRecord


@final
@dataclass(frozen=True)
class Recording:
    """All that a journal holds.

    config: the first line. steps: by name, in order, probes and the preview left out. queries: by
    key, in order. probes: what each endpoint was found to do. preview: the first replies as they
    were shown; empty where none were.
    """

    config: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    queries: Mapping[str, Sequence[RecordedQuery]]
    probes: Mapping[str, Mapping[str, Any]]
    preview: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """From the journal in a folder, which stays unlocked.

        Raises JournalError if there is none, or if it is damaged or of a newer version.
        """
        path = folder / FILE
        config: dict[str, Any] = {}
        steps: dict[str, dict[str, Any]] = {}
        queries: dict[str, list[RecordedQuery]] = {}
        probes: dict[str, dict[str, Any]] = {}
        preview: dict[str, Any] = {}
        for record in _records(path):
            if isinstance(record, ConfigRecord):
                config = record.values
            elif isinstance(record, RepliesRecord):
                for query in record.queries:
                    queries.setdefault(query.key, []).append(RecordedQuery(len(steps), query))
            elif isinstance(record, StepRecord):
                if record.probe is not None:
                    probes[record.probe] = record.content
                elif record.name == PREVIEW:
                    preview = record.content
                else:
                    steps[record.name] = record.content
        if not config:
            raise JournalError(f"{path} holds no whole line; start the run again by its command")
        return cls(config, steps, queries, probes, preview)

    @property
    def answers(self) -> dict[str, QueryRecord]:
        """The answered queries by key: of each the last outcome."""
        last = {key: recorded[-1].query for key, recorded in self.queries.items()}
        return {key: query for key, query in last.items() if query.failure is None}

    @property
    def reader(self) -> StoredReader:
        """The reader that the run took."""
        return stored_reader(self.config)

    def knows(self, request: Request, identity: str) -> bool:
        """Whether the model of this identity was asked this."""
        return key_of(request, identity) in self.queries

    def model(self, spec: str, identity: str) -> Model:
        """A model that gives the recorded outcomes of the model of this spec and identity."""
        return RecordedModel(spec, identity, self)


def key_of(request: Request, identity: str) -> str:
    """The key under which a journal keeps what the model of this identity answered."""
    return digest(identity.encode(), request.key.encode())


def _records(path: Path) -> Iterator[JournalRecord]:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise JournalError(f"{path.parent} holds no {FILE}; name the --out of a run") from error
    with file:
        for _, record in read_records(file, path):
            yield record


@final
class _Script:
    """The outcomes that are left for each query of one model.

    A query that failed may have been asked again. Outcomes between the same two steps belong to one
    attempt at the second step: a kill came between them, so the last one counts, with the cost of
    all. Outcomes with a step between them were each used, one after the other.
    """

    def __init__(self, identity: str, recording: Recording) -> None:
        self._identity = identity
        self._left = {key: deque(_used(found)) for key, found in recording.queries.items()}

    def next(self, request: Request) -> Outcome:
        left = self._left.get(key_of(request, self._identity))
        if not left:
            raise NotRecorded("the journal has no answer to a query that the search asks here")
        return left.popleft()


def _used(recorded: Iterable[RecordedQuery]) -> Iterator[Outcome]:
    """The outcomes of one query that the run used, in order."""
    before: RecordedQuery | None = None
    attempts = 0
    usd = 0.0
    for one in recorded:
        if before is not None and one.steps != before.steps:
            yield _with_cost(before.query, attempts, usd)
            attempts = 0
            usd = 0.0
        attempts += one.query.usage.attempts
        usd += one.query.usage.usd
        before = one
    if before is not None:
        yield _with_cost(before.query, attempts, usd)


def _with_cost(query: QueryRecord, attempts: int, usd: float) -> Outcome:
    usage = query.usage._replace(attempts=attempts, usd=usd)
    return query._replace(usage=usage).outcome()


@final
class RecordedModel(Model):
    """Gives the outcomes that a recording has of a model, failures too, each as often as they came.

    For an endpoint every attempt is reserved before it is counted, so that caps are reached where
    they were reached in the run. Raises NotRecorded for any other request.
    """

    lasting = True

    def __init__(self, spec: str, identity: str, recording: Recording) -> None:
        self.spec = spec
        self._identity = identity
        self._found = recording.probes.get(spec)
        self.is_endpoint = self._found is not None
        self.capabilities = _capabilities(recording)
        self._script = _Script(identity, recording)

    @property
    def identity(self) -> str:
        return self._identity

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        outcomes = [self._script.next(request) for request in requests]
        if self.is_endpoint and budget is not None:
            self._reserve(outcomes, budget)
        return outcomes

    def _reserve(self, outcomes: Sequence[Outcome], budget: Budget) -> None:
        refused = [o for o in outcomes if isinstance(o, QueryFailed) and not o.usage.attempts]
        attempts = sum(outcome.usage.attempts for outcome in outcomes) + bool(refused)
        with suppress(BudgetReached):  # the budget remembers the refusal and ends the search
            for _ in range(attempts):
                budget.reserve(0.0)

    def probe(self, budget: Budget) -> Probe | None:
        if self._found is None:
            return None
        return Probe(
            self.capabilities,
            tuple(self._found["findings"]),
            self._found["queries"],
            self._found["usd"],
        )


def _capabilities(recording: Recording) -> Capabilities:
    """What the run made use of."""
    name = recording.reader.name
    # What was recorded is known, whatever it held.
    return Capabilities(
        logprobs=name == "logprob",
        deterministic=True,
        forced=name == "label",
        images=ANY_NUMBER,
    )
