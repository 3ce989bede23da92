"""Vendors' batch interfaces: submit bodies, wait, collect, and never submit one twice.

The store knows of every batch before it is waited for, so that a later run collects what a killed
process left with the vendor. There is one instant between the vendor's acceptance and that note, so
a note of the intent is written first. An intent without a batch is looked up where the vendor lists
batches (`SearchableBatchApi`). Otherwise the user is asked to look at the vendor's console.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias, final

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.endpoint.faults import Explain, FailureDecision, judge_response, redact
from bbtvp.endpoint.provider import BatchApi, HttpRequest, Json, SearchableBatchApi
from bbtvp.endpoint.transport import ExchangeFailed, HttpResponse, Transport
from bbtvp.models.store import BatchIntent, ReplyStore

_log = logging.getLogger("bbtvp")

Read: TypeAlias = Callable[[str, int, Json], None]

_NAME = 64
"""Longest identifier of a request that all vendors accept."""
_WRAPPING = 256
"""Most bytes that a body grows by in a batch, its identifier included."""
_UPLOAD = 64 << 20
"""Most bytes in one batch: one exchange must carry them within its time."""
_REPLY = 32 << 10
"""A generous size of a reply in bytes: 16 tokens with 20 alternatives each.

One exchange must bring the replies of a whole batch.
"""
_SLOWEST = 300.0
"""Longest pause between checks of a batch, in seconds."""
_TRIES = 8
"""Attempts at an exchange that a batch depends on."""
_GONE = 3
"""Times in a row that a vendor must say that it knows no such batch."""
_NOT_ACCEPTED = (409, 425, 429, 503, 529)
"""Statuses that mean: not accepted, try again.

