"""From what a reader found to a task: options in the spec, splits, the labels' wording, a limit."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from urllib.parse import parse_qsl

from bbtvp.core.errors import UsageError, unknown
from bbtvp.tasks import Sample, Task, arrange, split
from bbtvp.tasks.labels import parse_labels
from bbtvp.tasks.loading import LoadReport, PassedOver
from bbtvp.tasks.splits import Splits, published

TVP_QUESTION = "This is a photo of a"
"""What TVP puts before a class name (Zhang et al., arXiv 2404.11207)."""

NAMED_OPTIONS = "answer with one of: {labels}"
"""The end of a question to a model that is not told the labels in another way."""

YES_NO = ("yes", "no")


@final
@dataclass(frozen=True)
class Contents:
    """What a reader found.

    `labels`: the classes in the data set's own order; None if each sample brings its own.

    `test` is empty where no split is published: all three are then drawn from `train`, those of
    whole images if `by_image` (equal images, equal splits, whatever is asked about them).
    `validation` is empty where none is published: train gives up a share. `fetch` prepares a sample
    that is kept, once split and limit are known. `passed_over`: files that are no samples.
    """

    name: str
    question: str
    labels: tuple[str, ...] | None
    train: Sequence[Sample]
    test: Sequence[Sample] = ()
    validation: Sequence[Sample] = ()
    by_image: bool = False
    fetch: Callable[[Sample], Sample] | None = None
    passed_over: tuple[PassedOver, ...] = ()


def dataset(read: Callable[..., Contents]) -> Callable[..., Task]:
    """An entry point of `bbtvp.datasets`, made from a reader.

    `read(place, **options)`: the reader; its options are keywords with defaults.

    The entry point takes "place" or "place?option=value&option=value", and options as keywords,
    which go first: `question` (a template; "{labels}" in it stands for the labels), `labels`
    (another wording of the classes, in the data set's order; in a spec "a|b|c"), `seed`, `limit`
    (most samples per split), and the reader's own.

    Raises UsageError for an option that is unknown or no number, and what the reader raises.
    """
    parameters = inspect.signature(read).parameters.values()
    own = {each.name: _kind(each.default) for each in parameters if each.kind is each.KEYWORD_ONLY}
    kinds: dict[str, Callable[[Any], Any]] = {
        "question": str,
        "labels": parse_labels,
        "seed": int,
        "limit": int,
        **own,
    }

    @functools.wraps(read)
    def load(spec: str, **options: Any) -> Task:
        place, written = _parsed(spec)
        given = {**written, **{name: value for name, value in options.items() if value is not None}}
        chosen = {
            name: _converted(read.__name__, name, value, kinds) for name, value in given.items()
        }
        found = read(place, **{name: chosen.pop(name) for name in own if name in chosen})
        return make(found, **chosen)

    return load


def _kind(default: object) -> Callable[[Any], Any]:
    return int if isinstance(default, int) else str


def _parsed(spec: str) -> tuple[str, dict[str, str]]:
    """The place, and the options written behind it; a folder may have a "?" in its name."""
    place, mark, query = spec.rpartition("?")
    if not mark or os.path.exists(spec):
        return spec, {}
    try:
        return place, dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True))
    except ValueError as error:
        raise UsageError(
            f"{spec!r}: {query!r} is no option; write FOLDER?option=value&option=value"
        ) from error


def _converted(
    reader: str, name: str, value: Any, kinds: Mapping[str, Callable[[Any], Any]]
) -> Any:
    if name not in kinds:
        raise unknown(f"option of {reader.replace('_', '-')}", name, kinds)
    try:
        return kinds[name](value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the option {name} is {value!r}; give a whole number") from error


def chosen(option: str, value: str, choices: Sequence[str]) -> str:
    """`value`, if it is one of the choices; UsageError with the nearest otherwise."""
    if value not in choices:
        raise unknown(option, value, choices)
    return value


def make(
    found: Contents,
    *,
    question: str | None = None,
    labels: tuple[str, ...] | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Task:
    """The task of these contents.

    The splits depend on seed and ids alone: another wording or a limit moves no sample.
    """
    if limit is not None and limit < 2:
        raise UsageError(
            f"a limit of {limit} leaves nothing to compare; use 2 or more samples per split"
        )
    names = _wording(found, labels)
    options = ", ".join(names.values()).replace("{", "{{").replace("}", "}}")
    template = question or found.question
    train, validation, test = (
        tuple(_finished(sample, names, found.fetch) for sample in part[:limit])
        for part in _splits(found, seed)
    )
    task = Task(
        found.name,
        template.replace("{labels}", options) if names else template,
        tuple(names.values()) or None,
        train,
        validation,
        test,
    )
    report = LoadReport(passed_over=found.passed_over)
    object.__setattr__(task, "loading", report)  # frozen for all others
    return task


def _wording(found: Contents, labels: tuple[str, ...] | None) -> dict[str, str]:
    """The data set's own name of each class → the name to use.

    Empty if each sample brings its own labels.
    """
    if labels is None:
        return {name: name for name in found.labels or ()}
    if found.labels is None:
        raise UsageError(f"each sample of {found.name} has options of its own; leave labels out")
    if len(labels) != len(found.labels):
        raise UsageError(
            f"{len(labels)} labels for the {len(found.labels)} classes of {found.name}; name all "
            "of them, in the order "
            f"{', '.join(found.labels)}"
        )
    return dict(zip(found.labels, labels, strict=True))


def _finished(
    sample: Sample, names: Mapping[str, str], fetch: Callable[[Sample], Sample] | None
) -> Sample:
    if names and names[sample.answer] != sample.answer:
        sample = dataclasses.replace(sample, answer=names[sample.answer])
    return fetch(sample) if fetch else sample


def _splits(found: Contents, seed: int) -> Splits:
    if not found.test:
        return _drawn(found.train, seed) if found.by_image else split(found.train, seed=seed)
    return published(found.train, found.validation, found.test, seed=seed, name=found.name)


def _drawn(samples: Sequence[Sample], seed: int) -> Splits:
    """Splits drawn by the image's name alone.

    The same images are then in the same splits, whatever is asked about them.
    """
    images = {sample.image for sample in samples if isinstance(sample.image, Path)}
    pictures = [Sample(image.name, "", image) for image in images]
    homes = [
        {picture.image for picture in part} for part in split(pictures, seed=seed, stratify=False)
    ]
    train, validation, test = (
        arrange([s for s in samples if s.image in home], seed=seed) for home in homes
    )
    return train, validation, test
