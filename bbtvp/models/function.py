"""A Python function as a model.

>>> import numpy as np
>>> from bbtvp.models.function import FunctionModel
>>> from bbtvp.models import Request
>>> def colour(image, question):
...     pixels = np.asarray(image)
...     return "red" if pixels[..., 0].mean() > pixels[..., 2].mean() else "blue"
>>> model = FunctionModel(colour)
>>> model.query([Request(np.full((8, 8, 3), (200, 0, 0), np.uint8), "which colour?")])[0].text
'red'
>>> model.spec
'python/colour'
"""

from __future__ import annotations

import inspect
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, final

from PIL import Image

from bbtvp.core.errors import BudgetReached, ModelError, UsageError
from bbtvp.core.shown import Shown
from bbtvp.models.budget import Budget
from bbtvp.models.calls import Call, FunctionCalls, FunctionFailed, FunctionHung
from bbtvp.models.exchange import LabelScore, Outcome, QueryFailed, Reply, Request, Usage
from bbtvp.models.port import ANY_NUMBER, Capabilities, Model
from bbtvp.models.source import function_name, source_digest

TIMEOUT = 120.0
"""Seconds that one call may take by default."""

BATCH = 16
"""Images in a call of a function that takes lists and says nothing of their length."""

LEAST_PROBABILITY = 1e-30
"""What a probability of 0 counts as: one of a label cannot be infinitely bad."""

_TRIES = 4
"""Calls without a single answer after which there is no use in further ones."""

_HANGS = 3
"""Calls in a row that hang after which there is no use in further ones."""

_NAMED = ("labels", "shown")
"""Parameters that a function may have besides."""

_LISTS = re.compile(r"\b(list|List|Sequence|tuple|Tuple)\b")


