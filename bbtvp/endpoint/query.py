"""One image query to an API: its bytes, its key in the store of replies, its cost, its reply."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import final

from bbtvp.core.digest import canonical_json
from bbtvp.endpoint.counting import ImageTokens
from bbtvp.endpoint.faults import redact
from bbtvp.endpoint.forced import WRAPPING
from bbtvp.endpoint.images import check, check_request, encode, shrunk, text_tokens
from bbtvp.endpoint.known import reply_tokens
from bbtvp.endpoint.labels import label_scores
from bbtvp.endpoint.pending import PendingRequest, RefusedReply, UnusableReply
from bbtvp.endpoint.prices import Prices
from bbtvp.endpoint.provider import (
    ApiFeatures,
    EncodedPart,
    HttpRequest,
    Json,
    ParsedReply,
    ProviderApi,
)
from bbtvp.endpoint.settings import EndpointSettings
from bbtvp.models import LabelScore, Outcome, QueryFailed, Reply, Request, Shown, Usage
from bbtvp.models.store import ReplyStore, reply_key

_log = logging.getLogger("bbtvp")

READING = "3"
"""Version of how replies are read. Another version reuses no stored reply."""


@final
class QueryContext:
    """What the queries to one endpoint share: its API, settings, price, store and secrets."""

    def __init__(
        self, api: ProviderApi, settings: EndpointSettings, secrets: Sequence[str]
    ) -> None:
        self.api = api
        self.settings = settings
        self.price = Prices.load(settings.prices).price(api.service, api.model)
        self.store = _open_store(settings)
        self.secrets = tuple(secrets)
        self.images = ImageTokens(api)
        self.thinks = False
        """The probe saw the model think before it answers."""
        self._said = set[str]()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Warn the user of something odd in the replies, once for each model and kind."""
        kind = re.sub(r"\d+", "0", text)
        with self._lock:
            if kind in self._said:
                return
            self._said.add(kind)
        _log.warning("%s", text)

    def tokens(self, request: Request) -> tuple[int, int]:
        """Return the most input and output tokens of one attempt."""
        shown = shown_in(request)
        characters = sum(len(part.text) for part in shown) + sum(map(len, request.labels or ()))
        asked = sum(self.images.at_most(_size(part)).tokens for part in shown)
        return asked + text_tokens(characters), self.longest_reply(request) + WRAPPING

    def longest_reply(self, request: Request) -> int:
        """Return the most tokens of a reply, without the JSON around a forced label."""
        return max(request.max_tokens, self.room)

    @property
    def room(self) -> int:
        """Tokens that every reply may have: as set, or for the thoughts that the probe saw."""
        if self.settings.max_tokens is not None:
            return self.settings.max_tokens
        return reply_tokens(self.api.service, self.api.model) if self.thinks else 0

    def usd(self, asked: int, answered: int, *, batch: bool) -> float:
        """Return the US dollars for so many tokens; 0 if the price is not known."""
        return self.price.usd(asked, answered, batch) if self.price else 0.0

    def shown(self, text: str) -> str:
        """Return the text without secrets, on one line."""
        return redact(text, self.secrets)


