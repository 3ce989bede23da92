"""Many exchanges, robustly: retries, limits, the budget, and an end to it all when going on makes no
sense.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias, final

from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.endpoint import faults
from bbtvp.endpoint.faults import FailureDecision
from bbtvp.endpoint.fleet import Fleet, ServerChoice
from bbtvp.endpoint.limiter import Permit, RateLimiter
from bbtvp.endpoint.provider import HttpRequest, Json
from bbtvp.endpoint.transport import ExchangeFailed, HttpResponse, Transport
from bbtvp.models import Budget

_log = logging.getLogger(__name__)

GRACE = 1.0
"""Seconds that exchanges under way may take to end after an interrupt: they are paid for."""
WASTED = 2
"""Retries after replies that hold no answer. Unlike an outage that seldom passes, and each of them
is paid for.
"""

Explain: TypeAlias = Callable[[int, Json], tuple[str, str]]
Read: TypeAlias = Callable[[int, Json], float]


class Unusable(Exception):
    """A reply of status 200 that holds no answer. usd: what it cost, None if it does not say: the
    most it can.
    """

    def __init__(self, reason: str, usd: float | None = None) -> None:
        super().__init__(reason)
        self.usd = usd


class Refused(Exception):
    """A reply of status 200 in which the model or a filter would not answer. usd: as of `Unusable`."""

    def __init__(self, reason: str, usd: float | None = None) -> None:
        super().__init__(reason)
        self.usd = usd


@final
@dataclass(frozen=True)
class Job:
    """A request to be made.

    wire: called for every attempt, since signatures expire. bound: the most that one attempt costs,
    in US dollars. tokens: of one attempt, an estimate for the limit per minute.
    """

    wire: Callable[[], HttpRequest]
    bound: float
    tokens: int


@final
@dataclass(frozen=True)
class Ended:
    """What became of a job. reason: None if answered. attempts: sent, this one's retries included;
    usd: of them all.
    """

    reason: str | None
    refused: bool
    attempts: int
    usd: float


@final
class _Streak(threading.local):
    """Per thread that asks, [how many of its requests failed in a row]: those of another job prove
    nothing.
    """

    def __init__(self) -> None:
        self.failed = [0]


@final
class Caller:
    """Runs jobs over a transport, as many at once as the limiter allows. Any number of threads may
    have it run some.

    fleet: the servers, if they are several. explain: code and message of an error reply.
    key_variable: the environment variable of the key. secrets: what no message may show. retries:
    attempts after the first. stop_after: requests that fail in a row, from call to call of one
    thread, until all is given up.
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
    ) -> None:
        self.transport = transport
        self.limiter = limiter
        self.retries = retries
        self.stop_after = stop_after
        self.explain = explain
        self.key_variable = key_variable
        self.fleet = fleet or Fleet()
        self._secrets = tuple(secrets)
        self._lock = threading.Lock()
        self.abandoned = False
        self._streak = _Streak()
        self._runs = set[_Run]()

    def run(self, jobs: Sequence[Job], budget: Budget, read: Read) -> list[Ended]:
        """Make each request; what became of each, in order.

        read: gets the index of a job and its JSON reply in a worker's thread, keeps what it says,
        and returns what it cost in US dollars; or raises Unusable (another attempt follows) or
        Refused. The budget is asked before every attempt; when it is empty, what was not begun ends
        unasked. Raises ModelError when no request can succeed or too many failed in a row, after
        the exchanges under way were read. An interrupt leaves within two seconds.
        """
        run = _Run(self, jobs, budget, read, self._streak.failed)
        with self._lock:
            self._runs.add(run)
        try:
            return run.all()
        finally:
            with self._lock:
                self._runs.remove(run)

    def abandon(self) -> None:
        """The process is about to exit: every run, now and later, ends as by an interrupt of the
        thread it is in.
        """
        with self._lock:
            self.abandoned = True
            runs = list(self._runs)
        for run in runs:
            run.stop("interrupted")

    def count(self, run: _Run, ended: Ended) -> None:
        """Note how a request ended; stop the run if too many failed in a row."""
        with self._lock:
            run.failed[0] = (
                run.failed[0] + 1 if ended.reason is not None and not ended.refused else 0
            )
            if run.failed[0] < self.stop_after:
                return
            run.failed[0] = 0
        why = f"{self.stop_after} requests failed in a row, the last with: {ended.reason}"
        run.stop(why, ModelError(why))

    def judge(self, answer: HttpResponse) -> FailureDecision:
        """The verdict on a reply without success, in words that may be shown."""
        body = faults.parse_json(answer.body)
        body = body[0] if isinstance(body, list) and body else body  # so streams of Gemini begin
        no_json = "", faults.summarise(answer.body)
        code, message = self.explain(answer.status, body) if isinstance(body, dict) else no_json
        verdict = faults.decide(
            answer.status,
            answer.headers,
            answer.body,
            time.time(),
            code=code,
            message=message,
            key_variable=self.key_variable,
        )
        return verdict._replace(reason=self.shown(verdict.reason))

    def shown(self, text: str) -> str:
        """The text without secrets, on one line."""
        return faults.redact(text, self._secrets)


