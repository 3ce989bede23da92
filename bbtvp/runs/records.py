"""The lines of a journal as typed records.

A journal is a file of JSON lines. The first line says what the run is; each later line is of one of
these kinds.

    {"record": "config", "schema": …, …}           the configuration of the run
    {"record": "replies", "phase": …, "got": […]}  all outcomes of one call to the model; the
                                                   record is "replies/2" if a row has a version
    {"record": "spent", "phase": …, …}             an attempt at a paid model, and its correction
    {"record": "version", "model": …, …}           a version that a model reported, once
    {"record": "step", "id": …, …}                 a generation, a choice, the end

A row of "got" is [key, [input tokens, output tokens, attempts, US dollars], text, scores, reason of
a failure], and `true` after these if the failure was a refusal, or if the text was cut off at the
limit of tokens. A row with seven fields has `true` or `false` there, and then the version of the
model that the reply reports.

A last line without a line break is being written, or was torn by a crash: no record is made of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, final

from pydantic_core import from_json

from bbtvp.core.errors import JournalError
from bbtvp.models import Budget, LabelScore, Outcome, QueryFailed, Reply, Usage
from bbtvp.runs.upgrade import upgraded_config

SCHEMA = "bbtvp.journal/1"
FILE = "journal.jsonl"
PROBE = "probe/"
"""How the name of a step begins that keeps what a probe of an endpoint found."""

PREVIEW = "preview"
"""The name of the step that keeps the first replies, as they were shown."""

PROPOSER = "proposer"
"""The phase of a proposer's calls, which are no image queries."""

REPLIES = ("replies", "replies/2")
"""Records of outcomes, without and with versions. Readers that know no versions refuse the second,
which they would misread.
"""

DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What is raised by reading a line that no version wrote."""


class ConfigRecord(NamedTuple):
    """The first line: what makes this run differ from others, by name, in today's form."""

    values: dict[str, Any]


class QueryRecord(NamedTuple):
    """One image query of a call, as the journal keeps it.

    key: digest of the model's identity and the request. scores: [log-probability, tokens] for each
    label. failure: the reason of a failed query, None for an answer. refused: the failure was a
    refusal. cut: the answer ended at the limit of tokens. version: of the model, as the reply
    reports it; "" where it does not.
    """

    key: str
    usage: Usage
    text: str | None
    scores: Sequence[Sequence[Any]] | None
    failure: str | None
    refused: bool = False
    cut: bool = False
    version: str = ""

    @classmethod
    def of(cls, key: str, outcome: Outcome) -> QueryRecord:
        """What is kept of an outcome."""
        if isinstance(outcome, Reply):
            return cls(
                key,
                outcome.usage,
                outcome.text,
                outcome.scores,
                None,
                cut=outcome.cut,
                version=outcome.version,
            )
        return cls(key, outcome.usage, None, None, outcome.reason, outcome.refused)

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> QueryRecord:
        """From a row of "got". ValueError or TypeError if it is none."""
        key, usage, text, scores, failure, *more = row
        marked, version = more + [False, ""][len(more) :]
        failed = failure is not None
        return cls(
            key,
            Usage(*usage),
            text,
            scores,
            failure,
            refused=bool(marked) and failed,
            cut=bool(marked) and not failed,
            version=_text(version),
        )

    @property
    def row(self) -> list[Any]:
        """The row of "got", as JSON."""
        scores = None if self.scores is None else [list(score) for score in self.scores]
        row = [self.key, list(self.usage), self.text, scores, self.failure]
        marked = self.refused or self.cut
        if self.version:
            return [*row, marked, self.version]
        return [*row, True] if marked else row

    def outcome(self) -> Outcome:
        """The outcome as a model gives it."""
        if self.failure is not None:
            return QueryFailed(self.failure, self.usage, self.refused)
        scores = None
        if self.scores is not None:
            scores = tuple(LabelScore(*score) for score in self.scores)
        return Reply(self.text, scores, self.usage, self.cut, self.version)


class RepliesRecord(NamedTuple):
    """All outcomes of one call to the model.

    noted: what they cost stands in `SpentRecord` records before.
    """

    phase: str
    queries: list[QueryRecord]
    noted: bool


class SpentRecord(NamedTuple):
    """What an attempt at a paid model can cost at most, or a correction of that."""

    phase: str
    queries: int
    usd: float


class VersionRecord(NamedTuple):
    """A version that the model of this spec reported of itself."""

    model: str
    version: str


class StepRecord(NamedTuple):
    """What was made of the answers: a generation, a choice, the end; or a probe."""

    name: str
    content: dict[str, Any]

    @property
    def probe(self) -> str | None:
        """The spec of the endpoint that was probed; None for any other step."""
        return self.name.removeprefix(PROBE) if self.name.startswith(PROBE) else None


JournalRecord: TypeAlias = ConfigRecord | RepliesRecord | SpentRecord | VersionRecord | StepRecord


class Place(NamedTuple):
    """Where a line lies in the file: its first byte, and how many bytes it has."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte after the line."""
        return self.offset + self.length


