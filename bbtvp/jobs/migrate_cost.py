"""What a prompt costs at the old model and at the new one, and when a model ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

from bbtvp.core.errors import UsageError
from bbtvp.endpoint.known import KnownModel, known
from bbtvp.endpoint.remote import bounds
from bbtvp.jobs.migration import ServingCost
from bbtvp.models import Model
from bbtvp.prompt import Prompt, PromptSpace
from bbtvp.prompt.layer import Size
from bbtvp.search.canvas import picture_sizes, sent_size
from bbtvp.tasks import Task

_IMAGES = 1000
_COMPATIBLE = "openai-api"
"""The provider of servers that speak OpenAI's protocol; the service comes after it in a spec."""


def serving_costs(
    prompt: Prompt, task: Task, old: Model | None, new: Model
) -> dict[str, ServingCost]:
    """What is sent, by name, and what it costs; the old model only where it is at hand."""
    plain = PromptSpace.identity()
    found = {} if old is None else {"old with the prompt": serving_cost(old, task, prompt)}
    return found | {
        "new with the prompt": serving_cost(new, task, prompt),
        "new without": serving_cost(new, task, plain),
    }


def serving_cost(model: Model, task: Task, prompt: Prompt) -> ServingCost:
    """What one image of the test split costs at a model: the mean over the first of them."""
    own = picture_sizes(task, "test")
    sent = [sent_size(prompt, size) for size in own]
    shown = [Size(*one.image.shape[1::-1]) for one in prompt.context()]
    usd = [model.image_usd(*size) for size in sent]
    extra = [model.image_usd(*size) for size in shown]
    return ServingCost(
        _mean(
            [model.image_tokens(*size) for size in sent], [model.image_tokens(*s) for s in shown]
        ),
        _thousand(_mean(usd, extra)),
        _most(model, task, prompt, sent),
    )


def _most(model: Model, task: Task, prompt: Prompt, sent: list[Size]) -> float | None:
    """The most that 1,000 queries cost; None without a price."""
    if not model.is_endpoint:
        return 0.0
    texts = [prompt.ask(task.ask(sample)) for sample in task.test]
    try:
        found = bounds([model], [_IMAGES], [size.longer for size in sent], texts, prompt.context())
    except UsageError:  # the vendor has shut it down
        return None
    return found[model.spec].usd_bound if model.spec in found else None


def _mean(each: Sequence[float | None], extra: Sequence[float | None]) -> float | None:
    """The mean of what each image takes, and all of what comes beside it; None if any is."""
    known = [one for one in each if one is not None]
    beside = [one for one in extra if one is not None]
    if len(known) < len(each) or len(beside) < len(extra):
        return None
    return math.fsum(known) / len(known) + math.fsum(beside)


def _thousand(usd: float | None) -> float | None:
    return None if usd is None else _IMAGES * usd


@final
class ModelEnding:
    """When a model ends, by its spec, as the tables of known models have it."""

    def __init__(self, spec: str) -> None:
        parts = spec.partition("@")[0].split("/")
        self.provider = "/".join(parts[:-1])
        self.service = parts[1] if parts[0] == _COMPATIBLE and len(parts) > 2 else parts[0]
        self.spec = spec
        self.known: KnownModel = known(self.service, parts[-1])

    @property
    def successor(self) -> str | None:
        """The spec of the model that is to be used instead; None where none is named."""
        return f"{self.provider}/{self.known.successor}" if self.known.successor else None

    def __str__(self) -> str:
        """In words; nothing for a model without an end."""
        if self.known.shutdown is None:
            return ""
        ended = "ended" if self.known.over() else "ends"
        instead = f"; its successor is {self.successor}" if self.successor else ""
        source = self.known.sources.get("shutdown", "")
        return f"{self.spec} {ended} on {self.known.shutdown}{instead} ({source})"
