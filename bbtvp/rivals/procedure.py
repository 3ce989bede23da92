"""How a model is asked about an image once a rival is ready: by a prompt, or in several queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from bbtvp.core.arrays import Pixels
from bbtvp.core.shown import Shown
from bbtvp.models import Model, Outcome
from bbtvp.search import Answers, Reader, ask
from bbtvp.search.ask import PromptLike
from bbtvp.tasks import Sample, Task


@final
class Asked(NamedTuple):
    """Who is asked about which task, and how replies are read."""

    model: Model
    task: Task
    reader: Reader


@final
class ProcedureAnswers(NamedTuple):
    """What a procedure found about n samples.

    answers: one for each sample. outcomes: of every image query, whether it was sent now or before.
    fell_back: samples that were asked the plain question because a first reply could not be read.
    """

    answers: Answers
    outcomes: tuple[Outcome, ...]
    fell_back: int = 0


class Procedure(ABC):
    """A way of asking about any image of a task."""

    @abstractmethod
    def ask(self, asked: Asked, samples: Sequence[Sample]) -> ProcedureAnswers:
        """Ask about each sample. Raises as `bbtvp.search.ask` does."""


@final
@dataclass(frozen=True)
class OneQuery(Procedure):
    """One image query an image.

    prompt: None for the image and the question as they are. reader: in place of the model's own.
    """

    prompt: PromptLike | None = None
    reader: Reader | None = None

    def ask(self, asked: Asked, samples: Sequence[Sample]) -> ProcedureAnswers:
        reader = self.reader or asked.reader
        found = ask(asked.model, reader, asked.task, samples, self.prompt)
        return ProcedureAnswers(found, found.outcomes)


def unchanged(image: Pixels) -> Pixels:
    """The image as it is."""
    return image


@final
@dataclass(frozen=True)
class HandPrompt:
    """A prompt that is written by hand, not searched: see `PromptLike`.

    edit: what is done to each image. before, after: texts around the question. shown: images that
    are sent before the one asked about. reply_tokens: what an answer needs.
    """

    edit: Callable[[Pixels], Pixels] = unchanged
    before: str = ""
    after: str = ""
    shown: tuple[Shown, ...] = ()
    reply_tokens: int = 0

    def render(self, image: Pixels, /) -> Pixels:
        return self.edit(image)

    def ask(self, question: str, /) -> str:
        return "\n".join(filter(None, (self.before, question, self.after)))

    def context(self) -> tuple[Shown, ...]:
        return self.shown


@final
@dataclass(frozen=True)
class Beyond:
    """A prompt with further images before the one asked about."""

    prompt: PromptLike
    shown: tuple[Shown, ...]

    def render(self, image: Pixels, /) -> Pixels:
        return self.prompt.render(image)

    def ask(self, question: str, /) -> str:
        return self.prompt.ask(question)

    def context(self) -> tuple[Shown, ...]:
        return (*self.prompt.context(), *self.shown)

    @property
    def reply_tokens(self) -> int:
        return self.prompt.reply_tokens
