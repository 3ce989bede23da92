"""`SearchConfig`: everything that a search can be told, beside its task and its models.

>>> config = SearchConfig(queries=2000, prompt="tone", images=16)
>>> run = optimize("zoo/shapes-dark", "zoo/llava", config=config)

Each field carries its help text, its group and its limits. The flags of `bbtvp optimize`, the keys
of a job in a jobs file, the record of a run and the constants of a bench method are all made from
these fields: a new option is one new field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    final,
    get_args,
    get_origin,
    get_type_hints,
)

from bbtvp.core.errors import UsageError, unknown
from bbtvp.models import Model
from bbtvp.optim import Factory, method_name
from bbtvp.prompt import PromptSpace
from bbtvp.prompt.bundle import layer_of
from bbtvp.prompt.channel import Channel
from bbtvp.runs.upgrade import removed_option, without_removed
from bbtvp.search.methods import AUTO, is_guided
from bbtvp.surrogate import BETWEEN, Surrogate

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Combine: TypeAlias = Literal["mean", "worst"]
Goal: TypeAlias = Literal["accuracy", "cost"]
ReaderName: TypeAlias = Literal["auto", "logprob", "label", "text"]
Normalise: TypeAlias = Literal["mean", "sum"]
Group: TypeAlias = Literal["budget", "what is searched", "how it is searched", "surrogate"]
GROUPS: tuple[Group, ...] = get_args(Group)

FEWEST_PRIMED = 8
"""Fewest answers from which a student of the source model can learn."""

OLD_NAMES = MappingProxyType({"budget": "queries", "seconds": "minutes"})
"""Names that are still accepted, and today's."""


@final
class Option(NamedTuple):
    """What one field of `SearchConfig` means.

    flag: whether `bbtvp optimize` has a flag of this name; the others are given as -S KEY=VALUE.
    everyday: whether the flag stands first in the help. settled: the journal holds what follows
    from the field (the plan, the prompt space, the reader) or nothing of it (a cap), so its value
    does not make another run. repeats: what stands between the values of a flag that may be
    repeated, "" if it may not.
    """

    name: str
    default: Any
    help: str
    group: Group
    flag: bool
    everyday: bool
    settled: bool
    repeats: str
    hint: Any

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return self.default is False or self.name == "channel"

    @property
    def metavar(self) -> str:
        """What a value looks like, as a help text shows it."""
        choices = _choices(self.hint)
        if choices:
            return "|".join(choices)
        kinds: dict[Any, str] = {
            Mapping: "JSON",
            bool: "BOOL",
            int: "N",
            float: "X",
            str: "NAME",
        }
        return next((kinds[kind] for kind in kinds if kind in _kinds(self.hint)), "JSON")


def _about(
    group: Group,
    text: str,
    *,
    flag: bool = True,
    everyday: bool = False,
    settled: bool = False,
    repeats: str = "",
    **limits: float,
) -> dict[str, Any]:
    """Metadata of a field; see `Option`. Limits are those of `pydantic.Field`: ge, gt, le."""
    return {
        "group": group,
        "help": text,
        "flag": flag,
        "everyday": everyday,
        "settled": settled,
        "repeats": repeats,
        "limits": limits,
    }


