"""A small real model and task: patterns too faint to see, which a prompt can truly make visible.

No answer is canned: `Eye` computes every score from the pixels it is given.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.cli import main
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.core.rng import stream
from bbtvp.models import (
    Budget,
    Capabilities,
    LabelScore,
    Model,
    Outcome,
    Probe,
    QueryFailed,
    Reply,
    Request,
    Usage,
)
from bbtvp.tasks import Sample, Task

ROOT = Path(__file__).parents[1]
SIDE = 16
LABELS = ("rows", "columns", "checks", "diagonals")
QUESTION = "which pattern is this?"
SIZES = {"train": 48, "validation": 64, "test": 80}
FAINT = 0.02
"""Amplitude of a pattern, as a share of the range: five levels of 255."""

_Y, _X = np.mgrid[:SIDE, :SIDE] // 2
PATTERNS: NDArray[np.float64] = np.stack(
    [np.where(on % 2, 1.0, -1.0) for on in (_Y, _X, _X + _Y, (_X + _Y) // 2)]
)
"""(4, SIDE, SIDE), one for each label, -1 or 1."""


def pattern(label: str, amplitude: float, rng: np.random.Generator) -> Pixels:
    """An image of the pattern on a grey that differs from image to image, with a little noise."""
    grey = (
        rng.uniform(0.3, 0.7)
        + amplitude * PATTERNS[LABELS.index(label)]
        + rng.normal(0, 0.005, (SIDE, SIDE))
    )
    return np.repeat(np.rint(grey * 255).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def samples(split: str, amplitude: float = FAINT) -> tuple[Sample, ...]:
    rng = stream(0, "patterns", split)
    answers = [LABELS[i % len(LABELS)] for i in range(SIZES[split])]
    return tuple(
        Sample(f"{split}-{i}", answer, pattern(answer, amplitude, rng))
        for i, answer in enumerate(answers)
    )


def patterns(amplitude: float = FAINT, **parts: object) -> Task:
    """The task in memory; `parts` replace fields of it."""
    splits = {split: samples(split, amplitude) for split in SIZES}
    return Task(**{"name": "patterns", "question": QUESTION, "labels": LABELS, **splits, **parts})


def folder_of_patterns(root: Path, per_class: int = 30) -> Path:
    """The same task as image files, one folder per class."""
    for label in LABELS:
        rng = stream(0, "files", label)
        (root / label).mkdir(parents=True)
        for i in range(per_class):
            Image.fromarray(pattern(label, FAINT, rng)).save(root / label / f"{i}.png")
    return root


@final
class Eye(Model):
    """Matches the image with the four patterns, on top of a prejudice for one of them.

    A faint pattern loses to the prejudice, so a prompt that raises the contrast gains. As text it
    names what it sees, or says that it is not sure.
    """

    def __init__(
        self,
        spec: str = "eye/near",
        *,
        gain: float = 20.0,
        prejudice: str = "rows",
        logprobs: bool = True,
    ) -> None:
        self.spec = spec
        self.gain = gain
        self.prior = np.array([float(label == prejudice) for label in LABELS])
        self.capabilities = Capabilities(logprobs=logprobs, deterministic=True, image_side=SIDE)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self.look(request) for request in requests]

    def look(self, request: Request) -> Reply:
        seen = (
            np.asarray(Image.fromarray(request.image).resize((SIDE, SIDE)), np.float64).mean(axis=2)
            / 255
        )
        evidence = self.gain * (PATTERNS * seen).mean(axis=(1, 2)) + self.prior
        logprobs = evidence - np.log(np.exp(evidence).sum())
        if request.labels is None:
            sure = np.sort(logprobs)[-1] - np.sort(logprobs)[-2] > 0.3
            return Reply(
                f"it is {LABELS[int(logprobs.argmax())]}." if sure else "I am not sure",
                usage=Usage(9, 4),
            )
        scores = tuple(
            LabelScore(float(logprobs[LABELS.index(label)]), 1) for label in request.labels
        )
        return Reply(scores=scores, usage=Usage(9, len(scores)))


class Wrapper(Model):
    """A model around another that changes what it must."""

    def __init__(self, inner: Model | None = None) -> None:
        self.inner = inner or Eye()
        self.spec = self.inner.spec
        self.capabilities = self.inner.capabilities

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return self.inner.query(requests, budget)


@final
class Vendor(Model):
    """Sells another model's answers: `usd` an attempt, of which a share fails and is made again, up
    to four times.
    """

    is_endpoint = True

    def __init__(
        self,
        inner: Model | None = None,
        *,
        usd: float = 0.001,
        flaky: float = 0.0,
        priced: bool = True,
        refuses: Callable[[Request], bool] | None = None,
    ) -> None:
        self.inner = inner or Eye()
        self.usd = usd
        self.flaky = flaky
        self.priced = priced
        self.refuses = refuses
        self.spec = f"vendor/{self.inner.spec}"
        self.sold = 0
        self.probes = 0
        self.capabilities = Capabilities(logprobs=False, deterministic=True)
        self.rng = stream(0, "vendor")

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        budget = Budget() if budget is None else budget
        return [self._sell(request, budget) for request in requests]

    def _sell(self, request: Request, budget: Budget) -> Outcome:
        for attempts in range(1, 5):
            try:
                budget.reserve(self.usd)
            except BudgetReached as error:
                return QueryFailed(
                    str(error), Usage(attempts=attempts - 1, usd=(attempts - 1) * self.usd)
                )
            self.sold += 1
            budget.settle(self.usd, self.usd)
            usage = Usage(9, 4, attempts, attempts * self.usd)
            if self.refuses and self.refuses(request):
                return QueryFailed("will not say", usage, refused=True)
            if self.rng.random() >= self.flaky:
                (outcome,) = self.inner.query([request])
                return replace(outcome, usage=usage)
        return QueryFailed("failed four times", usage)

    def max_cost(self, request: Request) -> float:
        return self.usd

    def need_price(self) -> None:
        if not self.priced:
            raise UsageError(f"the price of {self.spec} is not known")

    def probe(self, budget: Budget) -> Probe:
        for _ in range(2):
            budget.reserve(self.usd)
            budget.settle(self.usd, self.usd)
        self.sold += 2
        self.probes += 1
        self.capabilities = self.inner.capabilities
        return Probe(self.capabilities, ("log-probabilities: honoured",), 2, 2 * self.usd)


@final
class Recorder(Wrapper):
    """Keeps the calls it got, each a list of requests."""

    def __init__(self, inner: Model | None = None) -> None:
        super().__init__(inner)
        self.calls: list[list[Request]] = []

    @property
    def asked(self) -> list[Request]:
        return [request for call in self.calls for request in call]

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.calls.append(list(requests))
        return super().query(requests, budget)


@final
class Flaky(Wrapper):
    """Fails a share of the queries, drawn at random, or those that `refuses` says; each costs
    `attempts`.
    """

    def __init__(
        self,
        inner: Model | None = None,
        *,
        share: float = 0.2,
        seed: int = 0,
        attempts: int = 1,
        refuses: Callable[[Request], bool] | None = None,
    ) -> None:
        super().__init__(inner)
        self.share = share
        self.attempts = attempts
        self.refuses = refuses
        self.rng = stream(seed, "flaky")

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        replies = zip(requests, super().query(requests, budget), strict=True)
        return [self._spoilt(request, outcome) for request, outcome in replies]

    def _spoilt(self, request: Request, outcome: Outcome) -> Outcome:
        fails = self.rng.random() < self.share if self.refuses is None else self.refuses(request)
        usage = Usage(attempts=self.attempts)
        if fails or isinstance(outcome, QueryFailed):
            return QueryFailed("HTTP 503", usage)
        return Reply(outcome.text, outcome.scores, usage)


@final
class Mortal(Wrapper):
    """Logs the keys of each call it answers, and kills its own process in a chosen call.

    log: one line per call: the process, then the keys. fatal: the number of the call that is the
    last, from 1. late: die after the call is answered and logged, before the reply reaches anyone.
    """

    def __init__(
        self, log: Path, *, fatal: int | None = None, late: bool = False, delay: float = 0.0
    ) -> None:
        super().__init__(Eye())
        self.log = log
        self.fatal = fatal
        self.late = late
        self.delay = delay
        self.calls = 0

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.calls += 1
        time.sleep(self.delay)
        if self.calls == self.fatal and not self.late:
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = super().query(requests, budget)
        with self.log.open("a") as file:
            file.write(" ".join([str(os.getpid()), *(request.key for request in requests)]) + "\n")
        if self.calls == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes


@final
class Broken(Wrapper):
    """Raises what no adapter should."""

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        raise RuntimeError("device-side assert triggered\nand more lines")


def eye(name: str, *, delay: float = 0.0) -> Model:
    """The plug-in behind `eye/<name>`: near and far see; down never answers, and broken has a bug.

    slow logs to the file that EYE_LOG names.
    """
    if name == "broken":
        return Broken()
    if name == "slow":
        return Mortal(Path(os.environ["EYE_LOG"]), delay=delay or 0.05)
    if name == "down":
        return Flaky(share=1.0)
    return Eye(f"eye/{name}", prejudice="rows" if name == "near" else "columns")


def install_plugin(site: Path) -> Path:
    """A folder that, on sys.path, registers `eye/…` as any third party's package would."""
    info = site / "eye-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: eye\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bbtvp.models]\neye = tests.support:eye\n")
    return site


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


def bbtvp(*arguments: object) -> Ran:
    """Run the command line in this process, from `main` to its exit code."""
    out = io.StringIO()
    err = io.StringIO()
    code = 0
    argv = sys.argv
    handler = signal.getsignal(signal.SIGTERM)
    sys.argv = ["bbtvp", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, handler)
    return Ran(code, out.getvalue(), err.getvalue())
