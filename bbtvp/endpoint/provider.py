"""What an adapter supplies: how a vendor's API is asked, and what its replies mean.

Nothing here uses the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, final

from bbtvp.models import Request

Json: TypeAlias = dict[str, Any]


@final
@dataclass(frozen=True)
class ApiFeatures:
    """What to ask of an API beyond a text reply.

    top: alternatives with log-probabilities for each token of the reply, 0 for none. forced:
    structured output that allows only the request's labels. temperature, seed: None if the field
    must not be sent. samples: replies to one request. thinks: the probe saw the model think before
    it answers, so that its reply needs room for that. other_length: send the longest reply under
    the other of the names that servers know for it.
    """

    top: int = 0
    forced: bool = False
    temperature: float | None = 0.0
    seed: int | None = None
    samples: int = 1
    thinks: bool = False
    other_length: bool = False

    @property
    def sampling(self) -> Json:
        """The fields `temperature` and `seed` that must be sent, by these names."""
        given = {"temperature": self.temperature, "seed": self.seed}
        return {name: value for name, value in given.items() if value is not None}


@final
@dataclass(frozen=True)
class EncodedImage:
    """An image as it is sent: the encoded file, and its media type, such as "image/png"."""

    data: bytes
    media: str

    @property
    def base64(self) -> str:
        """The file as base64 text."""
        return b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        """The file as the text of a URL."""
        return f"data:{self.media};base64,{self.base64}"

    @property
    def format(self) -> str:
        """The format alone: png, jpeg or webp."""
        return self.media.partition("/")[2]


@final
class EncodedPart(NamedTuple):
    """An image of a request as it is sent, and the text that follows it; the text may be empty."""

    image: EncodedImage
    text: str


Parts: TypeAlias = Sequence[EncodedPart]
"""The images of a request in the order in which the model sees them; the last is its own, and is
followed by the question.
"""


def interleaved(
    parts: Parts, picture: Callable[[EncodedImage], Json], text: Callable[[str], Json]
) -> list[Json]:
    """Return the content of a message: each image, and after it its text if it has one.

    picture, text: the vendor's own JSON for an image and for a text.
    """
    content = []
    for part in parts:
        content.append(picture(part.image))
        if part.text:
            content.append(text(part.text))
    return content


@final
@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request to be made.

    The headers hold keys. They are never shown, and take no part in the key of a stored reply.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.url}, {len(self.body)} bytes)"


class Token(NamedTuple):
    """One token of a reply.

    logprob: in nats. top: the likeliest alternatives by text, the token itself among them.
    """

    text: str
    logprob: float
    top: Mapping[str, float]


@final
@dataclass(frozen=True)
class ParsedReply:
    """The content of a reply of status 200.

    texts: one for each sample, without thoughts that the API keeps apart; empty if there is none.
    tokens: those that spell the first text; empty without log-probabilities, or where none spell
    it. unspelt: log-probabilities came, but of tokens that do not spell the text. thought: the
    model thought before it answered. refusal: the reason, if the model or a filter would not
    answer. failure: why there is no answer, if the server did not finish one (see
    `endpoint.endings`). truncated: the reply ended at the limit of tokens. input_tokens,
    output_tokens: as billed (reasoning included); None if the reply does not say. model: the
    model's own name and, if given, the fingerprint of its configuration.
    """

    texts: tuple[str, ...]
    tokens: tuple[Token, ...] = ()
    refusal: str | None = None
    truncated: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str = ""
    thought: bool = False
    unspelt: bool = False
    failure: str | None = None


class ProviderApi(ABC):
    """One vendor's API for one model.

    Subclasses live in `adapters/`, one file each, and hold no state but settings. service: the name
    under which prices and image limits are listed ("openai"). model: the vendor's name of the
    model. spec: what the user typed ("openai/gpt-6-luna"). url: where requests go; together with
    the body it identifies a request. servers: several servers of the model, to which requests go
    instead; `url` is then the name of the fleet. top: most alternatives per token that the API
    shows, 0 without log-probabilities. can_force: structured output exists. can_sample, can_seed,
    can_repeat: there are fields for a temperature, a seed, and several replies to one request.
    can_rename_length: servers differ in the name of the field for the longest reply. can_show:
    `body` sends all images of a request, not only its own.
    """

    service: ClassVar[str]
    top: int
    can_force: bool
    can_sample: bool
    can_seed: bool
    can_repeat: bool
    can_rename_length: bool = False
    can_show: bool = False
    servers: tuple[str, ...] = ()
    version: str = ""
    """Version of the API, if only a header tells it. Replies of another version are not reused."""

    spec: str
    model: str
    url: str

    @abstractmethod
    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        """Return the JSON body of one image query.

        parts: the images, each before its text; the last is `request.image` with the question, and
        the only one unless `can_show`. The body holds only what the features ask for.
        """

    @abstractmethod
    def headers(self, body: bytes) -> Mapping[str, str]:
        """Return the headers for this body, with the key or a signature.

        Keys are read from the environment when the model is loaded.
        """

    @abstractmethod
    def parse(self, reply: Json) -> ParsedReply:
        """Read a JSON reply of status 200.

        Raises LookupError, TypeError or ValueError if it belongs to another API.
        """

    def http_request(self, body: bytes) -> HttpRequest:
        """Return the HTTP request for a body."""
        return HttpRequest("POST", self.url, self.headers(body), body)

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        """Return (code, message) of an error reply, in the vendor's words.

        The usual form is `{"error": {"code" or "type", "message"}}`.
        """
        error = reply.get("error")
        if not isinstance(error, Mapping):
            return "", str(error or reply.get("message") or reply.get("detail") or "")
        return str(error.get("code") or error.get("status") or error.get("type") or ""), str(
            error.get("message") or ""
        )

    def count_request(self, request: Request, parts: Parts) -> HttpRequest | None:
        """Return the HTTP request that counts the input tokens of an image query at no cost.

        None if the vendor offers none. For the names of the count see `endpoint.counting`.
        """
        return None

    def whole_request(self, request: Request, parts: Parts) -> HttpRequest | None:
        """Return a free HTTP request that is refused if the vendor would scale the image down."""
        return None

    def about_request(self) -> HttpRequest | None:
        """Return the HTTP request for what the vendor says of the model, None if it says none."""
        return None

    @property
    def image_name(self) -> str:
        """The name under which the rules for images are listed.

        It is the model's, with "@" and the level of detail if that is not the usual one.
        """
        return self.model

    @property
    def batch(self) -> BatchApi | None:
        """The vendor's batch interface, if there is one."""
        return None


