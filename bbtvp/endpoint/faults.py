"""What to do about a failed exchange: try again, wait, or stop.

The functions are pure: they use no network, and the time is an argument. Nothing depends on a
vendor: every reply is searched for the hints and codes of all vendors.
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

LONGEST_WAIT = 3600.0
"""Seconds. A server's hint of a longer wait is cut to this."""
MESSAGE_LENGTH = 300
"""Most characters of a message that is shown."""


class FailureDecision(NamedTuple):
    """What to do about an exchange that brought no answer.

    reason: what happened and, if fatal, what to do about it. retry: another attempt may succeed.
    throttled: too much was asked at once. fatal: no request can succeed. wait: seconds that the
    server asks for. refused: the model or a filter would not answer this request. wasted: the reply
    was paid for and holds no answer. elsewhere: another server of the fleet can be asked at once.
    Without any of retry, fatal and refused, this request alone has failed.
    """

    reason: str
    retry: bool = False
    throttled: bool = False
    fatal: bool = False
    wait: float | None = None
    refused: bool = False
    wasted: bool = False
    elsewhere: bool = False


# -- decisions -------------------------------------------------------------------------------------
_NO_MONEY = {
    "insufficientquota",
    "billinghardlimitreached",
    "billingnotactive",
    "billingerror",
    "accessterminated",
    "contractspendlimitreached",
    "enforcedspendlimitreached",
    "linkedorganizationspendlimitreached",
}
_FILTERED = {
    "contentfilter",
    "contentpolicyviolation",
    "responsibleaipolicyviolation",
    "moderationblocked",
}
_FILTERED_WORDS = re.compile(
    r"(?i)content management policy|content_filter|was flagged|responsible ai policy"
)
_NO_CREDIT_WORDS = re.compile(r"(?i)credit balance is too low|insufficient (credit|balance|funds)")
_BAD_KEY_WORDS = re.compile(
    r"(?i)api key (not valid|expired|not found)|(invalid|incorrect|expired) api key|api_key_invalid"
)
_NOT_READY = {"modelnotready", "modelnotreadyexception"}


def decide(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    *,
    code: str,
    message: str,
    key_variable: str,
) -> FailureDecision:
    """Decide what to do about a reply of any status but success.

    now: seconds since 1970, for waits given as dates. code, message: what the body says, in the
    vendor's words. key_variable: the environment variable of the key, which is named in messages
    about the key.
    """
    plain = code.lower().replace("_", "").replace("-", "")
    wait = wait_hint(status, headers, body, now)
    reason = _described(status, code, message, wait)
    if 300 <= status < 400:
        where = _header(headers, "location")
        advice = (
            "redirects are not followed, since they would receive the key; "
            f"if this address is right, make it the base URL: {where}"
        )
        return FailureDecision(f"HTTP {status}: {advice}", fatal=True)
    if status in (400, 403, 422) and (plain in _FILTERED or _FILTERED_WORDS.search(message)):
        return FailureDecision(reason, refused=True)
    if advice := _advice(status, plain, message, key_variable):
        return FailureDecision(f"{advice} ({reason})", fatal=True)  # the message may be cut
    if status == 429:
        # While Bedrock loads a model it answers 429. Fewer requests would not help then.
        return FailureDecision(reason, retry=True, throttled=plain not in _NOT_READY, wait=wait)
    # 424: Bedrock's model failed on the server's side. 425: the request was sent too early.
    if status in (408, 409, 424, 425) or status >= 500:
        return FailureDecision(reason, retry=True, wait=wait)
    return FailureDecision(reason)


def _described(status: int, code: str, message: str, wait: float | None) -> str:
    """Return what the server said, in one line."""
    said = f"HTTP {status}"
    if code and code != str(status):
        said += f" {code}"
    if message:
        said += f": {message}"
    if wait == LONGEST_WAIT:
        said += "; it asks for a wait of an hour or more"
    return said


def _advice(status: int, code: str, message: str, key_variable: str) -> str:
    """Return advice for a status that every request would get; "" for other statuses."""
    spent = code in _NO_MONEY or _NO_CREDIT_WORDS.search(message)
    if status == 402 or (status in (400, 403, 429) and spent):
        return (
            f"the account of {key_variable} has no credit left: add some, "
            f"or set {key_variable} to another key"
        )
    if status == 401 or (status in (400, 403) and _BAD_KEY_WORDS.search(message)):
        return f"the key was not accepted: check the environment variable {key_variable}"
    advice = {
        403: f"the key in {key_variable} may not use this model: "
        "check its rights, the region and the model's name",
        404: _WRONG_ADDRESS,
        405: _WRONG_ADDRESS,
        410: _WRONG_ADDRESS,
        413: "the request is too large: send a smaller canvas, or another image format",
        422: "the server does not know a field of the request: "
        "switch off what it lacks (bbtvp doctor --probe shows what it has)",
    }
    return advice.get(status, "")


