"""Where the images and the words of the user stand in the bodies of five chat APIs.

`chat`: chat completions (OpenAI and all that follow it). `responses`: OpenAI's Responses.
`messages`: Anthropic's Messages. `gemini`: Google's generateContent. `converse`: Amazon Bedrock's
Converse, as JSON on the wire, where bytes are base64.

A turn of the user is searched; what a tool returned and what the model said is left alone.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, final

from bbtvp.deploy.json_edit import Path

_NOT_COPIED = ("cache_control", "cachePoint", "id")
"""Keys of a part that belong to it alone."""

Part: TypeAlias = "ImagePart | LinkedPart | TextPart | Unreachable"


@final
@dataclass(frozen=True)
class ImagePart:
    """An image that stands in the body.

    data: the path of its base64, or of its data URL. media: the path of the media type, None in a
    data URL. bare: whether the media type is written without "image/".
    """

    data: Path
    value: str
    media: Path | None = None
    bare: bool = False

    @property
    def part(self) -> Path:
        """The path of the part of the turn that holds it."""
        return self.data[:_PART]

    @property
    def base64(self) -> str:
        """The image's bytes in base64."""
        return self.value if self.media else self.value.partition(",")[2]

    def edits(self, base64: str, format: str) -> dict[Path, Any]:
        """Return what to write for another image in the same place. format: such as "png"."""
        if self.media is None:
            return {self.data: f"data:image/{format};base64,{base64}"}
        return {self.data: base64, self.media: format if self.bare else f"image/{format}"}


@final
@dataclass(frozen=True)
class LinkedPart:
    """An image that is given by its address on the web.

    path: of the URL; of Anthropic's source as a whole (`whole`). why: what to say where it is not
    fetched.
    """

    path: Path
    url: str
    why: str
    whole: bool = False

    def edits(self, base64: str, format: str) -> dict[Path, Any]:
        """Return what to write for the image. format: such as "png"."""
        if self.whole:
            media = f"image/{format}"
            return {self.path: {"type": "base64", "media_type": media, "data": base64}}
        return {self.path: f"data:image/{format};base64,{base64}"}

    @property
    def part(self) -> Path:
        """The path of the part of the turn that holds it."""
        return self.path[:_PART]


_PART = 4
"""Keys and positions that lead to a part: the turns, a turn, its parts, a part."""


def example_parts(
    api: str,
    body: Mapping[str, Any],
    image: ImagePart | LinkedPart,
    files: Sequence[ExampleFile],
) -> list[dict[str, Any]]:
    """Return parts for images that are shown before one of the body, each before its text.

    They have the form of that image's own part, with its level of detail, for instance.
    """
    found: dict[str, Any] = dict(body)
    for key in image.part:
        found = found[key]  # type: ignore[index]
    model = {key: value for key, value in found.items() if key not in _NOT_COPIED}
    parts = []
    for file in files:
        part = copy.deepcopy(model)
        for path, value in image.edits(file.base64, file.format).items():
            _put(part, path[_PART:], value)
        parts.append(part)
        if file.text:
            parts.append(_LAYOUTS[api].words(file.text))
    return parts


class ExampleFile(NamedTuple):
    """An image in base64 with its format, such as "png", and the text that follows it."""

    base64: str
    format: str
    text: str


def _put(part: Any, path: Path, value: Any) -> None:
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value


@final
@dataclass(frozen=True)
class TextPart:
    """Words of the user. path: of the string."""

    path: Path
    value: str


@final
@dataclass(frozen=True)
class Unreachable:
    """An image that does not stand in the body, or not as base64. why: in words."""

    why: str


def user_turns(api: str, body: Mapping[str, Any]) -> Iterator[list[Part]]:
    """Yield the parts of each turn of the user. api: one of `APIS`."""
    layout = _LAYOUTS[api]
    for i, turn in enumerate(_list(body.get(layout.turns))):
        # Gemini's turns may have no role.
        if isinstance(turn, dict) and turn.get("role", "user") == "user":
            here = (layout.turns, i, layout.content)
            yield [
                part
                for j, item in enumerate(_list(turn.get(layout.content)))
                if isinstance(item, dict)
                for part in layout.parts((*here, j), item)
            ]


_ROUTES = (
    (re.compile(r"/chat/completions/?$"), "chat"),
    (re.compile(r"/responses/?$"), "responses"),
    (re.compile(r"/messages/?$"), "messages"),
    (re.compile(r":(stream)?[gG]enerateContent$"), "gemini"),
    (re.compile(r"/model/[^/]+/converse(-stream)?$"), "converse"),
)


