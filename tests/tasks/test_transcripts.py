"""How rightly `read_reply` reads what real models said: tests/tasks/transcripts/replies.jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import pytest

from bbtvp.tasks.replies import ReadReply, normalise, number, read_reply

FOLDER = Path(__file__).parent / "transcripts"

MIN_RIGHTLY = 0.97
"""The least share of replies read rightly."""
MAX_WRONGLY = 0.005
"""The largest share of replies read wrongly."""
MIN_REPLIES = 300
MIN_FAMILIES = 12
MIN_LANGUAGES = 6

Verdict = Literal["rightly", "wrongly", "unparsed"]


class Transcript(TypedDict):
    """One line of replies.jsonl; README.md in its folder says what each field means."""

    id: str
    source: str
    model: str
    family: str
    language: str
    licence: str | None
    question: str
    labels: list[str] | None
    reply: str
    cut: bool
    expected: str | None
    status: str
    note: str
    readers: str


class Judged(NamedTuple):
    """A transcript, what the reader made of it, and how that compares with the expected answer."""

    transcript: Transcript
    read: ReadReply
    verdict: Verdict


def _load() -> list[Transcript]:
    lines = (FOLDER / "replies.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _same(answer: str, expected: str) -> bool:
    """Whether two free answers are equal: as numbers by value, else as words."""
    given, wanted = number(answer), number(expected)
    if wanted is not None:
        return given == wanted
    return normalise(answer) == normalise(expected)


def _verdict(answer: str | None, transcript: Transcript) -> Verdict:
    expected = transcript["expected"]
    if answer == expected:
        return "rightly"
    if answer is None:
        return "unparsed"
    if transcript["labels"] is None:
        if expected is not None and _same(answer, expected):
            return "rightly"
        if answer == transcript["reply"]:  # Handed on as it is: nothing was read from it.
            return "unparsed"
    return "wrongly"


def _judge(transcript: Transcript) -> Judged:
    read = read_reply(transcript["reply"], transcript["labels"], cut=transcript["cut"])
    return Judged(transcript, read, _verdict(read.answer, transcript))


def _shares(judged: Iterable[Judged]) -> dict[Verdict, float]:
    counts = Counter(one.verdict for one in judged)
    return {
        "rightly": counts["rightly"] / counts.total(),
        "wrongly": counts["wrongly"] / counts.total(),
        "unparsed": counts["unparsed"] / counts.total(),
    }


def _table(judged: list[Judged]) -> str:
    """The shares per language and in all, then each reply that is not read rightly."""
    languages = sorted({one.transcript["language"] for one in judged})
    rows = []
    for language in ["all", *languages]:
        group = [one for one in judged if language in ("all", one.transcript["language"])]
        shares = "  ".join(f"{name} {share:6.1%}" for name, share in _shares(group).items())
        rows.append(f"{language:4} {len(group):4}  {shares}")
    for one in judged:
        if one.verdict != "rightly":
            wanted, end = one.transcript["expected"], one.transcript["reply"][-80:]
            rows.append(f"{one.transcript['id']}: {wanted!r}, read {one.read}: ...{end!r}")
    return "\n".join(rows)


TRANSCRIPTS = _load()


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return [_judge(transcript) for transcript in TRANSCRIPTS]


def test_replies_are_read_rightly(judged: list[Judged]) -> None:
    shares = _shares(judged)
    assert shares["rightly"] >= MIN_RIGHTLY, _table(judged)
    assert shares["wrongly"] <= MAX_WRONGLY, _table(judged)


def test_enough_replies_families_and_languages() -> None:
    families = {one["family"] for one in TRANSCRIPTS} - {"not named"}
    assert len(TRANSCRIPTS) >= MIN_REPLIES
    assert len(families) >= MIN_FAMILIES
    assert len({one["language"] for one in TRANSCRIPTS}) >= MIN_LANGUAGES


def test_no_source_has_more_than_a_fifth() -> None:
    largest = Counter(one["source"] for one in TRANSCRIPTS).most_common(1)[0][1]
    assert largest <= len(TRANSCRIPTS) / 5


def test_ids_are_unique() -> None:
    assert len({one["id"] for one in TRANSCRIPTS}) == len(TRANSCRIPTS)


def test_a_line_says_whether_the_two_readers_agreed() -> None:
    lines = (FOLDER / "second.jsonl").read_text(encoding="utf-8").splitlines()
    second = [json.loads(line) for line in lines]
    assert [one["id"] for one in second] == [one["id"] for one in TRANSCRIPTS]
    for first, other in zip(TRANSCRIPTS, second, strict=True):
        same = all(first[key] == other[key] for key in ("status", "expected"))
        allowed = {"agreed", "adjudicated"} if same else {"adjudicated"}
        assert first["readers"] in allowed, first["id"]


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one["id"])
def test_a_line_is_whole(transcript: Transcript) -> None:
    assert set(transcript) == set(Transcript.__annotations__)
    assert transcript["source"].startswith("https://")
    for field in ("model", "family", "language", "question", "reply"):
        assert transcript[field], field
    assert len(transcript["reply"]) <= 1700


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one["id"])
def test_labelling_agrees_with_itself(transcript: Transcript) -> None:
    assert transcript["status"] in ("answered", "unparsed", "refused", "cut")
    assert (transcript["expected"] is not None) == (transcript["status"] == "answered")
    assert transcript["cut"] or transcript["status"] != "cut"
    labels = transcript["labels"]
    if labels is None:
        return
    assert len(set(labels)) == len(labels) >= 2
    assert transcript["expected"] is None or transcript["expected"] in labels


@pytest.mark.parametrize(
    ("answer", "labels", "expected", "verdict"),
    [
        ("yes", ["yes", "no"], "yes", "rightly"),
        (None, ["yes", "no"], None, "rightly"),
        ("no", ["yes", "no"], "yes", "wrongly"),
        ("no", ["yes", "no"], None, "wrongly"),
        (None, ["yes", "no"], "yes", "unparsed"),
        ("3.0", None, "3", "rightly"),
        ("4", None, "3", "wrongly"),
        ("It is 3, not 4.", None, "3", "unparsed"),
        ("It is 3, not 4.", None, None, "unparsed"),
        ("3", None, None, "wrongly"),
    ],
)
def test_verdict(
    answer: str | None, labels: list[str] | None, expected: str | None, verdict: Verdict
) -> None:
    transcript = {**TRANSCRIPTS[0], "reply": "It is 3, not 4."}
    transcript["labels"], transcript["expected"] = labels, expected
    assert _verdict(answer, transcript) == verdict  # type: ignore[arg-type]
