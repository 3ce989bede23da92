"""Side effects against figures worked out from the replies, on a model whose weakness is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import pytest
from click.testing import CliRunner

from bbtvp.checks.effects import NOISES, effects, label_shift, planned
from bbtvp.cli.effects import effects as command
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Budget, Capabilities, Model, Outcome, QueryFailed, Reply, Request
from bbtvp.prompt import Placement, Prompt, PromptSpace, Tone
from bbtvp.report.checks import effects_table
from bbtvp.stats import holm
from bbtvp.tasks import Sample, Task
from bbtvp.verify.events import CheckPlanned
from tests.support import (
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

SPACE = PromptSpace((Placement(), Tone(("brightness",))), SIDE)
OWN = patterns(amplitude=0.06)


def prompt(brightness: float = 3.0) -> Prompt:
    return SPACE.prompt(np.array([brightness]))


def greys(
    name: str, question: str, labels: tuple[str, ...], answer: dict[int, str], n: int = 40
) -> Task:
    """Flat greys of the levels of `answer`, with a level's answer."""
    levels = [*answer]
    splits = {}
    for split in ("train", "validation", "test"):
        rng = stream(0, name, split)
        drawn = [levels[i % len(levels)] for i in range(n)]
        pixels = [
            np.clip(level + rng.integers(-4, 5, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            for level in drawn
        ]
        splits[split] = tuple(
            Sample(f"{split}/{i}", answer[level], image)
            for i, (level, image) in enumerate(zip(drawn, pixels, strict=True))
        )
    return Task(name, question, labels, **splits)


BRIGHT = greys(
    "bright", "is it bright?", ("yes", "no"), {60: "no", 110: "no", 140: "yes", 200: "yes"}
)
COUNT = greys(
    "count", "how many?", ("one", "two", "three"), {40: "one", 128: "two", 215: "three"}, 42
)


def level(image: Pixels) -> float:
    return float(image.mean())


@final
class Meterman(Model):
    """Reads the brightness of a picture, and answers in text; `spec` only, no log-probabilities."""

    def __init__(self, *, fickle: float = 0.0) -> None:
        self.spec = "meterman"
        self.fickle = fickle
        self.capabilities = Capabilities(logprobs=False, deterministic=not fickle)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [Reply(self.answer(request)) for request in requests]

    def answer(self, request: Request) -> str:
        light = level(request.image)
        if self.fickle and stream(request.replicate, request.key).random() < self.fickle * (
            light > 127
        ):
            light = 255 - light
        if request.text == "how many?":
            return ("one", "two", "three")[min(2, int(light / 85))]
        return "yes" if light > 127 else "no"


def said(model: Meterman, task: Task, worn: Prompt | None = None, replicate: int = 0) -> list[str]:
    images = [
        sample.pixels() if worn is None else worn.render(sample.pixels()) for sample in task.test
    ]
    return [model.answer(Request(image, task.question, None, 16, replicate)) for image in images]


def test_a_task_by_hand() -> None:
    model = Meterman()
    found = effects(prompt(), BRIGHT, model, [COUNT], limit=None)
    own, other = found.tasks
    truths = [sample.answer for sample in BRIGHT.test]
    before = said(model, BRIGHT)
    after = said(model, BRIGHT, prompt())
    assert (own.task, own.role, own.paired.n) == ("bright", "own", 40)
    assert own.paired.before == np.mean([a == t for a, t in zip(before, truths, strict=True)]) == 1
    assert own.paired.after == np.mean([a == t for a, t in zip(after, truths, strict=True)]) < 1
    assert own.yes is not None
    assert (own.yes.before, own.yes.after) == (0.5, np.mean([a == "yes" for a in after]))
    assert own.yes.ci[0] > 0
    assert own.error_before is None
    count = {"one": 1, "two": 2, "three": 3}
    errors = [
        abs(count[a] - count[s.answer])
        for a, s in zip(said(model, COUNT, prompt()), COUNT.test, strict=True)
    ]
    assert (other.role, other.error_before, other.error_after) == (
        "other",
        0,
        pytest.approx(np.mean(errors)),
    )
    assert other.yes is None
    assert [one.holm_p for one in found.tasks] == pytest.approx(
        holm([one.paired.mcnemar_p for one in found.tasks])
    )


def test_what_was_broken_and_mended() -> None:
    model = Meterman()
    found = effects(prompt(), BRIGHT, model, [COUNT], limit=None)
    for task in (BRIGHT, COUNT):
        rows = zip(task.test, said(model, task), said(model, task, prompt()), strict=True)
        broken = [(s.id, s.answer, a, b) for s, a, b in rows if a == s.answer != b]
        listed = [
            (one.id, one.truth, one.before, one.after)
            for one in found.broken
            if one.task == task.name
        ]
        assert listed == broken != []
    assert found.mended == ()
    darker = effects(
        prompt(-3.0), greys("dim", "is it bright?", ("yes", "no"), {140: "no", 250: "yes"}), model
    )
    assert {(one.before, one.after, one.truth) for one in darker.mended} == {("yes", "no", "no")}


def test_a_prompt_that_does_nothing_has_no_effects() -> None:
    found = effects(prompt(0.0), BRIGHT, Meterman(), [COUNT])
    assert all((one.paired.gain, one.paired.mcnemar_p) == (0, 1) for one in found.tasks)
    assert all(one.shift is not None and one.shift.distance == 0 for one in found.strays)
    assert (found.broken, found.mended) == ((), ())


def test_images_of_no_task() -> None:
    """Foreign and blank images are asked the prompt's own question, bare and prompted."""
    model = Recorder(Meterman())
    worn = prompt()
    found = effects(worn, BRIGHT, model, [COUNT], limit=12)
    asked = {(request.image.tobytes(), request.text) for request in model.asked}
    for blank in (0, 128, 255):
        image = np.full((SIDE, SIDE, 3), blank, np.uint8)
        assert {
            (image.tobytes(), BRIGHT.question),
            (worn.render(image).tobytes(), BRIGHT.question),
        } <= asked
    assert {(sample.pixels().tobytes(), BRIGHT.question) for sample in COUNT.test[:12]} <= asked
    by = {one.images: one.shift for one in found.strays}
    assert [*by] == ["count", "blank black", "blank grey", "blank white", "blank noise"]
    assert by["count"] is not None and by["count"].n == 12
    noise = by["blank noise"]
    assert noise is not None and noise.n == NOISES
    black = by["blank black"]
    assert black is not None and (black.n, black.p, black.before) == (1, None, {"no": 1.0})


def test_a_deterministic_model_is_exact_and_a_fickle_one_is_asked_again() -> None:
    assert effects(prompt(), BRIGHT, Meterman()).stability.exact
    model = Meterman(fickle=0.3)
    found = effects(prompt(), BRIGHT, model, limit=None).stability
    same = [
        np.mean(
            [
                a == b
                for a, b in zip(
                    said(model, BRIGHT, worn), said(model, BRIGHT, worn, 1), strict=True
                )
            ]
        )
        for worn in (None, prompt())
    ]
    assert found.same is not None
    assert (found.exact, *found.same[:3]) == (False, 40, *same)
    assert same[1] < same[0] < 1


def test_refused_and_unparsed_before_and_after() -> None:
    worn = prompt()
    dark = [sample for sample in BRIGHT.test if level(sample.pixels()) < 80][
        :5
    ]  # no two alike once brightened
    refused = {worn.render(sample.pixels()).tobytes() for sample in dark}

    @final
    class Prude(Wrapper):
        def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
            outcomes = super().query(requests, budget)
            return [
                QueryFailed("no", refused=True)
                if r.image.tobytes() in refused
                else Reply("well")
                if level(r.image) > 190
                else outcome
                for r, outcome in zip(requests, outcomes, strict=True)
            ]

    found = effects(worn, BRIGHT, Prude(Meterman()), limit=None)
    own = found.tasks[0]
    missing = own.missing
    assert (missing.refused_before, missing.refused_after, missing.failed) == (0, 5, 5)
    assert own.paired.n == 35
    bare = [sample.pixels() for sample in BRIGHT.test]
    sent = [worn.render(sample.pixels()) for sample in BRIGHT.test if sample not in dark]
    silent = [sum(level(image) > 190 for image in images) for images in (bare, sent)]
    assert [missing.unparsed_before, missing.unparsed_after] == silent
    assert own.shift is not None and own.shift.after["(no label)"] == silent[1] / 35
    assert found.cost.refused == found.cost.failed == 5


def test_announced_and_resumed(tmp_path: Path) -> None:
    seen: list[object] = []
    first = effects(
        prompt(),
        BRIGHT,
        Meterman(),
        [COUNT],
        out=tmp_path,
        watch=seen.append,
    )
    assert seen[0] == CheckPlanned("effects", 2 * (40 + 42 + 42 + 3 + NOISES), 0)
    assert first.cost.queries <= planned(BRIGHT, [COUNT], 100, deterministic=True)
    again = Recorder(Meterman())
    assert effects(prompt(), BRIGHT, again, [COUNT], out=tmp_path) == first
    assert again.calls == []
    document = json.loads(next(tmp_path.rglob("effects.json")).read_text())
    assert document == json.loads(json.dumps(first.as_json()))
    assert document["schema"] == "bbtvp.effects/1"


def test_an_other_task_without_answers_is_listed_and_the_own_must_have_some() -> None:
    worn = prompt()
    lost = {s.pixels().tobytes() for s in COUNT.test[::2]} | {
        worn.render(s.pixels()).tobytes() for s in COUNT.test[1::2]
    }
    model = Flaky(Meterman(), refuses=lambda request: request.image.tobytes() in lost)
    found = effects(worn, BRIGHT, model, [COUNT], limit=None)
    assert found.unanswered == ("count",)
    assert [one.task for one in found.tasks] == ["bright"]
    assert "unanswered: count" in effects_table(found)
    with pytest.raises(ModelError, match="answered no test image of count"):
        effects(worn, COUNT, model, limit=None)


# -- the shift of labels ---------------------------------------------------------------------------
def test_a_shift_by_hand() -> None:
    found = label_shift(["a", "a", "b", "c"], ["a", "b", "b", None])
    assert found is not None
    assert found.before == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert found.after == {"a": 0.25, "b": 0.5, "(no label)": 0.25}
    assert found.distance == 0.5
    assert found.label in ("a", "b", "c", "(no label)")
    assert abs(found.change) == 0.25
    # two images changed; whichever way they are exchanged, the labels lie as far apart
    assert found.p == 1
    assert label_shift([], []) is None


def test_the_p_of_a_shift_is_exact_where_that_can_be_counted() -> None:
    """Ten images all turn from a to b: of 1,024 exchanges two are as far."""
    found = label_shift([*"a" * 10, *"c" * 20], [*"b" * 10, *"c" * 20])
    assert found is not None and found.p == pytest.approx(2 / 1024, abs=0.0015)
    balanced = label_shift([*"aaaaabbbbb"], [*"bbbbbaaaaa"])
    assert balanced is not None and (balanced.distance, balanced.p) == (0, 1)


def test_without_a_shift_the_p_is_small_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    small = 0
    for trial in range(300):
        pairs = rng.choice([*"abc"], (60, 2), p=[0.5, 0.3, 0.2])
        found = label_shift(pairs[:, 0].tolist(), pairs[:, 1].tolist(), seed=trial)
        small += found is not None and found.p is not None and found.p <= 0.05
    assert 4 <= small <= 28  # 15 expected, ± 3.4 standard deviations


def test_on_label_log_probabilities_too() -> None:
    found = effects(prompt(), OWN, Eye())
    own = found.tasks[0]
    assert own.shift is not None and sum(own.shift.after.values()) == pytest.approx(1)
    assert (own.missing.unparsed_before, own.yes, own.error_before) == (0, None, None)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    prompt().save(tmp_path / "p.vprompt", {"question": QUESTION})
    own, other = (str(folder_of_patterns(tmp_path / name, 12)) for name in ("own", "other"))
    words = [
        str(tmp_path / "p.vprompt"),
        "--task",
        own,
        "--model",
        "eye/near",
        "--limit",
        "4",
        "--other",
        other,
        "--saliency",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    dry = json.loads(CliRunner().invoke(command, [*words, "--dry-run", "--json"]).stdout)
    ran = json.loads(CliRunner().invoke(command, [*words, "--json"]).stdout)
    assert [one["role"] for one in ran["tasks"]] == ["own", "other"]
    assert 0 < ran["queries"] + ran["saliency"]["queries"] <= dry["queries"]
    assert len(ran["saliency"]["looks"]) == len([*(tmp_path / "run").rglob("*.png")]) == 2
    table = CliRunner().invoke(command, words).stdout
    assert "broken: " in table and "deletion" in table
