"""Many exchanges at once, with retries, limits and a budget.

The caller gives up where going on makes no sense: with a wrong key, or after many failures in a
row.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import final

from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.endpoint import faults
from bbtvp.endpoint.faults import Explain, FailureDecision
from bbtvp.endpoint.fleet import Fleet, ServerChoice
from bbtvp.endpoint.limiter import Permit, RateLimiter
from bbtvp.endpoint.patience import Patience
from bbtvp.endpoint.pending import PendingRequest, RefusedReply, UnusableReply
from bbtvp.endpoint.provider import HttpRequest
from bbtvp.endpoint.transport import ExchangeFailed, HttpResponse, Transport
from bbtvp.endpoint.waits import parse_json
from bbtvp.models import Budget

_log = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds that exchanges under way may take after an interrupt, since they are paid for."""
DOUBTED = 3
"""Requests in a row that must meet a status that may be due to one of them, to end a run.

A filter whose words are not known would otherwise end every run at the same image.
"""
WASTED = 2
"""Retries after replies that hold no answer.

Such replies are paid for and, unlike an outage, they seldom stop by themselves.
"""


class UnreachedWarning(UserWarning):
    """No connection could be made so far."""


@final
class _FailureStreak(threading.local):
    """How many requests failed in a row, counted by calling thread: another job's prove nothing."""

    def __init__(self) -> None:
        self.failed = [0]


