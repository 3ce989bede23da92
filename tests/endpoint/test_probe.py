"""What a probe makes of models and servers of many kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

import pytest

from bbtvp.core.errors import ModelError
from bbtvp.endpoint.probe import MOST, ProbeResult, run_probe
from bbtvp.endpoint.provider import ApiFeatures, ParsedReply, ProviderApi, Token
from bbtvp.endpoint.remote import Endpoint
from bbtvp.endpoint.values import ATTEMPTS, fewer, names_length, other_seeds, warmer
from bbtvp.models import Request, load_model

WISHED = ApiFeatures(top=20, forced=True, temperature=0.0, seed=0)
TOO_LARGE = (
    "[{'type': 'less_than_equal', 'loc': ['body', 'top_logprobs'], 'msg': 'Input should be less "
    "than or equal to 5', 'input': 20, 'ctx': {'le': 5}}]"
)
FORBIDDEN = (
    "[{'type': 'extra_forbidden', 'loc': ['body', 'top_logprobs'], 'msg': 'Extra inputs are not "
    "permitted', 'input': 20}]"
)
"""Errors as pydantic writes them."""


def right(request: Request) -> str:
    return "red" if request.image[..., 0].mean() > request.image[..., 2].mean() else "blue"


def swapped(colour: str) -> str:
    return {"red": "blue", "blue": "red"}.get(colour, "red")


def said(colour: str, top: int) -> ParsedReply:
    """A colour as the whole reply, likelier than the other."""
    shown = {colour: -0.05, swapped(colour): -3.1} if top else {}
    return ParsedReply((colour,), (Token(colour, -0.05, shown),) if top else (), output_tokens=1)


@final
class Scripted:
    """A model that looks at the pixels. refuse: raises ModelError for features it does not take."""

    def __init__(
        self,
        answer: Callable[[Request, ApiFeatures], ParsedReply] | None = None,
        refuse: Callable[[ApiFeatures], str | None] = lambda _: None,
    ) -> None:
        self.answer = answer
        self.refuse = refuse
        self.asked: list[ApiFeatures] = []

    def __call__(self, request: Request, features: ApiFeatures) -> ParsedReply:
        self.asked.append(features)
        why = "unsupported field" if features.forced else self.refuse(features)
        if why:
            raise ModelError(f"HTTP 400 invalid_request_error: {why}")
        if self.answer:
            return self.answer(request, features)
        return said(right(request), features.top)


@pytest.fixture
def api() -> ProviderApi:
    model = load_model("openai-api/lab/m", base_url="http://127.0.0.1:9", store=False)
    assert isinstance(model, Endpoint)
    return model.api


def probed(api: ProviderApi, model: Scripted) -> ProbeResult:
    return run_probe(api, model, WISHED)


# -- a field that is refused for its value ---------------------------------------------------------
@pytest.mark.parametrize(
    ("most", "said_of"),
    [
        (5, "top_logprobs must be between 0 and 5, got 20"),
        (5, "top_logprobs must be <= 5"),
        (5, "at most 5 alternatives per token"),
        (
            5,
            TOO_LARGE,
        ),
        (8, "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 8, got 20."),
        (4, "logprobs must be in the range [1, 5)"),
        (10, "Requested sample logprobs of 20, which is greater than max allowed: 10"),
        (10, "top_logprobs is one of 1, 5, 10"),
        (5, "Bad Request"),
        (2, "Bad Request"),
        (5, "top_logprobs: 20 is not supported"),
        (5, "invalid value for top_logprobs"),
    ],
)
def test_fewer_alternatives_are_asked_for_where_twenty_are_too_many(
    api: ProviderApi, most: int, said_of: str
) -> None:
    model = Scripted(refuse=lambda features: said_of if features.top > most else None)
    found = probed(api, model)
    assert found.capabilities.logprobs
    assert 0 < found.features.top <= most
    assert sum(features.top > most for features in model.asked) <= ATTEMPTS
    assert any("20 rejected" in finding for finding in found.findings)


@pytest.mark.parametrize(
    "why",
    [
        "unsupported field",
        "Unknown name logprobs: cannot find field",
        "Logprobs is not enabled for this model",
        "This model does not support logprobs",
        FORBIDDEN,
    ],
)
def test_a_field_that_is_unknown_is_tried_once(api: ProviderApi, why: str) -> None:
    model = Scripted(refuse=lambda features: why if features.top else None)
    found = probed(api, model)
    assert not found.capabilities.logprobs
    assert sum(features.top > 0 for features in model.asked) == 1
    assert len(model.asked) <= MOST


def test_a_server_that_takes_no_number_is_asked_a_bounded_number_of_times(api: ProviderApi) -> None:
    model = Scripted(refuse=lambda features: "Bad Request" if features.top else None)
    found = probed(api, model)
    assert not found.capabilities.logprobs
    assert sum(features.top > 0 for features in model.asked) == 3
    assert len([finding for finding in found.findings if "log-prob" in finding]) == 1


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("`temperature` must be strictly positive", (0.01,)),
        ("temperature must be between 0.1 and 1.0", (0.1, 0.01)),
        ("'temperature' does not support 0.0. Only the default (1) value is supported.", ()),
        ("Unsupported parameter: temperature", ()),
    ],
)
def test_temperatures_that_are_near_enough_to_zero(why: str, expected: Sequence[float]) -> None:
    assert tuple(warmer(f"HTTP 400: {why}")) == expected


def test_a_temperature_and_a_seed_of_zero_that_are_refused(api: ProviderApi) -> None:
    def refuse(features: ApiFeatures) -> str | None:
        if features.temperature == 0:
            return "`temperature` must be strictly positive"
        return "seed must be greater than 0" if features.seed == 0 else None

    found = probed(api, Scripted(refuse=refuse))
    assert (found.features.temperature, found.features.seed) == (0.01, 1)
    assert "seed: 0 rejected, 1 accepted" in found.findings
    assert found.capabilities.deterministic


def test_a_failure_that_is_no_refusal_offers_no_other_value() -> None:
    for why in ("no answer", "HTTP 500: at most 5", "HTTP 429: at most 5 requests"):
        assert not [*fewer(why, 20), *warmer(why), *other_seeds(why)]


def test_the_longest_reply_goes_under_the_name_that_the_server_takes(api: ProviderApi) -> None:
    why = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    model = Scripted(refuse=lambda features: None if features.other_length else why)
    found = probed(api, model)
    assert found.features.other_length
    assert sum(not features.other_length for features in model.asked) == 1
    assert not names_length("HTTP 400: no such model")
    with pytest.raises(ModelError, match="no such model"):
        probed(api, Scripted(refuse=lambda _: "no such model"))


# -- the label that is scored and the label that is said -------------------------------------------
def test_scores_that_are_not_of_the_label_said_are_not_used(api: ProviderApi) -> None:
    def answer(request: Request, features: ApiFeatures) -> ParsedReply:
        colour = right(request)
        top = {"Red": -0.1, "blue": -3.0} if features.top else {}
        return ParsedReply((colour,), (Token(colour, -2.0, top),) if top else ())

    found = probed(api, Scripted(answer))
    assert not found.capabilities.logprobs
    assert found.features.top == 0
    assert any("is the label that is said in 2 of 3 replies" in each for each in found.findings)


def test_tokens_that_spell_something_else_are_told(api: ProviderApi) -> None:
    def answer(request: Request, features: ApiFeatures) -> ParsedReply:
        return ParsedReply((right(request),), unspelt=features.top > 0)

    found = probed(api, Scripted(answer))
    assert not found.capabilities.logprobs
    assert "log-probabilities: not used, their tokens do not spell the reply" in found.findings


def test_a_label_after_a_lead_in_needs_no_structured_output(api: ProviderApi) -> None:
    def answer(request: Request, features: ApiFeatures) -> ParsedReply:
        plain = said(right(request), features.top)
        lead = (Token("Answer: ", -0.1, {"Answer: ": -0.1, "blue": -4.0}),)
        tokens = (*lead, *plain.tokens) if features.top else ()
        return replace(plain, texts=(f"Answer: {right(request)}",), tokens=tokens)

    found = probed(api, Scripted(answer))
    assert found.capabilities.logprobs
    assert found.capabilities.how == "top 2 alternatives"


# -- replies that say nothing ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (ParsedReply(("",), truncated=True, output_tokens=16, thought=True), "all 16 tokens"),
        (ParsedReply((), truncated=True), "raise -M max_tokens, for instance to 2048"),
        (ParsedReply((" \n",), thought=True, output_tokens=4096), "for instance to 16384"),
        (ParsedReply(("<think>\nIt is a picture of",), truncated=True), "raise -M max_tokens"),
        (ParsedReply(("◁think▷The image",), truncated=True, output_tokens=16), "raise -M max_tok"),
        (ParsedReply(("",)), "an empty reply to a plain question"),
    ],
)
def test_an_empty_reply_ends_the_probe_at_once(
    api: ProviderApi, reply: ParsedReply, told: str
) -> None:
    model = Scripted(lambda request, features: reply)
    with pytest.raises(ModelError, match=told):
        probed(api, model)
    assert len(model.asked) == 1


def test_a_reply_that_is_cut_in_its_answer_is_no_empty_one(api: ProviderApi) -> None:
    found = probed(api, Scripted(lambda *_: ParsedReply(("A solid field of",), truncated=True)))
    assert any("right for neither" in finding for finding in found.findings)
    same = probed(api, Scripted(lambda *_: ParsedReply(("red",))))
    assert any(finding.startswith("a red and a blue image gave") for finding in same.findings)
    assert not any("right for neither" in finding for finding in same.findings)


# -- thoughts --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "thought", "thinks"),
    [
        ("red", True, True),
        ("<think>Warm.</think>red", False, True),
        ("Warm.</think>\n\nred", False, True),
        ("[THINK]Warm.[/THINK]red", False, True),
        ("red", False, False),
        ("I think it is red", False, False),
    ],
)
def test_a_model_that_thinks_is_known_by_its_replies(
    api: ProviderApi, text: str, thought: bool, thinks: bool
) -> None:
    found = probed(api, Scripted(lambda *_: ParsedReply((text,), thought=thought)))
    assert found.features.thinks == found.capabilities.thinks == thinks
