"""The port to a model. Every adapter implements `Model`, and all code above sees nothing else.

A model of your own needs a name, its capabilities and `query`:

>>> from bbtvp.models import Capabilities, Model, Reply
>>> class Colours(Model):
...     spec = "mine/colours"
...     capabilities = Capabilities(logprobs=False, deterministic=True)
...
...     def query(self, requests, budget=None):
...         return [Reply("red" if r.image[..., 0].mean() > 99 else "blue") for r in requests]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from bbtvp.core.origin import Origin
from bbtvp.models.budget import Budget
from bbtvp.models.exchange import Outcome, Request, Usage

ANY_NUMBER = 10_000
"""Images of a request of a model that sets no limit of its own."""


@final
@dataclass(frozen=True)
class Capabilities:
    """What a model offers.

    logprobs: it gives label log-probabilities.
    deterministic: equal requests get equal replies.
    image_side: side in pixels of the square that its processor makes of any square image; None if
    that depends on the image, or is unknown.
    forced: its reply can be held to one of the given labels.
    how: where label log-probabilities come from, if not from the labels' own tokens.
    revision: of the model, as its provider or its files state it.
    thinks: it was seen to think before it answers; its replies need room for that.
    images: how many images one request may hold, its own among them; 1 unless more are known.
    """

    logprobs: bool
    deterministic: bool
    image_side: int | None = None
    forced: bool = False
    how: str = ""
    revision: str = ""
    thinks: bool = False
    images: int = 1


@final
@dataclass(frozen=True)
class Probe:
    """What a probe of an endpoint found.

    findings: in words. queries, usd: image queries and US dollars that the probe cost.
    """

    capabilities: Capabilities
    findings: tuple[str, ...]
    queries: int
    usd: float


@final
class Delivered(NamedTuple):
    """What of a picture arrives at a model, after all resizing that is known.

    width, height: in pixels of what is shown. whole: whether nothing of the picture is cut off.
    """

    width: int
    height: int
    whole: bool = True

    def __str__(self) -> str:
        cut = "" if self.whole else ", its middle only"
        return f"{self.width} x {self.height} px{cut}"


class Model(ABC):
    """A multimodal LLM that can be asked.

    A subclass sets `spec` and `capabilities` and implements `query`. The other methods describe a
    local model, which costs nothing and needs no probe; an endpoint overrides them.
    """

    spec: str
    """The name that `load_model` takes: provider/name."""

    capabilities: Capabilities

    origin: Origin | None = None
    """The arguments of `load_model`; None for a model made in Python."""

    is_endpoint: bool = False
    """Whether the model is behind an endpoint. If so, `query` reserves every attempt in its budget
    before it makes it, and `capabilities` are known once `probe` was called. The attempts of other
    models are counted when their call has ended.
    """

    lasting: bool = False
    """Whether an endpoint works on after this process has ended, as a batch does. Attempts then
    count for the process that collects their replies.
    """

    requests_per_call: int | None = None
    """Most requests of one call of `query`. Replies are recorded call by call, so this is the most
    that a kill can lose. None: all at once for an endpoint, which keeps each reply as it comes, and
    128 for any other model.
    """

    missing_key: str | None = None
    """The environment variable of a key that is needed and not set. Only a plan, which asks
    nothing, is made with such a model.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'spec', '')!r})"

    @abstractmethod
    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        """Answer each request, in order.

        budget: what may be spent; no cap where it is None. A model whose calls are neither repeated
        nor paid for may ignore it. A request that the budget refuses is a `QueryFailed` of no
        attempts. Raises ModelError if further calls are of no use, for instance with a wrong key.
        """

    def answered(self, requests: Sequence[Request]) -> list[bool]:
        """Whether each request is answered from a cache, so that it costs no image query."""
        return [False] * len(requests)

    @property
    def identity(self) -> str:
        """All that decides the model's replies besides a request; by default its spec.

        A run is continued only with models of the same identity.
        """
        return self.spec

    def max_cost(self, request: Request) -> float:
        """The most that one attempt at this request can cost, in US dollars.

        0 for a local model, and where no price is known.
        """
        return 0.0

    def cost_of(self, usage: Usage) -> float | None:
        """The US dollars that an answer of this usage costs, whether it is paid for now or was.

        None for a local model, and where no price or no count of tokens is known.
        """
        return usage.usd or None

    def fitting_canvas(self, wanted: int) -> int:
        """The side in pixels, nearest to `wanted`, of a square image that is not resampled."""
        return wanted

    def delivered(self, width: int, height: int) -> Delivered | None:
        """What arrives of a picture of so many pixels; None where that is not known."""
        return None

    def image_tokens(self, width: int, height: int) -> int | None:
        """The tokens that a picture of so many pixels is expected to take; None if not known."""
        return None

    def image_usd(self, width: int, height: int) -> float | None:
        """What these tokens cost, in US dollars; 0 for a local model, None if not known."""
        return 0.0

    def need_price(self) -> None:  # noqa: B027
        """Raise UsageError for a paid model of unknown price: no cap on money can hold."""

    def probe(self, budget: Budget) -> Probe | None:
        """Find out by a few image queries what an endpoint honours; None for a local model.

        `capabilities` tell it from then on. Raises BudgetReached if the budget allows no probe, and
        ModelError if the endpoint does not answer.
        """
        return None

    def probe_images(self, images: int, budget: Budget) -> Probe | None:
        """Find out whether one request may hold so many images, where that is not documented.

        None where nothing had to be asked: `capabilities.images` holds as it is. Raises as `probe`
        does, which comes first.
        """
        return None

    def abandon(self) -> None:  # noqa: B027
        """End every call that is under way, because the process is about to exit.

        A local model has none that could be ended.
        """
