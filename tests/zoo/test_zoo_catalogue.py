"""The zoo by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bbtvp.core.errors import UsageError
from bbtvp.models import load_model
from bbtvp.surrogate import Surrogate, load_surrogate
from bbtvp.zoo import catalogue
from bbtvp.zoo.families import FAMILIES, build_clip


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of two untrained members and the surrogate, so that it can be tested without the
    trained ones.
    """
    for name in ("llava", "blip2", "clip"):
        torch.manual_seed(0)
        model, processor = build_clip() if name == "clip" else FAMILIES[name].build()
        model.half().save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    (tmp_path / "half-written").mkdir()
    (tmp_path / "ceilings.json").write_text("[]")
    monkeypatch.setattr(catalogue, "weights", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("shelf")
def test_members_are_the_finished_models_without_the_surrogate() -> None:
    assert catalogue.members() == ["blip2", "llava"]


@pytest.mark.usefixtures("shelf")
def test_a_member_is_loaded_by_the_general_adapter_in_float32() -> None:
    model = load_model("zoo/llava", batch=4)
    assert model.spec == "zoo/llava" and type(model).__name__ == "HuggingFaceModel"
    assert model.model.dtype == torch.float32 and model.batch == 4  # type: ignore[attr-defined]


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lava", "zoo/llava"),
        ("blip-2", "zoo/blip2"),
        ("qwertyuiopasdfgh", "choose from: zoo/blip2, zoo/llava"),
    ],
)
def test_an_unknown_member_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="unknown model") as caught:
        load_model(f"zoo/{name}")
    assert hint in str(caught.value)


@pytest.mark.usefixtures("shelf")
def test_the_surrogate_is_no_model_and_a_model_no_surrogate() -> None:
    with pytest.raises(UsageError, match="answers no questions"):
        load_model("zoo/clip")
    with pytest.raises(UsageError, match="unknown surrogate 'zoo/llava'"):
        load_surrogate("zoo/llava")
    surrogate = load_surrogate("zoo/clip")
    assert isinstance(surrogate, Surrogate) and surrogate.spec == "zoo/clip"


@pytest.mark.usefixtures("shelf")
def test_the_card_counts_parameters_as_the_models_do() -> None:
    rows = {row["model"]: row for row in catalogue.card()}
    assert list(rows) == ["zoo/blip2", "zoo/llava", "zoo/clip"]
    for spec in ("zoo/blip2", "zoo/llava"):
        model = load_model(spec).model  # type: ignore[attr-defined]
        assert rows[spec]["parameters"] == sum(
            parameter.numel() for parameter in model.parameters()
        )
        assert rows[spec]["stands_for"] == catalogue.STANDS_FOR[spec.removeprefix("zoo/")]
    assert json.loads(json.dumps(catalogue.card())) == catalogue.card()
