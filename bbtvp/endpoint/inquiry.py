"""What a vendor answers about a model at no cost: its end, its thinking, what images become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from bbtvp.core.errors import BbtvpError
from bbtvp.endpoint.counting import Encode, answer, blank, counter
from bbtvp.endpoint.provider import EncodedPart, Json, ProviderApi
from bbtvp.endpoint.transport import Transport
from bbtvp.endpoint.waits import parse_json

_ENDS = ("shutdown_date", "retires_at", "deprecation_date")
_LENGTHS = ("max_input_tokens", "inputTokenLimit")


def inquire(api: ProviderApi, transport: Transport, encode: Encode, canvas: int) -> Iterator[str]:
    """Yield the vendor's answers about a model and about square images of `canvas` pixels.

    What a vendor does not answer is left out. encode: an image as it is sent.
    """
    asked = api.about_request()
    reply = answer(transport, asked) if asked else None
    if reply is not None:
        yield from about(reply)
    yield from _counts(api, transport, encode, canvas)
    yield from _scaling(api, transport, encode, canvas)


def about(reply: Json) -> Iterator[str]:
    """Yield what a vendor's description of a model says that matters here."""
    end = next((reply[name] for name in _ENDS if reply.get(name)), None)
    if end is not None:
        yield f"shut down on {_day(end)}"
    if reply.get("lifecycle") not in (None, "active"):
        yield f"lifecycle: {reply['lifecycle']}"
    thinks = _thinks(reply)
    if thinks is not None:
        yield f"thinking: {'supported' if thinks else 'not supported'}"
    length = next((reply[name] for name in _LENGTHS if isinstance(reply.get(name), int)), None)
    if length is not None:
        yield f"input: at most {length:,} tokens"


def _day(moment: object) -> str:
    """Return a date from text, or from seconds since 1970."""
    if isinstance(moment, int | float) and not isinstance(moment, bool):
        return datetime.fromtimestamp(moment, UTC).date().isoformat()
    return str(moment)[:10]


def _thinks(reply: Json) -> bool | None:
    """Whether the description says that the model can think, None if it says nothing."""
    found: object = reply.get("thinking")
    if found is None:
        capabilities = reply.get("capabilities")
        found = capabilities.get("thinking") if isinstance(capabilities, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("supported")
    return found if isinstance(found, bool) else None


def _counts(api: ProviderApi, transport: Transport, encode: Encode, canvas: int) -> Iterator[str]:
    """Yield the counts of two sizes, and what they say of the way an image is resized."""
    count = counter(api, transport, encode)
    half = max(1, canvas // 2)
    whole, smaller = (count((side, side)) for side in (canvas, half))
    if whole is None or smaller is None:
        return
    yield f"tokens with a short question: {whole:,} at {canvas} px, {smaller:,} at {half} px"
    if whole == smaller:
        yield "an image is brought to a fixed number of tokens, whatever its size"


def _scaling(api: ProviderApi, transport: Transport, encode: Encode, canvas: int) -> Iterator[str]:
    """Yield whether an image of the canvas is scaled down, where the vendor can be held to say."""
    request = blank((canvas, canvas))
    asked = api.whole_request(request, [EncodedPart(encode(request.image), request.text)])
    if asked is None:
        return
    try:
        response = transport.send(asked)
    except BbtvpError:
        return
    if response.status == 200:
        yield f"an image of {canvas} px is not scaled down"
        return
    reply = parse_json(response.body)
    if response.status == 400 and isinstance(reply, dict):
        yield f"an image of {canvas} px would be refused or scaled down: {api.error(400, reply)[1]}"