def api_of(path: str) -> str | None:
    """Return the API of a request by the path of its URL, None if it is none of the five."""
    return next((api for route, api in _ROUTES if route.search(path)), None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(path: Path, item: Mapping[str, Any]) -> Iterator[Part]:
    if isinstance(item.get("text"), str):
        yield TextPart((*path, "text"), item["text"])


def _chat_part(path: Path, item: Mapping[str, Any]) -> Iterator[Part]:
    if item.get("type") == "text":
        yield from _text(path, item)
    elif item.get("type") == "image_url":
        image = item.get("image_url")
        if isinstance(image, dict):
            yield _of_url((*path, "image_url", "url"), image.get("url"))
        else:
            yield _of_url((*path, "image_url"), image)


def _response_part(path: Path, item: Mapping[str, Any]) -> Iterator[Part]:
    if item.get("type") == "input_text":
        yield from _text(path, item)
    elif item.get("type") == "input_image" and item.get("image_url"):
        yield _of_url((*path, "image_url"), item["image_url"])
    elif item.get("type") == "input_image":
        yield Unreachable("an image is given as a file of the vendor; send it as a data URL")


def _message_part(path: Path, item: Mapping[str, Any]) -> Iterator[Part]:
    if item.get("type") == "text":
        yield from _text(path, item)
    elif item.get("type") == "image":
        yield _of_source((*path, "source"), item.get("source"))


def _of_source(path: Path, source: Any) -> Part:
    known = isinstance(source, dict) and source.get("type") == "base64"
    if known and isinstance(source.get("data"), str) and "media_type" in source:
        return ImagePart((*path, "data"), source["data"], (*path, "media_type"))
    if isinstance(source, dict) and source.get("type") == "url" and _on_the_web(source.get("url")):
        why = "an image is given by its address; send it as base64"
        return LinkedPart(path, source["url"], why, whole=True)
    return Unreachable("an image is given by URL or as a file of the vendor; send it as base64")


def _gemini_part(path: Path, item: Mapping[str, Any]) -> Iterator[Part]:
    yield from _text(path, item)
    for name in ("inlineData", "inline_data"):
        if name in item:
            yield from _of_inline((*path, name), item[name])
    for name in ("fileData", "file_data"):
        if name in item and _may_be_image(item[name]):
            yield Unreachable("an image is given as a file of Google's; send it as inlineData")


def _of_inline(path: Path, blob: Any) -> Iterator[Part]:
    if not _may_be_image(blob):
        return
    media = _media_name(blob)
    if media and isinstance(blob.get("data"), str):
        yield ImagePart((*path, "data"), blob["data"], (*path, media))
    else:
        yield Unreachable("an image has no data or no media type")


def _may_be_image(blob: Any) -> bool:
    """Return whether inline data or a file may be an image; what is of another kind says so."""
    if not isinstance(blob, dict):
        return True
    media = _media_name(blob)
    return media is None or str(blob[media]).startswith("image/")


def _media_name(blob: Any) -> str | None:
    """Return the name of the media type; Google reads both spellings, and its SDK mixes them."""
    names = ("mimeType", "mime_type")
    return next((name for name in names if isinstance(blob, dict) and name in blob), None)


def _converse_part(path: Path, item: Mapping[str, Any]) -> Iterator[Part]:
    yield from _text(path, item)
    image = item.get("image")
    if image is None:
        return
    source = image.get("source") if isinstance(image, dict) else None
    if isinstance(source, dict) and isinstance(source.get("bytes"), str) and "format" in image:
        place = (*path, "image")
        yield ImagePart((*place, "source", "bytes"), source["bytes"], (*place, "format"), bare=True)
    else:
        yield Unreachable("an image is given as an object of S3; send its bytes")


def _of_url(path: Path, url: Any) -> Part:
    if not isinstance(url, str):
        return Unreachable("an image has no URL")
    head, comma, _ = url.partition(",")
    if comma and head.lower().startswith("data:") and head.lower().endswith(";base64"):
        return ImagePart(path, url)
    why = "an image is given by its address; send it as a data URL in base64"
    return LinkedPart(path, url, why) if _on_the_web(url) else Unreachable(why)


def _on_the_web(url: Any) -> bool:
    return isinstance(url, str) and url.lower().startswith(("https://", "http://"))


class _Layout(NamedTuple):
    """An API's names: of the list of turns, of a turn's parts, and how a part is read.

    kind: the type of a part of words, "" where parts have none.
    """

    turns: str
    content: str
    parts: Callable[[Path, Mapping[str, Any]], Iterator[Part]]
    kind: str = ""

    def words(self, text: str) -> dict[str, Any]:
        """A part of these words."""
        return {"type": self.kind, "text": text} if self.kind else {"text": text}


_LAYOUTS = {
    "chat": _Layout("messages", "content", _chat_part, "text"),
    "responses": _Layout("input", "content", _response_part, "input_text"),
    "messages": _Layout("messages", "content", _message_part, "text"),
    "gemini": _Layout("contents", "parts", _gemini_part),
    "converse": _Layout("messages", "content", _converse_part),
}
APIS = tuple(_LAYOUTS)
"""The APIs that are known."""
