"""The built-in tasks: `zoo/<subject>[-<shift>]`, on scenes that no miniature was trained on.

Subjects: digits, shapes, counting, reasoning, hallucination (negatives drawn at random),
hallucination-popular, hallucination-adversarial (POPE's samplings, Li et al., arXiv 2305.10355).
Shifts: see `bbtvp.zoo.shifts`; none = as trained. The same scenes under every shift, so that shifts
can be compared. Lists of tasks: see `bbtvp.zoo.suites`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.rng import stream
from bbtvp.tasks import Sample, Task
from bbtvp.zoo import scenes
from bbtvp.zoo.shifts import SHIFTS
from bbtvp.zoo.shifts.strengths import STRENGTH

SIZES = {"train": 256, "validation": 128, "test": 500}
DIGITS = {"train": range(1000, 1200), "validation": range(1200, 1300), "test": range(1300, 1797)}
"""UCI digits of each split: disjoint, and disjoint from those that trained the zoo."""

SUBJECTS = {"digits": "digit", "shapes": "shape", "counting": "count", "reasoning": "pair"}
POPE = {
    "hallucination": "random",
    "hallucination-popular": "popular",
    "hallucination-adversarial": "adversarial",
}
QUESTIONS = {
    "digits": "what digit is this?",
    "shapes": "what shape is this?",
    "counting": "how many objects are there?",
    "reasoning": "do the two objects have the same color?",
}
POPE_QUESTION = "is there a {object} in the image?"
LABELS = {
    "digits": scenes.DIGITS,
    "shapes": scenes.SHAPES,
    "counting": scenes.COUNTS,
    "reasoning": scenes.YES_NO,
}


def names() -> list[str]:
    """Every built-in task."""
    return [
        f"{subject}{shift}"
        for subject in (*SUBJECTS, *POPE)
        for shift in ("", *(f"-{s}" for s in SHIFTS))
    ]


def load(name: str, *, question: str | None = None, limit: int | None = None) -> Task:
    """The task `zoo/<name>`.

    `question` replaces its template; `limit` keeps that many test samples.

    UsageError, with the nearest names, for an unknown task.
    """
    if name not in names():
        raise unknown("task", f"zoo/{name}", [f"zoo/{known}" for known in names()])
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {limit} leaves no test samples; give at least 1")
    subject, shift = parts(name)
    train, validation, test = (_samples(subject, shift, split) for split in SIZES)
    template = question or QUESTIONS.get(subject, POPE_QUESTION)
    return Task(
        f"zoo/{name}", template, LABELS.get(subject, scenes.YES_NO), train, validation, test[:limit]
    )


def parts(name: str) -> tuple[str, str]:
    """The subject and the shift of a task; the shift is "" for a task as trained."""
    fitting = [shift for shift in SHIFTS if name.endswith(f"-{shift}")]
    shift = max(fitting, key=len, default="")  # "motion-blur" ends in another shift's name
    return name.removesuffix(f"-{shift}"), shift


@lru_cache(maxsize=12)
def _samples(subject: str, shift: str, split: str) -> tuple[Sample, ...]:
    return samples(subject, shift, split, STRENGTH[subject].get(shift, 0.0))


def samples(subject: str, shift: str, split: str, strength: float) -> tuple[Sample, ...]:
    """The samples of a split under a shift of any strength; shift "" is none.

    Equal subject, shift and split give equal scenes and equal draws at every strength.
    """
    drawn = _pope(subject, split) if subject in POPE else _plain(subject, split)
    rng = stream(0, "zoo-shift", subject, shift, split)
    return tuple(
        Sample(
            f"{split}-{i:04d}",
            question.answer,
            SHIFTS[shift](scene.pixels, strength, rng) if shift else scene.pixels,
            fields,
        )
        for i, (scene, question, fields) in enumerate(drawn)
    )


Drawn = tuple[scenes.Scene, scenes.Question, dict[str, str]]


def _plain(subject: str, split: str) -> list[Drawn]:
    rng = stream(0, "zoo-task", subject, split)
    rows: list[Drawn] = []
    for _ in range(SIZES[split]):
        scene = scenes.draw(SUBJECTS[subject], rng, DIGITS[split])
        question = scenes.main_question(scene, rng)
        rows.append((scene, question, _caption(scene)))
    return rows


def _pope(subject: str, split: str) -> list[Drawn]:
    """Half the questions name a category that is there, half one that is absent.

    The absent ones are drawn by POPE's sampling.
    """
    rng = stream(0, "zoo-task", "hallucination", split)
    drawn = [scenes.draw("presence", rng) for _ in range(SIZES[split])]
    popularity = Counter((thing.color, thing.shape) for scene in drawn for thing in scene.things)
    ranked = [category for category, _ in popularity.most_common()]
    rows: list[Drawn] = []
    for i, scene in enumerate(drawn):
        present = [(thing.color, thing.shape) for thing in scene.things]
        pool = present if i % 2 == 0 else _absent(POPE[subject], present, ranked)
        color, shape = pool[int(rng.integers(len(pool)))]
        question = scenes.presence_question(color, shape, scene.things)
        rows.append((scene, question, {"object": f"{color} {shape}", **_caption(scene)}))
    return rows


def _caption(scene: scenes.Scene) -> dict[str, str]:
    """The caption of a training image whose answer names nothing that can be seen.

    The surrogate's TSE is told this text.
    """
    if scene.kind in ("digit", "shape"):  # there the answer itself is a caption
        return {}
    return {
        "caption": scenes.inventory(
            len(scene.things), [(thing.color, thing.shape) for thing in scene.things]
        )
    }


def _absent(
    sampling: str, present: Sequence[tuple[str, str]], ranked: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    absent = [category for category in ranked if category not in present]
    if sampling == "popular":
        return absent[:3]
    if sampling == "adversarial":
        beside = [
            scenes.CATEGORIES[scenes.companion(scenes.CATEGORIES.index(category))]
            for category in present
        ]
        return [
            category for category in dict.fromkeys(beside) if category not in present
        ] or absent[:1]
    return absent


def chance(task: Task) -> float:
    """Accuracy of the best constant answer on the test split."""
    counts = Counter(sample.answer for sample in task.test)
    return float(np.max(list(counts.values())) / len(task.test))


def describe() -> list[dict[str, object]]:
    """Name, question and labels of every built-in task, without drawing its images. JSON-able."""
    rows: list[dict[str, object]] = []
    for name in names():
        subject, _ = parts(name)
        question = QUESTIONS.get(subject, POPE_QUESTION)
        rows.append(
            {
                "task": f"zoo/{name}",
                "question": question,
                "labels": list(LABELS.get(subject, scenes.YES_NO)),
            }
        )
    return rows
