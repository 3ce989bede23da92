"""Robustness against figures worked out from the replies themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bbtvp.checks.corruptions import CORRUPTIONS, corrupt, vendors
from bbtvp.checks.robustness import chosen, planned, robustness
from bbtvp.cli.robustness import robustness as command
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Budget, Outcome, Request
from bbtvp.prompt import Placement, Prompt, PromptSpace, Tone
from bbtvp.report.checks import robustness_table
from bbtvp.stats import holm, paired_gain
from bbtvp.verify.events import CheckPlanned
from tests.support import (
    LABELS,
    QUESTION,
    SIDE,
    Eye,
    Flaky,
    Recorder,
    Wrapper,
    folder_of_patterns,
    install_plugin,
    patterns,
)

SPACE = PromptSpace((Placement(), Tone(("contrast",))), SIDE)
TASK = patterns()
FEW = ("gaussian-noise", "impulse-noise")
"""No two images are alike after them, so that queries can be counted."""


def prompt(contrast: float = 2.5) -> Prompt:
    return SPACE.prompt(np.array([contrast]))


def raw() -> list[Pixels]:
    return [sample.pixels() for sample in TASK.test]


def spoilt(name: str, severity: int, images: Sequence[Pixels], seed: int = 0) -> list[Pixels]:
    pairs = zip(images, TASK.test, strict=True)
    return [corrupt(name, image, severity, seed=seed, sample=sample.id) for image, sample in pairs]


def right(images: Sequence[Pixels], eye: Eye | None = None) -> np.ndarray:
    replies = [(eye or Eye()).look(Request(image, QUESTION, LABELS)) for image in images]
    guesses = [
        LABELS[int(np.argmax([score.logprob for score in reply.scores or ()]))] for reply in replies
    ]
    return np.array(
        [guess == sample.answer for guess, sample in zip(guesses, TASK.test, strict=True)], float
    )


@pytest.mark.parametrize("where", ["channel", "input"])
def test_a_cell_by_hand(where: str) -> None:
    tried = prompt()
    found = robustness(
        tried,
        TASK,
        [Eye()],
        corruptions=["gaussian-noise"],
        severities=[1, 2],
        where=where,
        limit=None,
        seed=5,
    )  # type: ignore[arg-type]
    (model,) = found.models
    for cell, severity in zip(model.cells, (1, 2), strict=True):
        bare = spoilt("gaussian-noise", severity, raw(), 5)
        worn = [tried.render(image) for image in (raw() if where == "channel" else bare)]
        after = right(spoilt("gaussian-noise", severity, worn, 5) if where == "channel" else worn)
        gain = paired_gain(right(bare), after, seed=5)
        assert (cell.severity, cell.level) == (severity, ("0.08", "0.12")[severity - 1])
        assert cell.paired == gain
        assert gain.n == 80
    assert (model.clean.paired.before, model.clean.paired.after) == (
        right(raw()).mean(),
        right([tried.render(image) for image in raw()]).mean(),
    )


def test_the_order_of_prompt_and_corruption() -> None:
    tried = prompt()
    sent = {}
    for where in ("channel", "input"):
        model = Recorder()
        robustness(tried, TASK, [model], corruptions=["crop"], severities=[5], where=where, limit=3)
        sent[where] = [request.image for request in model.asked[6:]]  # after the clean ones
    assert all(
        np.array_equal(a, b) for a, b in zip(sent["channel"][:3], sent["input"][:3], strict=True)
    )
    for image, sample, after in zip(
        sent["channel"][3:], TASK.test, sent["input"][3:], strict=False
    ):
        assert np.array_equal(image, corrupt("crop", tried.render(sample.pixels()), 5))
        assert np.array_equal(after, tried.render(corrupt("crop", sample.pixels(), 5)))


def test_the_means_by_hand() -> None:
    found = robustness(
        prompt(), TASK, [Eye()], corruptions=[*FEW, "vendor:gemini/gemini-1"], limit=16
    ).models[0]
    groups = [
        [c for c in found.cells if c.corruption == name]
        for name in dict.fromkeys(c.corruption for c in found.cells)
    ]
    assert [len(group) for group in groups] == [5, 5, 1]  # a vendor's plan has no severities
    before, after = (
        np.mean([np.mean([getattr(cell.paired, arm) for cell in group]) for group in groups])
        for arm in ("before", "after")
    )
    assert (found.mean_zero_shot, found.mean_prompted) == (
        pytest.approx(before),
        pytest.approx(after),
    )
    assert found.mean_gain == pytest.approx(after - before)
    assert found.mean_gain_ci95[0] < found.mean_gain < found.mean_gain_ci95[1]
    assert found.relative_zero_shot == pytest.approx(before / found.clean.paired.before)
    assert found.relative_prompted == pytest.approx(after / found.clean.paired.after)
    assert found.gain_kept == pytest.approx((after - before) / found.clean.paired.gain)
    ratios = [
        sum(1 - c.paired.after for c in group) / sum(1 - c.paired.before for c in group)
        for group in groups
    ]
    assert found.mce == pytest.approx(np.mean(ratios))


def test_holm_over_all_cells_of_all_models() -> None:
    found = robustness(
        prompt(), TASK, [Eye(), Eye("eye/far", prejudice="columns")], corruptions=FEW
    )
    cells = [cell for model in found.models for cell in model.cells]
    assert len(cells) == 20
    assert [cell.holm_p for cell in cells] == pytest.approx(
        holm([cell.paired.mcnemar_p for cell in cells])
    )


def test_a_prompt_that_does_nothing_neither_helps_nor_harms_and_costs_half() -> None:
    found = robustness(prompt(0.0), TASK, [Eye()], corruptions=FEW)
    model = found.models[0]
    assert (model.helped(), model.harmed(), model.mean_gain, model.gain_kept) == ((), (), 0.0, None)
    assert found.cost.queries == 80 * 11


def test_helps_and_harms_are_found() -> None:
    plain = patterns(amplitude=0.06)  # seen without help
    helped = robustness(prompt(), TASK, [Eye()], corruptions=FEW, severities=[1]).models[0]
    harmed = robustness(prompt(-4.0), plain, [Eye()], corruptions=FEW, severities=[1]).models[0]
    assert len(helped.helped()) == 2 and not helped.harmed()
    assert len(harmed.harmed()) == 2 and not harmed.helped()
    text = robustness_table(
        robustness(prompt(-4.0), plain, [Eye()], corruptions=FEW, severities=[1])
    )
    assert "helps in 0 of 2 cells, harms in 2" in text


def test_announced_before_and_never_passed(tmp_path: Path) -> None:
    seen: list[tuple[object, int]] = []
    model = Recorder()

    def watch(event: object) -> None:
        seen.append((event, len(model.asked)))

    found = robustness(prompt(), TASK, [model], corruptions=FEW, limit=20, watch=watch)
    assert seen[0] == (CheckPlanned("robustness", 2 * 20 * 11, 0), 0)
    assert (
        len(model.asked)
        == found.cost.queries
        <= planned(TASK, chosen(prompt(), (), FEW), range(1, 6), 20)
    )


@final
class Dying(Wrapper):
    """Answers so many calls, then is interrupted."""

    def __init__(self, calls: int) -> None:
        super().__init__(Eye())
        self.left = calls

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().query(requests, budget)


def test_an_interrupted_check_continues_and_asks_nothing_twice(tmp_path: Path) -> None:
    whole = robustness(prompt(), TASK, [Eye()], corruptions=FEW)
    with pytest.raises(KeyboardInterrupt):
        robustness(prompt(), TASK, [Dying(7)], corruptions=FEW, out=tmp_path)
    first = Recorder()
    found = robustness(prompt(), TASK, [first], corruptions=FEW, out=tmp_path)
    assert 0 < len(first.asked) < whole.cost.queries
    assert found == whole
    again = Recorder()
    assert robustness(prompt(), TASK, [again], corruptions=FEW, out=tmp_path) == whole
    assert again.calls == []
    document = json.loads(next(tmp_path.rglob("robustness.json")).read_text())
    assert document == json.loads(json.dumps(found.as_json()))
    assert document["schema"] == "bbtvp.robustness/1"


def test_more_cells_and_the_other_order_reuse_what_was_asked(tmp_path: Path) -> None:
    robustness(prompt(), TASK, [Eye()], corruptions=FEW[:1], out=tmp_path)
    wider = Recorder()
    other = Recorder()
    robustness(prompt(), TASK, [wider], corruptions=FEW, out=tmp_path)
    assert len(wider.asked) == 2 * 80 * 5
    robustness(prompt(), TASK, [other], corruptions=FEW, where="input", out=tmp_path)
    bare = {
        image.tobytes()
        for name in FEW
        for severity in range(1, 6)
        for image in spoilt(name, severity, raw())
    }
    assert other.asked
    assert not {request.image.tobytes() for request in other.asked} & bare


def test_cells_without_answers_are_listed_and_failures_counted() -> None:
    """At severity 2 no image is answered both with and without the prompt; at 5 nine fail without
    it.
    """
    tried = prompt()
    noise = "gaussian-noise"
    worn = spoilt(noise, 2, [tried.render(image) for image in raw()])
    lost = [*spoilt(noise, 2, raw())[::2], *worn[1::2], *spoilt(noise, 5, raw())[:9]]
    refused = {image.tobytes() for image in lost}
    model = Flaky(refuses=lambda request: request.image.tobytes() in refused)
    found = robustness(tried, TASK, [model], corruptions=[noise], severities=[2, 5])
    (cell,) = found.models[0].cells
    assert (cell.severity, cell.paired.n, cell.failed) == (5, 71, 9)
    assert found.models[0].unanswered == ("gaussian-noise 2",)
    assert found.cost.failed == 89
    assert "unanswered: gaussian-noise 2" in robustness_table(found)


def test_a_model_that_answers_nothing() -> None:
    with pytest.raises(ModelError, match="failed: HTTP 503"):
        robustness(prompt(), TASK, [Flaky(share=1.0)], corruptions=FEW)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"families": ["nois"]}, "did you mean noise"),
        ({"corruptions": ["fogg"]}, "did you mean fog"),
        ({"corruptions": []}, "no corruption is chosen"),
        ({"corruptions": FEW, "where": "both"}, "channel"),
        ({"corruptions": FEW, "limit": 0}, "at least 1"),
        ({"corruptions": ["gaussian-blur"], "severities": [7]}, "no severity"),
    ],
)
def test_bad_input(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        robustness(prompt(), TASK, [Eye()], **options)  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    prompt().save(tmp_path / "p.vprompt", {"question": QUESTION})
    images = folder_of_patterns(tmp_path / "images")
    words = [
        str(tmp_path / "p.vprompt"),
        "--task",
        str(images),
        "--model",
        "eye/near",
        "--limit",
        "4",
    ]
    dry = CliRunner().invoke(command, [*words, "--dry-run", "--json"])
    assert json.loads(dry.stdout) == {
        "queries": 2 * 4 * (1 + 5 * len(CORRUPTIONS) + len(vendors(SIDE)))
    }
    ran = CliRunner().invoke(
        command, [*words, "--families", "digital", "--severities", "5", "--json"]
    )
    document = json.loads(ran.stdout)
    assert document["schema"] == "bbtvp.robustness/1"
    assert [cell["severity"] for cell in document["models"][0]["cells"]] == [5] * 5
    assert "at most 48 image queries" in ran.stderr
    assert f"question: {QUESTION}" in ran.stderr
    table = (
        CliRunner().invoke(command, [*words, "--corruption", "fog", "--severities", "2,4"]).stdout
    )
    assert "zero-shot at 2, 4" in table and "of 2 cells" in table
    bad = CliRunner().invoke(command, [*words, "--severities", "1,6"])
    assert "--severities '1,6'" in str(bad.exception)


def test_the_bound_on_cost_counts_images_that_are_larger_than_the_canvas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the prompt they are sent as they are."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    prompt().save(tmp_path / "p.vprompt", {"question": QUESTION})
    images = folder_of_patterns(tmp_path / "images", per_class=4)
    words = [
        str(tmp_path / "p.vprompt"),
        "--task",
        str(images),
        "--model",
        "openai/gpt-4.1-mini",
        "--dry-run",
        "--json",
    ]
    costs = []
    for _ in range(2):
        costs.append(
            json.loads(CliRunner().invoke(command, words).stdout)["costs"]["openai/gpt-4.1-mini"][
                "input_tokens"
            ]
        )
        for path in images.rglob("*.png"):
            with Image.open(path) as image:
                larger = image.resize((1400, 700))
            larger.save(path)
    assert costs[1] > 1.5 * costs[0] > 0
