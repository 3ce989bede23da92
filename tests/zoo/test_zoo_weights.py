"""The trained miniatures in the package: all there, small, safe to load, and good at what they were
trained for.
"""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

from bbtvp.models import load_model
from bbtvp.surrogate import load_surrogate
from bbtvp.zoo import catalogue, scenes, tasks
from bbtvp.zoo.families import FAMILIES
from bbtvp.zoo.shifts import TONED
from bbtvp.zoo.training.card import CLEAN, accuracy
from bbtvp.zoo.training.recipes import REACHED, RECIPES

MAX_BYTES = 20_000_000
FLOOR = 0.8
"""Mean accuracy over the kinds of question, on held-out scenes like those of the training."""

RELATED = sorted({*FAMILIES} - {*RECIPES})
here = {*catalogue.members(), *catalogue.independent()}
MEMBERS = [*sorted(here), "clip"]
pytestmark = pytest.mark.skipif(
    not here, reason="no miniature has been trained: python -m bbtvp.zoo.training.train all"
)


def test_every_family_is_there() -> None:
    assert catalogue.members() == RELATED
    assert {*catalogue.independent()} == {*RECIPES} == {*REACHED}


def test_the_zoo_fits_into_a_package() -> None:
    files = [file for file in catalogue.weights().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < MAX_BYTES


def test_nothing_in_it_can_run_code() -> None:
    suffixes = {file.suffix for file in catalogue.weights().rglob("*") if file.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jinja", ".txt", ".md"}
    for config in catalogue.weights().glob("*/*.json"):
        assert "auto_map" not in config.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MEMBERS)
def test_weights_are_finite_float16(name: str) -> None:
    with safe_open(catalogue.weights() / name / "model.safetensors", framework="np") as file:
        for key in sorted(file.keys()):
            tensor = file.get_tensor(key)
            assert tensor.dtype in (np.float16, np.int64), key
            assert np.isfinite(tensor).all(), key


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(here))
def test_a_member_answers_what_it_was_trained_for(name: str) -> None:
    model = load_model(f"zoo/{name}", batch=64)
    found = {subject: accuracy(model, subject) for subject in CLEAN}
    assert np.mean(list(found.values())) >= FLOOR, found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*RECIPES} & here))
def test_shipped_weights_reach_what_their_recipe_reached(name: str) -> None:
    model = load_model(f"zoo/{name}", batch=64)
    mean = 100 * np.mean([accuracy(model, subject) for subject in CLEAN])
    assert mean == pytest.approx(REACHED[name], abs=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("subject", [*tasks.SUBJECTS, *tasks.POPE])
def test_a_shift_leaves_the_default_source_something_to_gain_and_something_to_see(
    subject: str,
) -> None:
    model = load_model("zoo/llava", batch=64)
    for shift in TONED:
        name = f"{subject}-{shift}"
        found = accuracy(model, name)
        constant = tasks.chance(tasks.load(name))
        assert constant + 0.05 <= found <= 0.7, (name, found, constant)


@pytest.mark.slow
def test_the_surrogate_tells_digits_apart() -> None:
    """TSE must prefer the true answer: chance is one in ten."""
    surrogate = load_surrogate("zoo/clip")
    samples = tasks.load("digits").test[:150]
    seen = surrogate.features([sample.pixels() for sample in samples])
    scores = np.stack(
        [surrogate.tse(seen, [digit] * len(samples)) for digit in scenes.DIGITS], axis=1
    )
    right = [
        scenes.DIGITS[int(row.argmax())] == sample.answer
        for row, sample in zip(scores, samples, strict=True)
    ]
    assert np.mean(right) > 0.6
