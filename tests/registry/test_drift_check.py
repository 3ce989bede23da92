"""A check against a baseline, with models that really change."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import final

import numpy as np
import pytest

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Budget, Capabilities, Model, Outcome, Reply, Request
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.registry import PromptRegistry, RegistryEntry
from bbtvp.registry.check import DriftOptions, check, fresh_model
from tests.support import LABELS, QUESTION, SIDE, Eye, Flaky, Wrapper, bbtvp, patterns

SPACE = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",)), Frame("color")), SIDE)
PROMPT = SPACE.prompt(np.array([0.0, 2.5, *[1.0] * (SPACE.dim - 2)]))
TASK = patterns()
OPTIONS = DriftOptions(queries=200)


@final
class Changed(Wrapper):
    """An eye whose answers a function changes, and which reports a version."""

    def __init__(
        self,
        spoils: Callable[[Request], bool] = lambda request: False,
        version: str = "",
        deterministic: bool = True,
        inner: Model | None = None,
    ) -> None:
        super().__init__(inner or Eye(gain=25))
        self.spoils = spoils
        self.version = version
        self.capabilities = Capabilities(
            logprobs=True, deterministic=deterministic, image_side=SIDE
        )

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [
            self._change(request, outcome)
            for request, outcome in zip(requests, super().query(requests), strict=True)
        ]

    def _change(self, request: Request, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Reply) or outcome.scores is None:
            return outcome
        turned = outcome.scores[1:] + outcome.scores[:1]
        scores = turned if self.spoils(request) else outcome.scores
        return replace(outcome, scores=scores, version=self.version)


def one_in(number: int) -> Callable[[Request], bool]:
    """Whether an image is one of the images, about one in `number`, that are answered wrongly."""
    return lambda request: int(request.key[:8], 16) % number == 0


@pytest.fixture
def registry() -> PromptRegistry:
    PROMPT.save("prompt.vprompt", {"task": "patterns", "source_models": ["eye/near"]})
    made = PromptRegistry.create("prompts")
    made.add(Path("prompt.vprompt"))
    return made


@pytest.fixture
def entry(registry: PromptRegistry) -> RegistryEntry:
    return registry.entries()[0]


def test_the_first_check_makes_a_baseline_and_the_next_compares(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    first = check(registry, entry, Changed(version="eye-1"), TASK, OPTIONS)
    assert (first.found, first.baseline.queries) == ("baseline", 160)
    later = PromptRegistry.open("prompts")
    same = check(later, entry, Changed(version="eye-1"), TASK, OPTIONS)
    assert same.record is not None
    assert (same.found, same.record.version_changed) == ("holds", False)
    assert same.record.queries <= 200
    worse = check(later, entry, Changed(one_in(4), version="eye-1"), TASK, OPTIONS)
    assert worse.record is not None
    assert (worse.found, worse.record.version_changed) == ("stale", False)
    assert worse.record.queries <= 200
    assert worse.entry.standing("eye/near", date(2026, 11, 30)).status == "stale"


def test_the_baseline_tells_nobody_what_is_in_the_probe(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Eye(), TASK, OPTIONS)
    (file,) = Path("prompts/baselines").iterdir()
    said = file.read_text()
    assert QUESTION not in said
    assert not any(f'"{label}"' in said for label in LABELS)
    assert not any(sample.id in said for sample in TASK.test)
    assert len(set(json.loads(said)["samples"])) == len(TASK.test)


def test_a_changed_version_alone_is_said_and_is_not_stale(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Changed(version="eye-1"), TASK, OPTIONS)
    found = check(registry, entry, Changed(version="eye-2"), TASK, OPTIONS)
    assert found.record is not None
    assert (found.found, found.record.version_changed) == ("holds", True)
    assert "the version changed, eye-1 -> eye-2" in str(found)


def test_of_a_model_that_reports_no_version_the_answers_speak(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Eye(gain=25), TASK, OPTIONS)
    found = check(registry, entry, Changed(one_in(3)), TASK, OPTIONS)
    assert found.record is not None
    assert (found.found, found.record.version_changed) == ("stale", None)
    assert "reports no version" in str(found)


def test_a_model_that_needs_the_prompt_no_more_is_stale_by_its_gain(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Eye(gain=25), TASK, OPTIONS)
    found = check(registry, entry, Eye(gain=400), TASK, OPTIONS)
    assert found.record is not None
    assert (found.found, found.record.then, found.record.now) == ("stale", 1.0, 1.0)
    assert found.record.gain_now == 0
    assert "the gain fell" in str(found)


def test_a_model_that_varies_has_a_baseline_of_several_answers(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    first = check(registry, entry, Changed(deterministic=False), TASK, OPTIONS)
    assert (len(first.baseline.prompted), first.baseline.queries) == (4, 400)


def test_retries_count_and_no_check_passes_its_image_queries(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Eye(gain=25), TASK, OPTIONS)
    model = Flaky(Eye(gain=25), share=0.1, attempts=2)
    found = check(registry, entry, model, TASK, DriftOptions(queries=100))
    assert found.record is not None
    assert found.record.queries <= 100 + 32  # of a local model, attempts are known after the call
    assert found.record.failed > 0


def test_another_probe_and_a_probe_too_small(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Eye(), TASK, OPTIONS)
    other = patterns(0.03)
    with pytest.raises(UsageError, match=r"0 of the 80 images .* --rebase"):
        check(registry, entry, Eye(), other, OPTIONS)
    rebased = check(registry, entry, Eye(), other, replace(OPTIONS, rebase=True))
    assert rebased.found == "baseline"
    with pytest.raises(UsageError, match="needs 30 or more"):
        check(registry, entry, Eye("eye/far"), replace(TASK, test=TASK.test[:20]), OPTIONS)


def test_an_endpoint_is_asked_anew_and_not_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    model = fresh_model("openai/gpt-6-luna", {"rpm": 60})
    assert model.origin is not None
    assert model.origin.options == {"rpm": 60, "store": False}


def test_a_model_that_is_down_changes_nothing(
    registry: PromptRegistry, entry: RegistryEntry
) -> None:
    check(registry, entry, Eye(), TASK, OPTIONS)
    before = sorted(Path("prompts").rglob("*"))
    with pytest.raises(ModelError, match="failed"):
        check(registry, entry, Flaky(share=1.0), TASK, OPTIONS)
    assert sorted(Path("prompts").rglob("*")) == before


def test_the_commands_verify_and_check(tmp_path: Path) -> None:
    from bbtvp.zoo.catalogue import members

    model = f"zoo/{members()[0]}"
    space = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",))), 64)
    space.prompt(np.array([0.0, 1.0])).save("zoo.vprompt", {"task": "zoo/digits-low-contrast"})
    assert bbtvp("registry", "init", "prompts").code == 0
    name = json.loads(bbtvp("registry", "add", "prompts", "zoo.vprompt", "--json").out)
    digest = name["entries"][0]["bundle"][:8]
    task = ("--task", "zoo/digits-low-contrast", "--model", model)
    verified = bbtvp("registry", "verify", "prompts", digest, *task, "--sequential", "--json")
    (shown,) = json.loads(verified.out)["entries"]
    assert verified.code in (0, 4, 5)
    assert shown["models"][0]["model"] == model
    (receipt,) = Path("prompts/receipts").iterdir()
    assert shown["models"][0]["evidence"]["receipt"] == receipt.stem
    assert Path(f"{shown['bundle'][:12]}.receipt.json").exists()
    probe = ("--model", model, "--probe", "zoo/digits-low-contrast", "--queries", "60", "--json")
    first = bbtvp("registry", "check", "prompts", *probe)
    assert json.loads(first.out)["checks"][0]["found"] == "baseline"
    again = bbtvp("registry", "check", "prompts", digest, *probe)
    assert (again.code, json.loads(again.out)["checks"][0]["found"]) == (0, "holds")


def test_a_model_in_a_folder_is_known_again_by_its_name_without_the_path(
    registry: PromptRegistry,
) -> None:
    (entry,) = registry.entries()
    first = Eye("hf//home/alice/eye-7", gain=25)
    assert check(registry, entry, first, TASK, OPTIONS).found == "baseline"
    moved = Eye("hf//mnt/eye-7", gain=25)
    assert check(registry, entry, moved, TASK, OPTIONS).found == "holds"
    assert registry.asked("hf/./eye-7") == registry.asked(moved.spec) == registry.entries()
    kept = [path for path in Path("prompts").rglob("*") if path.is_file()]
    assert [path for path in kept if b"alice" in path.read_bytes()] == []
