"""A method of the benchmark: constants, and a function that finds a prompt or answers.

The function gets a task, a model and a budget (`MethodInput`) and gives a `MethodOutcome`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

from bbtvp.bench.answers import SplitAnswers
from bbtvp.bench.cells import MethodAxis, pack_scores, unpack_scores
from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.files import atomic_write_json
from bbtvp.models import Model
from bbtvp.prompt import Prompt
from bbtvp.rivals.table import UseCost
from bbtvp.runs.upgrade import removed_option
from bbtvp.search.events import Watch, silent
from bbtvp.surrogate import Surrogate
from bbtvp.tasks import Task

MethodKind = Literal["ours", "peer", "control", "output", "white-box", "rival"]
OUTCOME = "outcome.json"
BUNDLE = "prompt.vprompt"


@final
@dataclass(frozen=True)
class MethodInput:
    """What a method is given.

    A method sends `model` at most `budget` image queries, and uses train and validation only.
    folder: where its journal goes. surrogate: loads a surrogate by its spec. zero_shot: gives the
    model's answers on the unprompted test images, for methods that change answers and not images.
    targets: loads the models that are tried besides, for methods that are asked in a way of their
    own.
    """

    task: Task
    model: Model
    budget: int
    seed: int
    folder: Path
    surrogate: Callable[[str], Surrogate]
    zero_shot: Callable[[], SplitAnswers]
    watch: Watch = silent
    targets: Callable[[], Sequence[Model]] = tuple


@final
@dataclass(frozen=True)
class MethodOutcome:
    """What a method gives back: a prompt, or answers, or neither.

    A prompt is tried on every model. Answers are the source's: `correct` is (n test images,) 1, 0
    or NaN. Neither means the unprompted image. queries: image queries by phase. facts: JSON-able.
    answers: of a method that asks in a way of its own, by model, each as `correct`. use: what an
    image costs once it is deployed; None for what the prompted or unprompted image costs.
    """

    prompt: Prompt | None = None
    correct: Vector | None = None
    queries: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Vector] = field(default_factory=dict)
    use: UseCost | None = None

    def lacks(self, models: Iterable[str]) -> bool:
        """Whether it has answers, and none of one of these models."""
        return bool(self.answers) and not set(models) <= set(self.answers)

    def save(self, folder: Path) -> None:
        """Write it into a run folder; the document last, because it says that all is there."""
        bundle = folder / BUNDLE
        if self.prompt is not None and not bundle.exists():  # `optimize` writes its own
            self.prompt.save(bundle)
        document = {
            "prompt": None if self.prompt is None else self.prompt.digest,
            "correct": None if self.correct is None else pack_scores(self.correct),
            "queries": dict(self.queries),
            "failed": self.failed,
            "facts": dict(self.facts),
            "answers": {model: pack_scores(found) for model, found in self.answers.items()},
            "use": self.use and self.use._asdict(),
        }
        atomic_write_json(folder / OUTCOME, document)

    @classmethod
    def load(cls, folder: Path) -> MethodOutcome | None:
        """What `save` wrote, None if it wrote nothing."""
        if not (folder / OUTCOME).exists():
            return None
        document = json.loads((folder / OUTCOME).read_text("utf-8"))
        prompt = Prompt.load(folder / BUNDLE) if document["prompt"] else None
        correct = None if document["correct"] is None else unpack_scores(document["correct"])
        answers = document.get("answers") or {}
        use = document.get("use")
        return cls(
            prompt,
            correct,
            document["queries"],
            document["failed"],
            document["facts"],
            {model: unpack_scores(bits) for model, bits in answers.items()},
            use and UseCost(**use),
        )


MethodFunction = Callable[[MethodInput, Mapping[str, Any]], MethodOutcome]


@final
@dataclass(frozen=True)
class Method:
    """One competitor. Equal name, constants and seed give an equal outcome.

    about: what it is, in a line. source: the publication. tuned: how its constants were chosen.
    constants: all of them, JSON-able; `name[key=value,…]` changes some. accepts: further keys that
    `run` understands. budgeted, seeded: whether a budget and a seed change the outcome. pool: the
    most image queries that it can use on a task; larger budgets are the same run.
    """

    name: str
    kind: MethodKind
    about: str
    source: str
    run: MethodFunction
    constants: Mapping[str, Any] = field(default_factory=dict)
    tuned: str = ""
    budgeted: bool = True
    seeded: bool = True
    accepts: tuple[str, ...] = ()
    pool: Callable[[Task], int] | None = None

    @property
    def axis(self) -> MethodAxis:
        """The method as the grid needs it."""
        return MethodAxis(self.name, self.budgeted, self.seeded)

    def variant(self, text: str) -> Method:
        """The method with `key=value,…` changed, named `name[text]`.

        UsageError for a key that the method does not have.
        """
        changes: dict[str, Any] = {}
        for pair in text.split(","):
            key, sign, value = (part.strip() for part in pair.partition("="))
            if not sign or not key or not value:
                raise UsageError(
                    f"{self.name}[{text}]: write key=value, such as {self.name}[images=16]"
                )
            removed = removed_option({key: value})
            if removed is not None:
                raise UsageError(removed)
            if key not in self.constants and key not in self.accepts:
                raise unknown(f"constant of {self.name}", key, [*self.constants, *self.accepts])
            changes[key] = _value(value)
        return replace(self, name=f"{self.name}[{text}]", constants={**self.constants, **changes})

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "method": self.name,
            "kind": self.kind,
            "about": self.about,
            "source": self.source,
            "constants": dict(self.constants),
            "tuned": self.tuned,
        }


def _value(text: str) -> Any:
    """A number, true, false or null where it reads as one; else the text."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, int | float) or found is None else text
