"""The replies of a run, word for word, from its journals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bbtvp.core.errors import DataError, UnreadReplies
from bbtvp.jobs.replies import RunReply, first_replies, replies_of
from bbtvp.models import load_model
from bbtvp.prompt import Prompt
from bbtvp.runs.folder import RunFolder
from bbtvp.search import ask
from bbtvp.search.readers import TextReader
from bbtvp.search.recipe import Loader
from bbtvp.tasks.registry import load_task
from tests.jobs.made import edit, images, made, proved
from tests.support import Eye, bbtvp, install_plugin


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run by text, with a proof."""
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))
    made("run", reader="text", budget=140)
    proved("run")
    return RunFolder(Path("run"))


def listed(run: RunFolder, part: str, arm: str) -> list[RunReply]:
    return [each for each in replies_of(run, Loader()) if (each.part, each.arm) == (part, arm)]


def test_each_reply_stands_beside_its_image_and_the_right_answer(run: RunFolder) -> None:
    task = load_task(str(images()))
    prompt = Prompt.load(run.bundle)
    by_id = {sample.id: sample for sample in task.validation}
    for arm, used in (("unprompted", None), ("prompted", prompt)):
        found = listed(run, "validation", arm)
        samples = [by_id[each.reply.sample] for each in found]
        anew = ask(load_model("eye/near"), TextReader(), task, samples, used)
        assert [each.reply.said for each in found] == [each.text for each in anew.outcomes]
        assert [each.reply.answer for each in found] == anew.labels
        assert [each.reply.truth for each in found] == [sample.answer for sample in samples]
        assert {each.model for each in found} == {"eye/near"}


@pytest.mark.parametrize("arm", ["zero_shot", "empty_frame", "prompted"])
def test_a_proof_lists_every_test_image_in_every_arm(run: RunFolder, arm: str) -> None:
    task = load_task(str(images()))
    found = listed(run, "proof", arm)
    assert [each.reply.sample for each in found] == [sample.id for sample in task.test]


def test_the_first_replies_need_no_images(run: RunFolder) -> None:
    first = first_replies(run)
    assert first == listed(run, "validation", "unprompted")[: len(first)]
    assert len(first) == 8


def test_a_task_that_is_gone_is_named(run: RunFolder) -> None:
    record = json.loads(Path("run/run.json").read_text())
    edit("run/run.json", task={**record["task"], "spec": "gone/"})
    with pytest.raises(DataError, match="gone"):
        list(replies_of(RunFolder(Path("run")), Loader()))


# -- the command -----------------------------------------------------------------------------------
def test_the_command_lists_filters_and_counts() -> None:
    everything = json.loads(bbtvp("replies", "run", "--json", "--limit", "9999").out)
    assert everything["of"] == len(everything["replies"]) == sum(everything["counts"].values())
    for only, wanted in (
        ("wrong", lambda row: row["right"] is False),
        ("unparsed", lambda row: row["status"] == "unparsed"),
        ("unread", lambda row: row["status"] != "answered"),
    ):
        found = json.loads(bbtvp("replies", "run", "--only", only, "--json", "--limit", "9999").out)
        assert found["replies"] == [row for row in everything["replies"] if wanted(row)]
    arm = json.loads(bbtvp("replies", "run", "--arm", "zero_shot", "--json").out)
    assert {row["arm"] for row in arm["replies"]} == {"zero_shot"}


def test_the_command_says_how_many_more_there_are() -> None:
    shown = bbtvp("replies", "run", "--limit", "2")
    assert len(shown.out.splitlines()) == 4
    assert "more; --limit" in shown.err
    assert "validation, unprompted, eye/near:" in shown.err


def test_the_command_lists_the_first_replies_where_the_images_are_gone() -> None:
    record = json.loads(Path("run/run.json").read_text())
    edit("run/run.json", task={**record["task"], "spec": "gone/"})
    shown = bbtvp("replies", "run")
    assert shown.code == 0
    assert len(shown.out.splitlines()) == 10
    assert "only the first replies" in shown.err


def test_a_search_that_ended_after_its_first_replies_is_listed() -> None:
    with pytest.raises(UnreadReplies):
        made("ended", [Eye(gain=0, prejudice="none")], reader="text", unread=0)
    shown = bbtvp("replies", "ended", "--only", "unread")
    assert "I am not sure" in shown.out
