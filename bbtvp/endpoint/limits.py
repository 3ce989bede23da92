"""What vendors accept and how they resize images: a dated data file that users can override.

    Limits.load().find("openai", "gpt-6-luna").side

The shipped file is `limits.toml`; each of its values names its source. A file of your own
(BBTVP_LIMITS) takes precedence, value by value.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, final

from pydantic import BaseModel, Field, ValidationError, model_validator

from bbtvp.core import clock
from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.resizing import LikeRule, ResizeRule, StrictModel

SHIPPED = Path(__file__).with_name("limits.toml")
VALUES = ("formats", "side", "bytes", "images", "crowd", "request", "resize")
"""The values of a row that need a source."""

M = TypeVar("M", bound=BaseModel)
Day: TypeAlias = date


@final
class Crowd(StrictModel):
    """A smaller side for the images of a request of many.

    above: images of a request from which on it holds, not included. side: in pixels.
    """

    above: Annotated[int, Field(ge=1)]
    side: Annotated[int, Field(ge=1)]


@final
class LimitsRow(StrictModel):
    """What is known of the models of one service that match a pattern (fnmatch).

    A value that is left out may come from a wider pattern. date: when the values were read.
    valid_until: the last day on which they hold. side: largest side in pixels. bytes: largest file;
    the size of its base64 text if `base64` is set.
    images: most images per request. crowd: a smaller side where a request holds many. request: most
    bytes of a request.
    """

    service: str = Field(min_length=1)
    model: str = Field(default="*", min_length=1)
    date: Day | None = None
    valid_until: Day | None = None
    formats: list[str] | None = None
    side: Annotated[int, Field(ge=1)] | None = None
    bytes: Annotated[int, Field(ge=1)] | None = None
    base64: bool = False
    images: Annotated[int, Field(ge=1)] | None = None
    crowd: Crowd | None = None
    request: Annotated[int, Field(ge=1)] | None = None
    resize: Annotated[ResizeRule | LikeRule, Field(discriminator="kind")] | None = None
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_value_has_a_source(self) -> LimitsRow:
        for name in VALUES:
            if getattr(self, name) is not None and name not in self.sources:
                raise ValueError(f'{name} has no source; add sources.{name} = "where you read it"')
        for name in self.sources:
            if name not in VALUES:
                raise ValueError(
                    f"sources.{name} names no value of a row; use one of {', '.join(VALUES)}"
                )
        return self


class _LimitsFile(StrictModel):
    """A file of limits. A row may give a list of patterns: it then stands for one row for each."""

    checked: date | None = None
    limits: list[LimitsRow] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _one_row_for_each_pattern(cls, file: object) -> object:
        if not isinstance(file, dict) or not isinstance(file.get("limits"), list):
            return file
        rows: list[object] = []
        for row in file["limits"]:
            patterns = row.get("model") if isinstance(row, dict) else None
            if isinstance(patterns, list) and patterns:
                rows += [row | {"model": pattern} for pattern in patterns]
            else:
                rows.append(row)
        return file | {"limits": rows}


@final
@dataclass(frozen=True)
class ImageLimits:
    """The limits of one model.

    sources: where each value was read. A limit is None where it is not known.
    """

    resize: ResizeRule | LikeRule
    sources: Mapping[str, str]
    formats: Sequence[str] | None = None
    side: int | None = None
    bytes: int | None = None
    images: int | None = None
    crowd: Crowd | None = None
    request: int | None = None


@final
class Limits:
    """Rows of limits: those of a file of your own, then the shipped ones."""

    def __init__(
        self,
        own: Sequence[LimitsRow],
        shipped: Sequence[LimitsRow],
        checked: date | None,
        path: Path | None,
    ) -> None:
        self.own = tuple(own)
        self.shipped = tuple(shipped)
        self.checked = checked
        self.path = path

    @classmethod
    def load(cls, path: Path | None = None) -> Limits:
        """Load the shipped file, and over it your own: `path`, or BBTVP_LIMITS.

        Raises UsageError for a file that cannot be used.
        """
        own = os.environ.get("BBTVP_LIMITS")
        return _loaded(path or (Path(own) if own else None))

    def find(self, service: str, model: str) -> ImageLimits:
        """Return the limits of a model, and where each was read.

        The narrower of two rows takes precedence, and your own rows before shipped ones. Raises
        UsageError for rules that refer to each other in a circle.
        """
        known = self._find(service, model)
        asked = [service]
        while isinstance(known.resize, LikeRule):
            other = known.resize.service
            if other in asked:
                circle = " like ".join([*asked, other])
                raise UsageError(
                    f"limits of {service}: {circle} is a circle; give one of them a rule of its own"
                )
            asked.append(other)
            lent = self._find(other, model)
            sources = {**known.sources, "resize": f"as {other}: {lent.sources['resize']}"}
            known = replace(known, resize=lent.resize, sources=sources)
        return known

    def _find(self, service: str, model: str) -> ImageLimits:
        found: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for row in self._matching(service, model):
            for name in VALUES:
                value = getattr(row, name)
                if name not in found and value is not None:
                    found[name] = value * 3 // 4 if name == "bytes" and row.base64 else value
                    read = f", {row.date}" if row.date else ""
                    sources[name] = row.sources[name] + read
        return ImageLimits(sources=sources, **found)

    def _matching(self, service: str, model: str) -> Iterator[LimitsRow]:
        """Yield the rows that match a model today, in order of precedence."""
        today = clock.today()
        for rows in (self.own, self.shipped):
            fits = [
                row
                for row in rows
                if row.service in (service, "*")
                and fnmatchcase(model, row.model)
                and (row.valid_until or today) >= today
            ]
            yield from sorted(
                fits, key=lambda row: (row.service == "*", row.model != model, -len(row.model))
            )


@lru_cache(maxsize=8)
def _loaded(path: Path | None) -> Limits:
    shipped = read_table(SHIPPED, _LimitsFile)
    if path is None:
        return Limits((), shipped.limits, shipped.checked, None)
    own = read_table(path, _LimitsFile)
    return Limits(own.limits, shipped.limits, own.checked, path)


def read_table(path: Path, form: type[M]) -> M:
    """Read a TOML file into a checked model.

    Raises UsageError, one line with the file and the key, for a file that cannot be used.
    """
    try:
        # "sig": Windows' editors begin a file with a byte order mark.
        return form.model_validate(tomllib.loads(path.read_text("utf-8-sig")))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise UsageError(_explained(path, form, error)) from error


def _explained(path: Path, form: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    where = [str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"]]
    key = where[-1] if where else ""
    place = f"{path}: {' '.join(where)}" if where else str(path)
    if first["type"] == "extra_forbidden":
        return f"{place}: {unknown('key', key, _keys(form))}"
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = f", got {given!r}" if isinstance(given, str | int | float | bool) else ""
    return f"{place}: {message[:1].lower()}{message[1:]}{shown}"


def _keys(form: type[BaseModel]) -> set[str]:
    """Return all keys that may occur anywhere in a file of this form."""
    found: set[str] = set()
    waiting: list[object] = [form]
    while waiting:
        item = waiting.pop()
        if isinstance(item, type) and issubclass(item, BaseModel):
            found |= item.model_fields.keys()
            waiting += [field.annotation for field in item.model_fields.values()]
        waiting += getattr(item, "__args__", ())
    return found
