"""What is asked: samples, a question template, the answers allowed, and the three splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any, final

import numpy as np
from PIL import Image

from bbtvp.core.arrays import Pixels
from bbtvp.core.digest import digest, digest_json
from bbtvp.core.errors import DataError, UsageError, unknown
from bbtvp.core.origin import Origin
from bbtvp.prompt.image import any_pixels, open_image
from bbtvp.tasks.loading import LoadReport
from bbtvp.tasks.metrics import Metric, metric_named
from bbtvp.tasks.own import own_metric
from bbtvp.tasks.replies import fold


@final
@dataclass(frozen=True, eq=False)
class Sample:
    """One image with one question's answer.

    `id` is unique in the task and the same on every machine. `image`: (H, W, 3) uint8 pixels, sRGB,
    0-255, or the file to read them from; a path as text becomes a `Path`, a PIL image pixels.
    `fields`: what the question template may use. `labels`: this sample's own options, if it has
    any. `group`: samples of one group, such as the images of one patient, stay in one split when
    splits are drawn. `answers`: all answers that are accepted, where there are several and answers
    are free; people's answers may repeat, and `answer` is one of them.
    """

    id: str
    answer: str
    image: Pixels | Path
    fields: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    group: str | None = None
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        own = (*self.fields.values(), *(self.labels or ()), *self.answers)
        for text in (self.id, self.answer, *own):
            # From a file name or JSON that is not Unicode; such a text has no digest.
            if _has_surrogate(text):
                raise DataError(
                    f"sample {self.id!r}: {text!r} is not Unicode text; rename or correct it"
                )
        if self.answers and self.answer not in self.answers:
            raise DataError(
                f"sample {self.id!r}: the answer {self.answer!r} is not among the accepted ones"
            )
        object.__setattr__(self, "image", _image_of(self.image))  # frozen for all others
        image = self.image
        if isinstance(image, Path):
            return
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.ndim != 3
            or image.shape[2] != 3
        ):
            raise DataError(
                f"sample {self.id!r}: the image must be (H, W, 3) uint8 pixels, a PIL image or a "
                "path"
            )

    def __repr__(self) -> str:
        image = self.image
        if isinstance(image, np.ndarray):
            shown = f"{image.shape[1]} x {image.shape[0]} px"
        else:
            shown = str(image)
        return f"Sample({self.id!r}, {self.answer!r}, {shown})"

    @property
    def accepted(self) -> tuple[str, ...]:
        """All answers that are accepted, at least `answer`."""
        return self.answers or (self.answer,)

    def pixels(self) -> Pixels:
        """(H, W, 3) uint8, sRGB, 0-255, read-only.

        Read from the file on each call. DataError names a bad file.
        """
        pixels = (open_image(self.image) if isinstance(self.image, Path) else self.image).view()
        # Samples are shared: a change in place would reach every later query.
        pixels.flags.writeable = False
        return pixels


@final
@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """A question over labelled images, in three splits; checked when it is made.

    `question` is a template over the sample's fields: "is there a {object} in the image?", in which
    {labels} stands for the answers allowed. `labels` are these; None means free answers. `metric`
    is a name in `bbtvp.tasks.metrics.METRICS`, a plug-in's included, or a `Metric`, or a function
    (prediction, answer) → score from 0 to 1, which is known by its name and its source text.
    `definitions`: what labels mean, for wordings that say so; the digest leaves them out, for no
    question holds them. `max_tokens`: the longest reply that the question needs; None leaves it to
    the reader. The search sees train, the choice of the winner sees validation, and only
    verification sees test.

    Raises DataError (an empty split, a repeated id, an image in two splits, an answer that is not
    allowed, a label without training images) or UsageError (an unknown metric, a template that the
    fields cannot fill).
    """

    name: str
    question: str
    labels: tuple[str, ...] | None
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    metric: str | Metric | Callable[[str, str], float] = "accuracy"
    definitions: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    origin: Origin | None = field(default=None, init=False, repr=False)
    """What `load_task` was called with; None for a task made or changed in Python
    (`dataclasses.replace` drops it).
    """
    loading: LoadReport | None = field(default=None, init=False, repr=False)
    """What the loader has to tell of the files that it read; None for a task made in Python."""

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str | Metric):
            object.__setattr__(self, "metric", own_metric(self.metric))  # frozen for all others
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(
                f"task {self.name!r}: max_tokens is {self.max_tokens}; give at least 1"
            )
        if not self.question.strip():
            raise UsageError(
                f"task {self.name!r} has an empty question; say what to ask about each image"
            )
        if self.labels is not None:
            _check_labels(f"task {self.name!r}", self.labels)
        check_definitions(self.definitions, self.labels)
        _check_splits(self.splits)
        for samples in self.splits.values():
            for sample in samples:
                self._check_sample(sample)
        _check_coverage(self.labels, self.train)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(samples)} {name}" for name, samples in self.splits.items())
        answers = "free answers" if self.labels is None else f"{len(self.labels)} labels"
        said = "".join(f"; {note}" for note in (self.loading.notes if self.loading else ()))
        return f"<Task {self.name}: {self.question!r}, {answers}; {sizes}; {self.scoring}{said}>"

    def _check_sample(self, sample: Sample) -> None:
        self.ask(sample)
        if sample.labels is not None:
            _check_labels(f"sample {sample.id!r}", sample.labels)
        labels = self.sample_labels(sample)
        if labels is None and self.scoring.needs_labels:
            raise UsageError(
                f"sample {sample.id!r} has no labels, which {self.scoring} needs; "
                "add them or use metric 'exact'"
            )
        if labels is not None and sample.answer not in labels:
            raise DataError(f"sample {sample.id!r}: {unknown('answer', sample.answer, labels)}")
        if labels is not None and len(set(sample.accepted)) > 1:
            raise DataError(
                f"sample {sample.id!r} has several answers and labels; keep one answer, or make "
                "answers free (labels none)"
            )
        problem = self.scoring.problem(sample.accepted)
        if problem:
            raise DataError(f"sample {sample.id!r}: {problem}")

    @cached_property
    def scoring(self) -> Metric:
        """How replies are scored: the metric. UsageError for a name that is not there."""
        if isinstance(self.metric, str):
            return metric_named(self.metric)
        return self.metric if isinstance(self.metric, Metric) else own_metric(self.metric)

    def grade(self, answer: str | None, sample: Sample) -> float:
        """The score of an answer to this sample, 0 to 1; None, an answer not read, is no text.

        UsageError names the sample and the value where the metric gives no score.
        """
        return self.scoring.score(answer or "", sample.accepted, f"sample {sample.id!r}: ")

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """The three splits by name, in the order train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def ask(self, sample: Sample) -> str:
        """The question about this sample.

        UsageError names a field that the sample lacks, and those that it has.
        """
        fields = sample.fields
        labels = self.sample_labels(sample)
        if labels is not None and "{labels}" in self.question:
            fields = {"labels": ", ".join(labels), **fields}
        try:
            return _TEMPLATE.vformat(self.question, (), fields)
        except KeyError as error:
            have = ", ".join(sorted(sample.fields)) or "none"
            raise UsageError(
                f"the question needs the field {error.args[0]!r}, which sample {sample.id!r} lacks "
                f"(it has: {have}); "
                "add it, or write {{ and }} for braces that are text"
            ) from error
        except ValueError as error:
            raise UsageError(
                f"the question {self.question!r} is no template ({error}); write {{{{ for a brace"
            ) from error

    def sample_labels(self, sample: Sample) -> tuple[str, ...] | None:
        """The answers allowed for this sample: its own options, else the task's labels.

        None if answers are free.
        """
        return self.labels if sample.labels is None else sample.labels

    @cached_property
    def digest(self) -> str:
        """Digest of name, question, labels, metric, limit, and each split's samples in any order.

        Pixels in memory count, byte for byte. An image file counts by its sample's id only: neither
        its bytes nor the folder that it lies in, so that the digest is quick, and the same on
        another machine.
        """
        splits = {
            name: sorted(_identity(sample) for sample in samples)
            for name, samples in self.splits.items()
        }
        limit = [] if self.max_tokens is None else [self.max_tokens]
        own = self.scoring
        scored = self.metric if isinstance(self.metric, str) else [str(own), own.version]
        return digest_json([self.name, self.question, self.labels, scored, splits, *limit])

    def describe(self) -> dict[str, Any]:
        """A summary that can be written as JSON.

        The sizes, and per split the samples of each answer (null if answers are free).
        """
        return {
            "name": self.name,
            "question": self.question,
            "labels": None if self.labels is None else list(self.labels),
            "metric": str(self.scoring),
            **({} if self.max_tokens is None else {"max_tokens": self.max_tokens}),
            "digest": self.digest,
            "splits": {
                name: self._describe_split(samples) for name, samples in self.splits.items()
            },
        }

    def _describe_split(self, samples: Sequence[Sample]) -> dict[str, Any]:
        counts = Counter(sample.answer for sample in samples)
        labels = dict.fromkeys((*(self.labels or ()), *sorted(counts)))
        free = all(self.sample_labels(sample) is None for sample in samples)
        return {
            "samples": len(samples),
            "answers": None if free else {label: counts[label] for label in labels},
        }


