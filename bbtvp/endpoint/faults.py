"""What a reply other than an answer means: try again, wait, or stop. Pure: no network, and the time
is given.

Nothing here depends on a vendor: all hints and codes are looked for in every reply.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

LONGEST = 3600.0
"""Seconds: a longer wait is cut to this."""
WORDS = 300
"""Most characters of a message."""


class Verdict(NamedTuple):
    """What to do about a reply that is no answer.

    retry: another attempt may succeed. throttled: too much was asked at once. fatal: no request can
    succeed. reason: what happened, and for a fatal one what to do. wait: seconds that the server
    asks for. refused: the model or a filter would not answer this one. wasted: a reply that was
    paid for and says nothing. elsewhere: another server of the fleet can be asked at once. Without
    any of retry, fatal and refused, this request alone has failed.
    """

    retry: bool
    throttled: bool
    fatal: bool
    reason: str
    wait: float | None
    refused: bool = False
    wasted: bool = False
    elsewhere: bool = False


# -- verdicts --------------------------------------------------------------------------------------
NO_MONEY = {
    "insufficientquota",
    "billinghardlimitreached",
    "billingnotactive",
    "billingerror",
    "accessterminated",
    "contractspendlimitreached",
    "enforcedspendlimitreached",
    "linkedorganizationspendlimitreached",
}
FILTERED = {
    "contentfilter",
    "contentpolicyviolation",
    "responsibleaipolicyviolation",
    "moderationblocked",
}
FILTERED_WORDS = re.compile(
    r"(?i)content management policy|content_filter|was flagged|responsible ai policy"
)
NO_CREDIT_WORDS = re.compile(r"(?i)credit balance is too low|insufficient (credit|balance|funds)")
BAD_KEY_WORDS = re.compile(
    r"(?i)api key (not valid|expired|not found)|(invalid|incorrect|expired) api key|api_key_invalid"
)
NOT_READY = {"modelnotready", "modelnotreadyexception"}


def judge(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    *,
    code: str,
    message: str,
    key_variable: str,
) -> Verdict:
    """The verdict on a reply of any status but success.

    now: seconds since 1970, for waits given as dates. code, message: what the body says, in the
    vendor's words. key_variable: the environment variable of the key, to be named where the key is
    at fault.
    """
    plain = code.lower().replace("_", "").replace("-", "")
    said = f"HTTP {status}" + (f" {code}" if code and code != str(status) else "")
    said += f": {message}" if message else ""
    wait = wait_hint(status, headers, body, now)
    said += "; it asks for a wait of an hour or more" if wait == LONGEST else ""
    if 300 <= status < 400:
        advice = "redirects are not followed, since the key would go along; if it is right, make this the base URL"
        return Verdict(
            False, False, True, f"HTTP {status}: {advice}: {_header(headers, 'location')}", None
        )
    if status in (400, 403, 422) and (plain in FILTERED or FILTERED_WORDS.search(message)):
        return Verdict(False, False, False, said, None, refused=True)
    if advice := _advice(status, plain, message, key_variable):
        return Verdict(
            False, False, True, f"{advice} ({said})", None
        )  # what to do first: a message may be cut
    if status == 429:
        # A model that is being loaded (Bedrock) is in no hurry to have fewer requests: the rate is
        # not at fault.
        return Verdict(True, plain not in NOT_READY, False, said, wait)
    # 424: Bedrock's model failed on its side (its API lists the error as one of the server); 425:
    # sent too early.
    if status in (408, 409, 424, 425) or status >= 500:
        return Verdict(True, False, False, said, wait)
    return Verdict(False, False, False, said, None)


def _advice(status: int, code: str, message: str, key_variable: str) -> str:
    """What to do about a status that every request would get; "" if it may be this one's alone."""
    if status == 402 or (
        status in (400, 403, 429) and (code in NO_MONEY or NO_CREDIT_WORDS.search(message))
    ):
        return f"the account of {key_variable} has no credit left: add some, or set {key_variable} to another key"
    if status == 401 or (status in (400, 403) and BAD_KEY_WORDS.search(message)):
        return f"the key was not accepted: check the environment variable {key_variable}"
    if status == 403:
        return f"the key in {key_variable} may not use this model: check its rights, the region and the model's name"
    if status in (404, 405, 410):
        return "check the model's name and the base URL"
    if status == 413:
        return "the request is too large: send a smaller canvas, or another image format"
    if status == 422:
        return "the server does not know a field of the request: switch off what it lacks (bbtvp doctor shows what it has)"
    return ""


