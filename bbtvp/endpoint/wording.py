"""What vendors' error messages are about: a filter, money, a closed account, a wrong key.

A status does not tell: a filter's refusal comes as 400, 403, 422 or 451, and an empty account as
400, 402, 403, 412 or 429, the status of a rate limit that heals. So the words decide. They are
searched in all that a reply says, whoever the vendor is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

_ECHOES = {"input", "flagged_input", "ctx", "prompt", "request", "loc", "headers"}
"""Fields in which servers give back what was asked: its words are not theirs."""
_MOST_TEXTS = 200


def texts_of(reply: Any) -> Iterator[str]:
    """Yield the texts that an error reply holds, at any depth; nothing that it gives back."""
    yield from islice(_texts(reply), _MOST_TEXTS)


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [inner for name, inner in item.items() if str(name).lower() not in _ECHOES]
        elif isinstance(item, list):
            waiting += item


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# -- filters -----------------------------------------------------------------------------------
_OTHER_STATUSES = (401, 402, 404, 405, 408, 409, 410, 413, 425, 429)
"""Client errors that are no filter's, whatever their words."""
_FILTERED = _any(
    r"content[ _-]?(filter|polic|moderation|management|safety|security|check|violat|inspect)",
    r"(content|input|prompt|image|output|response|request)s? (was|were|has been|is|are|been)? ?"
    r"(flagged|blocked|filtered|moderated|censored|deemed)",
    r"(violat\w*|against|breach\w*|comply with|adher\w+ to)\W[^.]{0,60}"
    r"(guideline|polic(y|ies)|terms|community standards)",
    r"usage[ _](guideline|polic)",
    r"safety[ _-](check|system|filter|polic|setting|reason|violat|guard|guideline|block)",
    r"(for|by|of) safety\b",
    r"\bflagged\b|_flagged\b|flagged (for|as|by)",
    r"moderation[ _](block|error|fail|reject|polic|result|system)",
    r"blocked by [^.]{0,20}moderation",
    r"responsible[ _]?ai",
    r"(data|content)[ _]?inspection",
    r"inappropriate|(?<!case[ -])sensitive",
    r"(unsafe|harmful|prohibited|offensive|explicit|disallowed|nsfw|illegal|objectionable)[ _]"
    r"(content|input|image|prompt|material|information|request)",
    r"(content|input|image|prompt|material)s? (that )?(is |are |may be |might be )?"
    r"(unsafe|harmful|prohibited|offensive|explicit|disallowed|nsfw|not allowed|risky)",
    r"prohibited_content|guardrail|policy[ _]violation|censorship|high[ _-]risk|risk control",
    r"blocked[ _](by|due to|for) [^.]{0,30}(safety|security|polic|filter|guard)",
    r"prompt[ _]?blocked|cannot (process|assist)[^.]{0,30} (content|sensitive)",
    r"(?m:^(safety|sensitive|flagged|blocked|moderation|recitation|refusal|censored)$)",
    "敏感|违规|不合规|审核|风控|不適切|안전 정책|부적절",
)
_OTHER_POLICIES = _any(
    r"organi[sz]ation'?s? (policy|policies|polic)|identity-based|resource-based|vpc|network polic",
    r"(data|retention|access|billing|rate|security group)[ _](retention )?polic",
    r"service control",
    r"abusive? (rate|traffic)",
)
"""Policies about who may ask, not about what is asked."""


def is_refusal(status: int, said: str) -> bool:
    """Whether an error reply is a filter's refusal of one request."""
    if not (400 <= status <= 500) or status in _OTHER_STATUSES:
        return False
    return bool(_FILTERED.search(said)) and not _OTHER_POLICIES.search(said)


