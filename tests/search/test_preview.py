"""The first replies are shown with how they were read, at no image query of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import pytest

from bbtvp.core.errors import UnreadReplies
from bbtvp.models import Budget, Capabilities, Model, Outcome, QueryFailed, Reply, Request
from bbtvp.report.progress import lines_of
from bbtvp.runs.recording import Recording
from bbtvp.search import optimize
from bbtvp.search.events import RepliesSeen, SearchEvent
from bbtvp.search.preview import PREVIEWED, Preview, SeenReply
from tests.support import LABELS, Eye, Flaky, Recorder, patterns


def previewed(model: Model, out: Path | None = None, **options: object) -> Preview:
    told: list[SearchEvent] = []
    optimize(
        patterns(),
        model,
        **{"queries": 200, "prompt": "tone", "out": out, "watch": told.append, **options},
    )
    (event,) = [event for event in told if isinstance(event, RepliesSeen)]
    return event.preview


@final
class Says(Model):
    """Gives the same reply to everything."""

    spec = "says/one"
    capabilities = Capabilities(logprobs=False, deterministic=True)

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self.outcome] * len(requests)


# -- what is shown ---------------------------------------------------------------------------------
def test_the_first_replies_are_those_of_the_unprompted_validation_images() -> None:
    model = Recorder(Eye())
    preview = previewed(model, reader="text")
    task = patterns()
    by_pixels = {sample.pixels().tobytes(): sample for sample in task.validation}
    asked = [by_pixels[request.image.tobytes()] for request in model.calls[0]]
    assert [reply.sample for reply in preview.replies] == [sample.id for sample in asked]
    assert [reply.truth for reply in preview.replies] == [sample.answer for sample in asked]
    for request, reply in zip(model.calls[0], preview.replies, strict=True):
        said = Eye().look(request).text
        assert reply.said == said
        assert (reply.status == "answered") == (said != "I am not sure")


@pytest.mark.parametrize("reader", ["logprob", "text"])
def test_a_preview_costs_no_image_query_of_its_own(reader: str) -> None:
    model = Recorder(Eye())
    previewed(model, reader=reader)
    keys = [request.key for call in model.calls for request in call]
    assert len(model.calls[0]) == PREVIEWED
    assert len(keys) == len(set(keys))


def test_a_failed_query_of_the_preview_is_not_asked_again() -> None:
    shown: list[bytes] = []
    lossy = Flaky(Eye(), refuses=lambda request: request.image.tobytes() == shown[0])
    model = Recorder(lossy)
    shown.append(_first_asked())
    preview = previewed(model)
    assert preview.replies[0].status in ("failed", "refused")
    assert sum(r.image.tobytes() == shown[0] for call in model.calls for r in call) == 1


def _first_asked() -> bytes:
    model = Recorder(Eye())
    previewed(model)
    return model.calls[0][0].image.tobytes()


def test_scores_are_shown_as_shares_of_the_likeliest_labels() -> None:
    said = previewed(Eye()).replies[0].said
    assert said.split()[0] in LABELS
    assert said.count("%") == 3


def test_the_lines_show_each_reply_and_the_counts() -> None:
    lines = list(lines_of(RepliesSeen(previewed(Eye(), reader="text"))))
    assert len(lines) == PREVIEWED + 2
    assert "'it is rows.' → 'rows'; right is 'columns'" in lines[1]
    assert "of 8 replies give an answer" in lines[-1]


@final
class Contradicts(Model):
    """Scores what it sees, and says another label in every second reply."""

    spec = "says/another"
    capabilities = Capabilities(logprobs=True, deterministic=True)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        scored = [Eye().look(request) for request in requests]
        return [replace(reply, text=self.said(i, reply)) for i, reply in enumerate(scored)]

    @staticmethod
    def said(place: int, reply: Reply) -> str:
        likeliest = max(range(len(LABELS)), key=lambda i: (reply.scores or ())[i].logprob)
        return LABELS[(likeliest + place % 2) % len(LABELS)]


def test_scores_that_contradict_the_text_are_told() -> None:
    preview = previewed(Contradicts())
    assert preview.contradicted == PREVIEWED // 2
    assert f"in {PREVIEWED // 2}: read the text instead (--reader text)" in preview.summary


def test_scores_without_a_text_contradict_nothing() -> None:
    assert previewed(Eye()).contradicted == 0


def test_a_long_reply_is_cut_to_one_line() -> None:
    reply = SeenReply("a", "q", "rows", "so\n" + "many words " * 99, None, "unparsed", right=False)
    assert "\n" not in reply.line
    assert len(reply.line) < 200
    assert "…" in reply.line


# -- the journal -----------------------------------------------------------------------------------
def test_the_journal_keeps_the_preview_and_a_continued_run_shows_it_again(tmp_path: Path) -> None:
    first = previewed(Eye(), tmp_path, reader="text")
    kept = Recording.read(tmp_path).preview
    assert kept == json.loads(json.dumps(first.as_json()))
    model = Recorder(Eye())
    assert previewed(model, tmp_path, reader="text") == first
    assert not model.calls


# -- too many without an answer --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcome", "advice"),
    [
        (Reply("It is a picture of 12 things"), "--question"),
        (Reply("Let me look at the picture", cut=True), "max_tokens"),
    ],
)
def test_a_search_of_unread_replies_is_not_begun(outcome: Reply, advice: str) -> None:
    model = Recorder(Says(outcome))
    with pytest.raises(UnreadReplies, match=advice) as raised:
        previewed(model, unread=0.2)
    assert "8 ×" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(model.asked) == PREVIEWED


def test_numbers_do_not_make_shapes_differ() -> None:
    replies = tuple(
        SeenReply(str(i), "q", "rows", f"{i} things, 0.{i}", None, "unparsed", right=False)
        for i in range(5)
    )
    assert Preview(replies).shapes == [("N things, N", 5)]


def test_the_same_command_goes_on_where_unread_replies_are_accepted(tmp_path: Path) -> None:
    with pytest.raises(UnreadReplies):
        previewed(Says(Reply("hm")), tmp_path, unread=0.2)
    model = Recorder(Says(Reply("hm")))
    preview = previewed(model, tmp_path, unread=1)
    assert preview.unread == 1
    first = {reply.sample for reply in preview.replies}
    again = [r for r in patterns().validation if r.id in first]
    sent = {request.image.tobytes() for request in model.asked}
    assert sent.isdisjoint(sample.pixels().tobytes() for sample in again)


def test_a_refusal_is_counted_as_one() -> None:
    refused = QueryFailed("content filter", refused=True)
    replies = [SeenReply("a", "q", "rows", refused.reason, None, "refused", right=None)]
    assert "1 refused" in Preview(tuple(replies)).summary


def test_answers_whose_labels_could_not_be_scored_are_told() -> None:
    model = Says(Reply("rows", ()))
    model.capabilities = Capabilities(logprobs=True, deterministic=True)
    preview = previewed(model, reader="logprob")
    assert preview.unscored == PREVIEWED
    assert {reply.answer for reply in preview.replies} == {"rows"}
    assert f"the log-probabilities of {PREVIEWED} were not used" in preview.summary
    assert "were not used" not in previewed(Eye(), reader="logprob").summary
    assert Preview.of(preview.as_json()) == preview
