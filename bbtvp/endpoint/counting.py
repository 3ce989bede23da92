"""How many tokens an image costs: as the vendor counts it, as replies were billed, or by the table.

Anthropic, Gemini, OpenAI and Bedrock count the tokens of a request at no cost. Where a vendor does
not, the probe's own replies say what an image of its size was billed as; `limits.toml` is the last.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import BbtvpError
from bbtvp.endpoint import images
from bbtvp.endpoint.probe import QUESTION, SIDE
from bbtvp.endpoint.provider import EncodedImage, EncodedPart, HttpRequest, Json, ProviderApi
from bbtvp.endpoint.transport import Transport
from bbtvp.endpoint.waits import parse_json
from bbtvp.models import Request

COUNTS = ("input_tokens", "totalTokens", "inputTokens")
"""The names under which vendors give a count."""
MARGIN = 1.1
"""A count is an estimate, by the vendors' own words."""
SEEN_MARGIN = 1.5
"""What was billed for the probe's image says less about an image of another size."""
_MOST_SIZES = 32
"""Sizes that a vendor is asked about: pictures of their own shapes may have a size each."""
FEWEST = 64
"""Tokens below which a bill for the probe's image is not taken to be true."""

Encode = Callable[[Pixels], EncodedImage]


class TokenBound(NamedTuple):
    """The most input tokens of an image with a short question, and how that is known."""

    tokens: int
    source: str


@final
class ImageTokens:
    """Bounds the input tokens of images for one model. Safe to use from many threads.

    count: asks the vendor about an image of (width, height) pixels and returns its count, None if
    the vendor does not say; None as a whole where the vendor is not to be asked. seen: input tokens
    of the probe's plain question about an image of `SIDE` pixels, if its reply said so.
    """

    def __init__(self, api: ProviderApi) -> None:
        self.count: Callable[[tuple[int, int]], int | None] | None = None
        self.seen: int | None = None
        self._api = api
        self._counted: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def at_most(self, size: tuple[int, int]) -> TokenBound:
        """Return the bound for an image of `size` (width, height) pixels."""
        counted = self._count(size)
        if counted is not None:
            return TokenBound(math.ceil(MARGIN * counted), f"counted by the vendor: {counted:,}")
        table = _table(self._api, size)
        if self.seen is None or self.seen < FEWEST:
            return TokenBound(table, "the table of limits")
        return self._as_billed(size, table, self.seen)

    def _count(self, size: tuple[int, int]) -> int | None:
        """Ask once for each size, and no more once the vendor did not answer."""
        with self._lock:
            if size not in self._counted and self.count and len(self._counted) < _MOST_SIZES:
                found = self.count(size)
                if found is None:
                    self.count = None
                else:
                    self._counted[size] = found
            return self._counted.get(size)

    def _as_billed(self, size: tuple[int, int], table: int, seen: int) -> TokenBound:
        """Return a bound from the bill for the probe's image.

        Where no rule is known, tokens are taken to grow with the area, which no rule exceeds. Where
        one is, it stands unless the bill was higher than it allows.
        """
        source = f"billed for the probe's image of {SIDE} px: {seen:,}"
        expected = _table(self._api, (SIDE, SIDE)) + images.text_tokens(len(QUESTION))
        known = images.plan(self._api.service, self._api.image_name, size).tokens is not None
        if known:
            if seen <= expected:
                return TokenBound(table, "the table of limits, which the probe's bill agrees with")
            return TokenBound(math.ceil(MARGIN * table * seen / expected), source)
        area = max(1.0, size[0] * size[1] / SIDE**2)
        grown = math.ceil(SEEN_MARGIN * seen * area)
        return TokenBound(grown if seen > expected else min(table, grown), source)


def _table(api: ProviderApi, size: tuple[int, int]) -> int:
    return images.input_tokens(api.service, api.image_name, size, 0)


def blank(size: tuple[int, int]) -> Request:
    """Return a short question about a black image of (width, height) pixels.

    Vendors count an image by its size alone.
    """
    return Request(np.zeros((size[1], size[0], 3), np.uint8), QUESTION)


def counter(
    api: ProviderApi, transport: Transport, encode: Encode
) -> Callable[[tuple[int, int]], int | None]:
    """Return a function that asks the vendor how many tokens an image of a size costs."""

    def count(size: tuple[int, int]) -> int | None:
        request = blank(size)
        asked = api.count_request(request, [EncodedPart(encode(request.image), request.text)])
        reply = answer(transport, asked) if asked else None
        return read_count(reply) if reply is not None else None

    return count


def answer(transport: Transport, request: HttpRequest) -> Json | None:
    """Return the JSON answer to a free request; None if there is none of status 200."""
    try:
        response = transport.send(request)
    except BbtvpError:
        return None
    if response.status != 200:
        return None
    found = parse_json(response.body)
    return found if isinstance(found, dict) else None


def read_count(reply: Json) -> int | None:
    """Return the number of tokens in an answer, None if it holds none."""
    for name in COUNTS:
        count = reply.get(name)
        if type(count) is int and count > 0:
            return count
    return None
