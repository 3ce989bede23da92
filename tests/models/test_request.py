"""The key of a request: equal for equal requests, and for no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bbtvp.core.arrays import Pixels
from bbtvp.models import Request, Shown

IMAGES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(3)).flatmap(
    lambda shape: arrays.arrays(np.uint8, shape)
)
LABELS = st.none() | st.lists(st.text(max_size=3), max_size=3).map(tuple)
KEY_OF_OLD = "5d4957fb2962465dd3c94a77cfb44fe829159bbf900b0199404a04f4f23eb0b9"
"""The key of a request in journals that were written before requests had a context."""

REQUESTS = st.builds(
    Request,
    IMAGES,
    st.text(max_size=4),
    LABELS,
    max_tokens=st.integers(1, 64),
    replicate=st.integers(0, 3),
)


def identity(request: Request) -> tuple[object, ...]:
    pixels = request.image.shape, request.image.tobytes()
    return *pixels, request.text, request.labels, request.max_tokens, request.replicate


@given(REQUESTS, REQUESTS)
@settings(max_examples=100, deadline=None)
def test_keys_are_equal_only_for_equal_requests(one: Request, other: Request) -> None:
    assert (one.key == other.key) == (identity(one) == identity(other))


@given(REQUESTS)
@settings(max_examples=25, deadline=None)
def test_an_equal_request_has_the_same_key(request: Request) -> None:
    assert replace(request, image=np.asfortranarray(request.image)).key == request.key


@given(REQUESTS, st.data())
@settings(max_examples=50, deadline=None)
def test_any_one_change_gives_another_key(request: Request, data: st.DataObject) -> None:
    image = request.image.copy()
    where = data.draw(st.integers(0, image.size - 1))
    image.flat[where] ^= data.draw(st.integers(1, 255))
    changed = [
        replace(request, image=image),
        replace(request, text=f"{request.text}?"),
        replace(request, labels=(*(request.labels or ()), "more")),
        replace(request, max_tokens=request.max_tokens + 1),
        replace(request, replicate=request.replicate + 1),
    ]
    assert len({request.key, *(other.key for other in changed)}) == 1 + len(changed)


def test_the_shape_counts_where_the_bytes_are_equal() -> None:
    flat: Pixels = np.zeros((2, 6, 3), np.uint8)
    assert Request(flat, "?").key != Request(flat.reshape(6, 2, 3), "?").key


def test_labels_and_their_order_count() -> None:
    image: Pixels = np.zeros((2, 2, 3), np.uint8)
    given_labels = [None, (), ("a", "b"), ("b", "a"), ("ab",), ("a,b",)]
    assert len({Request(image, "?", labels).key for labels in given_labels}) == len(given_labels)


def test_a_request_without_context_keeps_the_key_of_older_journals() -> None:
    image: Pixels = np.zeros((2, 3, 3), np.uint8)
    assert Request(image, "which?", ("a", "b")).key == KEY_OF_OLD


def test_the_images_before_their_texts_and_their_order_count() -> None:
    image: Pixels = np.zeros((2, 2, 3), np.uint8)
    other: Pixels = np.ones((2, 2, 3), np.uint8)
    contexts: list[tuple[Shown, ...]] = [
        (),
        (Shown(image, "a"),),
        (Shown(other, "a"),),
        (Shown(image, "b"),),
        (Shown(image, "a"), Shown(other, "b")),
        (Shown(other, "b"), Shown(image, "a")),
        (Shown(image.reshape(1, 4, 3), "a"),),
    ]
    requests = [Request(image, "?", context=context) for context in contexts]
    assert len({request.key for request in requests}) == len(contexts)
    assert [request.images for request in requests] == [1, 2, 2, 2, 3, 3, 2]
