"""Wordings are put around a question that stays as it is; a bundle keeps their texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.prompt import (
    Guidance,
    Marks,
    Placement,
    Prompt,
    PromptSpace,
    Restore,
    Tone,
    preset,
)
from bbtvp.prompt.guidance import MOST, WORDINGS
from bbtvp.prompt.identity import Identity
from bbtvp.prompt.wordings import LONGEST, Wording, bundled
from tests.prompt.bundles import forged, refused
from tests.prompt.scenes import noise

QUESTION = "Is there a {thing} in {question}?"
"""Braces of a question are its own."""


def alone(*wordings: str | Wording) -> PromptSpace:
    return PromptSpace((Identity(), Guidance(wordings)))


def asked(space: PromptSpace, question: str = "Q?") -> list[str]:
    return [space.ask(z, question) for z in space.starts()]


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("Look carefully.", "Look carefully. ", ""),
        ("Q: {question} A:", "Q: ", " A:"),
        ("{question}\nOne word.", "", "\nOne word."),
        ('Reply as {"answer": x}. {question}', 'Reply as {"answer": x}. ', ""),
        ("100 % {0} {{a}} %s $x", "100 % {0} {{a}} %s $x ", ""),
        ("写真をよく見て、一語で。", "写真をよく見て、一語で。 ", ""),
        ("انظر جيدًا. {question}", "انظر جيدًا. ", ""),
    ],
)
def test_a_wording_is_put_around_the_question_and_all_else_is_literal(
    text: str, before: str, after: str
) -> None:
    assert asked(alone(text), QUESTION) == [QUESTION, f"{before}{QUESTION}{after}"]


@given(
    st.text(max_size=40).filter(lambda text: "{question}" not in text),
    st.text(max_size=40),
    st.text(max_size=40),
)
def test_the_question_is_never_changed(before: str, question: str, after: str) -> None:
    text = f"{before}{{question}}{after}"
    try:
        said = Wording("w", text).around(question)
    except UsageError:
        assert not text.replace("{question}", "").strip()
        return
    assert said == before + question + after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is empty; write a text"),
        (" \n", "is empty; write a text"),
        ("{question}", "is empty; write a text"),
        ("{question} and {question}", "holds {question} twice; write it once"),
        ("x " * LONGEST + "x", f"has {2 * LONGEST + 1} characters; give at most {LONGEST}"),
        ("half an emoji \ud83d", "is not Unicode text"),
    ],
)
def test_a_wording_that_cannot_be(text: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        Guidance((text,))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wordings", "line"),
    [
        (("Look.", "Look. "), "the wordings 'look' and 'look-2' are equal; remove one"),
        (("Look.", "Look.\n{question}"), "are equal"),
        ((Wording("a", "One."), Wording("a", "Two.")), "two wordings are called 'a'"),
        (("scan", "scan"), "two wordings are called 'scan'"),
        ((Wording("scan", "Go on."),), "cannot be called 'scan'; rename it"),
        (("step-by-stepp",), "unknown wording 'step-by-stepp'; did you mean step-by-step"),
        (tuple(f"Look {i}." for i in range(MOST)), f"give at most {MOST}"),
    ],
)
def test_wordings_that_cannot_go_together(wordings: tuple[str | Wording, ...], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        Guidance(wordings)
    assert line in str(caught.value)


def test_none_is_first_whether_given_or_not() -> None:
    for wordings in (("none", "Look."), ("Look.",), ("Look.", "none")):
        layer = Guidance(wordings)
        assert [str(one) if isinstance(one, str) else one.name for one in layer.wordings] == [
            "none",
            "look",
        ]
    space = alone("Look.")
    assert space.names == ("guidance.wording_none", "guidance.wording_look")
    assert space.choices == ((0, 2),)
    assert space.ask(space.neutral(), "Q?") == "Q?"


def test_the_four_wordings_are_as_they_were() -> None:
    assert Guidance().config() == {"kind": "guidance"}
    assert Guidance() == Guidance(WORDINGS) == Guidance(WORDINGS[1:])
    assert preset("annotate", 64).prompt(preset("annotate", 64).starts()[2]).digest == (
        "ca2506ffa540745271225e9da5f7f18ce0564d703bef1d3a764e0cbf9aac94d1"
    )


def test_every_bundled_form_has_a_source_and_its_question_once() -> None:
    assert len(bundled()) >= 12
    for name, wording in bundled().items():
        assert wording.source, name
        assert wording.around("QUESTION").count("QUESTION") == 1
    long = {name for name, wording in bundled().items() if wording.reply_tokens}
    assert {"step-by-step", "describe", "count-parts", "deep-breath"} <= long
    assert not {"single-word", "short-answer", "look-carefully"} & long


def test_reply_tokens_of_a_prompt_are_those_of_its_wording() -> None:
    space = alone("step-by-step", "single-word", "report", Wording("mine", "Go on.", 99))
    assert [space.prompt(z).reply_tokens for z in space.starts()] == [0, 256, 0, 99]
    layer = next(layer for layer in space.layers if isinstance(layer, Guidance))
    assert space.reply_tokens(layer.start("report")) == 192
    assert preset("default", 32).reply_tokens(preset("default", 32).neutral()) == 0


def test_words_alone_leave_the_image_as_it_is() -> None:
    space = preset("words")
    image = noise(33, 71)
    for z in space.starts():
        prompt = space.prompt(z)
        assert np.array_equal(prompt.render(image), image)
        assert prompt.keeps_image
        assert not prompt.is_identity
        assert space.empty_frame(z).ask("Q?") == "Q?"
        arms = space.arms(z)
        assert arms["sentence_only"].digest == prompt.digest
        assert arms["image_only"].ask("Q?") == "Q?"
    with pytest.raises(UsageError, match="goes with no other but words"):
        PromptSpace((Identity(), Tone(("contrast",)), Guidance()))
    assert PromptSpace.identity().is_identity


def test_words_of_your_own_say_first_what_the_marks_are() -> None:
    space = PromptSpace((Placement(), Marks(), Guidance(("{question} One word.", "scan"))), 64)
    layers = {layer.kind: layer for layer in space.layers}
    starts = space.starts()
    assert starts[0].tolist() == [0.0] * space.dim
    assert len(starts) == 3  # the image as it is, rows with "scan", and the text alone
    assert space.ask(starts[-1], "Q?") == "Q? One word."
    guidance = layers["guidance"]
    assert isinstance(guidance, Guidance)
    rows = space.embed(starts[1][space.slices["marks"]], ("marks",), starts[-1])
    assert space.ask(rows, "Q?").startswith("Lines divide the image into 3 rows")
    assert space.ask(rows, "Q?").endswith("not part of the scene. Q? One word.")


def test_the_starts_of_several_layers_come_in_turn() -> None:
    """A small budget races only the first ones: no layer may fill the list."""
    space = PromptSpace((Placement(), Restore(), Guidance(("Look.", "Wait."))), 32)
    starts = [space.prompt(z).theta for z in space.starts()]
    words = [theta["guidance"]["wording"] for theta in starts]
    assert words[:5] == ["none", "none", "look", "none", "wait"]
    alone = len(PromptSpace((Placement(), Restore()), 32).starts())
    assert len(starts) == alone + 2
    assert set(words[5:]) == {"none"}


@pytest.mark.parametrize("target", ["p.vprompt", "folder"])
def test_a_bundle_keeps_the_texts(target: str, tmp_path: Path) -> None:
    space = alone("step-by-step", "Schau genau hin: {question} {x}")
    prompt = space.prompt(space.starts()[2])
    prompt.save(tmp_path / target)
    loaded = Prompt.load(tmp_path / target)
    assert loaded.space == space
    assert loaded.digest == prompt.digest
    assert loaded.ask("Was?") == "Schau genau hin: Was? {x}"
    assert loaded.theta["guidance"]["sentence"] == "Schau genau hin: {question} {x}"


def test_a_bundle_without_the_package_s_own_form_still_asks_the_same(tmp_path: Path) -> None:
    """The text counts, not the name: a later version may word "step-by-step" otherwise."""
    alone("step-by-step").prompt(np.array([0.0, 1.0])).save(tmp_path)

    def older(manifest: dict[str, Any]) -> None:
        manifest["layers"][1]["wordings"][1]["text"] = "Think. {question}"
        manifest["theta"]["guidance"]["sentence"] = "Think. {question}"
        manifest["words"] = "Think. {question}"

    forged(tmp_path, older)
    assert Prompt.load(tmp_path).ask("Q?") == "Think. Q?"


@pytest.mark.parametrize(
    ("wordings", "line"),
    [
        (["none", {"name": "a", "text": ""}], "is empty"),
        (["none", {"name": "a", "text": "{question}{question}x"}], "twice"),
        (["none", {"name": "a"}], "layer 'guidance'"),
        (["none", 3], "layer 'guidance'"),
        ("none", "layer 'guidance'"),
    ],
)
def test_a_bundle_with_wordings_that_cannot_be(wordings: object, line: str, tmp_path: Path) -> None:
    alone("step-by-step").prompt(np.array([0.0, 1.0])).save(tmp_path)
    forged(tmp_path, lambda m: m["layers"][1].update(wordings=wordings))
    assert line in refused(tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_bytes())