After any other failure it is unknown what became of a batch.
"""


class BatchProgress(NamedTuple):
    """Progress of the batches.

    collected, total: requests. states: the vendor's word for each batch under way. seconds: waited
    so far.
    """

    collected: int
    total: int
    states: Mapping[str, str]
    seconds: float


@final
@dataclass
class _WantedReplies:
    """The replies that are wanted, and what has become of them."""

    bodies: Mapping[str, bytes]
    read: Read
    failed: dict[str, str] = field(default_factory=dict)
    collected: set[str] = field(default_factory=set)

    def fail(self, keys: Sequence[str], reason: str) -> None:
        for key in keys:
            if key in self.bodies and key not in self.collected:
                self.failed[key] = reason


class _UnknownOutcome(Exception):
    """It is unknown whether a batch was accepted."""


class _NoSuchBatch(ModelError):
    """The vendor says that there is no such batch."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class BatchRunner:
    """Makes requests as batches of one model.

    model: the name under which the store keeps its batches. explain: gives (code, message) of an
    error reply. poll: seconds until the second check of a batch; the pauses grow to five minutes.
    patience: seconds after which a batch is left to a later run. key_variable: named in messages.
    secrets: shown in none. say: shows a message to the user. sleep, clock, now: seconds to
    wait, monotonic, and since 1970.
    """

    api: BatchApi
    transport: Transport
    store: ReplyStore
    _: KW_ONLY
    model: str
    explain: Explain
    poll: float = 30.0
    patience: float = 25 * 3600.0
    key_variable: str = "the key"
    secrets: Sequence[str] = ()
    say: Callable[[str], None] = _log.warning
    progress: Callable[[BatchProgress], None] = lambda progress: None
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time

    def run(self, bodies: Mapping[str, bytes], read: Read) -> dict[str, str]:
        """Have all bodies answered; return a reason for each that was not.

        bodies: by their keys in the store, of at most 64 characters. read: gets (key, status,
        reply) of every result, failures too. It must keep what it needs, since the batch is
        forgotten afterwards. Raises ModelError if going on makes no sense. What is with the vendor
        stays there, and a later run collects it.
        """
        wanted = _WantedReplies(bodies, read)
        under_way: dict[str, list[str]] = {}
        try:
            with self.store.submitting():
                self._find_open(wanted, under_way)
                self._submit_rest(wanted, under_way)
            self._collect(wanted, under_way)
        except KeyboardInterrupt:
            names = ", ".join(under_way) or "a batch, if it was accepted,"
            self.say(f"interrupted: {names} stays with the vendor; the same command collects it")
            raise
        return wanted.failed

    # -- what earlier runs left --------------------------------------------------------------------
    def _find_open(self, wanted: _WantedReplies, under_way: dict[str, list[str]]) -> None:
        """Find batches that hold some of the bodies, and forget those that nobody needs."""
        for batch, keys in self.store.open_batches(self.model).items():
            if any(key in wanted.bodies for key in keys):
                under_way[batch] = keys
            elif all(self.store.recall(key) for key in keys):
                self.store.end_batch(batch)
        for lost in self.store.intents(self.model):
            if any(key in wanted.bodies for key in lost.keys):
                found = self._recover(lost)
                if found is not None:
                    under_way[found] = lost.keys

    def _recover(self, lost: BatchIntent) -> str | None:
        """Return the batch of an intent if it can be found; otherwise drop the intent."""
        when = datetime.fromtimestamp(lost.when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        batch = self._search(lost)
        if batch is not None:
            self.store.begin_batch(batch, self.model, lost.keys, intent=lost.intent)
            self.say(f"{batch}, submitted at {when} without an answer, was found: it is collected")
            return batch
        if not isinstance(self.api, SearchableBatchApi):
            self.say(
                f"at {when} a process died while it submitted {len(lost.keys)} requests to "
                f"{self.model}; they are submitted again: if the vendor's console shows a batch "
                "of that time, cancel it, or both are charged"
            )
        self.store.withdraw(lost.intent)
        return None

    def _search(self, lost: BatchIntent) -> str | None:
        if not isinstance(self.api, SearchableBatchApi):
            return None
        known = self.store.open_batches(self.model)
        response = self._send_until_answered(self.api.recent())
        try:
            found = self.api.find(self._json(response), lost.keys, lost.when)
        except (LookupError, TypeError, ValueError) as error:
            raise ModelError(
                f"the list of batches of {self.model} cannot be read ({error})"
            ) from error
        return next((batch for batch in found if batch not in known), None)

    # -- submitting -------------------------------------------------------------------------------
    def _submit_rest(self, wanted: _WantedReplies, under_way: dict[str, list[str]]) -> None:
        taken = {key for keys in under_way.values() for key in keys}
        for keys in self._parts([key for key in wanted.bodies if key not in taken], wanted):
            under_way[self._submit({key: wanted.bodies[key] for key in keys})] = keys

    def _parts(self, keys: Sequence[str], wanted: _WantedReplies) -> Iterator[list[str]]:
        """Yield the keys in batches that are neither too long, too large, nor unreadable."""
        most = max(1, min(self.api.limit, self.transport.limit // _REPLY))
        room = min(self.api.size, _UPLOAD)
        part: list[str] = []
        filled = 0
        for key in keys:
            size = len(wanted.bodies[key]) + _WRAPPING
            if size > room:
                wanted.fail([key], f"{size:,} bytes are too many for a batch")
                continue
            if len(key) > _NAME:
                wanted.fail([key], f"{key} is longer than {_NAME}")
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
        """Submit a batch; return its identifier, which the store then knows."""
        keys = list(bodies)
        for _ in range(_TRIES):
            when = self.now()
            intent = self.store.intend(self.model, keys)
            try:
                batch = self._submit_batch(bodies)
            except _UnknownOutcome as unknown:
                if not isinstance(self.api, SearchableBatchApi):
                    raise ModelError(
                        f"it is unknown whether {self.model} accepted a batch ({unknown}): "
                        "look at the vendor's console and cancel it if it is there, "
                        "then give the same command again"
                    ) from unknown
                self.sleep(self.poll)  # for the list to have it
                found = self._recover(BatchIntent(intent, when, keys))
                if found is not None:
                    return found
            except (ModelError, UsageError):
                self.store.withdraw(intent)  # it was turned down
                raise
            else:
                self.store.begin_batch(batch, self.model, keys, intent=intent)
                return batch
        raise ModelError(
            f"{self.model} did not accept a batch in {_TRIES} attempts; "
            "give the same command again later"
        )

    def _submit_batch(self, bodies: Mapping[str, bytes]) -> str:
        talk = self.api.submit(bodies)
        reply: Json | None = None
        try:
            while True:
                request = next(talk) if reply is None else talk.send(reply)
                reply = self._json(self._send_until_answered(request, once=True))
        except StopIteration as end:
            return str(end.value)
        except (LookupError, TypeError, ValueError) as error:
            raise _UnknownOutcome(
                f"its reply cannot be read: {type(error).__name__} {error}"
            ) from error

    # -- collecting -------------------------------------------------------------------------------
    def _collect(self, wanted: _WantedReplies, under_way: dict[str, list[str]]) -> None:
        began = self.clock()
        pause = self.poll
        states = dict.fromkeys(under_way, "submitted")
        missing = dict.fromkeys(under_way, 0)
        while under_way:
            wait = 0.0
            for batch in list(under_way):
                try:
                    decision = self._state_of(batch, states)
                    if isinstance(decision, _EndedBatch):
                        self._read(batch, under_way[batch], decision, wanted)
                        self._end(batch, under_way.pop(batch), wanted)
                        del states[batch]
                    elif decision is not None:
                        wait = max(wait, decision.wait or 0.0)
                    missing[batch] = 0
                except _NoSuchBatch as gone:
                    missing[batch] += 1
                    if missing[batch] == _GONE:
                        self._forget(batch, under_way.pop(batch), str(gone), wanted)
                        del states[batch]
            seconds = self.clock() - began
            self.progress(
                BatchProgress(len(wanted.collected), len(wanted.bodies), dict(states), seconds)
            )
            if seconds > self.patience:
                for batch, keys in under_way.items():
                    hours = f"{seconds / 3600:.1f} h"
                    wanted.fail(
                        keys, f"{batch} is {states[batch]} after {hours}; a later run collects it"
                    )
                return
            if under_way:
                self.sleep(max(pause, wait))
                pause = min(1.5 * pause, max(_SLOWEST, self.poll))

    def _state_of(self, batch: str, states: dict[str, str]) -> _EndedBatch | FailureDecision | None:
        """Return the end of a batch, or why its state is unknown; None while it is under way."""
        response = self._send_once(self.api.status(batch))
        if isinstance(response, FailureDecision):
            return response
        try:
            ended, states[batch], where = self.api.read_status(self._json(response))
        except (LookupError, TypeError, ValueError):  # such as another server's page
            return None
        return _EndedBatch(states[batch], where) if ended else None

    def _read(
        self, batch: str, keys: Sequence[str], ended: _EndedBatch, wanted: _WantedReplies
    ) -> None:
        """Pass the results of a batch on. What is missing has failed, for the vendor's reason."""
        requests = self.api.results(ended.where) if ended.where else []
        bodies = [self._send_until_answered(request).body for request in requests]
        for key, status, reply in self._results(batch, bodies):
            if key in wanted.bodies and key not in wanted.collected:
                wanted.collected.add(key)
                wanted.failed.pop(key, None)
                if status != 200:
                    code, message = self.explain(status, reply)
                    wanted.failed[key] = redact(f"status {status} {code}: {message}", self.secrets)
                wanted.read(key, status, reply)
        wanted.fail(keys, redact(f"no result: {batch} is {ended.state}", self.secrets))

    def _results(self, batch: str, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        try:
            yield from self.api.read_results(bodies)
        except (LookupError, TypeError, ValueError) as error:
            # The batch stays open, so that what was paid for is read as soon as it can be.
            raise ModelError(
                f"the results of {batch} cannot be read ({type(error).__name__} {error}); "
                "they stay with the vendor"
            ) from error

    def _end(self, batch: str, keys: Sequence[str], wanted: _WantedReplies) -> None:
        """Forget a batch, unless it holds replies that another run wants and nobody has kept."""
        left = [key for key in keys if key not in wanted.bodies and self.store.recall(key) is None]
        if left:
            self.store.begin_batch(batch, self.model, left)
        else:
            self.store.end_batch(batch)

    def _forget(self, batch: str, keys: Sequence[str], reason: str, wanted: _WantedReplies) -> None:
        wanted.fail(keys, f"{batch} cannot be found: {reason}")
        self.store.end_batch(batch)
        self.say(
            f"{batch} cannot be found ({reason}) and is forgotten; "
            "was it submitted with another key? "
            f"Its {len(keys)} requests will be asked again"
        )

    # -- exchanges --------------------------------------------------------------------------------
    def _send_until_answered(self, request: HttpRequest, *, once: bool = False) -> HttpResponse:
        """Return a response of status 2xx, after several attempts; ModelError after too many.

        once: only repeat what was certainly not accepted. Raises _UnknownOutcome where that is not
        known.
        """
        pause = min(self.poll, 5.0)
        reason = ""
        for _ in range(_TRIES):
            response = self._send_once(request, once=once)
            if isinstance(response, HttpResponse):
                return response
            reason = response.reason
            self.sleep(max(pause, response.wait or 0.0))
            pause = min(2 * pause, _SLOWEST)
        raise ModelError(
            f"{reason}, {_TRIES} times; give the same command again later: it goes on from here"
        )

    def _send_once(
        self, request: HttpRequest, *, once: bool = False
    ) -> HttpResponse | FailureDecision:
        """Make one exchange: a response of status 2xx, or why another attempt makes sense.

        Raises ModelError if none does.
        """
        try:
            response = self.transport.send(request)
        except ExchangeFailed as broken:
            if once and broken.sent:
                raise _UnknownOutcome(broken.reason) from broken
            if broken.lasting:
                raise ModelError(broken.reason) from broken
            return FailureDecision(broken.reason, retry=True)
        if 200 <= response.status < 300:
            return response
        decision = judge_response(
            response,
            self.explain,
            self.now(),
            key_variable=self.key_variable,
            secrets=self.secrets,
        )
        if not decision.retry:
            if response.status in (404, 410) and request.method == "GET":
                raise _NoSuchBatch(decision.reason)
            raise ModelError(f"{self.model}: {decision.reason}")
        if once and response.status not in _NOT_ACCEPTED:
            raise _UnknownOutcome(decision.reason)
        return decision

    def _json(self, response: HttpResponse) -> Json:
        reply = json.loads(response.body)
        if not isinstance(reply, dict):
            raise TypeError("the reply is no JSON object")
        return reply


class _EndedBatch(NamedTuple):
    """A batch that has ended.

    state: the vendor's word for how. where: where its results are, if there are any.
    """

    state: str
    where: str | None