@final
class FunctionModel(Model):
    """A function of an image and a question as a model.

    function: one of
      - `function(image, question) -> str`, the reply in words; `function(image)` will do;
      - `function(images, questions) -> list of str`, for lists of equal length: one whose first
        parameter is called `images` or annotated as a list, or any with `batch`;
      - an `async def` of either kind.
    An image is a PIL image in mode RGB; `np.asarray(image)` gives (H, W, 3) uint8. A parameter
    called `labels` is given the answers allowed, a tuple, or None where answers are free (in a
    batch, a list of these). One called `shown` is given the images that come before the question's
    own, a list of (PIL image, text); without it the model takes one image in a request.

    name: the model is called `python/NAME`, or NAME where it holds a slash; by default the
    function's own name. version: what tells the model from others of its name, such as that of its
    weights, which its replies report; by default a digest of the function's source, which they do
    not: what the function calls may change. reports: what they report instead. batch: at most so
    many images in a call. logprobs: the function returns a dict from label to probability, 0 to 1,
    or to log-probability, at most 0. usd: US dollars that one image query costs. concurrency: calls
    at once; above 1 the function must be safe to use from several threads. deterministic: equal
    images and questions get equal replies. timeout: seconds that a call may take; None for no
    limit, and then one call at a time is made in the thread that asks.

    A call that raises, hangs or returns something else is a failed query, with a line that says
    why. The identity is the name and the version: a run goes on only with the function that it was
    begun with. Raises UsageError for what cannot be called so.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        version: str = "",
        reports: str | None = None,
        batch: int | None = None,
        logprobs: bool = False,
        usd: float = 0.0,
        concurrency: int = 1,
        deterministic: bool = False,
        timeout: float | None = TIMEOUT,
    ) -> None:
        self._name = name or re.sub(r"[^\w.-]+", "-", function_name(function))
        self._parameters = _parameters(function, self._name)
        self.function = function
        self.spec = self._name if "/" in self._name else f"python/{self._name}"
        self._batch = BATCH if batch is None and _takes_lists(function) else batch
        _check("batch", 1 if self._batch is None else self._batch, least=1)
        _check("concurrency", concurrency, least=1)
        _check("usd", usd, least=0.0)
        _check("timeout", TIMEOUT if timeout is None else timeout, least=1e-3)
        self._logprobs = logprobs
        self._usd = float(usd)
        self.is_endpoint = self._usd > 0
        self.requests_per_call = max(32, (self._batch or 1) * concurrency)
        self.capabilities = Capabilities(
            logprobs=logprobs,
            deterministic=deterministic,
            forced=logprobs,
            images=ANY_NUMBER if "shown" in self._parameters.named else 1,
        )
        self._version = version if reports is None else reports
        self._identity = f"{self.spec} {version or source_digest(function)}"
        self._calls = FunctionCalls(
            self._name, concurrency=concurrency, timeout=timeout, is_async=_is_async(function)
        )
        self._lock = threading.Lock()
        self._answered = False
        self._hangs = 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function itself."""
        return self.function(*arguments, **options)

    @property
    def identity(self) -> str:
        return self._identity

    def max_cost(self, request: Request) -> float:
        return self._usd

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer all requests, from any thread, one such call at a time.

        Raises ModelError if the first four calls give no answer, or if three calls hang in a row.
        """
        with self._lock:
            return self._query(requests, budget)

    def _query(self, requests: Sequence[Request], budget: Budget | None) -> list[Outcome]:
        not_sent = QueryFailed("the budget allowed no further call", Usage(attempts=0))
        outcomes: list[Outcome] = [not_sent] * len(requests)
        batches: list[list[int]] = []

        def calls() -> Iterator[Call]:
            for batch in self._paid_batches(len(requests), budget):
                batches.append(batch)
                yield self._call([requests[i] for i in batch])

        failed = 0
        for number, found in self._calls.run(calls()):
            batch = batches[number]
            asked = [requests[i] for i in batch]
            answers = self._outcomes(found, asked)
            for i, outcome in zip(batch, answers, strict=True):
                outcomes[i] = outcome
            self._hangs = self._hangs + 1 if isinstance(found, FunctionHung) else 0
            failures = [answer for answer in answers if isinstance(answer, QueryFailed)]
            self._answered |= len(failures) < len(answers)
            failed += len(failures) == len(answers)
            self._check_use(failed, failures)
        return outcomes

    def _check_use(self, failed: int, failures: Sequence[QueryFailed]) -> None:
        """Raise ModelError where further calls are of no use."""
        if self._hangs >= _HANGS:
            raise ModelError(
                f"{self.spec}: {failures[-1].reason}, {_HANGS} times in a row; "
                "give FunctionModel a longer timeout, or mend the function"
            )
        if failed >= _TRIES and not self._answered:
            raise ModelError(
                f"{self.spec} gave no answer in its first {failed} calls: {failures[-1].reason}"
            )

    def _paid_batches(self, count: int, budget: Budget | None) -> Iterator[list[int]]:
        """The places of the requests of each call, as far as the budget allows them."""
        size = self._batch or 1
        for start in range(0, count, size):
            batch = list(range(start, min(count, start + size)))
            allowed = batch if budget is None or not self.is_endpoint else []
            if not allowed and budget is not None:
                with suppress(BudgetReached):  # the budget remembers it, and ends the search
                    for place in batch:
                        budget.reserve(self._usd)
                        allowed.append(place)
            if allowed:
                yield allowed
            if len(allowed) < len(batch):
                return

    def _call(self, requests: Sequence[Request]) -> Call:
        """The function with the arguments of these requests."""

        def call() -> Any:
            columns: dict[str, list[Any]] = {
                "image": [Image.fromarray(request.image) for request in requests],
                "question": [request.text for request in requests],
                "labels": [request.labels for request in requests],
                "shown": [_pictures(request.context) for request in requests],
            }
            given = columns if self._batch else {key: row[0] for key, row in columns.items()}
            rest = {name: given[name] for name in self._parameters.named}
            both = [given["image"], given["question"]]
            found = self.function(*both[: self._parameters.positional], **rest)
            return _listed(found) if self._batch else found

        return call

    def _outcomes(self, found: Any, requests: Sequence[Request]) -> list[Outcome]:
        """One outcome for each request of a call."""
        if isinstance(found, FunctionFailed):
            return [self._failed(str(found))] * len(requests)
        if self._batch is None:
            return [self._outcome(found, requests[0])]
        if not isinstance(found, list):
            wanted = "dicts" if self._logprobs else "texts"
            reason = f"{self._name} returned {_described(found)} where a list of {wanted}"
            return [self._failed(f"{reason} was expected")] * len(requests)
        if len(found) != len(requests):
            reason = f"{self._name} returned a list of {len(found)} for {len(requests)} images"
            return [self._failed(f"{reason}; return one text for each, in order")] * len(requests)
        return [self._outcome(*pair) for pair in zip(found, requests, strict=True)]

    def _outcome(self, found: Any, request: Request) -> Outcome:
        if self._logprobs:
            return self._scored(found, request)
        if not isinstance(found, str):
            return self._failed(
                f"{self._name} returned {_described(found)} where text was expected; "
                f"{_advice(found)}"
            )
        text = str(found)
        try:
            text.encode()
        except UnicodeEncodeError:
            return self._failed(f"{self._name} returned a text that is not Unicode; decode it")
        return self._reply(text)

    def _scored(self, found: Any, request: Request) -> Outcome:
        """Log-probabilities of the labels; without labels, or forced, the likeliest as text."""
        if not isinstance(found, Mapping) or not found:
            return self._failed(
                f"{self._name} returned {_described(found)} where a dict from label to "
                "log-probability was expected"
            )
        try:
            logprobs = _logprobs(found, request.labels or tuple(found))
        except ValueError as error:
            return self._failed(f"{self._name}: {error}")
        if request.labels is None or request.forced:
            return self._reply(str(max(logprobs, key=lambda label: logprobs[label])))
        scores = tuple(LabelScore(logprobs[label], 1) for label in request.labels)
        return self._reply(scores=scores)

    def _reply(
        self, text: str | None = None, scores: tuple[LabelScore, ...] | None = None
    ) -> Reply:
        return Reply(text, scores, self._usage, version=self._version)

    @property
    def _usage(self) -> Usage:
        return Usage(usd=self._usd)

    def _failed(self, reason: str) -> QueryFailed:
        return QueryFailed(reason, self._usage)


def model(
    function: Callable[..., Any] | None = None, /, **options: Any
) -> FunctionModel | Callable[[Callable[..., Any]], FunctionModel]:
    """A decorator that makes a function a `FunctionModel`, with its options.

    >>> @model(usd=0.001, concurrency=4)
    ... def own(image, question):
    ...     return "red"
    >>> own.spec, own(None, "which colour?")
    ('python/own', 'red')
    """
    if function is not None:
        return FunctionModel(function, **options)
    return lambda decorated: FunctionModel(decorated, **options)


def _check(option: str, value: Any, *, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise UsageError(f"{option} is {value!r}; give a number of at least {least:g}")
    if isinstance(least, int) and not isinstance(value, int):
        raise UsageError(f"{option} is {value!r}; give a whole number")


class _Parameters(NamedTuple):
    """How a function is called: with image and question (2) or the image alone (1), and by name.

    named: those of `_NAMED` that it has.
    """

    positional: int
    named: tuple[str, ...]


def _parameters(function: Any, name: str) -> _Parameters:
    """How the function can be called. UsageError for anything else."""
    if isinstance(function, type):
        raise UsageError(f"{name} is a class; give an instance of it, {name}(…)")
    if not callable(function):
        raise UsageError(f"a model of type {type(function).__name__}; give a function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # not written in Python
        return _Parameters(2, ())
    named = tuple(name for name in _NAMED if name in signature.parameters)
    for count in (2, 1):
        with suppress(TypeError):
            signature.bind(*[None] * count, **dict.fromkeys(named))
            return _Parameters(count, named)
    raise UsageError(
        f"the function {name}{signature} cannot be called as {name}(image, question); "
        "give it these two parameters, and defaults for any other"
    )


def _pictures(context: Iterable[Shown]) -> list[tuple[Image.Image, str]]:
    return [(Image.fromarray(shown.image), shown.text) for shown in context]


def _takes_lists(function: Any) -> bool:
    """Whether the first parameter says that it is a list of images."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()))
    except (TypeError, ValueError, StopIteration):
        return False
    kind = first.annotation
    words = kind if isinstance(kind, str) else str(kind)
    named = first.annotation is not inspect.Parameter.empty and _LISTS.search(words)
    return first.name == "images" or bool(named)


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def _listed(found: Any) -> Any:
    """A list of what a batch returned; anything that is no series of answers stays as it is."""
    if inspect.isawaitable(found):
        return _listed_later(found)
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return found
    return list(found)


