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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, quote_plus

from bbtvp.endpoint.provider import Json
from bbtvp.endpoint.transport import HttpResponse
from bbtvp.endpoint.waits import LONGEST_WAIT, header, parse_json, wait_hint
from bbtvp.endpoint.wording import is_bad_key, is_closed, is_refusal, is_unpaid, texts_of

Explain: TypeAlias = Callable[[int, Json], tuple[str, str]]

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
    doubtful: bool = False
    wasted: bool = False
    elsewhere: bool = False


# -- decisions -------------------------------------------------------------------------------------
def judge(
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
    vendor's words; what else the body says is searched too. key_variable: the environment variable
    of the key, which is named in messages about the key.
    """
    wait = wait_hint(status, headers, body, now)
    reason = _described(status, code, message, wait)
    if 300 <= status < 400:
        where = header(headers, "location")
        advice = (
            "redirects are not followed, since they would receive the key; "
            f"if this address is right, make it the base URL: {where}"
        )
        return FailureDecision(f"HTTP {status}: {advice}", fatal=True)
    said = "\n".join([code, message, *texts_of(parse_json(body))])
    if advice := _account_advice(status, said, key_variable, heals=wait is not None):
        return FailureDecision(f"{advice} ({reason})", fatal=True)  # the message may be cut
    if is_refusal(status, said):
        return FailureDecision(reason, refused=True)
    if advice := _advice(status, said, key_variable):
        doubtful = status in _DOUBTFUL
        return FailureDecision(f"{advice} ({reason})", fatal=True, doubtful=doubtful)
    if status == 429:
        # While Bedrock loads a model it answers 429. Fewer requests would not help then.
        loading = _NOT_READY.search(code)
        return FailureDecision(reason, retry=True, throttled=not loading, wait=wait)
    # 424: Bedrock's model failed on the server's side. 425: the request was sent too early.
    if status in (408, 409, 424, 425) or status >= 500:
        return FailureDecision(reason, retry=True, wait=wait)
    return FailureDecision(reason)


_NOT_READY = re.compile(r"(?i)model[ _]?not[ _]?ready")
_DOUBTFUL = (403, 413, 422)
"""Statuses that a wrong key or a bad setting brings to every request, and odd content to one."""


def _described(status: int, code: str, message: str, wait: float | None) -> str:
    """Return what the server said, in one line."""
    said = f"HTTP {status}"
    if code and code != str(status):
        said += f" {code}"
    if message:
        said += f": {message}"
    if wait == LONGEST_WAIT:
        said += "; it asks for a wait of an hour or more: run the same command then"
    return said


def _account_advice(status: int, said: str, key_variable: str, *, heals: bool) -> str:
    """Return advice for an account that may not or cannot pay; "" where it can.

    heals: the server says how long to wait, so it is no matter of money.
    """
    if status == 402 or (status >= 400 and is_unpaid(said, heals=heals)):
        return (
            f"the account of {key_variable} has no credit left: add some, "
            f"or set {key_variable} to another key"
        )
    if is_closed(status, said):
        return (
            f"the account of {key_variable} may not be used: ask the vendor, "
            f"or set {key_variable} to another key"
        )
    return ""


def _advice(status: int, said: str, key_variable: str) -> str:
    """Return advice for a status that every request would get; "" for other statuses."""
    if status == 401 or (status in (400, 403) and is_bad_key(said)):
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


def judge_response(
    response: HttpResponse,
    explain: Explain,
    now: float,
    *,
    key_variable: str,
    secrets: Sequence[str],
) -> FailureDecision:
    """Decide what to do about a response of any status but success, in words that may be shown.

    explain: gives the code and message of an error reply. The rest is as for `judge` and `redact`.
    """
    reply = parse_json(response.body)
    if isinstance(reply, list) and reply:  # Gemini's streams begin with a list
        reply = reply[0]
    code = ""
    message = summarise(response.body)
    if isinstance(reply, dict):
        code, message = explain(response.status, reply)
    decision = judge(
        response.status,
        response.headers,
        response.body,
        now,
        code=code,
        message=message,
        key_variable=key_variable,
    )
    return decision._replace(reason=redact(decision.reason, secrets))


def reported_error(reply: Json) -> object:
    """Return the error in a reply of status 200, in the places where gateways put it; else None.

    OpenRouter reports errors of the server behind it in the choice, MiniMax in `base_resp`.
    """
    if error := reply.get("error"):
        return error
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict) and (error := first.get("error")):
        return error
    base = reply.get("base_resp")
    if not isinstance(base, dict) or not base.get("status_code"):
        return None
    return {"code": str(base["status_code"]), "message": str(base.get("status_msg"))}


# -- words -----------------------------------------------------------------------------------------
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
