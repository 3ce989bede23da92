"""What a model is asked and what it answers: requests, replies, failures, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.shown import Shown


@final
@dataclass(frozen=True, eq=False)
class Request:
    """One image query: one image and one text for one answer.

    It is the unit that is counted and capped everywhere, whatever it shows before its image; the
    images and tokens that are sent are counted and priced beside it.

    image: (H, W, 3) uint8, sRGB; exactly the pixels that the model gets.
    text: the question, without any model's own template.
    labels: if given, the log-probability of each of these answers is wanted; otherwise a free text.
    max_tokens: the longest text reply.
    replicate: the number of a repeated query. Two requests that differ only here are asked twice.
    forced: with labels, the reply is the text of one of them and no log-probabilities are wanted.
    context: images that the model sees before `image`, in order, each followed by its text.
    """

    image: Pixels
    text: str
    labels: tuple[str, ...] | None = None
    max_tokens: int = 16
    replicate: int = 0
    forced: bool = False
    context: tuple[Shown, ...] = ()

    @property
    def images(self) -> int:
        """How many images it holds, its own among them."""
        return 1 + len(self.context)

    @cached_property
    def key(self) -> str:
        """Digest of everything that is asked, all pixels included.

        A request without context has the key that it had before there was any.
        """
        asked: list[Any] = [
            self.image.shape,
            self.text,
            self.labels,
            self.max_tokens,
            self.replicate,
        ]
        if self.forced:
            asked.append("forced")
        if self.context:
            asked.append([[shown.image.shape, shown.text] for shown in self.context])
        pixels = (shown.image.tobytes() for shown in self.context)
        return digest(self.image.tobytes(), canonical_json(asked).encode(), *pixels)


class LabelScore(NamedTuple):
    """How likely a label is as the answer.

    logprob: the sum of log p(token | image, text, earlier tokens) over the label's tokens, in nats,
    float32. tokens: how many tokens the label has.
    """

    logprob: float
    tokens: int


class Usage(NamedTuple):
    """What an answer cost.

    input_tokens, output_tokens: as the model counts them. attempts: calls that were made for it,
    retries included; 0 for an answer that was paid for before and kept. usd: US dollars.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 1
    usd: float = 0.0


@final
@dataclass(frozen=True)
class Reply:
    """A model's answer: a free `text`, or one score for each requested label.

    scores is empty if the model's answer came near no label. text may come with the scores: it is
    what the model said, where that is shown. cut: the text ended at the limit of tokens. version:
    of the model that answered, as the reply or the model's own files state it; "" where nothing
    does.
    """

    text: str | None = None
    scores: tuple[LabelScore, ...] | None = None
    usage: Usage = field(default_factory=Usage)
    cut: bool = False
    version: str = ""


@final
@dataclass(frozen=True)
class QueryFailed:
    """A query without an answer. It is missing data: neither a wrong answer nor a loss.

    refused: the model would not answer (a refusal, a content filter). Otherwise it could not.
    """

    reason: str
    usage: Usage = field(default_factory=Usage)
    refused: bool = False


Outcome: TypeAlias = Reply | QueryFailed
