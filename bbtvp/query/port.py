"""The port to a model: what is asked, what comes back, what can fail. Every adapter stands behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import canonical_json, digest


@final
@dataclass(frozen=True, eq=False)
class Request:
    """One image query: ONE image + ONE text for ONE answer, the unit that is billed, counted and capped.

    image: (H, W, 3) uint8, sRGB; exactly the pixels the model gets.
    text: the question, without any model's own template.
    labels: if given, the log-probability of each of these answers is wanted; otherwise a free text reply.
    max_tokens: longest text reply.
    replicate: number of a repeated query; two requests that differ only here are asked twice.
    """

    image: Pixels
    text: str
    labels: tuple[str, ...] | None = None
    max_tokens: int = 16
    replicate: int = 0

    @cached_property
    def key(self) -> str:
        """Digest of everything that was asked, pixels included."""
        asked = [self.image.shape, self.text, self.labels, self.max_tokens, self.replicate]
        return digest(self.image.tobytes(), canonical_json(asked).encode())


class LabelScore(NamedTuple):
    """`logprob`: sum over the label's `tokens` tokens of log p(token | image, text, earlier tokens), nats, float32."""

    logprob: float
    tokens: int


class Usage(NamedTuple):
    """What an answer cost: tokens as the model counts them, and attempts (retries included)."""

    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 1


@final
@dataclass(frozen=True)
class Reply:
    """A model's answer: free `text`, or one score per requested label."""

    text: str | None = None
    scores: tuple[LabelScore, ...] | None = None
    usage: Usage = field(default_factory=Usage)


@final
@dataclass(frozen=True)
class QueryFailed:
    """A query without an answer: missing data, never a wrong answer and never a loss."""

    reason: str
    usage: Usage = field(default_factory=Usage)


Outcome: TypeAlias = Reply | QueryFailed


@final
@dataclass(frozen=True)
class Capabilities:
    """What a model offers. `image_side`: side in pixels of the square image its processor makes, None if unknown."""

    logprobs: bool
    deterministic: bool
    image_side: int | None = None


class Model(ABC):
    """A multimodal LLM that can be asked, and nothing else."""

    spec: str
    capabilities: Capabilities

    @abstractmethod
    def query(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer each request, in order. Raises ModelError if going on makes no sense (a wrong key, say)."""
