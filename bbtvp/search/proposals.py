"""What a proposer model is told, and which of the wordings that it gives are taken.

After OPRO (Yang et al., arXiv 2309.03409), whose meta-prompt holds earlier texts with their scores,
and GEPA (Agrawal et al., arXiv 2507.19457), which reflects on wrong answers in words.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, final

from bbtvp.core.errors import UsageError
from bbtvp.prompt.wordings import PLACE, Wording
from bbtvp.search.config import SearchConfig
from bbtvp.tasks import Task
from bbtvp.tasks.replies import fold
from bbtvp.tasks.replies.folding import UNSPACED

ROUNDS = 2
EACH = 4
"""Proposals that are tried in one round."""

CALLS = 2 * ROUNDS
"""Cap on the proposer's calls, retries included."""

IMAGES = 16
"""Training images that a wording is tried on."""

SHARE = 0.25
"""Of the image queries of a run, at most, for trying proposals."""

_FEWEST = 4
GIVEN = 3
"""Wordings of the search that are tried first, so that the proposer sees scores."""

_TRIED = 1 + GIVEN + ROUNDS * EACH
REPLY_TOKENS = 256
"""What an answer to a proposed wording may need: it is not known whether it asks for reasons."""

LONGEST_PROPOSAL = 600
"""Characters of the longest proposal that is taken."""

_SOURCE = "proposed"
_TAGGED = re.compile(r"<wording>(.*?)</wording>", re.DOTALL | re.IGNORECASE)
_OVERRIDES = re.compile(
    r"\b(?:ignore|disregard|forget)\b|\balways (?:answer|say|reply|choose|pick)\b"
)
_STATES = re.compile(
    r"\b(?:the|correct|right|true) answer (?:is|will be|must be)\b|\banswer\s*[:=]\s*\w"
)
_SHOWN = 200
"""Characters of a reply that the proposer is shown."""


_META_PROMPT = """\
You write the words that go around a question about images, so that a vision-language model \
answers it better.
The question, which stays exactly as it is: {question}
The answers allowed: {answers}

In a wording, {place} stands for the question. Wordings so far, with the share of right answers on \
{images} images:
{rows}

Images that were answered wrongly with the best of these:
{wrong}
The picture that you may see is the first of these.

Think about what led to these mistakes. Then write {count} new wordings that differ from those \
above. Each holds {place} exactly once, changes nothing of what is asked, asks nothing else, is \
true of every image of the task, and names none of the answers or all of them. Write each one \
between <wording> and </wording>."""


@final
class ProposalPlan(NamedTuple):
    """How many training images each of the wordings is tried on, and at most so many queries."""

    images: int
    queries: int

    def __str__(self) -> str:
        return (
            f"proposer: at most {CALLS} calls, and {self.queries} of the image queries to try what "
            "it gives"
        )


def proposal_plan(config: SearchConfig, training: int) -> ProposalPlan | None:
    """What proposals may cost in image queries; None without a proposer.

    UsageError for a budget that is too small to try any.
    """
    if config.proposer is None:
        return None
    each = _TRIED * config.repeats
    images = min(IMAGES, training, int(SHARE * config.queries / each))
    if images < min(_FEWEST, training):
        least = math.ceil(_FEWEST * each / SHARE)
        raise UsageError(
            f"{config.queries} image queries are too few to try what a proposer gives; "
            f"give at least {least}, or leave out --proposer"
        )
    return ProposalPlan(images, images * each)


@final
class ScoredWording(NamedTuple):
    """A wording, and the mean score of its answers on the same training images, 0 to 1."""

    text: str
    score: float


@final
class Mistake(NamedTuple):
    """A training image that was answered wrongly: the right answer, and the reply."""

    truth: str
    reply: str


@final
class Refused(NamedTuple):
    """A proposal that is not taken, and why."""

    text: str
    why: str


def meta_prompt(
    task: Task,
    question: str,
    scored: Sequence[ScoredWording],
    mistakes: Sequence[Mistake],
    *,
    count: int,
    images: int,
) -> str:
    """What the proposer is asked. scored: best last, as in OPRO. images: that the scores are of."""
    answers = "free" if task.labels is None else ", ".join(task.labels)
    rows = [
        f"{100 * one.score:.0f} %: {json.dumps(one.text, ensure_ascii=False)}" for one in scored
    ]
    wrong = [f"- right answer: {one.truth}; reply: {one.reply[:_SHOWN]!r}" for one in mistakes]
    return _META_PROMPT.format(
        place=PLACE,
        question=question,
        answers=answers,
        images=images,
        rows="\n".join(rows),
        wrong="\n".join(wrong or ["- none"]),
        count=count,
    )


def parsed(reply: str) -> list[str]:
    """The wordings of a reply: between tags, or else a JSON list of texts; else none."""
    tagged = [text.strip() for text in _TAGGED.findall(reply)]
    if tagged:
        return tagged
    start = reply.find("[")
    end = reply.rfind("]")
    try:
        found = json.loads(reply[start : end + 1]) if 0 <= start < end else []
    except (ValueError, RecursionError):
        return []
    return [text.strip() for text in found if isinstance(text, str)]


def sifted(
    texts: Iterable[str], task: Task, known: Collection[Wording]
) -> tuple[list[Wording], list[Refused]]:
    """The proposals that may be tried, and those that may not; known: wordings that there are.

    The check is of words, not of meaning: what it lets pass is still held to the proof.
    """
    taken: list[Wording] = []
    refused: list[Refused] = []
    for text in texts:
        names = [wording.name for wording in (*known, *taken)]
        why = _why_not(text, task, {_squeezed(each.text) for each in (*known, *taken)})
        if why:
            refused.append(Refused(text, why))
            continue
        named = Wording.of_text(text, names)
        taken.append(Wording(named.name, named.text, REPLY_TOKENS, _SOURCE))
    return taken, refused


def _why_not(text: str, task: Task, known: Collection[str]) -> str:
    """Why a proposal is not taken; "" if it is."""
    words = fold(text.replace(PLACE, " "))
    if not words.strip():
        return "it is empty"
    if text.count(PLACE) != 1:
        return f"it does not hold {PLACE} exactly once"
    if len(text) > LONGEST_PROPOSAL:
        return f"it has {len(text)} characters; {LONGEST_PROPOSAL} are the most"
    if _squeezed(text) in known:
        return "it is known"
    if "?" in words:
        return "it asks another question"
    if _OVERRIDES.search(words):
        return "it overrules the question"
    if _STATES.search(words):
        return "it states an answer"
    named = _named(words, task)
    if named:
        return f"it names {named!r} and not all answers"
    return ""


def _named(words: str, task: Task) -> str:
    """An answer that is named while others are not; "" where none or all of the labels are.

    Of free answers, those of the training images count; a question's own words are no leak.
    """
    if task.labels is not None:
        named = [label for label in task.labels if _holds(words, label)]
        return "" if len(named) == len(task.labels) else next(iter(named), "")
    answers = {sample.answer for sample in task.train}
    asked = fold(task.question)
    leaks = (one for one in sorted(answers) if _holds(words, one) and not _holds(asked, one))
    return next(leaks, "")


def _holds(words: str, label: str) -> bool:
    """Whether folded words hold a label, as words of their own where words have spaces."""
    folded = fold(label)
    if UNSPACED.search(folded):
        return folded in words
    return re.search(rf"(?<!\w){re.escape(folded)}(?!\w)", words) is not None


def _squeezed(text: str) -> str:
    whole = text if PLACE in text else f"{text} {PLACE}"
    return " ".join(fold(whole).split())
