"""A model whose image queries are counted, capped, and never sent twice.

>>> import numpy as np
>>> from bbtvp.models import Budget, Capabilities, InMemoryCache, MeteredModel, Model
>>> from bbtvp.models import Reply, Request
>>> class Colours(Model):
...     spec = "mine/colours"
...     capabilities = Capabilities(logprobs=False, deterministic=True)
...
...     def query(self, requests, budget=None):
...         return [Reply("red") for _ in requests]
>>> model = MeteredModel(Colours(), InMemoryCache(), budget=Budget(100))
>>> request = Request(np.zeros((8, 8, 3), np.uint8), "Which colour is it?")
>>> [reply.text for reply in model.query([request, request])], model.budget.total
(['red', 'red'], 1)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import final

from bbtvp.core.digest import digest
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models.budget import Budget
from bbtvp.models.cache import ReplyCache
from bbtvp.models.exchange import Outcome, QueryFailed, Reply, Request, Usage
from bbtvp.models.port import Delivered, Model, Probe

REQUESTS_PER_CALL = 128
"""Most requests in one call to a local model, where it does not say so itself (see
`Model.requests_per_call`).
"""


def probe_model(model: Model, budget: Budget) -> Probe | None:
    """Find out what an endpoint honours, within this budget; None for a local model.

    Raises UsageError where there is a cap on money and no price, BudgetReached if the budget allows
    no probe, ModelError if the endpoint does not answer.
    """
    if budget.usd_cap is not None:
        model.need_price()
    return model.probe(budget)


@final
class MeteredModel(Model):
    """Wraps a model: counts by phase, keeps to the caps, and answers repeated requests at no cost.

    An endpoint asks the budget before every attempt, and each attempt is noted in the cache before
    it is made. The attempts of a local model are known only after the call, and may pass a cap.

    budget: shared with other models; by default one of its own, without caps.
    """

    def __init__(self, model: Model, cache: ReplyCache, *, budget: Budget | None = None) -> None:
        self.model = model
        self.spec = model.spec
        self.capabilities = model.capabilities
        self.cache = cache
        self.budget = Budget() if budget is None else budget
        self._versions: set[str] = set()

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer from the cache or from the model, in calls of the size that it takes.

        budget: by default that of the metered model. Raises BudgetReached before the first call if
        all of them could pass a cap, UsageError for a request of more images than the model takes,
        and ModelError once a whole call of more than three requests fails and failures outnumber
        answers.
        """
        budget = self.budget if budget is None else budget
        keys = self._keys(requests)
        answers: dict[str, Outcome] = {}
        unasked: dict[str, Request] = {}
        for key, request in zip(keys, requests, strict=True):
            known = self.cache.recall(key)
            if known is None:
                unasked[key] = request
            else:
                answers[key] = known
        self.need_images(max((one.images for one in unasked.values()), default=1), budget)
        if unasked:
            budget.check(len(unasked), sum(map(self.model.max_cost, unasked.values())))
        for call in self._calls(unasked):
            sent = self._send(call, budget)
            answers |= sent
            self._check_failures(sent, answers)
        self._keep_versions(answers.values())
        return [answers[key] for key in keys]

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions of the model that its replies report, the first first.

        Those of replies that the cache kept before are included, whether or not they were asked for
        again: a run that goes on takes most steps from its journal.
        """
        return self.cache.versions(self.spec)

    @property
    def unversioned(self) -> bool:
        """Whether any reply reports no version of the model."""
        return "" in self._versions

    def _keep_versions(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if not isinstance(outcome, Reply) or outcome.version in self._versions:
                continue
            self._versions.add(outcome.version)
            if outcome.version:
                self.cache.saw_version(self.spec, outcome.version)

    def answered(self, requests: Sequence[Request]) -> list[bool]:
        """Whether each request has been answered before, so that it costs no image query now."""
        return [self.cache.recall(key) is not None for key in self._keys(requests)]

    def cost_of(self, usage: Usage) -> float | None:
        return self.model.cost_of(usage)

    def delivered(self, width: int, height: int) -> Delivered | None:
        return self.model.delivered(width, height)

    def image_tokens(self, width: int, height: int) -> int | None:
        return self.model.image_tokens(width, height)

    def image_usd(self, width: int, height: int) -> float | None:
        return self.model.image_usd(width, height)

    def _keys(self, requests: Sequence[Request]) -> list[str]:
        identity = self.model.identity.encode()
        return [digest(identity, request.key.encode()) for request in requests]

    def _calls(self, unasked: Mapping[str, Request]) -> list[dict[str, Request]]:
        """The requests in parts, one for each call to the model."""
        if not unasked:
            return []
        # An endpoint keeps every reply as it comes, so nothing is lost with a long call, and
        # batches stay whole.
        whole = len(unasked) if self.model.is_endpoint else REQUESTS_PER_CALL
        size = self.model.requests_per_call or whole
        items = list(unasked.items())
        return [dict(items[start : start + size]) for start in range(0, len(items), size)]

    def need_images(self, held: int, budget: Budget | None = None) -> None:
        """Raise UsageError if a request of `held` images is more than the model takes.

        Where that is not known, it is found out within the budget, by default the model's own.
        """
        budget = self.budget if budget is None else budget
        if held <= self.model.capabilities.images:
            return
        probe = self.model.probe_images(held, self._noting(budget))
        if probe is not None and probe.queries:
            budget.book([Reply(usage=Usage(attempts=probe.queries, usd=probe.usd))])
        most = self.model.capabilities.images
        if held > most:
            takes = "one image" if most == 1 else f"at most {most} images"
            raise UsageError(
                f"{self.spec} takes {takes} in a request, and this one holds {held}; "
                "show fewer images before the question's own"
            )

    def _noting(self, budget: Budget) -> Budget:
        """The budget, noting every attempt first where attempts can be lost by a kill."""
        noted = self.model.is_endpoint and not self.model.lasting
        return _NotedBudget(budget, self.cache) if noted else budget

    def _send(self, call: Mapping[str, Request], budget: Budget) -> dict[str, Outcome]:
        noting = self._noting(budget)
        found = self.model.query(list(call.values()), noting)
        outcomes = dict(zip(call, map(_finite, found), strict=True))
        self.cache.record(budget.phase, list(outcomes.items()), noted=noting is not budget)
        budget.book(outcomes.values())
        return outcomes

    def _check_failures(self, sent: Mapping[str, Outcome], answers: Mapping[str, Outcome]) -> None:
        # A few failures beside many answers from the cache are refusals of these images. They do
        # not show that the model is down.
        failures = _failures(sent)
        if len(failures) == len(sent) > 3 and 2 * len(_failures(answers)) > len(answers):
            raise ModelError(
                f"all {len(failures)} queries to {self.spec} failed: {failures[-1].reason}"
            )


@final
class _NotedBudget(Budget):
    """A budget that notes every attempt in the cache before it is made.

    An attempt that was under way when the process was killed then counts, at its highest cost.
    """

    def __init__(self, budget: Budget, cache: ReplyCache) -> None:
        super().__init__()
        self._budget = budget
        self._cache = cache

    def reserve(self, usd: float) -> None:
        self._budget.reserve(usd)
        self._cache.note(self._budget.phase, 1, usd)

    def settle(self, reserved: float, usd: float) -> None:
        self._budget.settle(reserved, usd)
        if usd != reserved:
            self._cache.note(self._budget.phase, 0, usd - reserved)


def _failures(outcomes: Mapping[str, Outcome]) -> list[QueryFailed]:
    return [outcome for outcome in outcomes.values() if isinstance(outcome, QueryFailed)]


def _finite(outcome: Outcome) -> Outcome:
    """The outcome, or a failure if one of its scores is NaN or infinite."""
    if isinstance(outcome, QueryFailed):
        return outcome
    if all(math.isfinite(score.logprob) for score in outcome.scores or ()):
        return outcome
    return QueryFailed("a log-probability is not a finite number", outcome.usage)