@final
@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """All that a search can be told. Checked when it is made: UsageError for what cannot be.

    Values may be given as text, as from a command line or a TOML file.
    """

    # -- budget ------------------------------------------------------------------------------------
    queries: int = field(
        default=1000,
        metadata=_about(
            "budget",
            "Cap on image queries: search, validation, retries, failures.",
            everyday=True,
            ge=1,
        ),
    )
    usd: float | None = field(
        default=None,
        metadata=_about(
            "budget",
            "Cap on money, US dollars; needs a known price.",
            everyday=True,
            settled=True,
            gt=0,
        ),
    )
    minutes: float | None = field(
        default=None,
        metadata=_about("budget", "Cap on time, from the call on.", settled=True, gt=0),
    )

    # -- what is searched --------------------------------------------------------------------------
    prompt: PromptSpace | str = field(
        default="default",
        metadata=_about(
            "what is searched",
            "Preset: default, tone, frame, tvp, annotate, words; +LAYER adds a layer to it.",
            everyday=True,
            settled=True,
        ),
    )
    words: str | None = field(
        default=None,
        metadata=_about(
            "what is searched",
            "Wordings around the question, for a prompt with guidance: a file with one on each "
            "line, task, bundled; repeat it for several (docs/words.md).",
            settled=True,
            repeats=BETWEEN,
        ),
    )
    exemplars: int = field(
        default=0,
        metadata=_about(
            "what is searched",
            "Most training images, with their answers, that are shown with every image; 0 for none "
            "(docs/exemplars.md).",
            settled=True,
            ge=0,
            le=16,
        ),
    )
    goal: Goal = field(
        default="accuracy",
        metadata=_about(
            "what is searched",
            "accuracy, or cost: then the smallest images that are shown to be read no worse.",
            settled=True,
        ),
    )
    canvas: int | None = field(
        default=None,
        metadata=_about(
            "what is searched",
            "Side of a square canvas in pixels; by default an image keeps its own shape and size.",
            settled=True,
            ge=8,
            le=2048,
        ),
    )

    start: str | None = field(
        default=None,
        metadata=_about(
            "what is searched",
            "A bundle whose prompt is refined on the model: it brings its own layers "
            "(docs/migrate.md).",
            settled=True,
        ),
    )
    proposer: Model | str | None = field(
        default=None,
        metadata=_about(
            "what is searched",
            "A model that proposes wordings from wrong answers, for a prompt with guidance: "
            "openai/NAME, …; its calls are counted apart.",
        ),
    )

    # -- how it is searched ------------------------------------------------------------------------
    seed: int = field(
        default=0,
        metadata=_about(
            "how it is searched",
            "Equal seed and equal answers give an equal prompt.",
            everyday=True,
        ),
    )
    method: str | Factory = field(
        default=AUTO,
        metadata=_about(
            "how it is searched",
            "auto, gp, cma, spsa-gc, random, ng:NGOpt, … (see docs/search.md).",
        ),
    )
    method_options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=_about(
            "how it is searched", 'Options of the method, as JSON: {"sigma": 0.5}.', flag=False
        ),
    )
    reader: ReaderName = field(
        default="auto",
        metadata=_about(
            "how it is searched",
            "How answers are read: label log-probabilities, a forced label, or text.",
            settled=True,
        ),
    )
    normalise: Normalise = field(
        default="mean",
        metadata=_about(
            "how it is searched",
            "Log-probability of a label: the mean over its tokens, or their sum.",
            flag=False,
            settled=True,
        ),
    )
    combine: Combine = field(
        default="mean",
        metadata=_about(
            "how it is searched", "The loss of several sources: their mean, or that of the worst."
        ),
    )
    channel: Channel | None = field(
        default=None,
        metadata=_about(
            "how it is searched",
            "Search through random resizing, cropping and JPEG on the way to the model.",
        ),
    )
    images: int = field(
        default=8,
        metadata=_about(
            "how it is searched",
            "Images per candidate and generation.",
            flag=False,
            settled=True,
            ge=1,
        ),
    )
    popsize: int | None = field(
        default=None,
        metadata=_about(
            "how it is searched",
            "Candidates per generation; by default the method's own number.",
            flag=False,
            settled=True,
            ge=1,
        ),
    )
    patience: int = field(
        default=0,
        metadata=_about(
            "how it is searched",
            "End a stage after so many generations without a lower mean loss; 0 never does.",
            flag=False,
            settled=True,
            ge=0,
        ),
    )
    repeats: int = field(
        default=1,
        metadata=_about(
            "how it is searched",
            "Answers asked for per image, for a model that does not always answer the same.",
            flag=False,
            settled=True,
            ge=1,
        ),
    )
    unread: float = field(
        default=1.0,
        metadata=_about(
            "how it is searched",
            "Largest share of the first 8 replies without an answer; above it nothing is searched. "
            "On a terminal 0.2.",
            flag=False,
            settled=True,
            ge=0,
            le=1,
        ),
    )
    keep_best: bool = field(
        default=False,
        metadata=_about(
            "how it is searched",
            "Keep the best prompt even without a gain on validation; else images stay as they are.",
            settled=True,
        ),
    )

    # -- surrogate ---------------------------------------------------------------------------------
    surrogate: Surrogate | str | None = field(
        default=None,
        metadata=_about(
            "surrogate",
            "A local encoder, which costs no queries: zoo/clip, hf/ORG/NAME; repeat it for "
            "several; NAME,features=pooled compares pooled features.",
            repeats=BETWEEN,
        ),
    )
    fca: float = field(
        default=0.0,
        metadata=_about(
            "surrogate",
            "Weight of feature consistency alignment, in spreads of the task loss.",
            ge=0,
        ),
    )
    tse: float = field(
        default=0.0,
        metadata=_about(
            "surrogate", "Weight of task semantics enrichment, in spreads of the task loss.", ge=0
        ),
    )
    warm: bool = field(
        default=False,
        metadata=_about("surrogate", "Start where the surrogate would, if 32 image queries agree."),
    )
    prime: int = field(
        default=0,
        metadata=_about(
            "surrogate", "Training images that teach the surrogate, one image query each.", ge=0
        ),
    )
    matched: bool = field(
        default=True,
        metadata=_about(
            "surrogate",
            "Weights in spreads of the task loss over the first generation, else in its unit.",
            flag=False,
        ),
    )
    free: int = field(
        default=32,
        metadata=_about(
            "surrogate",
            "Training images, at most, on which FCA and TSE are taken.",
            flag=False,
            ge=1,
        ),
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(each, getattr(self, each.name)))
        if self.start is not None:
            self._check_start()
        if self.surrogate is None:
            self._check_without_surrogate()
        if 0 < self.prime < FEWEST_PRIMED:
            raise UsageError(
                f"{self.prime} answers teach a student nothing; "
                f"prime with at least {FEWEST_PRIMED} images"
            )
        if self.prime and not (self.warm or self.guided):
            raise UsageError(
                "a primed student has nothing to do: "
                "add --warm, or a method that follows its gradient"
            )

    def _check_start(self) -> None:
        """A bundle brings its space and its own start."""
        given = {each.name for each in fields(self) if getattr(self, each.name) != each.default}
        for name in ("prompt", "canvas", "words", "exemplars", "proposer", "warm"):
            if name in given:
                raise UsageError(
                    f"--start refines the prompt of a bundle, which has its own layers and canvas; "
                    f"leave out --{name}, or search without --start"
                )

    def _check_without_surrogate(self) -> None:
        if self.fca or self.tse:
            raise UsageError("FCA and TSE need a surrogate: add --surrogate zoo/clip")
        if self.warm or self.prime:
            raise UsageError("a warm start and priming need a surrogate: add --surrogate zoo/clip")
        if self.guided:
            raise UsageError(
                f"{method_name(self.method)} follows a surrogate's gradient: "
                "add --surrogate zoo/clip"
            )

    @property
    def guided(self) -> bool:
        """Whether the method follows the surrogate's gradient."""
        return is_guided(self.method)

    @property
    def seconds(self) -> float | None:
        """The cap on time in seconds."""
        return None if self.minutes is None else 60 * self.minutes

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SearchConfig:
        """From a mapping of field names, as a command line or a file gives it.

        `budget` is accepted for `queries`. UsageError for a name that no field has, with the
        nearest one, and for a value that cannot be.
        """
        return cls(**_named(values))

    def changed(self, values: Mapping[str, Any]) -> SearchConfig:
        """The same with other values, given as to `of`."""
        return replace(self, **_named(values))

    def as_record(self) -> dict[str, Any]:
        """JSON-able values of all fields but the surrogate, from which `of` makes it again."""
        return {
            option.name: _plain(getattr(self, option.name))
            for option in options()
            if option.name != "surrogate"
        }

    def identity(self) -> dict[str, Any]:
        """What a journal keeps by name: the fields that make a run another one."""
        settled = {option.name for option in options() if option.settled}
        return {name: value for name, value in self.as_record().items() if name not in settled}