class BatchApi(ABC):
    """A vendor's batch interface: many bodies are submitted at once and collected later."""

    limit: ClassVar[int]
    """Most requests in one batch."""
    size: ClassVar[int]
    """Most bytes in one batch."""

    @abstractmethod
    def submit(self, bodies: Mapping[str, bytes]) -> Generator[HttpRequest, Json, str]:
        """Yield the HTTP requests that submit bodies, given by their identifiers.

        The JSON reply to each is sent back into the generator, which returns the batch's
        identifier.
        """

    @abstractmethod
    def status(self, batch: str) -> HttpRequest:
        """Return the HTTP request for the state of a batch."""

    @abstractmethod
    def read_status(self, reply: Json) -> tuple[bool, str, str | None]:
        """Return (ended, the vendor's word for the state, where the results are or None)."""

    @abstractmethod
    def results(self, where: str) -> Sequence[HttpRequest]:
        """Return the HTTP requests that fetch the results of an ended batch."""

    @abstractmethod
    def read_results(self, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        """Yield (identifier, status, reply) of each request, in any order.

        bodies: the responses to the requests of `results`.
        """


class SearchableBatchApi(BatchApi):
    """A batch interface that lists its batches, so that one with a lost identifier is found."""

    @abstractmethod
    def recent(self) -> HttpRequest:
        """Return the HTTP request that lists the latest batches."""

    @abstractmethod
    def find(self, reply: Json, names: Sequence[str], since: float) -> Sequence[str]:
        """Return the identifiers of listed batches that may hold these requests, likeliest first.

        names: identifiers of the requests, in the order in which they were submitted. since:
        seconds since 1970 at the submission, by this machine's clock, which may be minutes off.
        """
