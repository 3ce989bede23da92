"""What an adapter supplies: how a vendor's API is asked, and what its replies mean. Nothing here
uses the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, final

from bbtvp.models import Request

Json: TypeAlias = dict[str, Any]


@final
@dataclass(frozen=True)
class Features:
    """What to ask of an API beyond a text: what the probe found it to honour, or what it is being
    probed for.

    top: alternatives with log-probabilities for each token of the reply, 0 for none. forced:
    structured output that allows the request's labels only. temperature, seed: None where the field
    must not be sent. samples: replies to one request.
    """

    top: int = 0
    forced: bool = False
    temperature: float | None = 0.0
    seed: int | None = None
    samples: int = 1


@final
@dataclass(frozen=True)
class Picture:
    """An image as it is sent: `data` is the encoded file, `media` its type, such as "image/png"."""

    data: bytes
    media: str

    @property
    def format(self) -> str:
        """The format alone: png, jpeg or webp."""
        return self.media.partition("/")[2]


@final
@dataclass(frozen=True)
class Wire:
    """One HTTP exchange to be made. `headers` hold keys: they are shown nowhere, and kept out of
    the store's keys.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Wire({self.method} {self.url}, {len(self.body)} bytes)"


class Token(NamedTuple):
    """One token of a reply: its log-probability in nats, and the likeliest alternatives, itself
    among them.
    """

    text: str
    logprob: float
    top: Mapping[str, float]


@final
@dataclass(frozen=True)
class Parsed:
    """What a reply of status 200 says.

    texts: one for each sample; empty where there is none. tokens: of the first text, empty without
    log-probabilities. refusal: the reason, if the model or a filter would not answer. truncated:
    ended by the limit of tokens. input_tokens, output_tokens: as billed (reasoning included), None
    where the reply does not say. model: what answered by its own words: the exact name and, where
    told, the fingerprint of how it was set up.
    """

    texts: tuple[str, ...]
    tokens: tuple[Token, ...] = ()
    refusal: str | None = None
    truncated: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str = ""


class Dialect(ABC):
    """One vendor's API for one model. Final subclasses in `adapters/`, one file each, hold no state
    beyond settings.

    service: the name under which prices and image limits are listed ("openai"). model: the vendor's
    name of the model. spec: what the user typed ("openai/gpt-5"). url: where requests go; with the
    body it is the identity of a request. servers: where they go instead, if several serve the
    model: `url` is a name then, and no server's. top: most alternatives per token that the API can
    give, 0 if it has no log-probabilities. can_force: structured output exists. can_sample,
    can_seed, can_repeat: whether there are fields for a temperature, a seed, and several replies to
    one request.
    """

    service: ClassVar[str]
    top: int
    can_force: bool
    can_sample: bool
    can_seed: bool
    can_repeat: bool
    servers: tuple[str, ...] = ()
    version: str = ""
    """Of the API, where a header alone tells it: replies under another one are not the same."""

    spec: str
    model: str
    url: str

    @abstractmethod
    def body(self, request: Request, picture: Picture, features: Features) -> Json:
        """The JSON body for one image query: image before text, nothing that the features do not
        ask for.
        """

    @abstractmethod
    def headers(self, body: bytes) -> Mapping[str, str]:
        """Headers for this body, the key or a signature among them; read from the environment at
        load time.
        """

    @abstractmethod
    def parse(self, reply: Json) -> Parsed:
        """What a JSON reply of status 200 says. Raises LookupError, TypeError or ValueError if it
        is of another API.
        """

    def wire(self, body: bytes) -> Wire:
        """The exchange for a body."""
        return Wire("POST", self.url, self.headers(body), body)

    def error(self, status: int, reply: Json) -> tuple[str, str]:
        """(code, message) of an error reply, in the vendor's words: `{"error": {"code" or "type",
        "message"}}`.
        """
        error = reply.get("error")
        if not isinstance(error, Mapping):
            return "", str(error or reply.get("message") or reply.get("detail") or "")
        return str(error.get("code") or error.get("status") or error.get("type") or ""), str(
            error.get("message") or ""
        )

    @property
    def batch(self) -> BatchDialect | None:
        """The half-price interface, if the vendor has one."""
        return None


class BatchDialect(ABC):
    """A vendor's batch interface: many bodies handed in at once, collected later."""

    limit: ClassVar[int]
    """Most requests in one batch."""
    size: ClassVar[int]
    """Most bytes in one batch."""

    @abstractmethod
    def submit(self, bodies: Mapping[str, bytes]) -> Generator[Wire, Json, str]:
        """The exchanges that hand in bodies by their identifiers.

        Each one's JSON reply is sent back into the generator, which returns the batch's identifier.
        """

    @abstractmethod
    def status(self, batch: str) -> Wire:
        """The exchange that asks how a batch is doing."""

    @abstractmethod
    def read_status(self, reply: Json) -> tuple[bool, str, str | None]:
        """(ended, the vendor's word for the state, where the results are or None) from its reply."""

    @abstractmethod
    def results(self, where: str) -> Sequence[Wire]:
        """The exchanges that fetch the results of an ended batch."""

    @abstractmethod
    def read_results(self, bodies: Sequence[bytes]) -> Iterator[tuple[str, int, Json]]:
        """(identifier, status, reply) of each request, in any order, from the bodies that `results`
        brought.
        """

    @abstractmethod
    def cancel(self, batch: str) -> Wire:
        """The exchange that gives a batch up."""