@lru_cache
def options() -> tuple[Option, ...]:
    """The fields of `SearchConfig`, in the order of a help text."""
    return tuple(
        Option(
            each.name,
            {} if each.default is MISSING else each.default,
            each.metadata["help"],
            each.metadata["group"],
            each.metadata["flag"],
            each.metadata["everyday"],
            each.metadata["settled"],
            each.metadata["repeats"],
            _hints()[each.name],
        )
        for each in fields(SearchConfig)
    )


@lru_cache
def _hints() -> Mapping[str, Any]:
    return get_type_hints(SearchConfig)


_WHOLE: Mapping[str, type] = MappingProxyType(
    {"prompt": PromptSpace, "channel": Channel, "surrogate": Surrogate, "proposer": Model}
)
"""Fields that also take an object that was made in Python."""

_AS_TEXT: Mapping[str, Any] = MappingProxyType(
    {
        "prompt": str,
        "channel": bool | None,
        "method": str,
        "surrogate": str | None,
        "proposer": str | None,
    }
)
"""What a file or a command line gives in its place."""


@lru_cache
def _adapter(name: str) -> TypeAdapter[Any]:
    from typing import Annotated

    from pydantic import ConfigDict, TypeAdapter
    from pydantic import Field as Limits

    hint = _AS_TEXT.get(name, _hints()[name])
    (limits,) = (each.metadata["limits"] for each in fields(SearchConfig) if each.name == name)
    checked: Any = Annotated[hint, Limits(**limits)]
    return TypeAdapter(checked, config=ConfigDict(allow_inf_nan=False))


