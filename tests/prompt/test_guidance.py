"""The sentence names what is drawn, and only that; the arms take a prompt apart."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbtvp.core.errors import UsageError
from bbtvp.prompt import Guidance, Legend, Marks, PromptSpace, Tone, preset
from bbtvp.prompt.guidance import WORDINGS
from bbtvp.prompt.marks.marks import ANCHORS, LAYOUTS, PLACES
from bbtvp.prompt.marks.naming import axes
from tests.prompt.scenes import blank, noise

SPACE = preset("annotate", 64)
LAYER = Guidance()
MARKS = Marks()
QUESTION = "How many things are there?"


def point(wording: str, divisions: int = 3, **choices: str) -> np.ndarray:  # type: ignore[type-arg]
    z = SPACE.embed(LAYER.start(wording), ["guidance"], SPACE.neutral())
    return SPACE.embed(MARKS.start(divisions, **choices), ["marks"], z)


def test_the_wordings_for_three_rows() -> None:
    rows = {"layout": "rows", "anchors": "symbols", "place": "margin"}
    named = (
        "Lines divide the image into 3 rows, labelled #, $ and @ from top to bottom in the left "
        "margin. "
        "Marks and labels are aids, not part of the scene."
    )
    asked = {wording: SPACE.ask(point(wording, **rows), QUESTION) for wording in WORDINGS}
    assert asked["none"] == QUESTION
    assert asked["structure"] == f"{named} {QUESTION}"
    assert asked["scan"] == f"{named} Go through each row in turn, from top to bottom. {QUESTION}"
    assert asked["report"] == (
        f"{named} First report what each row shows, from top to bottom, then add up or compare "
        "the reports and "
        f"conclude with one answer. {QUESTION}"
    )


def test_a_report_asks_for_the_parts_and_for_the_sum() -> None:
    """A partition that is not summed up can be worse than none (catalogue, 2.1.3)."""
    for layout in LAYOUTS:
        sentence = SPACE.ask(point("report", layout=layout), "")
        assert re.search("report what each .* then add up .* conclude with one answer", sentence)


def said(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each name with what stands after it in a list; the last one has no fixed follower."""
    after = [", "] * (len(names) - 2) + [" and ", ""]
    return list(zip(names, after, strict=True)) if names else []


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "none"])
def test_every_name_that_is_drawn_is_said_and_no_other(layout: str) -> None:
    for wording, anchors, place, count in itertools.product(
        WORDINGS[1:], ANCHORS, PLACES, (2, 4, 8)
    ):
        z = point(wording, count, layout=layout, anchors=anchors, place=place)
        sentence = SPACE.ask(z, "")
        look = MARKS.look(z[SPACE.slices["marks"]])
        assert f"{count} {'columns' if layout == 'columns' else 'rows'}" in sentence
        assert ("label" in sentence or "numbered" in sentence) == (anchors != "none")
        if anchors == "none":
            continue
        if layout in ("rows", "columns") or place == "margin":
            assert all(
                f"{name}{after}" in sentence
                for axis in axes(look.named)
                for name, after in said(axis)
            )
        assert ("margin" in sentence) == (place == "margin")
        others = {
            "digits": "#$@",
            "letters": "#$@",
            "symbols": "%+*="[max(0, count - 4) :] if count < 5 else "",
        }
        assert not set(sentence) & set(others[anchors])


def test_with_nothing_drawn_no_structure_is_named() -> None:
    for anchors, place in itertools.product(ANCHORS, PLACES):
        asked = [
            SPACE.ask(point(w, layout="none", anchors=anchors, place=place), QUESTION)
            for w in WORDINGS
        ]
        assert asked[:2] == [QUESTION, QUESTION]
        assert all(text.endswith(f" {QUESTION}") for text in asked[2:])
        assert not any(
            word in text
            for text in asked
            for word in ("row", "column", "line", "label", "margin", "cell")
        )


