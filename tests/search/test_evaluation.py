"""Losses out of a table with holes, and weights that mean the same everywhere."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.search import Evaluation, Scale, additive

NAN = math.nan
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 8))


# -- additive --------------------------------------------------------------------------------------
@given(SIZES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-10, 10))))
def test_a_full_table_gives_the_means_of_its_rows(table: Matrix) -> None:
    assert additive(table) == pytest.approx(table.mean(axis=1), abs=1e-9)


@given(
    SIZES.flatmap(
        lambda shape: st.tuples(
            arrays(np.float64, shape[:1], elements=st.floats(-5, 5)),
            arrays(np.float64, shape[1:], elements=st.floats(-5, 5)),
            arrays(np.bool_, shape),
        )
    )
)
def test_candidates_and_images_that_add_up_are_recovered_whatever_is_missing(
    parts: tuple[Vector, Vector, Matrix],
) -> None:
    """One image that all candidates share is enough to compare them."""
    candidates, images, missing = parts
    table = candidates[:, None] + images
    table[:, 1:][missing[:, 1:].astype(np.bool_)] = NAN
    seen = np.isfinite(table).any(axis=0)
    assert additive(table) == pytest.approx(candidates + images[seen].mean(), abs=1e-8)


def test_a_candidate_gains_nothing_by_having_missed_hard_images() -> None:
    hard = np.array([0.0, 0.0, 3.0, 3.0])
    table = np.array([[0.5], [0.6], [0.4]]) + hard
    table[1, 2:] = NAN
    assert np.nanmean(table, axis=1).argmin() == 1  # what a plain mean would say
    assert np.argsort(additive(table)).tolist() == [2, 0, 1]


def test_nor_does_it_lose_by_having_missed_easy_ones() -> None:
    table = np.array([[0.5], [0.3], [0.4]]) + np.array([0.0, 0.0, 3.0, 3.0])
    table[1, :2] = NAN
    assert np.nanmean(table, axis=1).argmax() == 1
    assert np.argsort(additive(table)).tolist() == [1, 2, 0]


def test_who_has_no_loss_has_no_estimate() -> None:
    assert np.isnan(additive(np.full((3, 4), NAN))).tolist() == [True, True, True]
    table = np.array([[1.0, 2.0], [NAN, NAN], [3.0, NAN]])
    assert additive(table) == pytest.approx([1.5, NAN, 3.5], nan_ok=True)


def test_an_image_that_nobody_was_asked_about_counts_for_nothing() -> None:
    table = np.array([[1.0, NAN, 2.0], [2.0, NAN, NAN]])
    assert additive(table) == pytest.approx([1.5, 2.5])


def test_the_table_is_left_as_it_was() -> None:
    table = np.array([[1.0, NAN], [2.0, 3.0]])
    before = table.copy()
    additive(table)
    assert np.array_equal(table, before, equal_nan=True)


# -- Scale -----------------------------------------------------------------------------------------
def rows(seed: int = 0, count: int = 9) -> list[Evaluation]:
    rng = np.random.default_rng(seed)
    return [Evaluation(NAN, *rng.normal(size=3).tolist(), 0.1, 0.5, 8, 0) for _ in range(count)]


def losses(found: list[Evaluation], fca: float, tse: float) -> Vector:
    scale = Scale.matched(found)
    return np.array([scale.apply(row, fca, tse).loss for row in found])


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_a_weight_means_the_same_in_any_unit_of_its_term(by: float, other: float) -> None:
    found = rows()
    stretched = [replace(row, fca=row.fca * by, tse=row.tse * other) for row in found]
    assert losses(stretched, 0.5, 0.2) == pytest.approx(losses(found, 0.5, 0.2))


@given(st.floats(1e-3, 1e3))
def test_with_the_task_loss_in_another_unit_the_sum_is_in_that_unit(by: float) -> None:
    found = rows()
    assert losses([replace(row, task=row.task * by) for row in found], 0.5, 0.2) == pytest.approx(
        by * losses(found, 0.5, 0.2)
    )


def test_a_term_of_weight_1_varies_as_much_as_the_task_loss() -> None:
    found = rows()
    scale = Scale.matched(found)
    task = np.array([row.task for row in found])
    for name in ("fca", "tse"):
        term = getattr(scale, name) * np.array([getattr(row, name) for row in found])
        assert term.std() == pytest.approx(task.std())


def test_fca_is_a_loss_and_tse_a_gain() -> None:
    row = Evaluation(NAN, 1.0, 0.25, 0.5, 0.1, 0.5, 8, 0)
    assert Scale(2.0, 4.0).apply(row, fca=3.0, tse=5.0).loss == pytest.approx(
        1 + 3 * 2 * 0.25 - 5 * 4 * 0.5
    )
    assert Scale().apply(row, 0, 0) == replace(row, loss=1.0)


def test_a_constant_term_weighs_nothing() -> None:
    assert Scale.matched([replace(row, fca=0.7) for row in rows()]).fca == 0
    assert Scale.matched([replace(row, fca=0.0, tse=0.0) for row in rows()]) == (0, 0)


def test_a_candidate_without_an_answer_is_left_out() -> None:
    found = rows()
    silent = Evaluation(NAN, NAN, NAN, NAN, NAN, NAN, 0, 8)
    assert Scale.matched([silent, *found, silent]) == Scale.matched(found)
    assert Scale.matched([silent, silent]) == Scale.matched([]) == (0, 0)
