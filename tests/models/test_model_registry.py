"""From a spec to a model: errors that say what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from bbtvp.core.errors import UsageError
from bbtvp.models import load_model
from tests.support import Eye, install_plugin


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


@pytest.mark.usefixtures("plugin")
def test_a_third_party_model_is_found_by_its_prefix() -> None:
    assert isinstance(load_model("eye/near"), Eye)


@pytest.mark.parametrize("spec", ["llava", "zoo/", ""])
def test_a_spec_needs_a_provider(spec: str) -> None:
    with pytest.raises(UsageError, match=r"needs a provider: .*zoo/…"):
        load_model(spec)


def test_an_unknown_provider_gets_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="unknown model provider 'zooo'; did you mean zoo"):
        load_model("zooo/llava")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("options", [{"dely": 1}, {"delay": "long", "colour": True}])
def test_an_option_that_the_provider_does_not_take_is_named(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"cannot take .*{next(iter(options))}="):
        load_model("eye/near", **options)


@pytest.mark.usefixtures("plugin")
def test_a_plugin_that_returns_no_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.eye", lambda name: object())
    with pytest.raises(UsageError, match="'eye' gave object"):
        load_model("eye/near")
