"""What replies mean: every form of a hint, every status, and no secret in any message."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbtvp.endpoint.faults import (
    MESSAGE_LENGTH,
    FailureDecision,
    judge,
    redact,
    summarise,
)
from bbtvp.endpoint.waits import LONGEST_WAIT, wait_hint

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC).timestamp()
KEY = "sk-proj/Kq7+fJ2mN8=vX4bZ1c"


def google(message: str = "", *details: object) -> bytes:
    error = {
        "code": 429,
        "message": message,
        "status": "RESOURCE_EXHAUSTED",
        "details": list(details),
    }
    return json.dumps({"error": error}).encode()


# -- waits -----------------------------------------------------------------------------------------
def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(NOW + seconds, UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"Retry-After": format_datetime(at(90), usegmt=True)}, 90),
        ({"Retry-After": "2s"}, 2),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"Retry-After-Ms": "120"}, 0.12),
        ({"x-ratelimit-reset-requests": "1m30s"}, 90),
        ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "1s"}, 360),
        (
            {
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "900",
                "x-ratelimit-reset-requests": "8.64s",
                "x-ratelimit-remaining-requests": "0",
            },
            8.64,
        ),
        ({"anthropic-ratelimit-requests-reset": at(42).isoformat().replace("+00:00", "Z")}, 42),
        ({"anthropic-ratelimit-input-tokens-reset": at(12).isoformat()}, 12),
        ({"Retry-After": "3", "x-ratelimit-reset-requests": "1m"}, 3),
        ({"Retry-After": at(5).isoformat()}, 5),
        ({"Retry-After": f"{NOW + 8:.0f}"}, 8),
        ({"Retry-After": "2 minutes"}, 120),
        ({"X-Retry-After": "6"}, 6),
        ({"x-ratelimit-reset-requests": f"{NOW + 2:.0f}"}, 2),
        ({"x-ratelimit-reset-requests": f"{NOW + 2.5}"}, 2.5),
        ({"X-RateLimit-Reset": f"{(NOW + 3) * 1000:.0f}", "X-RateLimit-Remaining": "0"}, 3),
        ({"ratelimit-reset": f"{(NOW + 4) * 1e6:.0f}"}, 4),
        ({"x-rate-limit-reset": f"{(NOW + 5) * 1e9:.0f}"}, 5),
        ({"x-ratelimit-reset-tokens": format_datetime(at(9), usegmt=True)}, 9),
        ({"x-ratelimit-reset-tokens-minute": "2m3.5s"}, 123.5),
        ({"x-ratelimit-reset-requests": "86400"}, LONGEST_WAIT),
        ({"x-ratelimit-reset-requests": "1500\u00b5s"}, 0.0015),
        ({"RateLimit": '"default";r=0;t=7'}, 7),
        ({"RateLimit": "limit=100, remaining=0, reset=11"}, 11),
        # Their clock is an hour behind ours: its own date shows it.
        (
            {
                "x-ratelimit-reset-requests": f"{NOW - 3598:.0f}",
                "Date": format_datetime(at(-3600), usegmt=True),
            },
            2,
        ),
    ],
)
def test_a_wait_is_read_from_headers(headers: dict[str, str], seconds: float) -> None:
    assert wait_hint(429, headers, b"", NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (google("Quota exceeded. Please retry in 3.2s."), 3.2),
        (google("Please retry in 11m32.5s."), 692.5),
        (google("Please retry in 850.5ms."), 0.8505),
        (
            google("", {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}),
            30,
        ),
        (google("Please retry in 31.2s.", {"@type": "…Help"}, {"retryDelay": "30.5s"}), 30.5),
        (
            b'{"error": {"message": "Rate limit. Please try again in 20ms. Visit the page."}}',
            0.02,
        ),
        (b'{"error": {"message": "Please retry after 20 seconds."}}', 20),
        (b'{"error": {"message": "busy", "retry_after": 12}}', 12),
        (b'{"error": "Model is loading", "estimated_time": 20.5}', 20.5),
        (
            json.dumps(
                {
                    "error": {
                        "message": "Rate limit exceeded: free-models-per-min.",
                        "metadata": {"headers": {"X-RateLimit-Reset": str(int(NOW + 30) * 1000)}},
                    }
                }
            ).encode(),
            30,
        ),
    ],
)
def test_a_wait_is_read_from_the_body(body: bytes, seconds: float) -> None:
    assert wait_hint(429, {}, body, NOW) == pytest.approx(seconds)
    assert wait_hint(429, {"Retry-After": "0"}, body, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["0", "-1", "", "soon", "nan", "inf", "-inf", "1x", "5 parsecs", "Tue, 99 Foo 2026"]
)
def test_what_is_no_wait_is_ignored(text: str) -> None:
    assert wait_hint(429, {"Retry-After": text, "retry-after-ms": text}, b"", NOW) is None
    assert (
        wait_hint(
            429, {"x-ratelimit-reset-requests": text, "x-ratelimit-reset-tokens": "4s"}, b"", NOW
        )
        == 4
    )


def test_a_date_that_is_past_is_no_wait() -> None:
    past = {"x-ratelimit-reset-requests": f"{NOW - 5:.0f}"}
    assert wait_hint(429, past, b"", NOW) is None
    assert wait_hint(429, {"Retry-After": format_datetime(at(-5), usegmt=True)}, b"", NOW) is None


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "7200"}, {"retry-after": "99999999999"}, {"retry-after": "20h"}]
)
def test_a_wait_of_hours_is_cut_and_said(headers: dict[str, str]) -> None:
    assert wait_hint(429, headers, b"", NOW) == LONGEST_WAIT
    assert "an hour or more" in decision(429, headers=headers).reason
    assert wait_hint(429, {}, google("Please retry in 11h32m4s"), NOW) == LONGEST_WAIT


def test_the_rate_headers_of_another_status_are_no_wait() -> None:
    assert wait_hint(503, {"x-ratelimit-reset-requests": "1m30s"}, b"", NOW) is None
    assert wait_hint(503, {"Retry-After": "4"}, b"", NOW) == 4


@given(st.text(), st.binary(), st.integers(100, 599))
def test_no_hint_however_odd_breaks_anything(text: str, body: bytes, status: int) -> None:
    names = (
        "Retry-After",
        "retry-after-ms",
        "x-ratelimit-reset-tokens",
        "anthropic-ratelimit-tokens-reset",
    )
    seconds = wait_hint(status, dict.fromkeys(names, text), body, NOW)
    assert seconds is None or 0 < seconds <= LONGEST_WAIT


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"error": {"details": 7, "message": 3}}', b'{"error": "x"}', b"[1]"]
)
def test_no_body_however_odd_breaks_anything(body: bytes) -> None:
    assert wait_hint(429, {}, body, NOW) is None


# -- verdicts --------------------------------------------------------------------------------------
def decision(
    status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None
) -> FailureDecision:
    return judge(
        status, headers or {}, b"", NOW, code=code, message=message, key_variable="OPENAI_API_KEY"
    )


@pytest.mark.parametrize("status", [408, 409, 424, 425, 500, 502, 503, 504, 529, 599])
def test_a_server_in_trouble_is_asked_again_at_the_same_scale(status: int) -> None:
    found = decision(status, headers={"Retry-After": "2"})
    assert found == FailureDecision(f"HTTP {status}", retry=True, wait=2.0)


@pytest.mark.parametrize(
    "code", ["", "rate_limit_exceeded", "RESOURCE_EXHAUSTED", "ThrottlingException", "429"]
)
def test_too_many_requests_is_asked_again_at_a_smaller_scale(code: str) -> None:
    found = decision(429, code, headers={"Retry-After": "2"})
    assert (found.retry, found.throttled, found.fatal, found.wait) == (True, True, False, 2.0)


def test_a_model_that_is_not_ready_is_no_reason_for_a_smaller_scale() -> None:
    found = decision(429, "ModelNotReadyException")
    assert (found.retry, found.throttled, found.fatal) == (True, False, False)


@pytest.mark.parametrize(
    ("status", "code", "message", "says"),
    [
        (
            401,
            "invalid_api_key",
            "Incorrect API key provided",
            "check the environment variable OPENAI_API_KEY",
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            "variable OPENAI_API_KEY",
        ),
        (
            400,
            "INVALID_ARGUMENT",
            "API key expired. Please renew the API key.",
            "variable OPENAI_API_KEY",
        ),
        (402, "", "", "credit"),
        (
            429,
            "insufficient_quota",
            "You exceeded your current quota",
            "OPENAI_API_KEY has no credit",
        ),
        (429, "InsufficientQuota", "", "credit"),
        (429, "billing_hard_limit_reached", "", "credit"),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the API",
            "credit",
        ),
        (403, "", "no", "rights"),
        (404, "model_not_found", "", "the model's name and the base URL"),
        (405, "", "", "base URL"),
        (413, "", "", "smaller canvas"),
        (422, "", "", "field"),
    ],
)
def test_what_every_request_would_get_ends_all_and_says_what_to_do(
    status: int, code: str, message: str, says: str
) -> None:
    found = decision(status, code, message)
    assert (found.retry, found.throttled, found.fatal, found.refused) == (False, False, True, False)
    assert says in found.reason and code in found.reason and message in found.reason


def test_advice_survives_a_long_message() -> None:
    assert "OPENAI_API_KEY" in redact(decision(401, "invalid", "because " * 100).reason, [])


def test_quota_words_that_come_with_every_limit_end_nothing() -> None:
    """Gemini says so of limits per minute too."""
    found = decision(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing",
    )
    assert found.retry and not found.fatal


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_ends_all_and_says_where_to(status: int) -> None:
    found = decision(status, headers={"Location": "https://elsewhere.example/v1"})
    assert (
        found.fatal
        and "https://elsewhere.example/v1" in found.reason
        and "base URL" in found.reason
    )


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "content_filter", "The response was filtered"),
        (400, "content_policy_violation", ""),
        (400, "ResponsibleAIPolicyViolation", ""),
        (400, "", "triggering Azure OpenAI's content management policy"),
        (403, "403", "your input was flagged"),
    ],
)
def test_a_content_filter_is_a_refusal(status: int, code: str, message: str) -> None:
    found = decision(status, code, message)
    assert found.refused and not (found.retry or found.throttled or found.fatal)


@pytest.mark.parametrize(
    "message", ["Could not process image", "Unsupported parameter: 'temperature'", ""]
)
def test_a_bad_request_is_the_failure_of_one_request(message: str) -> None:
    found = decision(400, "invalid_request_error", message)
    assert not (found.retry or found.throttled or found.fatal)
    assert not decision(400, "invalid_request_error", message).refused


@given(st.integers(300, 999), st.text(max_size=30), st.text(max_size=30))
def test_a_verdict_is_one_thing(status: int, code: str, message: str) -> None:
    found = decision(status, code, message)
    assert found.retry + found.fatal + found.refused <= 1
    assert found.retry or not found.throttled
    assert found.retry or found.wait is None


# -- vendors' words --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (402, "402", "Insufficient Balance"),
        (429, "", "You exceeded your current quota, please check your plan and billing details."),
        (400, "", "You have reached your API limit. You will regain access on 2026-12-01."),
        (429, "", "Your team has either used all available credits or reached its limit."),
        (429, "", "Monthly spend limit reached"),
        (403, "", "Key limit exceeded (monthly limit)."),
        (403, "30001", "Sorry, your account balance is insufficient"),
        (403, "AccountOverdueError", "The request failed because of an overdue balance."),
        (403, "insufficient_user_quota", "用户额度不足, 剩余额度: $0.00"),
        (429, "1113", "您的账户已欠费"),
        (412, "", "Account acme is suspended, possibly for failure to pay past due invoices."),
        (400, "budget_exceeded", "Budget has been exceeded! Current cost: 0.02, Max budget: 0.01"),
        (403, "AllocationQuota.FreeTierOnly", "The free tier of the model has been exhausted."),
        (403, "AccessDeniedException", "denied due to INVALID_PAYMENT_INSTRUMENT"),
        (401, "", "Insufficient credits. Please add a payment method"),
        (500, "", "You have no credits left. Please top up."),
        (429, "", "Your prepaid credits are depleted."),
    ],
)
def test_an_empty_account_is_known_in_every_vendors_words(
    status: int, code: str, message: str
) -> None:
    found = decision(status, code, message)
    assert found.fatal and not found.doubtful
    assert "the account of OPENAI_API_KEY has no credit left" in found.reason


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("429", "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 more"),
        ("insufficient_quota", "Allocated quota exceeded, please increase your quota limit."),
        ("1302", "您的账户已达到速率限制"),
        ("rate_limit_error", "This would exceed your organization's limit of tokens per minute"),
        ("", "You have reached your free tier limit of 10 requests per minute"),
        ("", "Need more tokens? Upgrade today at https://vendor.example/settings/billing"),
    ],
)
def test_a_limit_that_heals_is_no_empty_account(code: str, message: str) -> None:
    found = decision(429, code, message)
    assert found.retry and found.throttled and not found.fatal


def test_the_same_words_with_a_wait_are_a_limit_that_heals() -> None:
    words = "You exceeded your current quota, please check your plan and billing details."
    assert decision(429, "", words).fatal
    assert decision(429, "", words, {"Retry-After": "30"}).retry


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "no permission", "Content violates usage guidelines. Failed check: SAFETY_CHECK_X"),
        (400, "invalid_prompt", "Your prompt was flagged as violating our usage policy."),
        (400, "", "Your request was rejected as a result of our safety system."),
        (400, "DataInspectionFailed", "Input data may contain inappropriate content."),
        (400, "1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"),
        (400, "content_filter", "The request was rejected because it was considered high risk"),
        (451, "censorship_blocked", "The content you provided is blocked"),
        (400, "InputImageSensitiveContentDetected", ""),
        (400, "1026", "input new_sensitive"),
        (400, "safety", "no"),
        (422, "", "The image was deemed unsafe"),
        (424, "2016", "Prompt blocked due to security configurations"),
        (403, "", "Request blocked by Model Armor safety filter"),
        (500, "content_filter", "filtered"),
    ],
)
def test_a_filter_is_known_in_every_vendors_words(status: int, code: str, message: str) -> None:
    assert decision(status, code, message) == FailureDecision(
        f"HTTP {status}" + (f" {code}" if code else "") + (f": {message}" if message else ""),
        refused=True,
    )


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "", "Request is prohibited by organization's policy: VPC Service Controls"),
        (403, "AccessDenied", "no identity-based policy allows the bedrock:InvokeModel action"),
        (400, "", "Parameter names are case-sensitive"),
        (400, "context_length_exceeded", "This model's maximum context length is 4096 tokens."),
        (404, "", "No endpoints match your content policy"),
        (401, "", "Incorrect key; see our content policy"),
    ],
)
def test_other_policies_are_no_filter(status: int, code: str, message: str) -> None:
    assert not decision(status, code, message).refused


def test_words_anywhere_in_the_body_count_but_not_those_that_it_gives_back() -> None:
    def about(error: object) -> FailureDecision:
        body = json.dumps({"error": error}).encode()
        return judge(403, {}, body, NOW, code="403", message="Provider error", key_variable="K")

    assert about({"metadata": {"raw": "Content violates usage guidelines"}}).refused
    assert about({"metadata": {"reasons": ["content_filter"]}}).refused
    asked = about({"metadata": {"flagged_input": "Is this image flagged?", "provider": "x"}})
    assert asked.fatal and asked.doubtful and not asked.refused


def test_a_closed_account_ends_all_in_its_own_words() -> None:
    found = decision(401, "account_deactivated", "The account has been deactivated.")
    assert found.fatal and "may not be used" in found.reason and "credit" not in found.reason
    assert not decision(503, "", "the user account service is disabled").fatal


# -- words -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Authorization: Bearer {KEY}",
        f"https://api.example/v1?key={quote(KEY, safe='')}&x=1",
        f"https://api.example/v1?key={quote(KEY)}&x=1",
        f"Basic {base64.b64encode(KEY.encode()).decode()}",
        f"Basic {base64.b64encode(b'u:' + KEY.encode() + b':tail').decode()}",
        f"Basic {base64.urlsafe_b64encode(b':' + KEY.encode()).decode()}",
        f"{KEY}{KEY}",
        "x" * (MESSAGE_LENGTH - 10) + KEY,
    ],
)
def test_no_form_of_a_secret_is_shown(text: str) -> None:
    shown = redact(text, [KEY])
    for form in (
        KEY,
        quote(KEY, safe=""),
        quote(KEY),
        KEY[:8],
        KEY[8:16],
        quote(KEY, safe="")[8:16],
    ):
        assert form not in shown
    for before in (b"", b":", b"u:"):
        assert base64.b64encode(before + KEY.encode()).decode()[8:20] not in shown
    assert "***" in shown


@given(
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=40),
    st.data(),
)
def test_no_secret_is_shown_in_any_text(secret: str, data: st.DataObject) -> None:
    if len(set(secret) - {"*", "."}) < 4:
        return  # the mask itself, or nothing that anyone would guess from it
    before = data.draw(st.text(max_size=20))
    after = data.draw(st.text(max_size=20))
    for form in (
        secret,
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode().rstrip("="),
    ):
        assert form not in redact(before + form + after, ["other-secret", secret])


def test_a_secret_within_another_does_not_protect_the_rest() -> None:
    assert redact("abcd-efgh-ijkl", ["abcd", "abcd-efgh-ijkl"]) == "***"


def test_what_a_vendor_masked_goes_too() -> None:
    assert redact("key: sk-Kq7fJ***********X4bZ. See docs.", []) == "key: *** See docs."


@pytest.mark.parametrize("secret", ["", "x", "key"])
def test_a_key_that_is_none_leaves_texts_alone(secret: str) -> None:
    assert redact("extra keys", [secret]) == "extra keys"


def test_a_message_is_one_line_of_bounded_length() -> None:
    assert redact("a\n\tb\r\n\x00c\u2028d  e\x1b[31m", []) == "a b c d e [31m"
    assert (
        redact("long " * 1000, [])[-1] == "…" and len(redact("long " * 1000, [])) == MESSAGE_LENGTH
    )


def test_a_page_is_told_by_its_title() -> None:
    page = (
        b"<html><head><title>502 Bad\nGateway</title></head>"
        b"<body><h1>502</h1>nginx &amp; co</body></html>"
    )
    assert summarise(page) == "502 Bad Gateway"
    assert (
        summarise(b"<p>down <b>for</b> lunch &amp; tea</p><script>x()</script>")
        == "down for lunch & tea"
    )
    assert summarise(b"\xff\xfe plain") == "\ufffd\ufffd plain"
