from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks import Sample, arrange, split
from bbtvp.tasks.splits import FRACTIONS, Splits, hold_out, published

PIXELS = np.zeros((1, 1, 3), np.uint8)

sizes_by_answer = st.dictionaries(
    st.sampled_from("abcdefg"), st.integers(1, 40), min_size=1
).filter(lambda sizes: sum(sizes.values()) >= 8)


def samples_of(sizes: dict[str, int]) -> list[Sample]:
    return [
        Sample(f"{answer}/{i}", answer, PIXELS)
        for answer, size in sizes.items()
        for i in range(size)
    ]


def ids(part: tuple[Sample, ...]) -> list[str]:
    return [sample.id for sample in part]


def homes(splits: Splits) -> dict[str, int]:
    return {sample.id: home for home, part in enumerate(splits) for sample in part}


@settings(deadline=None, max_examples=60)
@given(sizes_by_answer, st.integers(0, 1000), st.randoms(use_true_random=False), st.booleans())
def test_disjoint_complete_deterministic_whatever_the_order(
    sizes: dict[str, int], seed: int, order: random.Random, stratify: bool
) -> None:
    samples = samples_of(sizes)
    parts = split(samples, seed=seed, stratify=stratify)
    assert sorted(sample.id for part in parts for sample in part) == sorted(
        sample.id for sample in samples
    )
    shuffled = samples[:]
    order.shuffle(shuffled)
    assert [ids(part) for part in parts] == [
        ids(part) for part in split(shuffled, seed=seed, stratify=stratify)
    ]
    for part, share in zip(parts, FRACTIONS, strict=True):
        assert abs(len(part) - share * len(samples)) <= 1


@settings(deadline=None, max_examples=60)
@given(sizes_by_answer, st.integers(0, 1000), st.data())
def test_every_prefix_is_stratified_within_rounding(
    sizes: dict[str, int], seed: int, data: st.DataObject
) -> None:
    ordered = arrange(samples_of(sizes), seed=seed)
    cut = data.draw(st.integers(0, len(ordered)))
    counts = Counter(sample.answer for sample in ordered[:cut])
    for answer, size in sizes.items():
        # One for this answer's own rounding, and its share of the roundings of the others.
        assert abs(counts[answer] - size * cut / len(ordered)) <= 1 + size * len(sizes) / len(
            ordered
        )
    if cut >= len(sizes):
        assert counts.keys() == sizes.keys(), "the first of each answer comes first"


@settings(deadline=None, max_examples=60)
@given(sizes_by_answer, st.integers(0, 1000), st.sampled_from("abcdefg"))
def test_an_added_sample_moves_few_others(sizes: dict[str, int], seed: int, answer: str) -> None:
    before = split(samples_of(sizes), seed=seed)
    after = homes(split([*samples_of(sizes), Sample("new", answer, PIXELS)], seed=seed))
    moved = sum(after[name] != home for name, home in homes(before).items())
    assert moved <= 2 + 2 * len(sizes)


def test_seeds_and_ids_decide() -> None:
    samples = samples_of({"a": 30, "b": 30})
    assert homes(split(samples, seed=0)) != homes(split(samples, seed=1))
    assert ids(split(samples, seed=0)[1])[:4] == ids(
        split(samples, seed=0, fractions=(30, 4, 20))[1]
    )


def test_the_assignment_never_changes_between_releases() -> None:
    _, validation, test = split(samples_of({"a": 5, "b": 5}), seed=7)
    assert (ids(validation), ids(test)) == (["a/1", "b/3"], ["a/3", "b/2", "a/4"])


def test_counts_leave_the_rest_out() -> None:
    parts = split(samples_of({"a": 30, "b": 10}), seed=0, fractions=(8, 4, 8))
    assert [len(part) for part in parts] == [8, 4, 8]
    assert Counter(sample.answer for sample in parts[0]) == {"a": 6, "b": 2}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=30, max_size=40), st.integers(0, 50))
def test_the_samples_of_one_image_stay_together(questions: list[int], seed: int) -> None:
    samples = [
        Sample(f"{i}#{q}", "ab"[q % 2], Path(f"{i}.png"))
        for i, n in enumerate(questions)
        for q in range(n)
    ]
    parts = split(samples, seed=seed)
    home: dict[str, int] = {}
    for place, part in enumerate(parts):
        for sample in part:
            assert home.setdefault(str(sample.image), place) == place
        assert abs(len(part) - FRACTIONS[place] * len(samples)) < 1 + max(questions)
    kept, held = hold_out(samples, seed=seed, share=0.3)
    assert not {sample.image for sample in kept} & {sample.image for sample in held}


@settings(deadline=None, max_examples=40)
@given(sizes_by_answer, st.integers(0, 1000), st.booleans())
def test_published_splits_are_kept_and_train_gives_up_what_is_missing(
    sizes: dict[str, int], seed: int, stratify: bool
) -> None:
    train = samples_of(sizes)
    rest = [Sample(f"rest/{i}", "a", PIXELS) for i in range(6)]
    kept = published(train, rest[:3], rest[3:], seed=seed, name="it", stratify=stratify)
    wanted = [arrange(part, seed=seed, stratify=stratify) for part in (train, rest[:3], rest[3:])]
    assert [ids(part) for part in kept] == [ids(part) for part in wanted]
    drawn = published(train, [], rest, seed=seed, name="it", stratify=stratify)
    assert ids(drawn[0] + drawn[1]) == ids(wanted[0]), (
        "validation is the end of what train would be"
    )
    assert abs(len(drawn[1]) - len(train) * 2 / 7) <= 0.5


def test_a_train_that_cannot_give_validation_anything() -> None:
    with pytest.raises(DataError, match="it has no validation images and too few in train"):
        published(samples_of({"a": 1}), [], samples_of({"b": 2}), seed=0, name="it")


@pytest.mark.parametrize(
    ("n", "message"), [(0, "train would have 0 and needs 1"), (4, "test would have 1 and needs 2")]
)
def test_too_few_samples(n: int, message: str) -> None:
    with pytest.raises(
        DataError,
        match=rf"^{n} samples are too few: {message} \(train \d, validation \d, test \d\)",
    ):
        split(samples_of({"a": n}), seed=0)


def test_one_image_with_many_questions_cannot_be_split() -> None:
    with pytest.raises(DataError, match="validation would have 0"):
        split([Sample(str(i), "a", Path("one.png")) for i in range(50)], seed=0)


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (5, 0, 5), (float("nan"), 0.5, 0.5)]
)
def test_impossible_fractions(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="shares"):
        split(samples_of({"a": 30}), seed=0, fractions=fractions)


def test_more_than_there_is() -> None:
    with pytest.raises(DataError, match=r"20 \+ 5 \+ 6 samples are asked for and there are 30"):
        split(samples_of({"a": 30}), seed=0, fractions=(20, 5, 6))
