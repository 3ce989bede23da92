"""The wordings that a search is given: of a file, of the task, and those that are bundled."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bbtvp.core.errors import UsageError
from bbtvp.prompt import Guidance, Marks, PromptSpace
from bbtvp.prompt.guidance import WORDINGS
from bbtvp.prompt.wordings import LONGEST, PLACE, Wording, bundled
from bbtvp.search.config import SearchConfig
from bbtvp.search.proposals import proposal_plan
from bbtvp.surrogate import BETWEEN
from bbtvp.tasks import Task

BUNDLED = "bundled"
TASK = "task"

DEFAULT = BETWEEN.join((TASK, BUNDLED))
"""The wordings of a search over words alone that names none."""

_LABELS = "{labels}"
_FORMS = "a table of names and texts: careful = 'Look carefully.'"


def worded(space: PromptSpace, words: str | None, task: Task) -> PromptSpace:
    """The space of a preset with these wordings in its Guidance, in the place of its own texts.

    words: `SearchConfig.words`. Those that are made from marks stay where there are marks.
    UsageError for a space without that layer, and for wordings that cannot be.
    """
    if words is None and space.keeps_image:
        words = DEFAULT
    if words is None:
        return space
    if not _has_words(space):
        raise UsageError("wordings need a prompt that has words: add +guidance to --prompt")
    made = WORDINGS if any(isinstance(layer, Marks) for layer in space.layers) else ()
    guidance = Guidance((*made, *wordings_of(words, task)))
    kept = (layer for layer in space.layers if not isinstance(layer, Guidance))
    return replace(space, layers=(*kept, guidance))


def check_proposer(space: PromptSpace, config: SearchConfig, training: int) -> None:
    """UsageError for a proposer without a layer for its wordings, or without queries to try them.

    training: how many training images there are.
    """
    if config.proposer is not None and not _has_words(space):
        raise UsageError("a proposer needs a prompt that has words: add +guidance to --prompt")
    proposal_plan(config, training)


def _has_words(space: PromptSpace) -> bool:
    return any(isinstance(layer, Guidance) for layer in space.layers)


def wordings_of(words: str, task: Task) -> tuple[Wording, ...]:
    """The wordings that `SearchConfig.words` names, for this task.

    words: "bundled", "task" or a file, or several of them with " + " between. UsageError for a file
    that cannot be used.
    """
    found: list[Wording] = []
    for source in (part.strip() for part in words.split(BETWEEN)):
        if source == BUNDLED:
            found += bundled().values()
        elif source == TASK:
            found += task_wordings(task)
        else:
            found += file_wordings(Path(source).expanduser(), task)
    return tuple(found)


# -- the task's own --------------------------------------------------------------------------------
def task_wordings(task: Task) -> tuple[Wording, ...]:
    """Wordings from the task's labels and their definitions: all labels, never one or some.

    Definitions are those that the task was given. A wording that would be longer than a wording may
    be is left out, and so are the labels where the question names them all.
    """
    made = [
        _Made("answer-only", f"{PLACE} Reply with the answer only."),
        *_of_labels(task),
        *_of_definitions(task),
    ]
    return tuple(
        Wording(each.name, each.text, source=each.source)
        for each in made
        if len(each.text) <= LONGEST and each.text.count(PLACE) == 1
    )


class _Made(NamedTuple):
    """A wording that may yet be too long."""

    name: str
    text: str
    source: str = TASK


def _of_labels(task: Task) -> Iterator[_Made]:
    labels = task.labels
    if labels is None or all(label in task.question for label in labels):
        return
    if {label.casefold() for label in labels} == {"yes", "no"}:
        source = "Fu et al. 2023, MME, arXiv 2306.13394"
        yield _Made("yes-or-no", f"{PLACE} Please answer yes or no.", source)
        return
    if all(label.isdecimal() for label in labels):
        yield _Made("one-number", f"{PLACE} Answer with one number.")
    one_word = all(len(label.split()) == 1 for label in labels)
    what = "one word from" if one_word else "one of"
    yield _Made("one-of", f"{PLACE} Answer with {what}: {', '.join(labels)}.")


def _of_definitions(task: Task) -> Iterator[_Made]:
    if not task.definitions or task.labels is None:
        return
    said = [
        f"{label}: {task.definitions[label]}" if label in task.definitions else label
        for label in task.labels
    ]
    meaning = f"What each answer means: {'; '.join(said)}."
    yield _Made("defined", f"{meaning} {PLACE}")
    yield _Made("defined-last", f"{PLACE} {meaning}")


# -- a file ----------------------------------------------------------------------------------------
def file_wordings(path: Path, task: Task) -> tuple[Wording, ...]:
    """The wordings of a file: .toml or .json with names, else one wording on each line.

    Of a text file, empty lines and lines that begin with # do not count. In TOML and JSON a name
    stands for a text, or for a table of text, reply_tokens and source. {labels} stands for the
    task's labels. UsageError, with the file, for what cannot be used.
    """
    entries = _entries(path)
    if not entries:
        raise UsageError(f"{path} holds no wording; write one on each line")
    found: list[Wording] = []
    for entry in entries:
        try:
            text = _filled(entry.text, task)
            name = entry.name or Wording.of_text(text, [each.name for each in found]).name
            source = entry.source or path.name
            found.append(Wording(name, text.strip(), entry.reply_tokens, source))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    return tuple(found)


@final
class _Entry(BaseModel):
    """What a file says of one wording. name: None on a line of a text file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str | None = None
    text: str
    reply_tokens: int = 0
    source: str = ""


_ENTRIES = TypeAdapter(dict[str, str | _Entry])


def _entries(path: Path) -> list[_Entry]:
    try:
        content = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(
            f"no such file of wordings: {path}; give a file, {BUNDLED} or {TASK}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text in UTF-8; save it so") from error
    if path.suffix.lower() in (".toml", ".json"):
        return _named_entries(path, content)
    lines = (line.strip() for line in content.splitlines())
    return [_Entry(text=line) for line in lines if line and not line.startswith("#")]


def _named_entries(path: Path, content: str) -> list[_Entry]:
    read = tomllib.loads if path.suffix.lower() == ".toml" else json.loads
    try:
        found = _ENTRIES.validate_python(read(content))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"][:1])) or "the file"
        raise UsageError(f"{path}: {where} is no wording; give {_FORMS}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}); give {_FORMS}") from error
    return [
        _Entry(name=name, text=given)
        if isinstance(given, str)
        else given.model_copy(update={"name": name})
        for name, given in found.items()
    ]


def _filled(text: str, task: Task) -> str:
    if _LABELS not in text:
        return text
    if task.labels is None:
        raise UsageError(
            f"the wording {text!r:.60} holds {_LABELS}, and the answers of {task.name} are free; "
            "leave it out"
        )
    return text.replace(_LABELS, ", ".join(task.labels))
