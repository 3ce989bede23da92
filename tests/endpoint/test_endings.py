"""What the end of a reply makes of its text, in the words of every server."""

from __future__ import annotations

from typing import Any

import pytest

from bbtvp.endpoint.endings import Ending, ending_of, failure_of


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (Ending.COMPLETE, [None, "", "stop", "STOP", "end_turn", "eos", "eosFound", "COMPLETE"]),
        (Ending.CUT, ["length", "MAX_TOKENS", "max_output_tokens", "model_length", "max-tokens"]),
        (Ending.REFUSED, ["content_filter", "content-filter", "sensitive", "IMAGE_SAFETY"]),
        (Ending.REFUSED, ["guardrail_intervened", "ERROR_TOXIC", "refusal", "RECITATION"]),
        (Ending.FAILED, ["error", "abort", "insufficient_system_resource", "network_error"]),
        (Ending.FAILED, ["MALFORMED_FUNCTION_CALL", "OTHER", "cancelled", "pause_turn"]),
    ],
)
def test_words_of_servers(ending: Ending, words: list[str | None]) -> None:
    for word in words:
        assert ending_of(word) is ending, word


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("eot_token", Ending.COMPLETE),
        ("stop_by_user_string", Ending.COMPLETE),
        ("natural_stop", Ending.COMPLETE),
        ("output_limit", Ending.CUT),
        ("blocked_by_policy", Ending.REFUSED),
        ("upstream_error", Ending.FAILED),
        ("stop_on_error", Ending.FAILED),
        ("generation_timed_out", Ending.FAILED),
    ],
)
def test_a_word_that_is_not_listed_is_judged_by_its_parts(word: str, ending: Ending) -> None:
    assert ending_of(word) is ending


@pytest.mark.parametrize("word", ["qux", 7, True, ["stop"], {"type": "qux"}, {"a": 1}.get])
def test_a_word_that_suggests_nothing_is_no_answer_and_is_said(word: Any) -> None:
    assert ending_of(word) is Ending.UNKNOWN
    assert "a word that is not known" in str(failure_of(word))


def test_only_failures_have_a_reason() -> None:
    assert failure_of("stop") is None and failure_of("length") is None
    assert failure_of("content_filter") is None
    assert "'abort'" in str(failure_of("abort"))
    assert ending_of({"type": "abort", "message": "killed"}) is Ending.FAILED
