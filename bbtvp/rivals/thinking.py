"""Chain of thought: the model reasons in words before it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from bbtvp.rivals.procedure import HandPrompt, OneQuery
from bbtvp.rivals.rival import Rival, Tuned, Tuning
from bbtvp.search import TextReader

_INSTRUCTION = 'Think step by step. End with a line "Answer: " and the answer alone.'


@final
@dataclass(frozen=True)
class ChainOfThought(Rival):
    """The question with "think step by step"; the answer is read at the end of the reply.

    max_tokens: the longest reply. The reply is read as text, also of a model that gives
    log-probabilities.
    """

    name: ClassVar[str] = "cot"
    about: ClassVar[str] = "chain of thought: think step by step, then answer"
    source: ClassVar[str] = "Kojima et al., arXiv 2205.11916"

    max_tokens: int = 1024

    def prepare(self, tuning: Tuning) -> Tuned:
        prompt = HandPrompt(after=_INSTRUCTION, reply_tokens=self.max_tokens)
        note = "" if tuning.reader.name == "text" else "read as text"
        return Tuned(OneQuery(prompt, TextReader()), note=note)
