"""From a spec to a model: errors that say what to type."""

from __future__ import annotations

import sys
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
    with pytest.raises(UsageError, match=r"from the distribution eye\) gave object"):
        load_model("eye/near")


@pytest.mark.usefixtures("plugin")
def test_a_provider_that_takes_no_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.eye", lambda **options: Eye())
    with pytest.raises(UsageError, match=r"from the distribution eye\) cannot take 'near'"):
        load_model("eye/near")


@pytest.mark.usefixtures("plugin")
def test_a_bug_in_a_provider_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.eye", lambda name: len(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="len"):
        load_model("eye/near")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('two\\nlines')", "cannot be loaded: RuntimeError: two lines"),
        ("import no_such_module_here", "cannot be loaded: No module named"),
        ("load = 3", "is not a function"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    site = tmp_path / "site"
    info = site / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bbtvp.models]\nbad = bad_models:load\n")
    (site / "bad_models.py").write_text(code)
    monkeypatch.syspath_prepend(site)
    with pytest.raises(UsageError, match=says) as caught:
        load_model("bad/model")
    assert "'bad' (bad_models:load, from the distribution bad)" in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.delitem(sys.modules, "bad_models", raising=False)