@final
class Caller:
    """Makes requests over a transport, as many at once as the limiter allows.

    Any number of threads may call `run`. fleet: the servers, if there are several. explain: gives
    the code and message of an error reply. key_variable: the environment variable of the key.
    secrets: what no message may show. retries: attempts after the first. stop_after: requests that
    fail in a row, across the calls of one thread, before the caller gives up. patience: how long an
    attempt gets; by default at most what the transport gives it.
    """

    def __init__(
        self,
        transport: Transport,
        limiter: RateLimiter,
        *,
        explain: Explain,
        key_variable: str,
        secrets: Sequence[str],
        retries: int = 8,
        stop_after: int = 20,
        fleet: Fleet | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.transport = transport
        self.patience = patience or Patience(transport.timeouts.attempt)
        self.limiter = limiter
        self.retries = retries
        self.stop_after = stop_after
        self.explain = explain
        self.key_variable = key_variable
        self.fleet = fleet or Fleet()
        self._secrets = tuple(secrets)
        self._lock = threading.Lock()
        self.abandoned = False
        self._streak = _FailureStreak()
        self._doubts = 0
        self._reached = False
        self._runs = set[_CallerRun]()

    def run(self, requests: Sequence[PendingRequest], budget: Budget) -> None:
        """Make every request and note its outcome in it.

        The budget is asked before every attempt. Once it is empty, requests that were not begun end
        unasked. Raises ModelError when no request can succeed or too many failed in a row, after
        the exchanges under way were read. An interrupt takes effect within two seconds.
        """
        run = _CallerRun(self, requests, budget, self._streak.failed)
        with self._lock:
            self._runs.add(run)
        try:
            run.complete()
        finally:
            with self._lock:
                self._runs.remove(run)

    def abandon(self) -> None:
        """End every run, now and later, as an interrupt of its thread would."""
        with self._lock:
            self.abandoned = True
            runs = list(self._runs)
        for run in runs:
            run.stop("interrupted")

    def count(self, run: _CallerRun, request: PendingRequest) -> None:
        """Note how a request ended, and stop the run if too many failed in a row."""
        failed = request.failure is not None and not request.refused
        with self._lock:
            run.failed[0] = run.failed[0] + 1 if failed else 0
            if run.failed[0] < self.stop_after:
                return
            run.failed[0] = 0
        why = f"{self.stop_after} requests failed in a row, the last with: {request.failure}"
        run.stop(why, ModelError(why))

    def decide(self, answer: HttpResponse) -> FailureDecision:
        """Decide about a response without success, in words that may be shown."""
        return faults.judge_response(
            answer,
            self.explain,
            time.time(),
            key_variable=self.key_variable,
            secrets=self._secrets,
        )

    def settle_doubt(self, decision: FailureDecision | None) -> FailureDecision | None:
        """Return the decision that is left of one that may be due to its request alone.

        It is fatal once `DOUBTED` replies in a row were so: anything but that proves that requests
        can succeed.
        """
        doubtful = decision is not None and decision.fatal and decision.doubtful
        with self._lock:
            self._doubts = self._doubts + 1 if doubtful else 0
            enough = self._doubts >= DOUBTED
        if decision is None or not doubtful or enough:
            return decision
        return decision._replace(fatal=False)

    def reached(self) -> None:
        """Note that there is a server at the address."""
        self._reached = True

    def missed(self, reason: str) -> None:
        """Warn, once, that no server has been reached yet: a wrong address looks like an outage."""
        with self._lock:
            silent = self._reached or not self.retries
            self._reached = True
        if not silent:
            warnings.warn(f"{reason}; trying again", UnreachedWarning, stacklevel=2)

    def shown(self, text: str) -> str:
        """Return the text without secrets, on one line."""
        return faults.redact(text, self._secrets)


@final
class _CallerRun:
    """One call of `Caller.run`."""

    def __init__(
        self,
        caller: Caller,
        requests: Sequence[PendingRequest],
        budget: Budget,
        failed: list[int],
    ) -> None:
        self.caller = caller
        self.requests = requests
        self.budget = budget
        self.failed = failed
        self.transport = caller.transport
        self.limiter = caller.limiter
        self.fleet = caller.fleet
        self.lock = threading.Lock()
        self.done = threading.Condition(self.lock)
        self.settling = threading.Condition(self.lock)
        self.begun = 0
        self.workers = 0
        self.seeking = 0
        self.in_flight = 0
        self.settled = 0
        self.reading = 0
        self.over: str | None = None
        """Why no attempt is begun any more."""
        self.error: BaseException | None = None
        self.unpaid: str | None = None
        """Why no further request is begun."""
        self.left = threading.Event()
        """Set once nobody waits for answers any more."""

    def complete(self) -> None:
        """Make all requests. Raises what `Caller.run` raises."""
        finished = False
        try:
            with self.lock:
                if not self.caller.abandoned:
                    self._hire()
                while self.workers and not self.caller.abandoned:
                    self.done.wait(0.5)  # Windows sees an interrupt between two waits only
                if self.caller.abandoned:
                    raise KeyboardInterrupt
            finished = True
        finally:
            if not finished:
                self._leave()
        if self.error is not None:
            raise self.error
        for request in self.requests[self.begun :]:
            request.failure = self.unpaid

    def stop(self, why: str, error: BaseException | None = None) -> None:
        """Begin no further attempt. Exchanges under way end as they would."""
        with self.lock:
            self.over = self.over or why
            self.error = self.error or error
            self.settling.notify_all()
            self.done.notify_all()
        self.limiter.wake()

    def _stopped(self) -> bool:
        return self.over is not None

    def _leave(self) -> None:
        """After an interrupt: stop, and keep what is answered in the next moment."""
        self.stop("interrupted")
        end = time.monotonic() + GRACE
        with self.lock:
            while self.workers and (rest := end - time.monotonic()) > 0:
                self.done.wait(rest)
            self.left.set()
            self.done.wait_for(lambda: self.reading == 0, GRACE / 2)

    # -- workers -----------------------------------------------------------------------------------
    # Daemon threads of our own: those of an executor are joined when the interpreter exits, behind
    # requests that last two minutes. One seeks leave from the limiter, and when it has it hires the
    # next: no more threads than are of use.
    def _hire(self) -> None:
        if self.seeking or self.workers >= self.limiter.most:
            return
        request = self._next()
        if request is not None:
            self.workers += 1
            threading.Thread(
                target=self._work, args=(request,), name="bbtvp-caller", daemon=True
            ).start()

    def _next(self) -> PendingRequest | None:
        if self.begun == len(self.requests) or self.over is not None or self.unpaid is not None:
            return None
        self.begun += 1
        return self.requests[self.begun - 1]

    def _work(self, first: PendingRequest) -> None:
        with _WorkerExit(self):
            request: PendingRequest | None = first
            while request is not None:
                self._finish(request)
                if request.failure is None or (self.over is None and self.unpaid is None):
                    self.caller.count(self, request)
                with self.lock:
                    request = self._next()

    # -- one request ------------------------------------------------------------------------------
    # Not tenacity: the permit, the budget, the deadline and an interruptible wait belong to every
    # turn of this loop, and would leave the library nothing but the word `while`.
    def _finish(self, request: PendingRequest) -> None:
        clock = self.limiter.clock
        most = self.transport.timeouts.total
        deadline = clock() + most
        wasted = 0
        reason = ""
        choice: ServerChoice | None = None
        while True:
            permit = self._permit(request, deadline)
            if permit is None:
                which = "another" if request.attempts else "an"
                late = f"the limits left no time for {which} attempt within {most:g} s"
                why = self.over or self.unpaid or late
                request.fail(f"{reason}; {why}" if reason else why)
                return
            choice = self.fleet.choose(choice)
            decision = self._attempt(request, permit, deadline, choice)
            if decision is None:
                return
            wasted += decision.wasted
            reason = decision.reason
            elsewhere = decision.elsewhere and request.attempts < len(self.fleet)
            pause = 0.0
            if not elsewhere:
                pause = self.limiter.backoff(request.attempts, decision.wait)
            enough = request.attempts > self.caller.retries or wasted > WASTED
            if not decision.retry or enough or clock() + pause >= deadline:
                request.fail(reason, refused=decision.refused)
                return
            _log.info("attempt %d failed: %s; another in %.1f s", request.attempts, reason, pause)
            self.limiter.rest(pause, stopped=self._stopped)

    def _permit(self, request: PendingRequest, deadline: float) -> Permit | None:
        """Return a permit for an attempt that the budget can pay, None if there is none."""
        paid: Permit | None = None
        with self.lock:
            self.seeking += 1
        try:
            while permit := self.limiter.acquire(
                request.tokens, until=deadline, stopped=self._stopped
            ):
                refusal = ""
                with self.lock:
                    self.in_flight = self.in_flight + 1
                    seen = self.settled
                try:
                    self.budget.reserve(request.max_usd)
                    paid = permit
                except BudgetReached as reached:
                    refusal = str(reached)
                finally:
                    if paid is None:
                        self.limiter.cancel(permit)
                        with self.lock:
                            self.in_flight -= 1
                if paid or not self._money_returned(seen, refusal):
                    break
            return paid
        finally:
            with self.lock:
                self.seeking -= 1
                self._hire()

    def _money_returned(self, seen: int, reached: str) -> bool:
        """Wait until an attempt costs less than was reserved for it.

        False if no attempt is under way any more: the budget is empty.
        """
        with self.lock:
            while (
                self.settled == seen
                and self.in_flight
                and self.over is None
                and self.unpaid is None
            ):
                self.settling.wait()
            if self.settled != seen and self.over is None:
                return True
            self.unpaid = self.unpaid or reached
            self.settling.notify_all()
            return False

    def _attempt(
        self,
        request: PendingRequest,
        permit: Permit,
        deadline: float,
        choice: ServerChoice | None,
    ) -> FailureDecision | None:
        """Make one attempt, and return what to do about its failure, None for an answer.

        An attempt that is not known to be free counts at its highest cost.
        """
        cost = 0.0
        decision = None
        seconds = None
        gone = False
        try:
            sent = self.fleet.at(choice, request.http_request())
            cost = request.max_usd
            try:
                response = self._sent(sent, request.attempts, deadline)
            except ExchangeFailed as failed:
                gone = not failed.sent
                cost = request.max_usd if failed.sent else 0.0
                reason = self.caller.shown(failed.reason)
                decision = FailureDecision(reason, retry=not failed.lasting)
                if gone and not failed.lasting:
                    self.caller.missed(reason)
            except UsageError:
                cost = 0.0  # nothing could be sent
                raise
            else:
                self.caller.reached()
                self.limiter.learn(response.headers)
                if 200 <= response.status < 300:
                    seconds = response.seconds
                    decision, cost = self._read(request, response, choice)
                else:
                    decision = self.caller.decide(response)
                    cost = 0.0
            decision = self.caller.settle_doubt(self.fleet.record(choice, decision, gone=gone))
            if decision and decision.fatal:  # before the permit goes to another request
                self.stop(decision.reason, ModelError(decision.reason))
        finally:
            self.fleet.release(choice)
            self.budget.settle(request.max_usd, cost)
            throttled = decision is not None and decision.throttled
            wait = decision.wait if decision else None
            self.limiter.release(permit, seconds, throttled=throttled, wait=wait)
            with self.lock:
                self.in_flight -= 1
                self.settled += 1
                self.settling.notify_all()
        request.attempts += 1
        request.usd += cost
        return decision

    def _sent(self, request: HttpRequest, attempts: int, deadline: float) -> HttpResponse:
        """Make an exchange, for as long as the caller has patience. Raises ExchangeFailed."""
        patience = self.caller.patience
        clock = self.limiter.clock
        began = clock()
        seconds = patience.seconds(attempts)
        try:
            response = self.transport.send(request, remaining=min(seconds, deadline - began))
        except ExchangeFailed:
            if clock() - began >= seconds:  # it may be the model that became slower
                patience.note(seconds)
            raise
        if 200 <= response.status < 300:
            patience.note(response.seconds)
        return response

    def _read(
        self, request: PendingRequest, response: HttpResponse, choice: ServerChoice | None
    ) -> tuple[FailureDecision | None, float]:
        """Read a response of status 2xx: what to do about a failure, and the cost."""
        most = request.max_usd
        reply = parse_json(response.body)
        if not isinstance(reply, dict):
            what = "an empty reply"
            if response.body:
                what = f"a reply that is not JSON: {faults.summarise(response.body)}"
            return FailureDecision(self.caller.shown(what), retry=True), most
        if error := faults.reported_error(reply):  # some gateways report errors with status 200
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            body = json.dumps({"error": error}).encode()
            return self.caller.decide(response._replace(status=status, body=body)), most
        if stranger := self.fleet.recognise(choice, reply):
            return stranger, most
        with self.lock:
            if self.left.is_set():
                return FailureDecision("interrupted"), most
            self.reading += 1
        try:
            return None, request.read(reply)
        except UnusableReply as unusable:
            refused = isinstance(unusable, RefusedReply)
            reason = self.caller.shown(str(unusable))
            decision = FailureDecision(
                reason, retry=not refused, refused=refused, wasted=not refused
            )
            return decision, most if unusable.usd is None else unusable.usd
        finally:
            with self.lock:
                self.reading -= 1
                if self.left.is_set():
                    self.done.notify_all()


@final
class _WorkerExit:
    """Wraps the work of a thread: an exception stops the run, and the caller of the run gets it."""

    def __init__(self, run: _CallerRun) -> None:
        self.run = run

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            self.run.stop("an error", error)
        with self.run.lock:
            self.run.workers -= 1
            if not self.run.workers:
                self.run.done.notify_all()
        return True
