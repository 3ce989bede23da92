"""A fence around libraries that use numpy's global random state."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import numpy as np

from bbtvp.core.digest import digest


@final
class GlobalRandom:
    """Lends numpy's global generator a private state for as long as a library runs.

    pycma (its consistency check of two-point adaptation, from 300 variables on) and several
    nevergrad methods draw from `np.random`. Inside `lent()` they find a state of their own, which
    carries over from call to call, so that equal seeds give equal searches; outside, the caller's
    state is as it was. Not for use while another thread draws from `np.random`.
    """

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed).get_state()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The private state is numpy's global one inside this block, whatever it raises."""
        callers = np.random.get_state()
        np.random.set_state(self._state)
        try:
            yield
        finally:
            self._state = np.random.get_state()
            np.random.set_state(callers)


def global_digest() -> str:
    """A digest that changes when anything draws from a global random generator.

    Those of numpy, of `random` and, if it is loaded, of torch.
    """
    kind, keys, *rest = np.random.get_state()
    states = [
        repr((kind, *rest)).encode(),
        np.asarray(keys).tobytes(),
        repr(random.getstate()).encode(),
    ]
    torch = sys.modules.get("torch")
    if torch is not None:
        states.append(torch.get_rng_state().numpy().tobytes())
    return digest(*states)
