"""The built-in tasks: reproducible, without leaks between splits, and POPE's samplings as POPE
defines them.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.tasks import Sample
from bbtvp.tasks.registry import load_task
from bbtvp.zoo import scenes, tasks
from bbtvp.zoo.shifts import SHIFTS, STRONGEST, TONED
from bbtvp.zoo.shifts.strengths import STRENGTH

SUBJECTS = (*tasks.SUBJECTS, *tasks.POPE)
subjects = pytest.mark.parametrize("subject", SUBJECTS)


def pixels_of(samples: tuple[Sample, ...]) -> list[bytes]:
    return [sample.pixels().tobytes() for sample in samples]


def test_the_names_are_every_subject_with_every_shift() -> None:
    names = tasks.names()
    assert len({*names}) == len(names) == len(SUBJECTS) * (1 + len(SHIFTS)) == 196
    for name in (
        "digits",
        "counting-dark",
        "hallucination-popular-blur",
        "hallucination-low-contrast",
        "counting-motion-blur",
    ):
        assert name in names


def test_a_name_is_read_as_its_subject_and_its_longest_shift() -> None:
    assert tasks.parts("hallucination-popular-motion-blur") == (
        "hallucination-popular",
        "motion-blur",
    )
    assert tasks.parts("hallucination-popular") == ("hallucination-popular", "")
    for name in tasks.names():
        subject, shift = tasks.parts(name)
        assert subject in SUBJECTS
        assert shift in ("", *SHIFTS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if tasks.parts(name)[1] in STRONGEST else ())
        for name in tasks.names()
    ],
)
def test_every_task_loads_as_it_is_described(name: str) -> None:
    task = load_task(f"zoo/{name}")
    (described,) = [row for row in tasks.describe() if row["task"] == f"zoo/{name}"]
    assert described == {
        "task": task.name,
        "question": task.question,
        "labels": list(task.labels or ()),
    }
    assert {split: len(samples) for split, samples in task.splits.items()} == tasks.SIZES
    for samples in task.splits.values():
        sizes = {sample.pixels().shape for sample in samples}
        assert len(sizes) == 1
        if tasks.parts(name)[1] not in ("clutter", "rotation"):  # these show more than the scene
            assert sizes == {(64, 64, 3)}
        assert {sample.answer for sample in samples} == {*(task.labels or ())}
    for sample in task.test[:20]:
        assert "{" not in task.ask(sample)


def test_tasks_are_described_in_the_order_of_their_names() -> None:
    assert [row["task"] for row in tasks.describe()] == [f"zoo/{name}" for name in tasks.names()]


@subjects
def test_no_image_is_in_two_splits_or_twice_in_one(subject: str) -> None:
    splits = {name: pixels_of(samples) for name, samples in tasks.load(subject).splits.items()}
    for one, other in combinations(splits, 2):
        assert not {*splits[one]} & {*splits[other]}
    assert all(len({*images}) == len(images) for images in splits.values())


def test_digits_of_the_splits_and_of_the_training_are_disjoint() -> None:
    ranges = [scenes.TRAINING_DIGITS, *tasks.DIGITS.values()]
    assert sum(map(len, ranges)) == 1797
    assert {index for digits in ranges for index in digits} == {*range(1797)}


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(name, marks=() if name in ("digits", "shapes") else pytest.mark.slow)
        for name in SUBJECTS
    ],
)
def test_every_shift_shows_the_same_scenes(subject: str) -> None:
    plain = tasks.load(subject)
    for shift in TONED:
        shifted = tasks.load(f"{subject}-{shift}")
        strength = STRENGTH[subject][shift]
        for split, samples in plain.splits.items():
            others = shifted.splits[split]
            assert [(s.id, s.answer, s.fields) for s in samples] == [
                (s.id, s.answer, s.fields) for s in others
            ]
            before = samples[3].pixels()
            after = others[3].pixels()
            assert not np.array_equal(before, after)
            if shift != "noise":  # the others are functions of the image alone
                np.testing.assert_array_equal(
                    SHIFTS[shift](before, strength, np.random.default_rng(0)), after
                )


def test_noise_differs_from_image_to_image_and_has_its_strength() -> None:
    plain = tasks.load("shapes").test
    noisy = tasks.load("shapes-noise").test
    grey = [
        (a.pixels().astype(float), b.pixels().astype(float))
        for a, b in zip(plain, noisy, strict=True)
    ]
    deviations = [after - before for before, after in grey]
    assert not np.array_equal(deviations[0], deviations[1])
    inner = np.concatenate(
        [
            d[(before > 100) & (before < 150)]
            for d, (before, _) in zip(deviations, grey, strict=True)
        ]
    )
    assert abs(inner.std() / STRENGTH["shapes"]["noise"] - 1) < 0.1


@pytest.mark.parametrize(
    ("shift", "change"), [("dark", -1), ("bright", 1), ("low-contrast", 0), ("blur", 0)]
)
def test_a_shift_does_what_its_name_says(shift: str, change: int) -> None:
    plain, shifted = (
        np.stack([s.pixels() for s in tasks.load(n).test[:60]]).astype(float)
        for n in ("shapes", f"shapes-{shift}")
    )
    assert shifted.std(axis=(1, 2)).mean() < plain.std(axis=(1, 2)).mean()
    if change:
        assert np.sign(shifted.mean() - plain.mean()) == change


DIGESTS = "from bbtvp.zoo import tasks; print(*(tasks.load(n).digest for n in {names!r}))"


def test_digests_are_equal_in_another_process() -> None:
    names = ["digits-noise", "reasoning", "hallucination-adversarial-blur"]
    command = [sys.executable, "-c", DIGESTS.format(names=names)]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert found == [tasks.load(name).digest for name in names]
    assert len({*found}) == 3


def test_a_limit_keeps_the_first_test_samples() -> None:
    whole = tasks.load("shapes")
    some = tasks.load("shapes", limit=7)
    assert [s.id for s in some.test] == [s.id for s in whole.test[:7]]
    assert (some.train, some.validation) == (whole.train, whole.validation)


def test_a_question_of_ones_own_replaces_the_template() -> None:
    task = tasks.load("hallucination", question="can you see a {object}?")
    sample = task.test[0]
    assert task.ask(sample) == f"can you see a {sample.fields['object']}?"


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_leaves_nothing_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        tasks.load("digits", limit=limit)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("digit", "zoo/digits"), ("counting-darkk", "zoo/counting-dark"), ("x", "did you mean zoo/")],
)
def test_an_unknown_task_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        tasks.load(name)


# -- POPE ------------------------------------------------------------------------------------------
def drawn_for(subject: str, split: str = "test") -> list[tuple[scenes.Scene, tuple[str, str], str]]:
    """(scene, category asked about, answer) of each sample of a hallucination task."""
    return [
        (scene, _category(fields["object"]), q.answer)
        for scene, q, fields in tasks._pope(subject, split)
    ]


def _category(text: str) -> tuple[str, str]:
    color, shape = text.split()
    return color, shape


def present(scene: scenes.Scene) -> set[tuple[str, str]]:
    return {(thing.color, thing.shape) for thing in scene.things}


@pytest.mark.parametrize("subject", tasks.POPE)
def test_positives_are_there_negatives_are_not_and_each_makes_half(subject: str) -> None:
    drawn = drawn_for(subject)
    assert Counter(answer for *_, answer in drawn) == {"yes": 250, "no": 250}
    assert all(
        (category in present(scene)) == (answer == "yes") for scene, category, answer in drawn
    )
    loaded = tasks.load(subject).test
    assert [(s.fields["object"].split(), s.answer) for s in loaded] == [
        ([*c], a) for _, c, a in drawn
    ]


def test_the_three_samplings_ask_about_the_same_scenes() -> None:
    images = [pixels_of(tasks.load(subject).test) for subject in tasks.POPE]
    assert images[0] == images[1] == images[2]


def test_popular_negatives_are_among_the_most_frequent() -> None:
    drawn = drawn_for("hallucination-popular")
    frequency = Counter(category for scene, *_ in drawn for category in present(scene))
    ranked = [category for category, _ in frequency.most_common()]
    for scene, category, answer in drawn:
        if answer == "no":
            more_frequent = [c for c in ranked[: ranked.index(category)] if c not in present(scene)]
            assert len(more_frequent) < 3
    random = drawn_for("hallucination")
    mean = {
        name: np.mean([frequency[c] for _, c, a in rows if a == "no"])
        for name, rows in (("p", drawn), ("r", random))
    }
    assert mean["p"] > 1.3 * mean["r"]


def test_adversarial_negatives_are_companions_of_what_is_there() -> None:
    ranked = Counter(
        c for scene, *_ in drawn_for("hallucination") for c in present(scene)
    ).most_common()
    for scene, category, answer in drawn_for("hallucination-adversarial"):
        if answer == "no":
            beside = {
                scenes.CATEGORIES[scenes.companion(scenes.CATEGORIES.index(c))]
                for c in present(scene)
            }
            absent = beside - present(scene)
            assert category in absent or (
                not absent and category == next(c for c, _ in ranked if c not in present(scene))
            )


def test_random_negatives_reach_every_category() -> None:
    asked = {
        category
        for split in tasks.SIZES
        for *_, category, answer in drawn_for("hallucination", split)
        if answer == "no"
    }
    assert asked == {*scenes.CATEGORIES}


def test_chance_is_the_best_constant_answer() -> None:
    assert tasks.chance(tasks.load("hallucination")) == 0.5
    task = tasks.load("digits")
    most = max(Counter(sample.answer for sample in task.test).values())
    assert tasks.chance(task) == most / 500 < 0.2
