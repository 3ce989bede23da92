"""Replies as people see them: what the model said about the image as it is, and how it was read.

A search shows the first `PREVIEWED` of them before it goes on. They are the unprompted replies to
validation images, which every search asks for in any case, so a preview costs no image query of
its own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, final

from bbtvp.endpoint.probe import AGREEMENT
from bbtvp.models import Outcome, QueryFailed
from bbtvp.search.ask import Answers
from bbtvp.search.readers import Reader, Reading, ReadingStatus
from bbtvp.tasks import Sample, Task, read_reply

PREVIEWED = 8
"""Replies that a search shows before it goes on."""

MOST_UNREAD = 0.2
"""Share of replies without an answer, from which a search is not worth its money."""

_LIKELIEST = 3
"""Labels that are shown of a reply that has only their log-probabilities."""

_SHAPES = 3
"""Shapes of replies without an answer that are named."""

_SHOWN = 100
"""Most characters that are shown of a reply on one line."""

_ADVICE: Mapping[ReadingStatus, str] = MappingProxyType(
    {
        "unparsed": "say in the question how to answer (--question '… Answer with one of: "
        "{labels}.'), or hold the model to the labels (--reader label)",
        "refused": "the model declines to answer: put the question in other words (--question), "
        "or take another model",
        "cut": "the replies end before their answer: raise the limit (--max-tokens 64, or "
        "-M max_tokens=1024 of a model that thinks)",
        "failed": "the queries fail: see what the endpoint does (bbtvp doctor --probe)",
    }
)


@final
@dataclass(frozen=True)
class SeenReply:
    """One reply, as it is shown.

    sample: the id of the image. truth: the right answer. said: the text of the reply; the likeliest
    labels, where only their log-probabilities came; the reason, where the query failed. answer: as
    it was read, or None. right: None where the query failed. named: where the answer is the
    likeliest label, the label that the text names, or None. unscored: labels were to be scored, and
    the text was read instead. score: of a graded answer that is neither wholly right nor wrong.
    """

    sample: str
    question: str
    truth: str
    said: str
    answer: str | None
    status: ReadingStatus
    right: bool | None
    named: str | None = None
    unscored: bool = False
    score: float | None = None

    @classmethod
    def of(
        cls, outcome: Outcome, reading: Reading, reader: Reader, task: Task, sample: Sample
    ) -> SeenReply:
        """From an outcome and how it was read."""
        return cls(
            sample.id,
            task.ask(sample),
            sample.answer,
            _said(outcome, reader, task, sample),
            reading.answer,
            reading.status,
            None if math.isnan(reading.correct) else reading.correct == 1,
            _named(outcome, task, sample),
            unscored=not isinstance(outcome, QueryFailed) and outcome.scores == (),
            score=reading.correct if 0 < reading.correct < 1 else None,
        )

    def as_json(self) -> dict[str, Any]:
        """The fields; a score only where it is graded."""
        found = asdict(self)
        return {name: found[name] for name in found if name != "score" or self.score is not None}

    @property
    def shape(self) -> str:
        """The reply with its numbers left out, cut short: equal replies of one kind are counted."""
        return re.sub(r"\d+(\.\d+)?", "N", one_line(self.said, 60))

    @property
    def line(self) -> str:
        """The reply, how it was read, and the right answer, on one line."""
        read = "no answer" if self.answer is None else repr(self.answer)
        kind = "" if self.status == "answered" else f" ({self.status})"
        mark = "right" if self.right else f"right is {self.truth!r}"
        mark = mark if self.score is None else f"score {self.score:.2f}, {mark}"
        return f"{one_line(self.said, _SHOWN)!r} → {read}{kind}; {mark}"


@final
@dataclass(frozen=True)
class Preview:
    """The first unprompted replies of a run, at least one."""

    replies: tuple[SeenReply, ...]

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Preview:
        """From what `as_json` gives, as a journal keeps it."""
        return cls(tuple(SeenReply(**row) for row in described["replies"]))

    @property
    def counts(self) -> dict[str, int]:
        """How many replies have each status."""
        return dict(Counter(reply.status for reply in self.replies))

    @property
    def unread(self) -> float:
        """Share of replies without an answer, 0 to 1."""
        return sum(reply.status != "answered" for reply in self.replies) / len(self.replies)

    @property
    def is_cut(self) -> bool:
        """Whether the limit of tokens ends more replies than may go without an answer."""
        return self.counts.get("cut", 0) > MOST_UNREAD * len(self.replies)

    @property
    def shapes(self) -> list[tuple[str, int]]:
        """The commonest shapes of replies without an answer, with their counts."""
        unread = [reply.shape for reply in self.replies if reply.status != "answered"]
        return Counter(unread).most_common(_SHAPES)

    @property
    def advice(self) -> str:
        """What to do about the commonest reason that replies give no answer; "" if all do."""
        reasons = Counter(reply.status for reply in self.replies if reply.status != "answered")
        return _ADVICE[reasons.most_common(1)[0][0]] if reasons else ""

    @property
    def contradicted(self) -> int:
        """Replies whose text names another label than the likeliest one."""
        return sum(reply.named not in (None, reply.answer) for reply in self.replies)

    @property
    def unscored(self) -> int:
        """Answers that were read in the text, because no label could be scored where they stand."""
        return sum(reply.unscored and reply.status == "answered" for reply in self.replies)

    @property
    def summary(self) -> str:
        """The counts in words, and the advice if too many replies give no answer.

        It also tells where labels could not be scored, and where the labels that are scored are not
        those that the texts name.
        """
        named = (("unparsed", "unparsed"), ("refused", "refused"), ("cut", "cut off"))
        counts = self.counts
        said = [f"{counts[status]} {word}" for status, word in named if status in counts]
        if "failed" in counts:
            said.append(f"{counts['failed']} failed")
        answered = counts.get("answered", 0)
        text = ", ".join([f"{answered} of {len(self.replies)} replies give an answer", *said])
        if self.unread > MOST_UNREAD:
            text = f"{text}; {self.advice}"
        if self.unscored:
            text = (
                f"{text}; the log-probabilities of {self.unscored} were not used, their tokens do "
                "not spell the answer: the text was read"
            )
        if self.contradicted > (1 - AGREEMENT) * len(self.replies):
            text = (
                f"{text}; the text names another label than the likeliest one in "
                f"{self.contradicted}: read the text instead (--reader text)"
            )
        return text

    def as_json(self) -> dict[str, Any]:
        """The replies, their counts and the share without an answer."""
        rows = [reply.as_json() for reply in self.replies]
        return {"replies": rows, "counts": self.counts, "unread": self.unread}


def seen(
    answers: Answers, reader: Reader, task: Task, samples: Sequence[Sample]
) -> tuple[SeenReply, ...]:
    """The replies of an arm, in the order of its samples."""
    rows = zip(answers.outcomes, answers.readings, samples, strict=True)
    return tuple(
        SeenReply.of(outcome, reading, reader, task, sample) for outcome, reading, sample in rows
    )


def one_line(text: str, most: int) -> str:
    """The text on one line, with an ellipsis where it is longer than `most` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def _named(outcome: Outcome, task: Task, sample: Sample) -> str | None:
    if isinstance(outcome, QueryFailed) or outcome.text is None or outcome.scores is None:
        return None
    return read_reply(outcome.text, task.sample_labels(sample), cut=outcome.cut).answer


def _said(outcome: Outcome, reader: Reader, task: Task, sample: Sample) -> str:
    if isinstance(outcome, QueryFailed):
        return outcome.reason
    if outcome.text is not None:
        return outcome.text
    scores = reader.scores(outcome, task, sample)
    labels = task.sample_labels(sample)
    if scores is None or labels is None:
        return ""
    order = scores.argsort()[::-1][:_LIKELIEST]
    return ", ".join(f"{labels[i]} {100 * math.exp(scores[i]):.0f} %" for i in order)
