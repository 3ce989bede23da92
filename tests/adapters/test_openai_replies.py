"""OpenAI: what replies say. The samples are of the SDK's own response types."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from bbtvp.adapters.openai_chat import Chat
from bbtvp.adapters.openai_options import OpenAIForm, Options
from bbtvp.adapters.openai_responses import Responses
from bbtvp.endpoint.provider import ParsedReply, Token

CHAT = Chat(Options("gpt-4.1"))
RESPONSES = Responses(Options("gpt-4.1"))


SERVED = "gpt-4.1-2025-04-14 fp_1"


def token(
    text: str | bytes, logprob: float, top: dict[str | bytes, float] | None = None
) -> dict[str, Any]:
    """A token as the API shows it; bytes that are no text of their own come as such."""
    raw = text.encode() if isinstance(text, str) else text
    shown = {"token": raw.decode(errors="replace"), "bytes": list(raw), "logprob": logprob}
    if top is not None:
        shown["top_logprobs"] = [token(other, value) for other, value in top.items()]
        for other in shown["top_logprobs"]:
            other.pop("top_logprobs", None)
    return shown


def choice(
    content: Any = "rows", *, index: int = 0, finish: str = "stop", **fields: Any
) -> dict[str, Any]:
    shown = fields.pop("tokens", None)
    message = {
        "role": "assistant",
        "content": content,
        "refusal": fields.pop("refusal", None),
        "annotations": [],
    }
    logprobs = None if shown is None else {"content": shown, "refusal": None}
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": finish,
        **fields,
    }


def chat(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {
        "prompt_tokens": 262,
        "completion_tokens": 4,
        "total_tokens": 266,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    reply = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "gpt-4.1-2025-04-14",
        "choices": list(choices),
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        **fields,
    }
    ChatCompletion.model_validate(reply)
    return reply


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": list(parts),
    }


def said(text: str, tokens: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": tokens or []}


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 262,
        "output_tokens": 70,
        "total_tokens": 332,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 64},
    }
    reply = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "model": "gpt-5-mini",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": usage,
        **fields,
    }
    Response.model_validate(reply)
    return reply


# -- texts -----------------------------------------------------------------------------------------
def test_a_text_and_what_it_cost() -> None:
    assert CHAT.parse(chat(choice("rows"))) == ParsedReply(
        ("rows",), input_tokens=262, output_tokens=4, model=SERVED
    )
    assert RESPONSES.parse(response(THOUGHT, message(said("rows")))) == ParsedReply(
        ("rows",), input_tokens=262, output_tokens=70, model="gpt-5-mini", thought=True
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"system_fingerprint": None}, "gpt-4.1-2025-04-14"),
        ({"model": ""}, "fp_1"),
        ({"model": 4}, "fp_1"),
        ({"model": None, "system_fingerprint": ["fp"]}, ""),
    ],
)
def test_what_answered_is_told_as_far_as_the_reply_does(fields: dict[str, Any], told: str) -> None:
    assert CHAT.parse(chat(choice("rows")) | fields).model == told


def test_every_sample_is_there() -> None:
    texts = ("rows", "columns", "rows")
    assert CHAT.parse(chat(*(choice(text, index=i) for i, text in enumerate(texts)))).texts == texts


def test_a_text_in_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "ro"},
        {"type": "text", "text": "ws"},
    ]
    reply = chat(choice("rows"))
    reply["choices"][0]["message"]["content"] = parts  # as some compatible servers do
    assert CHAT.parse(reply).texts == ("rows",)
    assert RESPONSES.parse(response(message(said("ro"), said("ws")))).texts == ("rows",)


def test_no_text_at_all() -> None:
    assert CHAT.parse(chat(choice(None))).texts == ("",)
    assert RESPONSES.parse(response(THOUGHT)).texts == ("",)


def test_a_reply_that_ran_into_the_limit_says_so() -> None:
    cut = CHAT.parse(chat(choice('{"answer":"ro', finish="length")))
    assert (cut.texts, cut.truncated, cut.refusal) == (('{"answer":"ro',), True, None)
    spent = response(
        THOUGHT, status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    )
    thought = RESPONSES.parse(spent)
    assert (thought.texts, thought.truncated, thought.refusal) == (("",), True, None)


def test_a_wrapped_label_comes_out_of_its_wrapping_and_plain_text_does_not() -> None:
    wrapped = '{"answer": "rows"}'
    assert CHAT.parse(chat(choice(wrapped), choice("rows.", index=1))).texts == ("rows", "rows.")
    assert RESPONSES.parse(response(message(said(wrapped)))).texts == ("rows",)
    assert CHAT.parse(chat(choice('{"answer": "rows", "sure": true}'))).texts == (
        '{"answer": "rows", "sure": true}',
    )


# -- refusals --------------------------------------------------------------------------------------
def test_refusals() -> None:
    no = "I cannot help with that."
    assert CHAT.parse(chat(choice(None, refusal=no))) == ParsedReply(
        ("",), (), no, False, 262, 4, SERVED
    )
    reply = chat(choice("x"))
    reply["choices"][0]["message"]["content"] = [{"type": "refusal", "refusal": no}]
    assert CHAT.parse(reply).refusal == no
    refused = RESPONSES.parse(response(message({"type": "refusal", "refusal": no})))
    assert refused == ParsedReply(("",), (), no, False, 262, 70, "gpt-5-mini", thought=True)


def test_what_a_filter_cut_off_is_no_answer() -> None:
    cut = CHAT.parse(chat(choice("it shows a", finish="content_filter")))
    assert (cut.texts, cut.refusal) == (("",), "content filter")
    partial = response(
        message(said("it shows a")),
        status="incomplete",
        incomplete_details={"reason": "content_filter"},
    )
    assert (RESPONSES.parse(partial).texts, RESPONSES.parse(partial).refusal) == (
        ("",),
        "content filter",
    )


def test_one_refused_sample_among_others_is_empty_and_no_refusal_of_all() -> None:
    mixed = CHAT.parse(chat(choice(None, refusal="no"), choice("rows", index=1)))
    assert (mixed.texts, mixed.refusal) == (("", "rows"), None)
    none = CHAT.parse(
        chat(choice(None, refusal="no"), choice("x", index=1, finish="content_filter"))
    )
    assert (none.texts, none.refusal) == (("", ""), "no")


# -- tokens ----------------------------------------------------------------------------------------
def both(text: str, tokens: list[dict[str, Any]]) -> tuple[Token, ...]:
    """The tokens, which the two forms must agree about."""
    for shown in tokens:
        shown.setdefault("top_logprobs", [])
    found = CHAT.parse(chat(choice(text, tokens=tokens))).tokens
    assert RESPONSES.parse(response(message(said(text, tokens)))).tokens == found
    return found


def test_tokens_come_with_their_alternatives() -> None:
    shown = [
        token("row", -0.1, {"row": -0.1, "column": -2.5}),
        token("s", -0.01, {"s": -0.01, ".": -6.0}),
    ]
    assert both("rows", shown) == (
        Token("row", -0.1, {"row": -0.1, "column": -2.5}),
        Token("s", -0.01, {"s": -0.01, ".": -6.0}),
    )


def test_a_token_is_among_its_own_alternatives_even_if_it_is_unlikely() -> None:
    assert both("zebra", [token("zebra", -9.0, {"rows": -0.1})]) == (
        Token("zebra", -9.0, {"zebra": -9.0, "rows": -0.1}),
    )


def test_only_the_label_has_tokens_in_a_forced_reply() -> None:
    shown = [token(text, -0.2, {text: -0.2}) for text in ('{"', "answer", '":"')]
    shown += [token("rows", -0.3, {"rows": -0.3, "columns": -1.4}), token('"}', -0.1, {'"}': -0.1})]
    assert both('{"answer":"rows"}', shown) == (
        Token("rows", -0.3, {"rows": -0.3, "columns": -1.4}),
        Token('"}', -0.1, {'"}': -0.1}),
    )


def test_parts_of_a_character_become_one_token() -> None:
    first = "日".encode()[:2]
    rest = "日".encode()[2:]
    shown = [
        token(b" " + first, -0.5, {b" " + first: -0.5, "rows": -1.5}),
        token(rest, -0.25, {rest: -0.25, b"\x80": -3}),
    ]
    shown += [token("本", -0.1, {"本": -0.1})]
    assert both(" 日本", shown) == (
        Token(" 日", -0.75, {" 日": -0.75, "rows": -1.5}),
        Token("本", -0.1, {"本": -0.1}),
    )


def test_a_reply_cut_within_a_character_keeps_the_tokens_before() -> None:
    found = both(
        "a\ufffd", [token("a", -0.1, {"a": -0.1}), token("日".encode()[:1], -0.2, {"b": -2.0})]
    )
    assert found == (Token("a", -0.1, {"a": -0.1}), Token("\ufffd", -0.2, {"b": -2.0}))


def test_alternatives_that_read_alike_are_added_up() -> None:
    shown = [token("rows", math.log(0.5), {"rows": math.log(0.5)})]
    shown[0]["top_logprobs"] += [token("rows", math.log(0.25))]
    assert both("rows", shown)[0].top["rows"] == pytest.approx(math.log(0.75))


def test_tokens_without_bytes_are_text() -> None:
    shown = {"token": "rows", "bytes": None, "logprob": -0.1, "top_logprobs": []}
    assert CHAT.parse(chat(choice("rows", tokens=[shown]))).tokens == (
        Token("rows", -0.1, {"rows": -0.1}),
    )


def test_rounding_may_not_make_a_certainty_more_than_certain() -> None:
    assert both("rows", [token("rows", 1e-7, {"rows": 1e-7})]) == (
        Token("rows", 0.0, {"rows": 0.0}),
    )


@pytest.mark.parametrize("logprob", [0.9, math.nan, math.inf])
def test_what_cannot_be_a_log_probability_is_refused(logprob: float) -> None:
    reply = chat(choice("rows", tokens=[token("rows", -0.1, {"rows": -0.1})]))
    reply["choices"][0]["logprobs"]["content"][0]["logprob"] = logprob
    with pytest.raises(ValueError, match="is no log-probability"):
        CHAT.parse(reply)


# -- usage -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"prompt_tokens": 9, "completion_tokens": 70, "total_tokens": 79}, (9, 70)),
        (
            {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 79},
            (9, 70),
        ),  # reasoning in the total only
        ({"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 0}, (9, 6)),
        ({"prompt_tokens": 9, "completion_tokens": 6}, (9, 6)),
        ({"prompt_tokens": True, "completion_tokens": -6, "total_tokens": 1.5}, (None, None)),
        ({"prompt_tokens": None, "completion_tokens": 6, "total_tokens": 15}, (None, 6)),
    ],
)
def test_tokens_are_counted_as_they_are_billed(
    usage: Any, expected: tuple[int | None, int | None]
) -> None:
    reply = chat(choice())
    reply["usage"] = usage
    parsed = CHAT.parse(reply)
    assert (parsed.input_tokens, parsed.output_tokens) == expected


# -- thoughts --------------------------------------------------------------------------------------
TEXT_THOUGHT = "It might be columns, but it is rows"


def thinking(content: Any = "rows", **fields: Any) -> dict[str, Any]:
    """A choice whose message has further fields."""
    made = choice(content, tokens=fields.pop("tokens", None))
    made["message"] |= fields
    return made


@pytest.mark.parametrize(
    "made",
    [
        thinking(reasoning_content=TEXT_THOUGHT),
        thinking(reasoning=TEXT_THOUGHT),
        thinking(thinking=TEXT_THOUGHT),
        thinking(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": TEXT_THOUGHT}]},
                {"type": "text", "text": "rows"},
            ]
        ),
        thinking(
            [
                {"type": "text", "text": TEXT_THOUGHT, "thought": True},
                {"type": "text", "text": "rows"},
            ]
        ),
        thinking([{"type": "reasoning", "text": TEXT_THOUGHT}, {"type": "text", "text": "rows"}]),
    ],
)
def test_a_thought_that_is_given_apart_is_no_text(made: dict[str, Any]) -> None:
    parsed = CHAT.parse(chat(choice()) | {"choices": [made]})
    assert (parsed.texts, parsed.thought) == (("rows",), True)


def test_a_reply_without_a_thought_has_none() -> None:
    empty = {"reasoning_content": None, "reasoning": ""}
    assert not CHAT.parse(chat(choice()) | {"choices": [thinking(**empty)]}).thought


def test_tokens_of_reasoning_in_the_usage_are_a_thought() -> None:
    reply = chat(choice())
    assert not CHAT.parse(reply).thought
    reply["usage"]["completion_tokens_details"]["reasoning_tokens"] = 64
    assert CHAT.parse(reply).thought


def test_tokens_of_a_thought_are_cut_off() -> None:
    pieces = ("<think>", TEXT_THOUGHT, "</think>", "rows")
    tokens = [token(piece, -0.1, {piece: -0.1}) for piece in pieces]
    parsed = CHAT.parse(chat(choice("rows", tokens=tokens)))
    assert ([each.text for each in parsed.tokens], parsed.unspelt) == (["rows"], False)


@pytest.mark.parametrize("pieces", [(TEXT_THOUGHT,), ("columns",), ("<think>", "rows", "</think>")])
def test_tokens_that_do_not_spell_the_text_are_not_used(pieces: tuple[str, ...]) -> None:
    made = thinking(tokens=[token(piece, -0.1) for piece in pieces], reasoning=TEXT_THOUGHT)
    parsed = CHAT.parse(chat(choice()) | {"choices": [made]})
    assert (parsed.texts, parsed.tokens, parsed.unspelt) == (("rows",), (), True)


# -- probability zero, and other forms -------------------------------------------------------------
@pytest.mark.parametrize("never", [-math.inf, None, "-Infinity", "-inf"])
def test_an_alternative_of_minus_infinity_is_one(never: Any) -> None:
    shown = token("rows", 0.0, {"rows": 0.0, "checks": -1.0})
    shown["top_logprobs"][1]["logprob"] = never
    reply = chat(choice("rows"))
    reply["choices"][0]["logprobs"] = {"content": [shown]}
    assert CHAT.parse(reply).tokens == (Token("rows", 0.0, {"rows": 0.0, "checks": -math.inf}),)


@pytest.mark.parametrize("wrong", [math.inf, math.nan, 1.0, "Infinity", "NaN", "much"])
def test_an_alternative_that_is_no_log_probability_is_refused(wrong: Any) -> None:
    shown = token("rows", 0.0, {"checks": -1.0})
    shown["top_logprobs"][0]["logprob"] = wrong
    reply = chat(choice("rows"))
    reply["choices"][0]["logprobs"] = {"content": [shown]}
    with pytest.raises((TypeError, ValueError)):
        CHAT.parse(reply)


def test_the_older_form_of_log_probabilities_is_read() -> None:
    reply = chat(choice("It is rows"))
    reply["choices"][0]["logprobs"] = {
        "tokens": ["It is", " rows"],
        "token_logprobs": [-0.5, -0.1],
        "top_logprobs": [None, {" rows": -0.1, " checks": -2.5}],
    }
    assert CHAT.parse(reply).tokens == (
        Token("It is", -0.5, {"It is": -0.5}),
        Token(" rows", -0.1, {" rows": -0.1, " checks": -2.5}),
    )
    del reply["choices"][0]["logprobs"]["top_logprobs"]
    assert CHAT.parse(reply).tokens[1] == (" rows", -0.1, {" rows": -0.1})


# -- what is not of this API -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            {"error": {"message": "backend is down", "type": "server_error", "code": None}},
            "backend is down",
        ),
        ({"error": "model not found"}, "model not found"),
        ({"error": {"code": 502}}, "502"),
    ],
)
@pytest.mark.parametrize("form", [CHAT, RESPONSES])
def test_an_error_that_comes_as_200_is_no_answer(
    form: OpenAIForm, error: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"200 with an error: .*{message}"):
        form.parse(error)


def test_an_error_within_a_choice_is_no_answer() -> None:
    reply = chat(choice("ro"))
    reply["choices"][0]["error"] = {"code": 502, "message": "provider returned error"}
    with pytest.raises(ValueError, match="provider returned error"):
        CHAT.parse(reply)


@pytest.mark.parametrize("status", ["failed", "cancelled", "in_progress", "queued"])
def test_a_response_that_did_not_end_is_no_answer(status: str) -> None:
    parsed = RESPONSES.parse(response(message(said("rows")), status=status))
    assert parsed.texts == ("",) and status in str(parsed.failure)


def ended(word: Any) -> ParsedReply:
    """What is read from a choice that ended in this way, in the words of any server."""
    reply = chat(choice("rows"))
    reply["choices"][0]["finish_reason"] = word
    return CHAT.parse(reply)


@pytest.mark.parametrize(
    "word", ["error", "abort", "insufficient_system_resource", "network_error", "qux"]
)
def test_a_choice_that_ended_in_an_error_is_a_failure_and_no_text(word: str) -> None:
    parsed = ended(word)
    assert parsed.texts == ("",) and parsed.refusal is None and word in str(parsed.failure)


@pytest.mark.parametrize("word", ["content_filter", "sensitive", "SAFETY", "content-filter"])
def test_a_filtered_choice_without_a_message_is_a_refusal(word: str) -> None:
    results = {"violence": {"filtered": True, "severity": "medium"}}
    shown = {"index": 0, "finish_reason": word, "content_filter_results": results}
    parsed = CHAT.parse({"choices": [shown], "usage": {}})
    assert "content filter: violence (medium)" in str(parsed.refusal)
    assert parsed.failure is None and parsed.texts == ("",)


@pytest.mark.parametrize("place", ["choice", "provider_specific_fields"])
def test_the_word_of_the_server_behind_a_gateway_counts(place: str) -> None:
    def behind(word: str) -> ParsedReply:
        native = {"native_finish_reason": word}
        shown = native if place == "choice" else {place: native}
        return CHAT.parse(chat(choice("rows") | shown))

    assert behind("error").failure and behind("RECITATION").refusal
    for harmless in ("STOP", "end_turn", "something new", ""):
        assert (behind(harmless).texts, behind(harmless).failure) == (("rows",), None)


@pytest.mark.parametrize("word", ["length", "max_tokens", "model_length", "repetition"])
def test_a_choice_that_ended_at_a_limit_is_cut(word: str) -> None:
    parsed = ended(word)
    assert (parsed.texts, parsed.truncated, parsed.failure) == (("rows",), True, None)


@pytest.mark.parametrize("word", [None, "", "stop", "eos", "end_turn", {"type": "stop"}])
def test_an_ordinary_end_is_an_answer(word: Any) -> None:
    parsed = ended(word)
    assert (parsed.texts, parsed.truncated, parsed.failure) == (("rows",), False, None)


def test_no_choices_are_no_answer() -> None:
    with pytest.raises(ValueError, match="no choices"):
        CHAT.parse(chat())


def damaged(value: Any) -> Iterator[Any]:
    """Every copy of a JSON value in which one part is gone, or is something else."""
    yield from (None, "<html>", 7, -1.5, True, [], {}, [None], ["x"], {"x": 1})
    if isinstance(value, dict):
        for name in value:
            yield {other: part for other, part in value.items() if other != name}
            yield from ({**value, name: other} for other in damaged(value[name]))
    if isinstance(value, list):
        for i, part in enumerate(value):
            yield from ([*value[:i], other, *value[i + 1 :]] for other in damaged(part))


FULL = [token("rows", -0.3, {"rows": -0.3, "columns": -1.4})]


@pytest.mark.parametrize(
    ("form", "reply"),
    [
        (CHAT, chat(choice("rows", tokens=FULL), choice(None, index=1, refusal="no"))),
        (
            RESPONSES,
            response(THOUGHT, message(said("rows", FULL), {"type": "refusal", "refusal": "no"})),
        ),
        (
            RESPONSES,
            response(
                message(said("rows", FULL)), incomplete_details={"reason": "max_output_tokens"}
            ),
        ),
    ],
)
def test_whatever_is_wrong_with_a_reply_only_the_promised_errors_come_out(
    form: OpenAIForm, reply: dict[str, Any]
) -> None:
    reasons = []
    untouched = copy.deepcopy(reply)
    for bad in damaged(reply):
        try:
            parsed = form.parse(json.loads(json.dumps(bad)))
        except (LookupError, TypeError, ValueError) as error:
            reasons.append(str(error))
        else:
            assert all(isinstance(text, str) for text in parsed.texts)
            assert isinstance(parsed.refusal, str | None)
            assert all(
                isinstance(count, int | None)
                for count in (parsed.input_tokens, parsed.output_tokens)
            )
    assert len(reasons) > 80 and all(reasons)
    assert reply == untouched