async def _listed_later(found: Any) -> Any:
    return _listed(await found)


def _described(found: Any) -> str:
    """What was returned, in a few words."""
    if found is None:
        return "None"
    kind = type(found).__name__
    shown = repr(found) if isinstance(found, int | float | bytes) else ""
    return f"{kind} ({shown[:40]})" if shown else kind


def _advice(found: Any) -> str:
    if isinstance(found, Mapping):
        return "for log-probabilities of labels use FunctionModel(function, logprobs=True)"
    if isinstance(found, list | tuple):
        return "for lists of images use FunctionModel(function, batch=16)"
    if isinstance(found, bytes):
        return "decode it and return a str"
    return "return a str"


def _logprobs(found: Mapping[Any, Any], labels: Sequence[str]) -> dict[str, float]:
    """Nats for each label; ValueError says what is wrong with the dict."""
    missing = [label for label in labels if label not in found]
    if missing:
        had = ", ".join(repr(label) for label in list(found)[:4])
        raise ValueError(f"no log-probability for the label {missing[0]!r} (it gave {had})")
    try:
        values = {key: float(value) for key, value in found.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"a log-probability is no number ({error}); give floats") from error
    # All values are looked at, not only those of the labels: probabilities of many words may be 0
    # for every label that is asked for, and a log-probability of 0 would mean that it is certain.
    if len(values) > 1 and not any(values.values()):
        raise ValueError(
            "all values are 0, which is neither probabilities nor log-probabilities of "
            f"{len(values)} labels; return log-probabilities"
        )
    if all(value <= 0 for value in values.values()):
        least = math.log(LEAST_PROBABILITY)
        return {label: max(values[label], least) for label in labels}
    if all(0 <= value <= 1 for value in values.values()):
        return {label: math.log(max(values[label], LEAST_PROBABILITY)) for label in labels}
    raise ValueError(
        f"{', '.join(f'{value:g}' for value in list(values.values())[:4])} are neither "
        "probabilities (0 to 1) nor log-probabilities (at most 0); take the log-softmax of logits"
    )
