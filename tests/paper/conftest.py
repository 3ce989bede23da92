from __future__ import annotations

from pathlib import Path

import pytest

from tests.paper import published


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files at reduced size, not to be changed."""
    return published.write(tmp_path_factory.mktemp("paper") / "published")
