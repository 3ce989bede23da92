"""The port to a model: what is asked, what comes back, what can fail. Every adapter stands behind
it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, TypeAlias, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.origin import Origin


@final
@dataclass(frozen=True, eq=False)
class Request:
    """One image query: ONE image + ONE text for ONE answer, the unit that is billed, counted and
    capped.

    image: (H, W, 3) uint8, sRGB; exactly the pixels the model gets. text: the question, without any
    model's own template. labels: if given, the log-probability of each of these answers is wanted;
    otherwise a free text reply. max_tokens: longest text reply. replicate: number of a repeated
    query; two requests that differ only here are asked twice. forced: with labels, the reply is the
    text of one of them and nothing else: no log-probabilities are wanted.
    """

    image: Pixels
    text: str
    labels: tuple[str, ...] | None = None
    max_tokens: int = 16
    replicate: int = 0
    forced: bool = False

    @cached_property
    def key(self) -> str:
        """Digest of everything that was asked, pixels included."""
        asked = [self.image.shape, self.text, self.labels, self.max_tokens, self.replicate]
        asked += ["forced"] if self.forced else []
        return digest(self.image.tobytes(), canonical_json(asked).encode())


class LabelScore(NamedTuple):
    """`logprob`: sum over the label's `tokens` tokens of log p(token | image, text, earlier
    tokens), nats, float32.
    """

    logprob: float
    tokens: int


class Usage(NamedTuple):
    """What an answer cost: tokens as the model counts them, attempts (retries included), and US
    dollars.

    attempts is 0 for an answer that was bought before and kept: it is not an image query now.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 1
    usd: float = 0.0


@final
@dataclass(frozen=True)
class Reply:
    """A model's answer: free `text`, or one score per requested label; no scores, (), if it came
    near no label.
    """

    text: str | None = None
    scores: tuple[LabelScore, ...] | None = None
    usage: Usage = field(default_factory=Usage)


@final
@dataclass(frozen=True)
class QueryFailed:
    """A query without an answer: missing data, never a wrong answer and never a loss.

    refused: the model would not answer (a refusal, a content filter), rather than could not.
    """

    reason: str
    usage: Usage = field(default_factory=Usage)
    refused: bool = False


Outcome: TypeAlias = Reply | QueryFailed


@final
@dataclass(frozen=True)
class Capabilities:
    """What a model offers.

    logprobs: label log-probabilities. forced: a reply that is one of the given labels and nothing
    else. image_side: side in pixels of the square image its processor makes, None if unknown. how:
    where label log-probabilities come from, in a few words, if not from the labels' own tokens.
    revision: of the model, as its provider or its files say.
    """

    logprobs: bool
    deterministic: bool
    image_side: int | None = None
    forced: bool = False
    how: str = ""
    revision: str = ""


class Model(ABC):
    """A multimodal LLM that can be asked, and nothing else."""

    spec: str
    capabilities: Capabilities
    origin: Origin | None = None
    """What `load_model` was called with; None for a model made in Python."""

    @abstractmethod
    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer each request, in order. Raises ModelError if going on makes no sense (a wrong key,
        say).
        """

    @property
    def identity(self) -> str:
        """All that decides its replies beside a request: a run goes on with the same only. For most
        models the spec.
        """
        return self.spec


class Purse(Protocol):
    """What may be spent. Asked before every attempt of a `PaidModel`, from any thread."""

    def reserve(self, usd: float) -> None:
        """Set aside one image query and `usd`, the most it can cost. Raises BudgetReached if a cap
        would be passed.
        """

    def settle(self, reserved: float, usd: float) -> None:
        """The attempt for which `reserved` was set aside has cost `usd`."""


class PaidModel(Model):
    """A model behind an endpoint: attempts fail and are repeated, each counts, and each may cost
    money.

    lasting: what it is asked outlives the process (a batch), and counts for the one that collects
    it.
    """

    lasting: bool = False

    @abstractmethod
    def query_paid(self, requests: Sequence[Request], purse: Purse) -> list[Outcome]:
        """As `query`, asking the purse before every attempt.

        A request that the purse refuses is a QueryFailed of no attempts. Raises ModelError if going
        on makes no sense.
        """

    @abstractmethod
    def bound(self, request: Request) -> float:
        """The most that one attempt at this request can cost, in US dollars; 0 where no price is
        known.
        """

    @abstractmethod
    def fitting_canvas(self, wanted: int) -> int:
        """The side in pixels, nearest to `wanted`, of a square image that the endpoint does not
        resample.
        """

    @abstractmethod
    def need_price(self) -> None:
        """Raises UsageError if the price of the model is not known: a cap on money would mean
        nothing.
        """

    @abstractmethod
    def probe(self, purse: Purse) -> Probe:
        """Ask a few image queries to find out what the endpoint really does; from then on
        `capabilities` says so.
        """

    @final
    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        return self.query_paid(requests, Unlimited())


@final
@dataclass(frozen=True)
class Probe:
    """What a probe found: the capabilities, the findings in words, and what it cost (image queries,
    dollars).
    """

    capabilities: Capabilities
    findings: tuple[str, ...]
    queries: int
    usd: float


@final
class Unlimited(Purse):
    """A purse that never refuses."""

    def reserve(self, usd: float) -> None:
        pass

    def settle(self, reserved: float, usd: float) -> None:
        pass