@final
class _Run:
    """One call of `Caller.run`."""

    def __init__(
        self, caller: Caller, jobs: Sequence[Job], budget: Budget, read: Read, failed: list[int]
    ) -> None:
        self.caller = caller
        self.jobs = jobs
        self.budget = budget
        self.read = read
        self.failed = failed
        self.transport = caller.transport
        self.limiter = caller.limiter
        self.fleet = caller.fleet
        self.ended: list[Ended | None] = [None] * len(jobs)
        self.lock = threading.Lock()
        self.done = threading.Condition(self.lock)
        self.settling = threading.Condition(self.lock)
        self.begun = self.workers = self.seeking = self.in_flight = self.settled = self.reading = 0
        self.over: str | None = None
        """Why no attempt is begun any more."""
        self.error: BaseException | None = None
        self.unpaid: str | None = None
        """Why no job is begun any more."""
        self.left = threading.Event()
        """Nobody is there to take an answer."""

    def all(self) -> list[Ended]:
        finished = False
        try:
            with self.lock:
                if not self.caller.abandoned:
                    self._hire()
                while self.workers and not self.caller.abandoned:
                    self.done.wait(
                        0.5
                    )  # not for ever: on Windows an interrupt is seen between two waits only
                if self.caller.abandoned:
                    raise KeyboardInterrupt
            finished = True
        finally:
            if not finished:
                self._leave()
        if self.error is not None:
            raise self.error
        return [ended or Ended(self.unpaid, False, 0, 0.0) for ended in self.ended]

    def stop(self, why: str, error: BaseException | None = None) -> None:
        """Begin no attempt any more; what is under way ends as it would."""
        with self.lock:
            self.over = self.over or why
            self.error = self.error or error
            self.settling.notify_all()
            self.done.notify_all()
        self.limiter.wake()

    def _stopped(self) -> bool:
        return self.over is not None

    def _leave(self) -> None:
        """An interrupt: stop, keep what is answered in the next moment, and be gone."""
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
        if (
            not self.seeking
            and self.workers < self.limiter.most
            and (index := self._next()) is not None
        ):
            self.workers += 1
            threading.Thread(
                target=self._work, args=(index,), name="bbtvp-caller", daemon=True
            ).start()

    def _next(self) -> int | None:
        if self.begun == len(self.jobs) or self.over is not None or self.unpaid is not None:
            return None
        self.begun += 1
        return self.begun - 1

    def _work(self, first: int) -> None:
        with _Reporting(self):
            index: int | None = first
            while index is not None:
                self.ended[index] = ended = self._finish(index, self.jobs[index])
                if ended.reason is None or (self.over is None and self.unpaid is None):
                    self.caller.count(self, ended)
                with self.lock:
                    index = self._next()

    # -- one job -----------------------------------------------------------------------------------
    # Not tenacity: the permit, the budget, the deadline and an interruptible wait belong to every
    # turn of this loop, and would leave the library nothing but the word `while`.
    def _finish(self, index: int, job: Job) -> Ended:
        clock = self.limiter.clock
        most = self.transport.timeouts.total
        deadline = clock() + most
        attempts = 0
        wasted = 0
        usd = 0.0
        reason = ""
        turn: ServerChoice | None = None
        while True:
            permit = self._permit(job, deadline)
            if permit is None:
                late = f"the limits left no time for {'another' if attempts else 'an'} attempt within {most:g} s"
                why = self.over or self.unpaid or late
                return Ended(f"{reason}; {why}" if reason else why, False, attempts, usd)
            turn = self.fleet.choose(turn)
            verdict, cost = self._attempt(index, job, permit, deadline, turn)
            attempts = attempts + 1
            usd = usd + cost
            if verdict is None:
                return Ended(None, False, attempts, usd)
            wasted = wasted + verdict.wasted
            reason = verdict.reason
            elsewhere = verdict.elsewhere and attempts < len(self.fleet)
            pause = 0.0 if elsewhere else self.limiter.backoff(attempts, verdict.wait)
            enough = (
                attempts > self.caller.retries or wasted > WASTED or clock() + pause >= deadline
            )
            if not verdict.retry or enough:
                return Ended(reason, verdict.refused, attempts, usd)
            _log.info("attempt %d failed: %s; another in %.1f s", attempts, reason, pause)
            self.limiter.rest(pause, stopped=self._stopped)

    def _permit(self, job: Job, deadline: float) -> Permit | None:
        """Leave from the limiter for an attempt that the budget can pay. None if there is none to be
        had.
        """
        paid: Permit | None = None
        with self.lock:
            self.seeking += 1
        try:
            while permit := self.limiter.acquire(job.tokens, until=deadline, stopped=self._stopped):
                refusal = ""
                with self.lock:
                    self.in_flight = self.in_flight + 1
                    seen = self.settled
                try:
                    self.budget.reserve(job.bound)
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
        """Wait for an attempt to cost less than was set aside for it.

        False if none is under way any more: the budget is empty.
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
        self, index: int, job: Job, permit: Permit, deadline: float, turn: ServerChoice | None
    ) -> tuple[FailureDecision | None, float]:
        """The verdict, None for an answer, and the cost. What is not known to be free costs as much
        as it can.
        """
        cost = 0.0
        verdict = None
        seconds = None
        gone = False
        try:
            wire = self.fleet.at(turn, job.wire())
            cost = job.bound
            try:
                answer = self.transport.send(wire, remaining=deadline - self.limiter.clock())
            except ExchangeFailed as broken:
                cost, gone = (job.bound, False) if broken.sent else (0.0, True)
                reason = self.caller.shown(broken.reason)
                verdict = FailureDecision(reason, retry=not broken.lasting)
            except UsageError:
                cost = 0.0  # nothing could be sent
                raise
            else:
                self.limiter.learn(answer.headers)
                if 200 <= answer.status < 300:
                    seconds = answer.seconds
                    verdict, cost = self._read(index, answer, job.bound, turn)
                else:
                    verdict = self.caller.judge(answer)
                    cost = 0.0
            verdict = self.fleet.record(turn, verdict, gone=gone)
            if verdict and verdict.fatal:  # before the permit goes to another
                self.stop(verdict.reason, ModelError(verdict.reason))
        finally:
            self.fleet.release(turn)
            self.budget.settle(job.bound, cost)
            throttled, wait = (verdict.throttled, verdict.wait) if verdict else (False, None)
            self.limiter.release(permit, seconds, throttled=throttled, wait=wait)
            with self.lock:
                self.in_flight = self.in_flight - 1
                self.settled = self.settled + 1
                self.settling.notify_all()
        return verdict, cost

    def _read(
        self, index: int, answer: HttpResponse, bound: float, turn: ServerChoice | None
    ) -> tuple[FailureDecision | None, float]:
        reply = faults.parse_json(answer.body)
        if not isinstance(reply, dict):
            what = (
                f"a reply that is no JSON: {faults.summarise(answer.body)}"
                if answer.body
                else "an empty reply"
            )
            return FailureDecision(self.caller.shown(what), retry=True), bound
        if error := reply.get("error"):  # of status 200 all the same: gateways do this
            code = error.get("code") if isinstance(error, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            return self.caller.judge(answer._replace(status=status)), bound
        if stranger := self.fleet.recognise(turn, reply):
            return stranger, bound
        with self.lock:
            if self.left.is_set():
                return FailureDecision("interrupted"), bound
            self.reading += 1
        try:
            return None, self.read(index, reply)
        except Unusable as unusable:
            verdict = FailureDecision(self.caller.shown(str(unusable)), retry=True, wasted=True)
            return verdict, bound if unusable.usd is None else unusable.usd
        except Refused as refused:
            verdict = FailureDecision(self.caller.shown(str(refused)), refused=True)
            return verdict, bound if refused.usd is None else refused.usd
        finally:
            with self.lock:
                self.reading -= 1
                if self.left.is_set():
                    self.done.notify_all()


@final
class _Reporting:
    """Around the work of a thread: an exception stops the run, whose caller gets it."""

    def __init__(self, run: _Run) -> None:
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
