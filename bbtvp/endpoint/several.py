"""One question that shows whether an endpoint takes several images in a request.

Servers that take one image refuse the request, or answer about one of the images and say nothing
of it. So the first image differs in colour from all that follow, the question is about the first,
and the tokens that are billed must be more than those of one image.
"""

from __future__ import annotations

from bbtvp.endpoint.probe import BLUE, COLOURS, RED
from bbtvp.endpoint.provider import ParsedReply
from bbtvp.models import Request, Shown
from bbtvp.tasks import parse_label

ACCEPTED = "accepted"
QUESTION = "Which colour had the very first image, red or blue? Answer with one word."


def several(images: int) -> Request:
    """Return a question about the first of `images` images, at least two."""
    rest = [Shown(BLUE, "")] * (images - 2)
    return Request(BLUE, QUESTION, context=(Shown(RED, ""), *rest))


def seen_several(reply: ParsedReply | None, failure: str | None, billed: int | None) -> str:
    """Return `ACCEPTED`, or what speaks against it.

    reply: to `several`, None where there is none, with its failure. billed: input tokens of the
    same kind of question about one image, if the endpoint said so.
    """
    if reply is None:
        return f"rejected ({failure})"
    counted = reply.input_tokens
    if counted and billed and counted <= billed:
        return f"ignored, {counted} tokens were billed for all of them and {billed} for one"
    said = parse_label(reply.texts[0], COLOURS) if reply.texts else None
    if said == COLOURS[1]:
        return "answered, but not about the first of them"
    return ACCEPTED