class _Template(Formatter):
    """`str.format` over plain field names.

    A column may be called "object name", and no attribute is ever looked up.
    """

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, str]:
        return kwargs[field_name], field_name


_TEMPLATE = _Template()


def _image_of(given: Any) -> Any:
    """Pixels or a path where an image was given in another form; else what was given."""
    if isinstance(given, Image.Image):
        return any_pixels(given)
    return Path(given).expanduser() if isinstance(given, str) else given


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def _identity(sample: Sample) -> str:
    image = sample.image
    pixels = None if isinstance(image, Path) else digest(str(image.shape).encode(), image.tobytes())
    several = [sample.answers] if sample.answers else []
    fields = dict(sample.fields)
    return digest_json([sample.id, sample.answer, fields, sample.labels, pixels, *several])


def label_key(label: str) -> str:
    """What two labels have in common that read the same: case, width and spaces do not count."""
    return " ".join(fold(label).split())


def _check_labels(where: str, labels: Sequence[str]) -> None:
    if len(labels) < 2:
        raise DataError(f"{where} needs at least two labels, got {list(labels)}")
    seen: dict[str, str] = {}
    for label in labels:
        key = label_key(label)
        if not key:
            raise DataError(f"{where} has an empty label; remove it")
        if key in seen:
            raise DataError(
                f"{where}: the labels {seen[key]!r} and {label!r} read the same; merge them"
            )
        seen[key] = label


