"""The examples in the docstrings of models, stats and testing run as they are written."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "bbtvp.models.budget",
        "bbtvp.models.metered",
        "bbtvp.models.port",
        "bbtvp.models.store",
        "bbtvp.stats",
        "bbtvp.stats.power",
        "bbtvp.stats.sequential",
        "bbtvp.testing",
    ],
)
def test_examples_run(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