def _checked(each: Field[Any], value: Any) -> Any:
    """The value of a field, from text if need be. UsageError for one that cannot be."""
    from pydantic import ValidationError

    name = each.name
    if name in _WHOLE and isinstance(value, _WHOLE[name]):
        return value
    if name == "method" and callable(value):
        return value
    choices = _choices(_hints()[name])
    if choices and value not in choices:
        raise unknown(f"value of {name}", str(value), choices)
    if isinstance(value, Mapping) and name in ("prompt", "channel"):
        return _restored(name, value)
    try:
        found = _adapter(name).validate_python(value)
    except ValidationError as error:
        found = _from_json(name, value, error)
    if name == "channel":
        return Channel() if found else None
    return found


def _from_json(name: str, value: object, error: Any) -> Any:
    """The value that text stands for as JSON: null, or the object that a mapping is written as."""
    from pydantic import ValidationError

    said = error.errors(include_url=False)[0]["msg"]
    wrong = UsageError(f"{name} is {value!r}: {said[0].lower()}{said[1:]}")
    if not isinstance(value, str):
        raise wrong
    try:
        return _adapter(name).validate_python(json.loads(value))
    except (ValueError, ValidationError):
        raise wrong from None


def _restored(name: str, value: Mapping[str, Any]) -> PromptSpace | Channel:
    """A prompt space or a channel from its record."""
    try:
        if name == "prompt":
            layers = tuple(map(layer_of, value["layers"]))
            return PromptSpace(layers, value["canvas"], value.get("shape", "square"))
        quality = value.get("jpeg")
        return Channel(**{**value, "jpeg": None if quality is None else tuple(quality)})
    except (TypeError, LookupError) as error:
        raise UsageError(f"{name} is {dict(value)!r}, which describes none") from error


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by today's names of the fields."""
    if (said := removed_option(values)) is not None:
        raise UsageError(said)
    found: dict[str, Any] = {}
    for name, value in without_removed(values).items():
        known = OLD_NAMES.get(name, name)
        if known not in _hints():
            raise unknown("option of the search", name, _hints())
        if known in found:
            names = [each for each in values if OLD_NAMES.get(each, each) == known]
            raise UsageError(f"{' and '.join(names)} are one option; give one of them")
        in_seconds = name == "seconds" and value is not None
        found[known] = value / 60 if in_seconds else value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, PromptSpace):
        return value.config()
    if isinstance(value, Channel):
        return asdict(value)
    if isinstance(value, Model):
        return value.spec
    if callable(value):
        return method_name(value)
    return dict(value) if isinstance(value, Mapping) else value


def _choices(hint: Any) -> tuple[str, ...]:
    """The words of a Literal; none for another type."""
    return get_args(hint) if get_origin(hint) is Literal else ()


def _kinds(hint: Any) -> tuple[Any, ...]:
    return (hint, get_origin(hint), *get_args(hint))
