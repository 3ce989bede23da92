"""Which requests are prompted, and with which prompt."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, final
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bbtvp.core.digest import digest
from bbtvp.core.errors import DataError, UsageError
from bbtvp.deploy.bodies import TextPart, user_turns
from bbtvp.deploy.json_edit import parse
from bbtvp.prompt import Prompt

_MODEL_IN_PATH = re.compile(r"/models?/([^/:]+)")
"""Google and Amazon name the model in the path, the others in the body."""


@final
@dataclass(frozen=True)
class IncomingRequest:
    """A request to a chat API. path: as it came, escaped. headers: names in lower case."""

    api: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def model(self) -> str:
        """The model that is asked, "" if the request names none."""
        found = _MODEL_IN_PATH.search(self.path)
        return unquote(found[1]) if found else str(self._content.get("model", ""))

    @property
    def question(self) -> str:
        """All words of the user, one line for each part."""
        turns = user_turns(self.api, self._content)
        return "\n".join(
            part.value for turn in turns for part in turn if isinstance(part, TextPart)
        )

    @cached_property
    def _content(self) -> Mapping[str, Any]:
        try:
            return parse(self.body.decode("utf-8", "replace"))
        except DataError:
            return {}


@final
class Route(BaseModel):
    """A prompt, and the requests that it is for: those that match all that is given.

    bundle: path of the prompt. signed_by: public keys, or files that hold one, of which one must
    have signed it; none where its author does not matter. name: in logs and metrics. model: a
    pattern, such as "gpt-*". header: name to value. question: a regular expression that is found in
    the user's words. share: of the requests, 0 to 1; the others go through as they are, as control.
    shadow: instead of a share: all requests go through as they are, and this share of them is sent
    a second time, prompted, for comparison. sticky: the header whose value decides, such as a
    user's id; without it, the body decides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: Path
    signed_by: tuple[str, ...] = ()
    name: str = ""
    model: str = "*"
    header: dict[str, str] = Field(default_factory=dict)
    question: re.Pattern[str] | None = None
    share: float = Field(default=1.0, ge=0.0, le=1.0)
    shadow: float = Field(default=0.0, ge=0.0, le=1.0)
    sticky: str | None = None

    @field_validator("question", mode="before")
    @classmethod
    def _compiled(cls, value: Any) -> Any:
        try:
            return re.compile(value) if isinstance(value, str) else value
        except re.error as error:
            raise ValueError(f"no regular expression ({error})") from error

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.shadow and self.share != 1:
            raise ValueError("a route has a share or a shadow share, not both")
        return self

    @cached_property
    def prompt(self) -> Prompt:
        """The prompt. Raises BundleError if it cannot be read, or is not signed as it must be."""
        return Prompt.load(self.bundle, signed_by=self.signed_by)

    @property
    def label(self) -> str:
        """Its name in logs and metrics: the bundle's if none is given."""
        return self.name or self.bundle.stem

    def matches(self, request: IncomingRequest) -> bool:
        """Return whether the route is for a request."""
        return (
            (self.model == "*" or fnmatch.fnmatchcase(request.model, self.model))
            and all(
                request.headers.get(name.lower()) == value for name, value in self.header.items()
            )
            and (self.question is None or self.question.search(request.question) is not None)
        )

    def drawn(self, request: IncomingRequest) -> str:
        """Return what a request is drawn for: "prompted", "control" or "shadow".

        Requests with the same value of the sticky header always have the same answer.
        """
        if self.share == 1 and not self.shadow:
            return "prompted"  # without a digest of a large body
        value = request.headers.get((self.sticky or "").lower())
        key = request.body if value is None else value.encode("utf-8", "surrogateescape")
        drawn = int(digest(self.label.encode(), key)[:13], 16) / 16**13
        if self.shadow:
            return "shadow" if drawn < self.shadow else "control"
        return "prompted" if drawn < self.share else "control"


class _RoutesFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    route: list[Route] = Field(min_length=1)


def read_routes(path: Path) -> list[Route]:
    """Read the `[[route]]` tables of a TOML file, in order; the first that matches counts.

    Paths of bundles are relative to the file. Raises UsageError, in one line, for a file that is
    not so, and BundleError for a bundle that cannot be read.
    """
    try:
        found = _RoutesFile.model_validate(tomllib.loads(path.read_text("utf-8-sig")))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg']}; see docs/deploy.md") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise UsageError(f"{path}: is not TOML ({error})") from error
    routes = list(_located(found.route, path.parent))
    for route in routes:
        if sum(other.label == route.label for other in routes) > 1:
            raise UsageError(f"{path}: two routes are named {route.label}; give each a name")
    return routes


def _located(routes: list[Route], folder: Path) -> Iterator[Route]:
    for route in routes:
        yield route.model_copy(update={"bundle": folder / route.bundle.expanduser()})
