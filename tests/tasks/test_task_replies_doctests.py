"""The examples of docs/replies.md and of the docstrings are what the reader says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

from bbtvp.tasks import replies

PAGE = Path(__file__).parents[2] / "docs" / "replies.md"
MODULES = [f"{replies.__name__}.{module.name}" for module in pkgutil.iter_modules(replies.__path__)]


@pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout")
def test_the_examples_of_the_page() -> None:
    page = PAGE.read_text("utf-8").replace("```\n", "\n")
    examples = doctest.DocTestParser().get_doctest(page, {}, PAGE.name, str(PAGE), 0)
    result = doctest.DocTestRunner().run(examples)
    assert result.attempted > 30
    assert result.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_docstring(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
