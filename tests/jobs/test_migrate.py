"""Moving prompts to new models: the decision, its cost, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np
import pytest

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.jobs.migrate import MigrateOptions, Migrator, PromptToMove, plan_migration
from bbtvp.jobs.migrate_compare import evidence_of
from bbtvp.jobs.migrate_cost import ModelEnding, serving_cost
from bbtvp.jobs.migrate_many import (
    DOCUMENT,
    LoadedPrompts,
    Unmoved,
    bundles_in,
    load_prompts,
    migrate_all,
)
from bbtvp.jobs.migration import PROOFS_OF_ONE, rule_of
from bbtvp.models import Budget, Model, Outcome, Probe, Request
from bbtvp.prompt import Prompt, PromptSpace, Tone, bundle
from bbtvp.report.html.migrate import migrate_page
from bbtvp.report.migrate import migrate_text
from bbtvp.tasks import Task
from bbtvp.verify.verdict import LEVEL
from tests.search.runs import Stubborn, far
from tests.support import SIDE, Eye, Recorder, Vendor, patterns, samples

SPACE = PromptSpace((Tone(),), SIDE)
EVIDENCE = {"model": "eye/near", "task": "patterns", "images": 80, "zero_shot": 0.3}


def task(copies: int = 3) -> Task:
    """The patterns with more test images, none twice."""
    rng = np.random.default_rng(5)
    test = tuple(
        replace(sample, id=f"{sample.id}-{k}", image=_moved(sample.pixels(), rng))
        for k in range(copies)
        for sample in samples("test")
    )
    return patterns(test=test)


def _moved(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (pixels.astype(int) + rng.integers(-3, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


TASK = task()


def saved(
    folder: Path, z: float, name: str = "faint", evidence: list[dict[str, object]] | None = None
) -> Path:
    path = folder / f"{name}.vprompt"
    facts = {"task": "patterns", "source_models": ["eye/near"], "evidence": evidence or []}
    SPACE.prompt(np.full(SPACE.dim, z)).save(path, facts)
    return path


def moved(folder: Path, z: float = 1.5, tested: Task = TASK, **facts: object) -> PromptToMove:
    path = saved(folder, z, **facts)
    found = bundle.read(path)
    return PromptToMove(
        path.stem, path, Prompt.load(path), found.digest, tested, found.meta, found.evidence
    )


def options(folder: Path, **given: object) -> MigrateOptions:
    return MigrateOptions("eye/near", folder / "out", **{"old_model": Eye(), **given})


# -- decisions -------------------------------------------------------------------------------------
def test_a_prompt_that_holds_is_kept_and_the_old_model_is_not_asked(tmp_path: Path) -> None:
    old = Recorder()
    prompt = moved(tmp_path, z=2.5)
    found = Migrator(options(tmp_path, old_model=old)).move(prompt, far())
    assert found.decision == "keep", found.reasons
    assert found.bundle == str(prompt.path)
    assert old.asked == []
    assert found.queries < 3 * len(TASK.test), "looking early saves images"


def test_a_model_that_sees_as_it_is_needs_none(tmp_path: Path) -> None:
    sharp = Eye("eye/sharp", gain=400)
    found = Migrator(options(tmp_path)).move(moved(tmp_path, z=0.5), sharp)
    assert found.decision == "needs none", found.reasons
    assert found.bundle is None
    assert found.compared is not None and found.compared.asked
    assert found.compared.after == 1.0
    assert "is shown to lose less than 2 points" in found.reasons[0]
    assert found.refinement is None


def test_a_prompt_that_is_too_weak_is_refined_and_proved_again(tmp_path: Path) -> None:
    old = Eye(gain=300)
    found = Migrator(options(tmp_path, old_model=old)).move(moved(tmp_path, z=0.1), far())
    assert found.decision == "refined", found.reasons
    assert found.refinement is not None and found.refinement.proof is not None
    assert found.refinement.proof.verdict.word == "go"
    made = bundle.read(Path(found.bundle or ""))
    assert made.parent == bundle.digest_of(tmp_path / "faint.vprompt")
    test = {sample.id for sample in TASK.test}
    journal = (Path(found.bundle or "").parent / "journal.jsonl").read_text()
    assert not any(f'"{name}"' in journal for name in test), "the search saw no test image"


def test_a_prompt_that_helps_no_more_is_dropped(tmp_path: Path) -> None:
    found = Migrator(options(tmp_path, old_model=Eye(gain=400))).move(moved(tmp_path), Stubborn())
    assert found.decision == "drop", found.reasons
    assert found.bundle is None
    assert found.refinement is not None and found.refinement.outcome == "start"


def test_the_two_proofs_of_one_pair_share_the_level() -> None:
    assert rule_of({}).level * PROOFS_OF_ONE == LEVEL
    assert rule_of({"goal": "cost"}).min_gain < 0


def test_any_gain_keeps_a_prompt_that_is_deployed_already() -> None:
    assert rule_of({}).min_gain == 0


def test_the_identity_needs_none_and_asks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "same.vprompt"
    prompt = PromptSpace.identity()
    prompt.save(path)
    model = Recorder()
    given = PromptToMove("same", path, prompt, "0" * 64, TASK)
    found = Migrator(options(tmp_path)).move(given, model)
    assert (found.decision, found.queries, model.asked) == ("needs none", 0, [])


def test_too_few_test_images_decide_nothing_and_cost_nothing(tmp_path: Path) -> None:
    small = replace(TASK, test=TASK.test[:20])
    model = Recorder()
    found = Migrator(options(tmp_path)).move(moved(tmp_path, tested=small), model)
    assert found.decision == "undecided"
    assert found.more_images == 10
    assert model.asked == []


# -- an old model that cannot be asked -------------------------------------------------------------
def test_the_figures_of_an_old_model_that_ended_come_from_the_bundle(tmp_path: Path) -> None:
    given = options(tmp_path, old_model=None, old_missing="it ended on 2026-10-23")
    sharp = Eye("eye/sharp", gain=400)
    known = [{**EVIDENCE, "prompted": 0.6, "gain": 0.3}]
    found = Migrator(given).move(moved(tmp_path, z=0.5, evidence=known), sharp)
    assert found.decision == "needs none", found.reasons
    assert found.compared is not None and not found.compared.asked
    assert found.compared.before == 0.6
    assert "cannot be asked (it ended on 2026-10-23)" in found.reasons[0]


def test_without_evidence_nothing_is_said_of_the_old_model(tmp_path: Path) -> None:
    given = options(tmp_path, old_model=None, old_missing="it ended")
    found = Migrator(given).move(moved(tmp_path), Stubborn())
    assert found.decision == "drop"
    assert found.compared is not None and found.compared.before is None
    assert "the bundle holds no proof of it" in found.compared.said


def test_the_latest_evidence_of_the_model_and_task_counts(tmp_path: Path) -> None:
    rows = [
        {**EVIDENCE, "prompted": 0.5, "date": "2026-01-01"},
        {**EVIDENCE, "prompted": 0.6, "date": "2026-05-01"},
        {**EVIDENCE, "prompted": 0.9, "date": "2026-06-01", "task": "another"},
    ]
    entries = moved(tmp_path, evidence=rows).evidence
    known = evidence_of(entries, "eye/near", "patterns")
    assert known is not None and known.prompted == 0.6
    assert evidence_of(entries, "eye/other", "patterns") is None


# -- cost and ends ---------------------------------------------------------------------------------
def test_a_model_without_a_price_or_tokens_says_so(tmp_path: Path) -> None:
    class Unpriced(Vendor):
        def image_usd(self, width: int, height: int) -> float | None:
            return None

    prompt = SPACE.prompt(SPACE.neutral())
    cost = serving_cost(Unpriced(), TASK, prompt)
    assert cost.tokens is None and cost.usd is None
    assert serving_cost(Eye(), TASK, prompt).usd == 0.0


def test_a_cap_on_money_leaves_the_rest_unmoved_and_the_same_call_goes_on(tmp_path: Path) -> None:
    loaded = LoadedPrompts((moved(tmp_path, z=2.5),), ())
    new: list[Model] = [Vendor(far()), Vendor(Eye("eye/third", prejudice="checks"))]
    report = migrate_all(loaded, new, options(tmp_path, usd=0.07))
    assert report.usd <= 0.07 + 1e-9
    assert report.exit_code == 1
    assert [one.new for one in report.unmoved][-1:] == ["vendor/eye/third"]
    again = migrate_all(loaded, new, options(tmp_path, usd=50.0))
    assert [one.decision for one in again.migrations] == ["keep", "keep"]


def test_the_same_call_asks_nothing_again(tmp_path: Path) -> None:
    loaded = LoadedPrompts((moved(tmp_path, z=0.1),), ())
    old = Eye(gain=300)
    first = migrate_all(loaded, [far()], options(tmp_path, old_model=old))
    model, source = Recorder(far()), Recorder(old)
    second = migrate_all(loaded, [model], options(tmp_path, old_model=source))
    assert model.asked == [] and source.asked == []
    assert second.as_json() == first.as_json()


def test_a_plan_is_an_upper_bound(tmp_path: Path) -> None:
    given = options(tmp_path, queries=200, old_model=Eye(gain=300))
    prompt = moved(tmp_path, z=0.1)
    plan = plan_migration(prompt, far(), given)
    found = Migrator(given).move(prompt, far())
    assert found.queries <= plan.queries
    assert plan.refinement == 200


@pytest.mark.parametrize(
    ("spec", "successor", "said"),
    [
        ("openai/gpt-4o", "openai/gpt-6-luna", "openai/gpt-4o ends on 2027-01-14"),
        ("openai/o4-mini", "openai/gpt-6-luna", "openai/o4-mini ended on 2026-10-23"),
        ("zoo/llava", None, ""),
    ],
)
def test_the_end_of_a_model_and_its_successor(spec: str, successor: str | None, said: str) -> None:
    ending = ModelEnding(spec)
    assert ending.successor == successor
    assert str(ending).startswith(said) and bool(str(ending)) == bool(said)


# -- many prompts ----------------------------------------------------------------------------------
def test_an_unreadable_bundle_does_not_stop_the_others(tmp_path: Path) -> None:
    saved(tmp_path, 2.5, "good")
    (tmp_path / "bad.vprompt").write_bytes(b"no zip")
    loaded = load_prompts([tmp_path], lambda opened, spec: TASK, None)
    assert [one.name for one in loaded.prompts] == ["good"]
    assert [one.prompt for one in loaded.unmoved] == ["bad"]
    report = migrate_all(loaded, [far()], options(tmp_path))
    assert [one.decision for one in report.migrations] == ["keep"]
    assert report.exit_code == 1
    document = json.loads((tmp_path / "out" / DOCUMENT).read_text())
    assert document["schema"] == "bbtvp.migrate/1"
    assert document["unmoved"][0]["prompt"] == "bad"
    for shown in (migrate_text(report), migrate_page(report), migrate_page(report, "ja")):
        assert "good" in shown and "bad" in shown and "eye/far" in shown


def test_a_task_that_no_bundle_may_name(tmp_path: Path) -> None:
    path = tmp_path / "sly.vprompt"
    SPACE.prompt(SPACE.neutral()).save(path, {"task": "/etc"})
    loaded = load_prompts([path], lambda opened, spec: TASK, None)
    assert "names a task outside this folder" in loaded.unmoved[0].why
    path.unlink()
    SPACE.prompt(SPACE.neutral()).save(path)
    loaded = load_prompts([path], lambda opened, spec: TASK, None)
    assert loaded.unmoved == (Unmoved("sly", "", f"{path} names no task; give one by --task"),)


def test_a_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no prompt"):
        bundles_in([tmp_path])


@final
class Outage(Model):
    """Sells the answers of `vendor` until so many are sold, and is down from then on."""

    is_endpoint = True

    def __init__(self, vendor: Vendor, answers: int) -> None:
        self.vendor = vendor
        self.answers = answers
        self.spec = vendor.spec
        self.capabilities = vendor.capabilities

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        if self.vendor.sold >= self.answers:
            raise ModelError("20 requests failed in a row")
        return self.vendor.query(requests, budget)

    def max_cost(self, request: Request) -> float:
        return self.vendor.max_cost(request)

    def need_price(self) -> None:
        pass

    def probe(self, budget: Budget) -> Probe | None:
        return None


def test_what_a_pair_spent_before_it_failed_counts(tmp_path: Path) -> None:
    loaded = LoadedPrompts((moved(tmp_path, z=2.5),), ())
    broken = Vendor(far(), usd=0.001)
    report = migrate_all(loaded, [Outage(broken, answers=20)], options(tmp_path, usd=1.0))
    assert [one.why for one in report.unmoved] == ["20 requests failed in a row"]
    assert report.queries == broken.sold > 0
    assert report.usd == pytest.approx(0.001 * broken.sold)
    other = Vendor(Eye("eye/third"))
    both = [Outage(broken, answers=0), other]
    again = migrate_all(loaded, both, options(tmp_path, usd=report.usd + 0.01))
    assert len(again.unmoved) == 2
    assert other.sold <= 10, "the cap holds for both pairs together"
