"""The half-price interfaces as another way to execute: hand bodies in, wait, collect, and never
hand one in twice.

The store knows of every batch before it is waited for, so that whoever comes later collects what a
killed process left with the vendor. Between the vendor's acceptance and that note lies one instant:
a note of the intent is written before it. An intent that is found without its batch is looked up
where the vendor lists batches (`SearchableBatchApi`), and otherwise told to the user, who alone can look.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias, final

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.endpoint.faults import FailureDecision, decide, parse_json, redact
from bbtvp.endpoint.provider import BatchApi, HttpRequest, Json, SearchableBatchApi
from bbtvp.endpoint.transport import ExchangeFailed, HttpResponse, Transport
from bbtvp.models.store import BatchIntent, ReplyStore

_log = logging.getLogger("bbtvp")

Read: TypeAlias = Callable[[str, int, Json], None]

NAME = 64
"""Longest identifier of a request that all vendors take."""
WRAPPING = 256
"""Bytes that a body grows by in a batch, its identifier among them; at most."""
UPLOAD = 64 << 20
"""Most bytes handed in at once, whatever the vendor takes: one exchange must carry them within its
time.
"""
REPLY = 32 << 10
"""Bytes of a reply, generously: 16 tokens with 20 alternatives each. One exchange must bring those
of a whole batch.
"""
SLOWEST = 300.0
"""Seconds between looks at a batch, in the end."""
TRIES = 8
"""Attempts at an exchange that a batch hangs on."""
GONE = 3
"""Times in a row that a vendor must say it knows no such batch."""
REFUSED = (409, 425, 429, 503, 529)
"""Statuses that say: not accepted, try again. After any other fault nobody knows what became of a
batch.
"""


class Progress(NamedTuple):
    """Requests collected, of how many; the vendor's word for each batch under way; seconds waited
    so far.
    """

    collected: int
    total: int
    states: Mapping[str, str]
    seconds: float


@final
@dataclass
class _Errand:
    """What is wanted, by whom, and what has become of it."""

    bodies: Mapping[str, bytes]
    read: Read
    failed: dict[str, str] = field(default_factory=dict)
    collected: set[str] = field(default_factory=set)

    def fail(self, keys: Sequence[str], reason: str) -> None:
        for key in keys:
            if key in self.bodies and key not in self.collected:
                self.failed[key] = reason


class _Doubt(Exception):
    """Nobody knows whether a batch was accepted."""


class _Missing(ModelError):
    """The vendor says that there is no such thing."""


@final
class BatchRunner:
    """Runs requests as batches of one model.

    model: under which the store keeps its batches. explain: (code, message) of an error reply.
    poll: seconds until the second look at a batch; the pauses grow to five minutes. patience:
    seconds after which a batch is left to a later run. key_variable, secrets: to be named, and
    never to be named. say: is told what the user must know. sleep, clock, now: seconds to wait,
    monotonic, and since 1970.
    """

    def __init__(
        self,
        dialect: BatchApi,
        transport: Transport,
        store: ReplyStore,
        *,
        model: str,
        explain: Callable[[int, Json], tuple[str, str]],
        poll: float = 30.0,
        patience: float = 25 * 3600.0,
        key_variable: str = "the key",
        secrets: Sequence[str] = (),
        say: Callable[[str], None] = _log.warning,
        progress: Callable[[Progress], None] = lambda progress: None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._dialect = dialect
        self._transport = transport
        self._store = store
        self._model = model
        self._explain = explain
        self._key_variable = key_variable
        self._secrets = tuple(secrets)
        self._poll = poll
        self._patience = patience
        self._say = say
        self._progress = progress
        self._sleep = sleep
        self._clock = clock
        self._now = now

    def run(self, bodies: Mapping[str, bytes], read: Read) -> dict[str, str]:
        """Have all bodies answered; gives a reason for each that was not.

        bodies: by their keys in the store, at most 64 characters each. read: gets (key, status,
        reply) of every result as it comes, failures too; what it wants to keep it must keep, since
        the batch is forgotten afterwards. Raises ModelError if going on makes no sense; what is
        with the vendor stays there, and a later run collects it.
        """
        errand = _Errand(bodies, read)
        under_way: dict[str, list[str]] = {}
        try:
            with self._store.submitting():
                self._find(errand, under_way)
                self._hand_in(errand, under_way)
            self._collect(errand, under_way)
        except KeyboardInterrupt:
            names = ", ".join(under_way) or "a batch, if it was accepted,"
            self._say(f"interrupted: {names} stays with the vendor; the same command collects it")
            raise
        return errand.failed

    # -- what others left --------------------------------------------------------------------------
    def _find(self, errand: _Errand, under_way: dict[str, list[str]]) -> None:
        """Batches that hold some of the bodies already; those of which nothing is wanted any more
        are forgotten.
        """
        for batch, keys in self._store.open_batches(self._model).items():
            if any(key in errand.bodies for key in keys):
                under_way[batch] = keys
            elif all(self._store.recall(key) for key in keys):
                self._store.end_batch(batch)
        for lost in self._store.intents(self._model):
            if any(key in errand.bodies for key in lost.keys):
                found = self._recover(lost)
                if found is not None:
                    under_way[found] = lost.keys

    def _recover(self, lost: BatchIntent) -> str | None:
        """The batch of an intent, if it was handed in and can be found; otherwise the intent is
        given up.
        """
        when = datetime.fromtimestamp(lost.when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        batch = self._search(lost)
        if batch is not None:
            self._store.begin_batch(batch, self._model, lost.keys, intent=lost.intent)
            self._say(f"{batch}, handed in at {when} without an answer, was found: it is collected")
            return batch
        if not isinstance(self._dialect, SearchableBatchApi):
            self._say(
                f"at {when} a process died while it handed in {len(lost.keys)} requests to {self._model}; they are "
                "handed in again: if the vendor's console shows a batch of that time, cancel it, or both are charged"
            )
        self._store.withdraw(lost.intent)
        return None

    def _search(self, lost: BatchIntent) -> str | None:
        if not isinstance(self._dialect, SearchableBatchApi):
            return None
        known = self._store.open_batches(self._model)
        answer = self._insist(self._dialect.recent())
        try:
            found = self._dialect.find(self._json(answer), lost.keys, lost.when)
        except (LookupError, TypeError, ValueError) as error:
            raise ModelError(
                f"the list of batches of {self._model} cannot be read ({error})"
            ) from error
        return next((batch for batch in found if batch not in known), None)

    # -- handing in --------------------------------------------------------------------------------
    def _hand_in(self, errand: _Errand, under_way: dict[str, list[str]]) -> None:
        taken = {key for keys in under_way.values() for key in keys}
        for keys in self._parts([key for key in errand.bodies if key not in taken], errand):
            under_way[self._submit({key: errand.bodies[key] for key in keys})] = keys

    def _parts(self, keys: Sequence[str], errand: _Errand) -> Iterator[list[str]]:
        """The keys in batches that are neither too many, too large, nor too large to be read back."""
        most = max(1, min(self._dialect.limit, self._transport.limit // REPLY))
        room = min(self._dialect.size, UPLOAD)
        part: list[str] = []
        filled = 0
        for key in keys:
            size = len(errand.bodies[key]) + WRAPPING
            if size > room or len(key) > NAME:
                why = (
                    f"{size:,} bytes are too many for a batch"
                    if size > room
                    else f"{key} is longer than {NAME}"
                )
                errand.fail([key], why)
                continue
            if part and (len(part) == most or filled + size > room):
                yield part
                part = []
                filled = 0
            part.append(key)
            filled += size
        if part:
            yield part

    def _submit(self, bodies: Mapping[str, bytes]) -> str:
        """Hand a batch in; gives its identifier, which the store knows then."""
        keys = list(bodies)
        for _ in range(TRIES):
            when = self._now()
            intent = self._store.intend(self._model, keys)
            try:
                batch = self._converse(bodies)
            except _Doubt as doubt:
                if not isinstance(self._dialect, SearchableBatchApi):
                    raise ModelError(
                        f"nobody knows whether {self._model} accepted a batch ({doubt}): look at the vendor's console "
                        "and cancel it if it is there, then give the same command again"
                    ) from doubt
                self._sleep(self._poll)  # for the list to have it
                found = self._recover(BatchIntent(intent, when, keys))
                if found is not None:
                    return found
            except (ModelError, UsageError):
                self._store.withdraw(intent)  # it was turned down
                raise
            else:
                self._store.begin_batch(batch, self._model, keys, intent=intent)
                return batch
        raise ModelError(
            f"{self._model} did not accept a batch in {TRIES} attempts; give the same command again later"
        )

    def _converse(self, bodies: Mapping[str, bytes]) -> str:
        talk = self._dialect.submit(bodies)
        reply: Json | None = None
        try:
            while True:
                wire = next(talk) if reply is None else talk.send(reply)
                reply = self._json(self._insist(wire, once=True))
        except StopIteration as end:
            return str(end.value)
        except (LookupError, TypeError, ValueError) as error:
            raise _Doubt(f"its reply cannot be read: {type(error).__name__} {error}") from error

    # -- collecting --------------------------------------------------------------------------------
    def _collect(self, errand: _Errand, under_way: dict[str, list[str]]) -> None:
        began = self._clock()
        pause = self._poll
        states = dict.fromkeys(under_way, "handed in")
        missing = dict.fromkeys(under_way, 0)
        while under_way:
            wait = 0.0
            for batch in list(under_way):
                try:
                    verdict = self._look(batch, states)
                    if isinstance(verdict, _Ended):
                        self._read(batch, under_way[batch], verdict, errand)
                        self._end(batch, under_way.pop(batch), errand)
                        del states[batch]
                    elif verdict is not None:
                        wait = max(wait, verdict.wait or 0.0)
                    missing[batch] = 0
                except _Missing as gone:
                    missing[batch] += 1
                    if missing[batch] == GONE:
                        self._give_up(batch, under_way.pop(batch), str(gone), errand)
                        del states[batch]
            seconds = self._clock() - began
            self._progress(
                Progress(len(errand.collected), len(errand.bodies), dict(states), seconds)
            )
            if seconds > self._patience:
                for batch, keys in under_way.items():
                    errand.fail(
                        keys,
                        f"{batch} is {states[batch]} after {seconds / 3600:.1f} h; a later run collects it",
                    )
                return
            if under_way:
                self._sleep(max(pause, wait))
                pause = min(1.5 * pause, max(SLOWEST, self._poll))

    def _look(self, batch: str, states: dict[str, str]) -> _Ended | FailureDecision | None:
        """How it is doing: ended, or why there is no telling, or (None) still under way."""
        answer = self._try(self._dialect.status(batch))
        if isinstance(answer, FailureDecision):
            return answer
        try:
            ended, states[batch], where = self._dialect.read_status(self._json(answer))
        except (
            LookupError,
            TypeError,
            ValueError,
        ):  # another server's page, say: as good as no answer
            return None
        return _Ended(states[batch], where) if ended else None

    def _read(self, batch: str, keys: Sequence[str], ended: _Ended, errand: _Errand) -> None:
        """Pass on what came of a batch; what is missing has failed, for the vendor's reason."""
        bodies = (
            [self._insist(wire).body for wire in self._dialect.results(ended.where)]
            if ended.where
            else []
        )
        for key, status, reply in self._results(batch, bodies):
            if key in errand.bodies and key not in errand.collected:
                errand.collected.add(key)
                errand.failed.pop(key, None)
                if status != 200:
                    code, message = self._explain(status, reply)
                    errand.failed[key] = redact(f"status {status} {code}: {message}", self._secrets)
                errand.read(key, status, reply)
        errand.fail(keys, redact(f"no result: {batch} is {ended.state}", self._secrets))

    def _results(self, batch: str, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        try:
            yield from self._dialect.read_results(bodies)
        except (LookupError, TypeError, ValueError) as error:
            # The batch stays open: what was paid for is read as soon as somebody can.
            raise ModelError(
                f"the results of {batch} cannot be read ({type(error).__name__} {error}); they stay with the vendor"
            ) from error

    def _end(self, batch: str, keys: Sequence[str], errand: _Errand) -> None:
        """Forget a batch, unless it holds replies that this run did not ask for and nobody has
        kept.
        """
        left = [key for key in keys if key not in errand.bodies and self._store.recall(key) is None]
        if left:
            self._store.begin_batch(batch, self._model, left)
        else:
            self._store.end_batch(batch)

    def _give_up(self, batch: str, keys: Sequence[str], reason: str, errand: _Errand) -> None:
        errand.fail(keys, f"{batch} cannot be found: {reason}")
        self._store.end_batch(batch)
        self._say(
            f"{batch} cannot be found ({reason}) and is forgotten; was it handed in with another key? "
            f"Its {len(keys)} requests will be asked again"
        )

    # -- exchanges ---------------------------------------------------------------------------------
    def _insist(self, wire: HttpRequest, *, once: bool = False) -> HttpResponse:
        """An answer of status 2xx, after as many attempts as it takes; ModelError after too many.

        once: only repeat what was certainly not accepted. Raises _Doubt where that is not known.
        """
        pause = min(self._poll, 5.0)
        reason = ""
        for _ in range(TRIES):
            answer = self._try(wire, once=once)
            if isinstance(answer, HttpResponse):
                return answer
            reason = answer.reason
            self._sleep(max(pause, answer.wait or 0.0))
            pause = min(2 * pause, SLOWEST)
        raise ModelError(
            f"{reason}, {TRIES} times; give the same command again later: it goes on from here"
        )

    def _try(self, wire: HttpRequest, *, once: bool = False) -> HttpResponse | FailureDecision:
        """One exchange: an answer of status 2xx, or why another attempt makes sense. Raises
        ModelError if none does.
        """
        try:
            answer = self._transport.send(wire)
        except ExchangeFailed as broken:
            if once and broken.sent:
                raise _Doubt(broken.reason) from broken
            if broken.lasting:
                raise ModelError(broken.reason) from broken
            return FailureDecision(broken.reason, retry=True)
        if 200 <= answer.status < 300:
            return answer
        found = parse_json(answer.body)
        code, message = self._explain(answer.status, found) if isinstance(found, dict) else ("", "")
        verdict = decide(
            answer.status,
            answer.headers,
            answer.body,
            self._now(),
            code=code,
            message=message,
            key_variable=self._key_variable,
        )
        reason = redact(verdict.reason, self._secrets)
        if not verdict.retry:
            if answer.status in (404, 410) and wire.method == "GET":
                raise _Missing(reason)
            raise ModelError(f"{self._model}: {reason}")
        if once and answer.status not in REFUSED:
            raise _Doubt(reason)
        return verdict._replace(reason=reason)

    def _json(self, answer: HttpResponse) -> Json:
        reply = json.loads(answer.body)
        if not isinstance(reply, dict):
            raise TypeError("the reply is no JSON object")
        return reply


class _Ended(NamedTuple):
    """A batch that has ended: the vendor's word for how, and where its results are, if there are
    any.
    """

    state: str
    where: str | None