# -- money -------------------------------------------------------------------------------------
_UNPAID = _any(
    # codes, in every spelling
    r"insufficient[ _]?(\w+[ _]){0,2}(quota|credit|balance|fund|token.?quota)",
    r"billing[ _]?(hard[ _]?limit|not[ _]?active|error|disabled|inactive)",
    r"(contract|enforced|linked[ _]?organization|monthly|hard|account|usage|credit|your|key|budget)"
    r"[ _]?(monthly[ _])?(spend(ing)?|usage|key|credit|budget)[ _]?limits?\b(?! per)",
    r"spend(ing)?[ _-]limit",
    r"access[ _]?terminated|exceeded[ _]current[ _]quota|accountoverdue|payment[ _]instrument",
    r"budget[ _](has been )?(exceed|reach)|max[ _]budget",
    r"freetieronly|resource[ _]?pack(age)?[ _]?exhausted",
    # sentences
    r"(balance|credits?|funds?|allowance)\b[^.]{0,25}\b"
    r"(insufficient|exhausted|too low|depleted|used up|not enough|not sufficient|negative|"
    r"run out|ran out|expired|below (zero|0)|limit exceeded|limit reached)",
    r"not (have )?(enough|sufficient) (\w+ ){0,2}(credit|balance|fund|money)",
    r"(out of|no|no more|ran out of|run out of|lacks?|zero|exhausted|"
    r"used( up)?( all)?|consumed)( \w+){0,4} (credits?|funds|balance)\b",
    r"requires? (more|additional) (credits?|funds)",
    r"key limit exceeded|(credit|key|budget) limit (exceeded|reached)",
    r"(exceeded|used up|reached|exhausted|hit) (\w+ ){0,3}"
    r"(included credits|free credits|prepaid|monthly (usage|spend\w*|budget|included))",
    r"you will regain access",
    r"free (tier|trial|quota|credits?)[^.]{0,30}(exhausted|used up|expired|ended|has been)",
    r"in arrears|arrearage|overdue|unpaid|past due|in debt|outstanding (balance|invoice|payment)",
    r"account[^.]{0,15} in good standing",
    r"\brecharge\b|\btop[ -]?up\b|\btopup\b",
    r"payment (is )?(required|needed|method|failed|declined)|prepayment|purchase (more|additional)",
    r"billing (is not|isn.t|has not been|must be|to be) (enabled|active|set up)",
    r"(subscription|plan|package)[^.]{0,20}(has )?(expired|lapsed|ended)",
    "欠费|余额不足|余额为|账户余额|充值|额度(不足|已用尽|已用完|已耗尽)|残高|クレジット(が|を)|잔액|잔고",
)
_WEAKLY_UNPAID = _any(
    r"check your (plan|billing)|plan and billing|billing details",
    r"(exceeded|used up|reached) (your |the )?(current |account |total )?quota",
    r"quota (has been )?(exhausted|used up)",
)
"""What is said of an empty account, and by some vendors of a limit per minute too."""
_HEALS = _any(
    r"per[ _-](second|minute|hour|day|min)\b|\b[rt]p[sm]\b|rate[ _-]?limit|too many requests",
    r"resource_?exhausted|throttl|allocated quota|concurren",
)


def is_unpaid(said: str, *, heals: bool) -> bool:
    """Whether an error reply says that there is no money left, so that no request can succeed.

    heals: the server says how long to wait.
    """
    if _UNPAID.search(said):
        # "Allocated quota exceeded" is DashScope's word for tokens per minute, under OpenAI's code
        # for an empty account.
        return not _any("allocated quota").search(said)
    return bool(_WEAKLY_UNPAID.search(said)) and not heals and not _HEALS.search(said)


# -- accounts and keys -------------------------------------------------------------------------
_CLOSED = _any(
    r"(account|organi[sz]ation|team|project|workspace|user|api key)s? [^.]{0,40}"
    r"(suspended|deactivated|disabled|banned|terminated|restricted|frozen|locked|flagged)",
    r"(suspended|deactivated|disabled|banned|terminated) (account|user|organi[sz]ation|team)",
    r"account_?(deactivated|suspended|disabled|locked|terminated)",
)
_BAD_KEY = _any(
    r"api[ _-]?key (is )?(not valid|invalid|expired|not found|incorrect|missing|revoked)",
    r"(invalid|incorrect|expired|missing|wrong|revoked|unknown|no) (authentication |access )?"
    r"(api[ _-]?key|api token|access token|credentials)",
    r"api_key_invalid|invalid_api_key|invalid_authentication|unrecognizedclient|invalidsignature",
    r"security token included in the request is (invalid|expired)",
)


def is_closed(status: int, said: str) -> bool:
    """Whether an error reply says that the account was closed or suspended."""
    return status in (400, 401, 403, 412, 429) and bool(_CLOSED.search(said))


def is_bad_key(said: str) -> bool:
    """Whether an error reply says that the key is wrong."""
    return bool(_BAD_KEY.search(said))