def read_records(
    file: BinaryIO, path: Path, *, lines: int = 0
) -> Iterator[tuple[Place, JournalRecord]]:
    """The records of a journal from where `file` stands, one at a time.

    path: named in errors. lines: how many lines lie before. Raises JournalError for a line that is
    damaged or that a newer version wrote.
    """
    offset = file.tell()
    for number, line in enumerate(file, start=lines + 1):
        if not line.endswith(b"\n"):
            return
        place = Place(offset, len(line))
        try:
            fields = decoded(line)
            kind = fields.pop("record", None)
            record = _config(kind, fields, path) if number == 1 else _record(kind, fields)
        except DAMAGED as error:
            raise JournalError(
                f"{path}, line {number} is damaged; "
                "restore the file or start anew elsewhere (--out)"
            ) from error
        if record is None:
            raise JournalError(
                f"{path}, line {number}: unknown record {kind!r}; a newer bbtvp wrote it, upgrade"
            )
        yield place, record
        offset = place.end


def decoded(line: bytes) -> Any:
    """The JSON value of a line. ValueError if it is none."""
    try:
        return from_json(line)  # takes a third of the time of json.loads
    except ValueError:  # it refuses half a surrogate pair: a reply cut in the middle of an emoji
        return json.loads(line)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in the place of a text")
    return value


def _record(kind: object, fields: dict[str, Any]) -> JournalRecord | None:
    """A record after the first; None for a kind that this version does not know."""
    if kind in REPLIES:
        queries = [QueryRecord.of_row(row) for row in fields["got"]]
        return RepliesRecord(fields["phase"], queries, fields.get("noted", False))
    if kind == "spent":
        return SpentRecord(fields["phase"], fields["queries"], fields["usd"])
    if kind == "version":
        return VersionRecord(_text(fields["model"]), _text(fields["version"]))
    if kind == "step":
        return StepRecord(fields.pop("id"), fields)
    return None


def _config(kind: object, fields: dict[str, Any], path: Path) -> ConfigRecord:
    schema = str(fields.get("schema"))
    if kind == "config" and schema == SCHEMA:
        return ConfigRecord(upgraded_config(fields))
    family, _, number = schema.partition("/")
    known_family, _, known_number = SCHEMA.partition("/")
    if family == known_family and number.isdecimal() and int(number) > int(known_number):
        raise JournalError(f"{path} is a {schema}: a newer bbtvp wrote it, upgrade")
    raise JournalError(f"{path} is not a {SCHEMA} journal; name another folder (--out)")


class Spending:
    """What a run has spent, summed over the records of its journal.

    spent: image queries by phase, retries and failures counted. failed: queries that failed;
    refused: of these, those that the model would not answer. answered: queries with an answer that
    was paid for. usd: US dollars, those of a proposer included. proposals, proposal_usd: calls of a
    proposer of wordings, which are no image queries, and what they cost.
    """

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.proposals = 0
        self.proposal_usd = 0.0
        self.failed = 0
        self.refused = 0
        self.answered = 0
        self.usd = 0.0

    def budget(
        self, cap: int | None = None, *, usd_cap: float | None, seconds: float | None = None
    ) -> Budget:
        """A budget with these caps, to which what the run has spent already counts."""
        return Budget(
            cap,
            self.spent,
            self.failed,
            refused=self.refused,
            answered=self.answered,
            usd_cap=usd_cap,
            usd=self.usd,
            seconds=seconds,
        )

    def add_spending(self, record: JournalRecord) -> None:
        """Count one more record."""
        if isinstance(record, RepliesRecord):
            self._add_replies(record)
        elif isinstance(record, SpentRecord):
            self._add(*record)
        elif isinstance(record, StepRecord) and record.probe is not None:
            self._add("probe", record.content["queries"], record.content["usd"])

    def _add_replies(self, replies: RepliesRecord) -> None:
        for query in replies.queries:
            if not replies.noted:
                self._add(replies.phase, query.usage.attempts, query.usage.usd)
            if replies.phase == PROPOSER:
                continue
            if query.failure is not None:
                self.failed += 1
                self.refused += query.refused
            else:
                self.answered += query.usage.attempts > 0

    def _add(self, phase: str, queries: int, usd: float) -> None:
        if phase == PROPOSER:
            self.proposals += queries
            self.proposal_usd = max(0.0, self.proposal_usd + usd)
        else:
            self.spent[phase] += queries
        # An attempt is noted at its highest cost, which is then taken back: -1e-18 may be left.
        self.usd = max(0.0, self.usd + usd)


# -- the reader of a run ---------------------------------------------------------------------------
@final
class StoredReader(NamedTuple):
    """How the answers of a run were read: the name of the reader, and how it weighs long labels."""

    name: str
    normalise: str = "mean"


def stored_reader(config: Mapping[str, Any]) -> StoredReader:
    """The reader that the configuration of a journal names.

    A search keeps the settings of its reader. A proof keeps a name, which may be "auto", beside
    "normalise".
    """
    kept = config.get("reader")
    if isinstance(kept, Mapping):
        return StoredReader(str(kept.get("name")), str(kept.get("normalise", "mean")))
    return StoredReader(str(kept), str(config.get("normalise", "mean")))
