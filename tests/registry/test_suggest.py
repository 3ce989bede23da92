"""The forecast: it shrinks, it prefers relatives, it knows what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.rng import stream
from bbtvp.prompt import Placement, PromptSpace
from bbtvp.registry import PromptRegistry
from bbtvp.registry.records import EVIDENCE, EvidenceRecord, EvidenceRow
from bbtvp.registry.suggest import GainForecast, GainRow, family
from tests.support import bbtvp

SPACE = PromptSpace((Placement(),), 32)


def gains(unit: str, **by_model: float) -> list[GainRow]:
    return [
        GainRow((unit, "task"), model.replace("_", "-"), False, gain, 0.02)
        for model, gain in by_model.items()
    ]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("openai/gpt-4o", "gpt"),
        ("azure/gpt-6-luna", "gpt"),
        ("bedrock/us.anthropic.claude-opus-5-v1:0", "claude"),
        ("anthropic/claude-opus-5", "claude"),
        ("hf/Qwen/Qwen2.5-VL-7B-Instruct", "qwen"),
        ("zoo/llava-dinov2", "llava"),
    ],
)
def test_families(model: str, named: str) -> None:
    assert family(model) == named


def test_a_prompt_that_gains_everywhere_is_expected_to_gain_and_less_than_it_did() -> None:
    rows = gains("good", a=0.2, b=0.22, c=0.18) + gains("bad", a=-0.05, b=-0.02, c=-0.04)
    forecast = GainForecast(rows)
    good, spread = forecast.predict(("good", "task"), "new")
    bad, _ = forecast.predict(("bad", "task"), "new")
    assert 0.1 < good < 0.2
    assert -0.05 < bad < 0.05
    assert 0 < spread < 0.1


def test_relatives_count_more() -> None:
    rows = gains("one", claude_1=0.0, gpt_1=0.25, gpt_2=0.25) + gains("two", claude_1=0.02)
    forecast = GainForecast(rows)
    near = forecast.predict(("one", "task"), "gpt-3")
    far = forecast.predict(("one", "task"), "claude-2")
    assert near[0] > far[0] + 0.01


def test_one_proof_says_little_and_none_says_less() -> None:
    one = GainForecast(gains("p", a=0.3))
    many = GainForecast(gains("p", a=0.3, b=0.3, c=0.3, d=0.3))
    assert one.predict(("p", "task"), "new")[0] < many.predict(("p", "task"), "new")[0]
    assert one.predict(("p", "task"), "new")[1] > many.predict(("p", "task"), "new")[1]
    assert one.predict(("other", "task"), "new")[1] > one.predict(("p", "task"), "new")[1]


def test_what_was_gained_on_searched_models_is_not_expected_elsewhere() -> None:
    rows = [
        GainRow((f"p{i}", "task"), model, model == "source", gain, 0.02)
        for i in range(6)
        for model, gain in (("source", 0.2), ("x", 0.02), ("y", 0.03))
    ]
    rows.append(GainRow(("new", "task"), "source", True, 0.2, 0.02))
    mean, _ = GainForecast(rows).predict(("new", "task"), "z")
    assert mean < 0.12


def test_the_interval_holds_what_it_says() -> None:
    """Prompts and models drawn from the model itself, the last model held back."""
    rng = stream(0, "forecast")
    inside = []
    for _ in range(12):
        prompts = rng.normal(0.05, 0.06, 8)
        effect = rng.normal(0, 0.03, 6)
        true = prompts[:, None] + effect + rng.normal(0, 0.04, (8, 6))
        seen = true + rng.normal(0, 0.02, (8, 6))
        rows = [
            GainRow((str(i), "t"), f"m{'abcdef'[j]}", False, float(seen[i, j]), 0.02)
            for i in range(8)
            for j in range(5)
        ]
        forecast = GainForecast(rows)
        for i in range(8):
            mean, spread = forecast.predict((str(i), "t"), "mz")
            inside.append(abs(true[i, 5] - mean) < 1.96 * spread)
    assert 0.85 < np.mean(inside) <= 1.0


def test_the_command_says_how_sure_it_is_and_what_to_type() -> None:
    prompt = SPACE.prompt(SPACE.neutral() + 0.5)
    prompt.save("one.vprompt", {"task": "pets"})
    registry = PromptRegistry.create("prompts")
    entry = registry.add(Path("one.vprompt"))
    none = bbtvp("registry", "suggest", "prompts", "--model", "openai/gpt-6-luna")
    assert none.out == "no evidence: no prompt in use has a proof\n"
    for model, gain in (("openai/gpt-4o", 0.15), ("gemini/gemini-x", 0.12)):
        row = EvidenceRow(
            prompt=prompt.digest,
            model=model,
            task="pets",
            images=300,
            zero_shot=0.6,
            prompted=0.6 + gain,
            gain=gain,
            ci=(gain - 0.03, gain + 0.03),
            verdict="go",
        )
        registry.keep(EVIDENCE, EvidenceRecord(rows=(row,)))
    found = bbtvp("registry", "suggest", "prompts", "--model", "openai/gpt-6-luna")
    command = f"registry verify prompts {entry.short} --task pets --model openai/gpt-6-luna"
    assert command in found.out
    assert "likely" in found.out
    given = bbtvp("registry", "suggest", "prompts", "--model", "openai/gpt-6-luna", "--json")
    (one,) = json.loads(given.out)["suggestions"]
    assert (one["proofs"], one["related"]) == (2, 1)
    assert 0 < one["gain"] < 0.15
    other = bbtvp("registry", "suggest", "prompts", "--model", "x/y", "--task", "invoices")
    assert other.out == "no evidence: no prompt in use has a proof on invoices\n"
    registry.retire(entry.short, "old")
    gone = bbtvp("registry", "suggest", "prompts", "--model", "openai/gpt-6-luna")
    assert gone.out.startswith("no evidence")
