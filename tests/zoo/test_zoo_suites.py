"""The suites: balanced, disjoint and frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from bbtvp.core.digest import digest
from bbtvp.core.errors import UsageError
from bbtvp.tasks.registry import load_task
from bbtvp.zoo import suites, tasks
from bbtvp.zoo.shifts import FAR, SHIFTS, TONED, WIDE
from bbtvp.zoo.shifts.strengths import STRENGTH, SUBJECTS
from bbtvp.zoo.suites import SUITES

FROZEN = {
    "suite/old": "7e5cef90b37413f82e7dccb0ed19ffb02d7f630a32d73f4e44d1b28227983358",
    "suite/wide": "a6ae7b0dd774e2ffc9197c104dc1e3de4e9c4f9417ec28156b5db654a6827dac",
    "suite/wide-dev": "bec8c7ba06498ff76a4f2a35698366e46eec30f8c22551c5e31e1f8538f4c59c",
    "suite/far": "89ffb9b8f211732413776ec9261b107d4099d3737f320a28b7fb9ee758edaf42",
}
"""Digests of the suites as they were before anything was tuned against the wide shifts; of
`suite/far` before any prompt was tried on it.

A change of a picture, a strength or a list changes a digest, and makes new figures necessary.
"""

SHOWN = 3
"""Samples of each split that the digests hold. A draw that changes, changes the first ones."""


def parts(suite: str) -> list[tuple[str, str]]:
    return [tasks.parts(spec.removeprefix("zoo/")) for spec in SUITES[suite]]


def digest_of(suite: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Digest of the names, questions, answers and pixels of a suite's first samples."""
    monkeypatch.setattr(tasks, "SIZES", dict.fromkeys(tasks.SIZES, SHOWN))
    marks: list[bytes] = []
    for (subject, shift), spec in zip(parts(suite), SUITES[suite], strict=True):
        marks.append(f"{spec} {tasks.QUESTIONS.get(subject, tasks.POPE_QUESTION)}".encode())
        for split in tasks.SIZES:
            for sample in tasks.samples(subject, shift, split, STRENGTH[subject][shift]):
                words = (sample.id, sample.answer, *sorted(sample.fields.items()))
                marks += [repr(words).encode(), sample.pixels().tobytes()]
    return digest(*marks)


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_is_what_it_was_when_it_was_frozen(
    suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert digest_of(suite, monkeypatch) == FROZEN[suite]


def test_a_frozen_digest_sees_a_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: one strength of one task is off by a fiftieth."""
    subject, shift = parts("suite/wide-dev")[3]
    monkeypatch.setitem(STRENGTH[subject], shift, STRENGTH[subject][shift] * 0.98)  # type: ignore[arg-type]
    assert digest_of("suite/wide-dev", monkeypatch) != FROZEN["suite/wide-dev"]


@pytest.mark.parametrize(("suite", "shifts"), [("suite/wide", WIDE), ("suite/far", FAR)])
def test_each_shift_has_two_subjects_and_every_subject_comes_as_often(
    suite: str, shifts: Mapping[str, object]
) -> None:
    pairs = parts(suite)
    assert Counter(shift for _, shift in pairs) == dict.fromkeys(shifts, 2)
    times = Counter(subject for subject, _ in pairs)
    assert {*times} == {*SUBJECTS}
    assert max(times.values()) - min(times.values()) <= 1


def test_dev_has_each_shift_with_one_other_subject() -> None:
    pairs = parts("suite/wide-dev")
    assert Counter(shift for _, shift in pairs) == dict.fromkeys(WIDE, 1)
    assert {subject for subject, _ in pairs} == {*SUBJECTS}
    assert not {*pairs} & {*parts("suite/wide")}


def test_nothing_that_is_tuned_on_has_a_shift_of_far() -> None:
    assert not {*FAR} & {*TONED, *WIDE}
    for suite in SUITES.keys() - {"suite/far"}:
        assert not {shift for _, shift in parts(suite)} & {*FAR}


@pytest.mark.parametrize("suite", SUITES)
def test_every_task_of_a_suite_is_a_built_in_one_and_stands_once(suite: str) -> None:
    specs = SUITES[suite]
    assert len({*specs}) == len(specs)
    assert {spec.removeprefix("zoo/") for spec in specs} <= {*tasks.names()}
    assert all(shift in SHIFTS for _, shift in parts(suite))


def test_a_name_stands_for_its_tasks_among_others() -> None:
    found = suites.expanded(["photos/", "suite/old", "zoo/digits"])
    assert found == ["photos/", *SUITES["suite/old"], "zoo/digits"]


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean suite/wide"):
        suites.expanded(["suite/wid"])


def test_a_suite_where_one_task_is_asked_for_is_told() -> None:
    with pytest.raises(UsageError, match="a list of 13 tasks, and here goes one, such as zoo/"):
        load_task("suite/wide-dev")
    with pytest.raises(UsageError, match="did you mean suite/wide"):
        load_task("suite/wid")
