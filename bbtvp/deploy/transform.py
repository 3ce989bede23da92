"""One pure function: the body of a request to a chat API, with a prompt applied to its images."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, final

from bbtvp.core.errors import DataError, unknown
from bbtvp.deploy.bodies import (
    APIS,
    ExampleFile,
    ImagePart,
    LinkedPart,
    Part,
    TextPart,
    Unreachable,
    example_parts,
    user_turns,
)
from bbtvp.deploy.json_edit import Path, parse, replaced
from bbtvp.endpoint.images import encode
from bbtvp.prompt import Prompt
from bbtvp.prompt.image import decode_image


@final
@dataclass(frozen=True)
class TransformedRequest:
    """A body, and what was done to it.

    images: how many images were prompted. left: why the body is as it was, in one line; "" if it
    was prompted or has no image.
    """

    body: bytes
    images: int = 0
    left: str = ""


def transform_request(
    body: bytes,
    api: str,
    prompt: Prompt,
    *,
    format: str = "png",
    quality: int = 90,
    fetched: Mapping[str, bytes] | None = None,
) -> TransformedRequest:
    """Apply a prompt to all images that the user sends, and its sentence to the question.

    Images that the prompt shows go before the first of them, each with its text, as parts of the
    same form.

    body: JSON in UTF-8. api: "chat", "responses", "messages", "gemini" or "converse"; see
    `bbtvp.deploy.bodies`. format, quality: how prompted images are encoded, "png", "jpeg" or
    "webp"; "png" keeps every pixel. fetched: the files of images that are given by their address
    (`linked_images`); nothing is fetched here.

    Everything but the images, their media types and the first words beside them stays the same,
    byte for byte; under a prompt of words alone the images too. It is all or nothing: where one
    image cannot be prompted, because it was not fetched or is damaged, the body is returned as it
    was, and `left` says why. A body without an image, and any body under the identity, is returned
    as it was.

    Raises UsageError for another api or format. Never for what is in a body.
    """
    if api not in APIS:
        raise unknown("api", api, APIS)
    try:
        text = body.decode("utf-8")
        edits: dict[Path, Any] = {}
        before: dict[Path, list[dict[str, Any]]] = {}
        images = 0
        parsed = parse(text)
        shown = _files(prompt, format, quality)
        for turn in user_turns(api, parsed):
            found = [] if prompt.is_identity else list(_images(turn))
            for image in [] if prompt.keeps_image else found:
                edits |= _prompted(image, prompt, _Sent(format, quality, fetched or {}))
            if found:
                edits |= _asked(turn, prompt)
            if found and shown and not before:
                before[found[0].part] = example_parts(api, parsed, found[0], shown)
            images += len(found)
    except UnicodeDecodeError:
        return TransformedRequest(body, left="the body is not UTF-8")
    except DataError as error:
        return TransformedRequest(body, left=str(error))
    # A media type that stays is not written again: its own escapes stay too.
    edits = {path: value for path, value in edits.items() if _at(parsed, path) != value}
    if not edits and not before:
        return TransformedRequest(body)
    return TransformedRequest(replaced(text, edits, before).encode("utf-8"), images)


def _at(body: Any, path: Path) -> Any:
    for key in path:
        body = body[key]
    return body


def linked_images(body: bytes, api: str) -> tuple[str, ...]:
    """Return the addresses on the web that a user gives for images, each once.

    Empty for a body that cannot be read.
    """
    try:
        turns = user_turns(api, parse(body.decode("utf-8")))
        found = [part.url for turn in turns for part in turn if isinstance(part, LinkedPart)]
    except (UnicodeDecodeError, DataError):
        return ()
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=8)
def _files(prompt: Prompt, format: str, quality: int) -> list[ExampleFile]:
    """Return the images that a prompt shows, encoded once."""
    files = []
    for shown in prompt.context():
        data = encode(shown.image, format, quality).data
        files.append(ExampleFile(base64.b64encode(data).decode("ascii"), format, shown.text))
    return files


def _images(turn: list[Part]) -> Iterator[ImagePart | LinkedPart]:
    """Yield the images of a turn. Raises DataError for one that no one but the vendor has."""
    for part in turn:
        if isinstance(part, Unreachable):
            raise DataError(part.why)
        if isinstance(part, ImagePart | LinkedPart):
            yield part


class _Sent(NamedTuple):
    """How images are sent, and those that were fetched, by their address."""

    format: str
    quality: int
    fetched: Mapping[str, bytes]


def _prompted(image: ImagePart | LinkedPart, prompt: Prompt, sent: _Sent) -> dict[Path, Any]:
    data = _file(image, sent.fetched)
    made = encode(prompt.render(decode_image(data)), sent.format, sent.quality)
    return image.edits(base64.b64encode(made.data).decode("ascii"), sent.format)


def _file(image: ImagePart | LinkedPart, fetched: Mapping[str, bytes]) -> bytes:
    if isinstance(image, LinkedPart):
        if image.url not in fetched:
            raise DataError(image.why)
        return fetched[image.url]
    try:
        # Google's SDK writes the alphabet that is safe in URLs.
        plain = image.base64.replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError("an image is not base64") from error


def _asked(turn: list[Part], prompt: Prompt) -> dict[Path, str]:
    """Return the turn's first words with the prompt's words around them, if it has any.

    Raises DataError if the prompt has words and the turn has none.
    """
    if prompt.ask("") == "":
        return {}
    words = next((part for part in turn if isinstance(part, TextPart)), None)
    if words is None:
        raise DataError("the image has no words beside it, so the prompt's sentence has no place")
    return {words.path: prompt.ask(words.value)}