class ImageQuery(PendingRequest):
    """An image query with these features, and then its reply.

    body: the bytes that are sent. key: of the reply in the store.
    """

    def __init__(
        self, context: QueryContext, request: Request, features: ApiFeatures, *, batch: bool = False
    ) -> None:
        """Raises UsageError for an image that the vendor would refuse."""
        asked, answered = context.tokens(request)
        super().__init__(context.usd(asked, answered, batch=batch), asked + answered)
        self.request = request
        self.batch = batch
        self._context = context
        self._reply: Reply | None = None
        api = context.api
        parts = self._encoded()
        if features.seed is not None:  # a replicate is another draw
            features = replace(features, seed=features.seed + request.replicate)
        longest = replace(request, max_tokens=context.longest_reply(request))
        body = api.body(longest, parts, features)
        self.body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        check_request(api.service, api.image_name, len(parts), len(self.body))
        # The labels decide how tokens are read, and are not always in the body.
        how = canonical_json([READING, api.version, request.labels, asdict(features)])
        self.key = reply_key(api.url, self.body, request.replicate, how)

    def _encoded(self) -> list[EncodedPart]:
        """Encode every image; tell of one that the vendor scales down.

        Raises UsageError for one that would be refused.
        """
        api = self._context.api
        settings = self._context.settings
        shown = shown_in(self.request)
        parts = []
        for part in shown:
            image = encode(part.image, settings.format, settings.quality)
            check(
                api.service,
                api.image_name,
                _size(part),
                len(image.data),
                format=settings.format,
                images=len(shown),
            )
            if told := shrunk(api.service, api.image_name, _size(part)):
                self._context.say(told)
            parts.append(EncodedPart(image, part.text))
        return parts

    def http_request(self) -> HttpRequest:
        return self._context.api.http_request(self.body)

    def parsed(self, reply: Json) -> tuple[ParsedReply, float]:
        """Return what the reply says and its cost. Raises UnusableReply for another API's reply."""
        context = self._context
        try:
            parsed = context.api.parse(reply)
        except (LookupError, TypeError, ValueError) as error:
            reason = f"a reply that is not of this API: {error}"
            raise UnusableReply(reason, usd=self.max_usd) from error
        if parsed.refusal:
            parsed = replace(parsed, refusal=context.shown(parsed.refusal))
        usd = context.usd(*self._billed(parsed), batch=self.batch)
        if parsed.failure:
            failure = context.shown(parsed.failure)
            context.say(f"{context.api.spec}: {failure}")
            raise UnusableReply(failure, usd=usd)
        return parsed, usd

    def _billed(self, parsed: ParsedReply) -> tuple[int, int]:
        """Return the input and output tokens to book.

        Each is what the reply says, or its bound where the reply says nothing that can be true: so
        that a cap on money holds whatever a server counts.
        """
        asked, answered = self._context.tokens(self.request)
        said = (parsed.input_tokens, parsed.output_tokens)
        least = (
            sum(
                fewest_tokens(part.text) + _fewest_image_tokens(_size(part))
                for part in shown_in(self.request)
            ),
            max(len(parsed.tokens), sum(map(fewest_tokens, parsed.texts))),
        )
        booked = tuple(
            bound if count is None or count < few else count
            for count, few, bound in zip(said, least, (asked, answered), strict=True)
        )
        if self._context.price and None not in said and booked != said:
            self._context.say(
                f"{self._context.api.spec} counts {said[0]} tokens in and {said[1]} out, which "
                "cannot be: such replies are booked at the most that they can cost"
            )
        return booked[0], booked[1]

    def read(self, reply: Json) -> float:
        """Keep the answer, in the store too, and return its cost."""
        parsed, usd = self.parsed(reply)
        if parsed.refusal:
            raise RefusedReply(parsed.refusal, usd=usd)
        text = parsed.texts[0] if parsed.texts else ""
        if not text.strip():
            hint = "; raise -M max_tokens" if parsed.truncated or parsed.thought else ""
            raise UnusableReply(f"an empty reply{hint}", usd=usd)
        request = self.request
        if request.forced and text.strip() not in (request.labels or ()):
            raise UnusableReply("a reply that is none of the labels it was held to", usd=usd)
        scores = None
        if request.labels is not None and not request.forced:
            scores = self._scores(parsed, request.labels, usd)
        usage = Usage(parsed.input_tokens or 0, parsed.output_tokens or 0, 1, usd)
        version = self._context.shown(parsed.model)
        self._reply = Reply(text, scores, usage, parsed.truncated, version)
        if self._context.store:
            self._context.store.keep(self.key, self._reply, model=self._context.api.spec)
        return usd

    @staticmethod
    def _scores(parsed: ParsedReply, labels: Sequence[str], usd: float) -> tuple[LabelScore, ...]:
        if not parsed.tokens and not parsed.unspelt:
            raise UnusableReply("no log-probabilities, which the probe had found", usd=usd)
        return label_scores(parsed.tokens, labels) or ()

    def outcome(self) -> Outcome:
        """Return the outcome, with all its attempts counted."""
        if self._reply is None:
            usage = Usage(attempts=self.attempts, usd=self.usd)
            return QueryFailed(self.failure or "no answer", usage, self.refused)
        usage = self._reply.usage._replace(attempts=self.attempts, usd=self.usd)
        return replace(self._reply, usage=usage)


@final
class ProbeQuery(ImageQuery):
    """A query of a probe, which keeps what the reply says rather than an answer."""

    answer: ParsedReply | None = None

    def read(self, reply: Json) -> float:
        self.answer, usd = self.parsed(reply)
        return usd


def fewest_tokens(text: str) -> int:
    """Return the fewest tokens that a text can have: each word and each 16 bytes need one."""
    return max(len(text.split()), math.ceil(len(text.encode(errors="replace")) / 16))


def _fewest_image_tokens(size: tuple[int, int]) -> int:
    """Return the fewest tokens that an image of (width, height) pixels can have.

    Models make one of 14 to 64 pixels a side, and those that make a fixed number make 32 or more.
    """
    width, height = size
    return min(32, math.ceil(width / 64) * math.ceil(height / 64))


def shown_in(request: Request) -> list[Shown]:
    """Return all images of a request with their texts; the last is its own, with the question."""
    return [*request.context, Shown(request.image, request.text)]


def _size(shown: Shown) -> tuple[int, int]:
    """(width, height) in pixels."""
    return shown.image.shape[1], shown.image.shape[0]


def _open_store(settings: EndpointSettings) -> ReplyStore | None:
    if settings.store is False:
        return None
    return ReplyStore(None if settings.store is True else settings.store)