# -- waits -----------------------------------------------------------------------------------------
def wait_hint(status: int, headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Seconds that the server asks to wait, at most LONGEST; None if it does not say, or says 0 or
    less.

    now: seconds since 1970. Read are retry-after-ms, Retry-After (seconds or a date), the body
    (Gemini) and, of a status 429, the times at which the limits that are used up start anew.
    """
    hints = chain(
        _retry_after(headers, now), _from_body(body), _resets(headers, now) if status == 429 else ()
    )
    return next((min(hint, LONGEST) for hint in hints if hint is not None and hint > 0), None)


def _retry_after(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    milliseconds = _number(_header(headers, "retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    text = _header(headers, "retry-after")
    yield _number(text)
    yield _span(text)
    yield _until(text, now)


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    """The longest of the limits that are used up; of all, if the server does not say which are."""
    found: list[tuple[bool, float]] = []
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        for vendor, middle in (
            ("x-ratelimit", "{what}-{kind}"),
            ("anthropic-ratelimit", "{kind}-{what}"),
        ):
            name = f"{vendor}-{middle}"
            text = _header(headers, name.format(what="reset", kind=kind))
            seconds = next(
                (s for s in (_span(text), _number(text), _until(text, now)) if s is not None), None
            )
            left = _number(_header(headers, name.format(what="remaining", kind=kind)))
            if seconds is not None and seconds > 0:
                found.append((left is not None and left <= 0, seconds))
    used_up = [seconds for empty, seconds in found if empty] or [seconds for _, seconds in found]
    yield max(used_up, default=None)


def _from_body(body: bytes) -> Iterator[float | None]:
    """RetryInfo's "30s", then "Please retry in 3.2s" of a message."""
    reply = parsed(body)
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        return
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield _span(str(detail.get("retryDelay", "")))
    asked = ASKED.search(str(error.get("message")))
    yield (
        _span(LONG_UNIT.sub(lambda unit: UNIT_OF[unit[1][:3].lower()], asked[1])) if asked else None
    )


ASKED = re.compile(r"(?i)(?:retry|try again) (?:in|after) ([\d.]+ ?[a-z]+(?:[\d.]+[a-z]+)*)")
LONG_UNIT = re.compile(r"(?i) ?(milliseconds?|seconds?|minutes?|hours?)\b")
UNIT_OF = {"mil": "ms", "sec": "s", "min": "m", "hou": "h"}
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = r"(\d+(?:\.\d*)?|\.\d+) ?(ms|s|m|h|d)"


def _span(text: str) -> float | None:
    """Seconds of "1m30s", "120ms", "3.2s", "11h32m4s"."""
    if not re.fullmatch(f"(?:{PART})+", text):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(PART, text))


def _until(text: str, now: float) -> float | None:
    """Seconds until an HTTP date or an RFC 3339 time."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = read(text)
            # A time without a zone is read as UTC, which both formats mean.
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _header(headers: Mapping[str, str], name: str) -> str:
    """Whatever the case of letters, and whatever the mapping."""
    found = headers.get(name)
    if found is None:
        found = next((value for key, value in headers.items() if key.lower() == name), "")
    return found.strip()


# -- words -----------------------------------------------------------------------------------------
def parsed(body: bytes) -> Any:
    """The body as JSON, None if it is not."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def summary(body: bytes) -> str:
    """What a body that is not JSON says, in a few words: the title of a page, or its text."""
    text = body[:20_000].decode("utf-8", "replace")
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    text = title[1] if title else re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", text)
    return html.unescape(" ".join(text.split()))


def redacted(text: str, secrets: Sequence[str]) -> str:
    """`text` on one line of at most WORDS characters, in which no secret stands, plain, quoted for
    a URL or in base64.

    Secrets of fewer than 4 characters ("x" for a server that takes any key) are none. What a vendor
    itself has masked ("sk-ab***cd"), and what follows "Bearer", goes too.
    """
    forms = {form for secret in secrets if len(secret) >= 4 for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    text = re.sub(r"(?i)\b(bearer)\s+[^\s\"',]+", r"\1 ***", text)
    text = re.sub(r"[^\s\"',:]+", lambda word: "***" if "***" in word[0] else word[0], text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= WORDS else f"{line[: WORDS - 1]}…"


def _forms(secret: str) -> Iterator[str]:
    yield from (
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
    )
    data = secret.encode()
    for before in range(3):  # within a longer text, base64 depends on how many bytes come before
        start = math.ceil(before * 4 / 3)
        end = (before + len(data)) * 4 // 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * before + data).decode()[start:end]
