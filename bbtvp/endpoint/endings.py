"""How a reply ended, from the word that the server gives as its reason.

Servers use some sixty words for it. A text is an answer only if the model finished it: a text that
ends with an error is a part of one, and a text that a filter ended is none.
"""

from __future__ import annotations

import re
from enum import Enum
from types import MappingProxyType
from typing import final


@final
class Ending(Enum):
    """What the end of a reply makes of its text."""

    COMPLETE = "complete"
    """The model finished: the text is its answer."""
    CUT = "cut"
    """The text stopped at a limit of tokens."""
    REFUSED = "refused"
    """The model or a filter would not answer."""
    FAILED = "failed"
    """The server did not finish; another attempt may."""
    UNKNOWN = "unknown"
    """The word is not known, and suggests nothing: the text is not read as an answer."""


def ending_of(word: object) -> Ending:
    """Return what a server's word for the end of a reply means.

    word: as the reply gives it, in any case; None and "" count as COMPLETE, since many servers give
    no reason for an ordinary end. SGLang's own form, an object with a `type`, is read too. A word
    that is not in the lists is judged by its parts: "max_turn_tokens" is CUT.
    """
    if isinstance(word, dict):
        word = word.get("type")
    if word is None or word == "":
        return Ending.COMPLETE
    plain = re.sub(r"[\s-]+", "_", str(word).strip()).lower()
    if found := _LISTED.get(plain):
        return found
    return next((found for part, found in _PARTS if part.search(plain)), Ending.UNKNOWN)


def failure_of(word: object) -> str | None:
    """Return why a text with this ending is no answer, None if the ending is no failure."""
    ending = ending_of(word)
    if ending is Ending.FAILED:
        return f"the reply ended with {word!r}, before the answer was finished"
    if ending is Ending.UNKNOWN:
        return f"the reply ended with {word!r}, a word that is not known: it is not read"
    return None


# Sources: the types of the SDKs of OpenAI, Anthropic, Google and AWS; the source text of vLLM
# (FINISH_REASON_STRINGS), SGLang, llama.cpp, Text Generation Inference and LiteLLM
# (map_finish_reason); the API references of Mistral, DeepSeek, Z.ai, Cohere, Together and
# OpenRouter, which passes "error" on when the server behind it fails.
_WORDS = {
    Ending.COMPLETE: """
        stop stop_sequence stop_str stop_token stop_criteria_met end_turn eos eos_token eosfound
        eos_found complete completed done finish_reason_unspecified normal
        tool_calls tool_use function_call
    """,
    # The text so far of a repetition is the model's own; vLLM ends it.
    Ending.CUT: """
        length max_length max_tokens max_output_tokens max_completion_tokens token_limit
        model_length error_limit continuation compaction incomplete repetition
        model_context_window_exceeded context_window_exceeded context_length_exceeded
    """,
    Ending.REFUSED: """
        content_filter content_filtered contentfilter refusal refused sensitive error_toxic
        guardrail_intervened safety recitation blocklist prohibited_content spii model_armor
        image_safety image_prohibited_content image_recitation escalation
    """,
    Ending.FAILED: """
        error abort aborted cancelled canceled cancel user_cancel interrupted failed timeout
        time_limit insufficient_system_resource network_error not_finished in_progress queued
        malformed_function_call malformed_tool_use malformed_model_output malformed_response
        unexpected_tool_call too_many_tool_calls missing_thought_signature pause_turn
        other language no_image image_other pup_limited_disabled load unload unknown
    """,
}
_LISTED = MappingProxyType({word: kind for kind, words in _WORDS.items() for word in words.split()})
_PARTS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (
            r"filter|safety|moderat|toxic|sensitiv|prohibit|guard|polic|refus|block|flagged|censor",
            Ending.REFUSED,
        ),
        (r"error|abort|cancel|fail|timeout|timed_out|malform|interrupt|overload", Ending.FAILED),
        (r"length|limit|max_|_max|tokens|truncat|window", Ending.CUT),
        (r"^(stop|eos|eot|end|finish|complete)|_(stop|eos|eot|end|complete)$", Ending.COMPLETE),
    )
)
