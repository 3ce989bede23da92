"""The options that all endpoints share: `-M key=value`, or keywords of `load_model`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.images import IMAGE_FORMATS
from bbtvp.endpoint.provider import ApiFeatures
from bbtvp.endpoint.transport import Timeouts

_POSITIVE = (
    "rpm",
    "tpm",
    "concurrency",
    "timeout",
    "connect",
    "total",
    "max_tokens",
    "poll",
    "stop_after",
)


@final
@dataclass(frozen=True)
class EndpointSettings:
    """How an endpoint is called.

    rpm, tpm: most requests and tokens per minute, learned from the headers of replies where not
    given. concurrency: most requests at once. connect, timeout, total: seconds for a connection, an
    attempt, and a request with all its retries. retries: of one request. stop_after: failed
    requests in a row that end the run. format, quality: how images are sent; "png" keeps every
    pixel. max_tokens: longest reply, where a model needs more than the task asks for, such as one
    that reasons first. temperature, seed: sent where the API accepts them; None to send none. top:
    alternatives to ask for per token. forced: use structured output for labels. probe: find out
    what the endpoint honours; without a probe only text is used. prices: a price file of your own.
    store: a reply store of your own, or False to keep no replies. batch: use the vendor's batch
    interface. poll: seconds between checks of a batch.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int = 64
    connect: float = 10.0
    timeout: float = 120.0
    total: float = 900.0
    retries: int = 8
    stop_after: int = 20
    format: str = "png"
    quality: int = 90
    max_tokens: int | None = None
    temperature: float | None = 0.0
    seed: int | None = 0
    top: int = 20
    forced: bool = True
    probe: bool = True
    prices: Path | None = None
    store: Path | bool = True
    batch: bool = False
    poll: float = 30.0

    @classmethod
    def of(cls, **options: Any) -> EndpointSettings:
        """Check and convert options as they come from a command line.

        Raises UsageError for an unknown name or a bad value.
        """
        known = {field.name: str(field.type) for field in fields(cls)}
        checked = {}
        for name, value in options.items():
            if name not in known:
                raise unknown("endpoint option", name, known)
            checked[name] = _converted(name, value, known[name])
        settings = cls(**checked)
        for name in _POSITIVE:
            value = getattr(settings, name)
            if value is not None and value <= 0:
                raise UsageError(f"{name}={value} must be above 0")
        if settings.retries < 0 or settings.top < 0 or not 1 <= settings.quality <= 100:
            raise UsageError("retries and top must be at least 0, and quality 1 to 100")
        if settings.format not in IMAGE_FORMATS:
            raise unknown("image format", settings.format, IMAGE_FORMATS)
        return settings

    @property
    def timeouts(self) -> Timeouts:
        """The time limits of the transport."""
        return Timeouts(self.connect, self.timeout, self.total)

    @property
    def wished(self) -> ApiFeatures:
        """The features that a probe tries."""
        return ApiFeatures(self.top, self.forced, self.temperature, self.seed)


def _converted(name: str, value: Any, kind: str) -> Any:
    """Convert a value to the field's type.

    Only "none" gives None, and only booleans give a bool.
    """
    if (isinstance(value, str) and value.lower() == "none") or value is None:
        if "None" in kind:
            return None
        raise UsageError(f"{name} cannot be none")
    if kind == "bool" or isinstance(value, bool):
        if not isinstance(value, bool) or "bool" not in kind:
            raise UsageError(f"{name}={value!r}: give {_in_words(kind)}")
        return value
    convert = next(plain for plain in (int, float, Path, str) if plain.__name__ in kind)
    try:
        made = convert(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}={value!r}: give {_in_words(kind)}") from error
    if convert is int and made != float(value):
        raise UsageError(f"{name}={value!r}: give a whole number")
    return made


_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "Path": "a path",
    "str": "a text",
    "None": "none",
}


def _in_words(kind: str) -> str:
    """A field's type as a user would say it: "int | None" is "a whole number or none"."""
    return " or ".join(_WORDS.get(part.strip(), part.strip()) for part in kind.split("|"))
