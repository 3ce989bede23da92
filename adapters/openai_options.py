"""Options of the bodies of OpenAI-style requests, and what the forms of request share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, final

from bbtvp.core.errors import UsageError, unknown
from bbtvp.endpoint.known import known, reply_tokens
from bbtvp.endpoint.provider import ApiFeatures, Json, ParsedReply, Parts
from bbtvp.models import Request

MOST_ALTERNATIVES = 20
"""Most alternatives per token that the API shows."""

DETAILS = ("auto", "low", "high", "original")
FORCED = ("schema", "choice")


@final
@dataclass(frozen=True)
class Options:
    """What a user can set about the bodies. Raises UsageError for a bad value.

    service: under which the model is listed in `endpoint.known`. detail: of the image: auto, low or
    high; in responses original too. reasoning: whether the model reasons before it answers; None to
    go by what is known of it. reasoning_effort: in the vendor's words; "none" for a model that can
    answer without reasoning. token_field: name of the field for the longest reply. forced: how
    labels are forced, by a JSON "schema" or by vLLM's "choice". extra: fields to add to every body.
    """

    model: str
    service: str = "openai"
    detail: str | None = None
    reasoning: bool | None = None
    reasoning_effort: str | None = None
    token_field: str = "max_completion_tokens"
    forced: str = "schema"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.detail not in (None, *DETAILS):
            raise unknown("detail", str(self.detail), DETAILS)
        if self.forced not in FORCED:
            raise unknown("way to force labels", str(self.forced), FORCED)
        if self.reasoning not in (None, True, False):
            raise UsageError(f"reasoning must be true or false, got {self.reasoning!r}")

    @classmethod
    def taken_from(cls, options: dict[str, Any], model: str, **defaults: Any) -> Options:
        """Take these options out of a loader's options, and leave those of the endpoint.

        defaults: of these options. A model that is known to reason gets tokens for it, unless the
        options say otherwise.
        """
        names = {each.name for each in fields(cls)} - {"model", "service"}
        # A boolean says whether to force labels at all, which is an option of the endpoint.
        if isinstance(options.get("forced"), bool):
            names.remove("forced")
        taken = defaults | {name: options.pop(name) for name in names & options.keys()}
        if "extra" in taken:
            taken["extra"] = _object(taken["extra"])
        asked = cls(model, **taken)
        if asked.thinks:
            options.setdefault("max_tokens", reply_tokens(asked.service, model))
        return asked

    @property
    def thinks(self) -> bool:
        """Whether the model is known to reason, as it is asked.

        It then has no temperature and no log-probabilities. False where nothing is known: the probe
        finds out.
        """
        if self.reasoning is not None and self.reasoning_effort != "none":
            return self.reasoning
        if self.reasoning_effort is not None:
            return self.reasoning_effort != "none"
        return known(self.service, self.model).thinks in ("always", "by default")


def _object(given: object) -> Mapping[str, Any]:
    """Return a mapping, as it is or from JSON text. Raises UsageError for anything else."""
    try:
        made = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        made = None
    if not isinstance(made, Mapping):
        raise UsageError(f"extra must be a JSON object, such as '{{\"top_k\": 1}}', got {given!r}")
    return made


@dataclass(frozen=True)
class OpenAIForm(ABC):
    """The bodies and replies of one OpenAI-style API: chat completions, or responses.

    path: after the base URL. can_seed, can_repeat, can_rename_length: see `ProviderApi`.
    """

    path: ClassVar[str]
    can_seed: ClassVar[bool]
    can_repeat: ClassVar[bool]
    can_rename_length: ClassVar[bool] = False
    options: Options

    @property
    def model(self) -> str:
        """The vendor's name of the model."""
        return self.options.model

    @abstractmethod
    def body(self, request: Request, parts: Parts, features: ApiFeatures) -> Json:
        """See `ProviderApi`."""

    @abstractmethod
    def parse(self, reply: Json) -> ParsedReply:
        """See `ProviderApi`."""