def test_guidance_without_marks_speaks_of_parts_in_general() -> None:
    alone = PromptSpace((Tone(("contrast",)), Guidance()), 32)
    z = alone.embed(LAYER.start("scan"), ["guidance"], alone.neutral())
    assert (
        alone.ask(z, "Q?")
        == "Go through the image part by part, from top to bottom and from left to right. Q?"
    )
    assert alone.ask(alone.embed(LAYER.start("structure"), ["guidance"], z), "Q?") == "Q?"


def test_a_legend_is_said_to_be_one_where_it_is_drawn() -> None:
    space = PromptSpace((Legend(("cat", "dog")), Marks(), Guidance()), 96)
    z = space.embed(LAYER.start("structure"), ["guidance"], space.neutral())
    assert space.ask(z, "Q?") == "Q?"
    z = space.embed(np.array([0.0, 1.0]), ["legend"], z)
    assert space.ask(z, "Q?") == "The strip at the bottom is a legend, not part of the scene. Q?"
    assert space.arms(z)["sentence_only"].ask("Q?") == "Q?"


def test_without_guidance_a_question_is_as_it_was() -> None:
    for name in ("tone", "tvp", "frame"):
        space = preset(name, 32)
        assert space.ask(space.neutral(), QUESTION) == QUESTION
        assert space.prompt(space.neutral()).ask("") == ""
        with pytest.raises(UsageError, match="no sentence"):
            space.arms(space.neutral())
        assert [z.tolist() for z in space.starts()] == [[0.0] * space.dim]


def test_a_sentence_draws_nothing() -> None:
    for wording in WORDINGS:
        assert np.array_equal(SPACE.render(point(wording), noise(64, 64)), noise(64, 64))
    with pytest.raises(UsageError, match="unknown wording 'scam'; did you mean scan"):
        LAYER.start("scam")
    with pytest.raises(UsageError, match="give"):
        SPACE.ask(np.zeros(3), "")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999), scale=st.sampled_from([0.0, 1.0, 1e6]), question=st.text(max_size=30)
)
def test_the_four_arms(seed: int, scale: float, question: str) -> None:
    z = np.clip(np.random.default_rng(seed).standard_normal(SPACE.dim), -1, 1) * scale
    arms = SPACE.arms(z)
    pixels = noise(40, 60, seed)
    assert list(arms) == ["identity", "sentence_only", "image_only", "both"]
    assert arms["both"].digest == SPACE.prompt(z).digest
    assert arms["both"].ask(question) == SPACE.ask(z, question)
    assert arms["both"].ask(question).endswith(question)
    assert np.array_equal(arms["image_only"].render(pixels), arms["both"].render(pixels))
    assert arms["image_only"].ask(question) == arms["identity"].ask(question) == question
    assert np.array_equal(arms["sentence_only"].render(pixels), arms["identity"].render(pixels))
    assert (
        arms["sentence_only"].theta["guidance"]["wording"]
        == arms["both"].theta["guidance"]["wording"]
    )


def test_the_starts_of_the_catalogue() -> None:
    starts = [SPACE.prompt(z) for z in SPACE.starts()]
    seen = [
        (
            *(p.theta["marks"][name] for name in ("layout", "divisions", "anchors", "place")),
            p.theta["guidance"]["wording"],
        )
        for p in starts
    ]
    assert seen == [
        ("none", 5, "none", "margin", "none"),
        ("none", 5, "none", "margin", "report"),
        ("rows", 3, "digits", "margin", "scan"),
        ("rows", 3, "symbols", "margin", "report"),
        ("dots", 6, "digits", "cell", "structure"),
        ("grid", 8, "digits", "cell", "structure"),
    ]
    assert np.array_equal(starts[0].render(blank(64)), blank(64))
    assert np.array_equal(starts[1].render(noise(64, 64)), noise(64, 64))
    assert starts[1].ask("Q?") != "Q?"
    assert all(
        prompt.theta["placement"]["zoom"] == prompt.theta["tone"]["contrast"] == 1
        for prompt in starts
    )
