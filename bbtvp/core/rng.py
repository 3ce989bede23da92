"""Named random streams: each purpose has its own generator, so adding one never shifts another."""

from __future__ import annotations

import numpy as np

from bbtvp.core.digest import digest


def stream(seed: int, *names: object) -> np.random.Generator:
    """A private generator for (seed, names): equal arguments give equal numbers everywhere."""
    key = digest(str(seed).encode(), *(str(name).encode() for name in names))
    return np.random.Generator(np.random.PCG64(int(key[:32], 16)))


def derived_seed(seed: int, *names: object) -> int:
    """A seed in 1..2**32-1 for libraries that take an integer (pycma reads 0 as 'the clock')."""
    return int(stream(seed, *names).integers(1, 2**32))