def check_definitions(definitions: Mapping[str, str], labels: Sequence[str] | None) -> None:
    """DataError for the definition of what is no label, and for an empty one."""
    for label, said in definitions.items():
        if label not in (labels or ()):
            raise DataError(f"a definition of an {unknown('label', label, labels or ())}")
        if not said.strip():
            raise DataError(f"the definition of {label!r} is empty; write one, or leave it out")


def _check_splits(splits: Mapping[str, Sequence[Sample]]) -> None:
    """No split is empty, no id comes twice, no image file is in two splits."""
    home: dict[str | Path, str] = {}
    for name, samples in splits.items():
        if not samples:
            raise DataError(f"the {name} split is empty; add samples to it")
        for sample in samples:
            if home.get(sample.id) == name:
                raise DataError(f"the id {sample.id!r} comes twice in {name}; ids must be unique")
            for key in (sample.id, sample.image):
                if not isinstance(key, np.ndarray) and home.setdefault(key, name) != name:
                    raise DataError(
                        f"the splits overlap: {str(key)!r} is in {home[key]} and in {name}; "
                        "keep it in one, or what is held out has been seen"
                    )


def _check_coverage(labels: Iterable[str] | None, train: Iterable[Sample]) -> None:
    answers = {sample.answer for sample in train}
    for label in labels or ():
        if label not in answers:
            raise DataError(
                f"class {label!r} has no images in train; add some, raise the limit, or leave the "
                "label out"
            )