_WRONG_ADDRESS = "check the model's name and the base URL"


# -- waits -----------------------------------------------------------------------------------------
def wait_hint(status: int, headers: Mapping[str, str], body: bytes, now: float) -> float | None:
    """Return the seconds that the server asks to wait, at most LONGEST_WAIT, or None.

    None means that the server does not say, or asks for 0 or less. now: seconds since 1970. The
    hints are, in this order: retry-after-ms, Retry-After (seconds or a date), the body (Gemini),
    and, for status 429, the times at which the exhausted limits are reset.
    """
    resets = _resets(headers, now) if status == 429 else ()
    hints = chain(_retry_after(headers, now), _from_body(body), resets)
    positive = (hint for hint in hints if hint is not None and hint > 0)
    first = next(positive, None)
    return None if first is None else min(first, LONGEST_WAIT)


def _retry_after(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    milliseconds = _number(_header(headers, "retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    text = _header(headers, "retry-after")
    yield _number(text)
    yield _span(text)
    yield _until(text, now)


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float | None]:
    """Yield the longest reset time of the exhausted limits; of all limits if none is marked so."""
    found: list[tuple[bool, float]] = []
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        for vendor, middle in (
            ("x-ratelimit", "{what}-{kind}"),
            ("anthropic-ratelimit", "{kind}-{what}"),
        ):
            name = f"{vendor}-{middle}"
            text = _header(headers, name.format(what="reset", kind=kind))
            readings = (_span(text), _number(text), _until(text, now))
            seconds = next((reading for reading in readings if reading is not None), None)
            left = _number(_header(headers, name.format(what="remaining", kind=kind)))
            if seconds is not None and seconds > 0:
                found.append((left is not None and left <= 0, seconds))
    used_up = [seconds for empty, seconds in found if empty] or [seconds for _, seconds in found]
    yield max(used_up, default=None)


def _from_body(body: bytes) -> Iterator[float | None]:
    """Yield RetryInfo's "30s", then the wait in a message such as "Please retry in 3.2s"."""
    reply = parse_json(body)
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict):
        return
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield _span(str(detail.get("retryDelay", "")))
    asked = _ASKED.search(str(error.get("message")))
    if asked:
        yield _span(_LONG_UNIT.sub(lambda unit: _UNIT_OF[unit[1][:3].lower()], asked[1]))


_ASKED = re.compile(r"(?i)(?:retry|try again) (?:in|after) ([\d.]+ ?[a-z]+(?:[\d.]+[a-z]+)*)")
_LONG_UNIT = re.compile(r"(?i) ?(milliseconds?|seconds?|minutes?|hours?)\b")
_UNIT_OF = {"mil": "ms", "sec": "s", "min": "m", "hou": "h"}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+) ?(ms|s|m|h|d)"


def _span(text: str) -> float | None:
    """Read a time span in seconds: "1m30s", "120ms", "3.2s", "11h32m4s". None for other texts."""
    if not re.fullmatch(f"(?:{_PART})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))


def _until(text: str, now: float) -> float | None:
    """Return the seconds until an HTTP date or an RFC 3339 time. None for other texts."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = read(text)
            # Both formats mean UTC where no zone is given.
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
    """Return a header, in whatever case it is written; "" if it is missing."""
    found = headers.get(name)
    if found is None:
        found = next((value for key, value in headers.items() if key.lower() == name), "")
    return found.strip()


# -- words -----------------------------------------------------------------------------------------
def parse_json(body: bytes) -> Any:
    """Parse a body as JSON. None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def summarise(body: bytes) -> str:
    """Summarise a body that is not JSON: the title of a page, or its text."""
    text = body[:20_000].decode("utf-8", "replace")
    title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    text = title[1] if title else re.sub(r"(?is)<(script|style).*?</\1>|<[^>]*>", " ", text)
    return html.unescape(" ".join(text.split()))


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return the text on one line of at most MESSAGE_LENGTH characters, with secrets removed.

    Each secret is removed as it is, quoted for a URL, and in base64. Strings of fewer than 4
    characters (such as "x" for a server that accepts any key) are not secrets. Also removed are
    keys that a vendor has masked itself ("sk-ab***cd"), and what follows "Bearer".
    """
    forms = {form for secret in secrets if len(secret) >= 4 for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    text = re.sub(r"(?i)\b(bearer)\s+[^\s\"',]+", r"\1 ***", text)
    text = re.sub(r"[^\s\"',:]+", lambda word: "***" if "***" in word[0] else word[0], text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MESSAGE_LENGTH else f"{line[: MESSAGE_LENGTH - 1]}…"


def _forms(secret: str) -> Iterator[str]:
    yield from (
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
    )
    data = secret.encode()
    # Inside a longer text, base64 depends on the number of bytes before the secret.
    for before in range(3):
        start = math.ceil(before * 4 / 3)
        end = (before + len(data)) * 4 // 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"\0" * before + data).decode()[start:end]
