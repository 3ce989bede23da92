"""What a model thinks before it answers, and how it is told from the answer.

- `<think>` … `</think>`: Qwen, DeepSeek, GLM, MiniMax, Nemotron and most others; also as
  `thinking`, `thought`, `reason`, `reasoning`, `analysis`, `scratchpad`, `reflection`, and with a
  name space, as Seed's `<seed:think>`;
- `◁think▷` … `◁/think▷`: Kimi-VL; `<|open|>think<|sep|>` … `<|close|>think<|sep|>`: Kimi K3;
- `[THINK]` … `[/THINK]`: Magistral, Ministral;
- `<|begin_of_thought|>` … `<|end_of_thought|>`: Sky-T1, OpenThinker;
- `<|START_THINKING|>` … `<|END_THINKING|>`: Command A;
- `<|channel|>analysis<|message|>` … `<|channel|>final<|message|>`: gpt-oss (harmony); `analysis` …
  `assistantfinal` where a server dropped the marks;
- `<|channel>thought` … `<channel|>`: Gemma 4; `<unused94>thought` … `<unused95>`: MedGemma;
- `Here is my thought process:` … `Here is my response:`: Granite;
- `Here are my reasoning steps:` … `[BEGIN FINAL RESPONSE]`: Apriel;
- `<details type="reasoning">` … `</details>`: Open WebUI;
- `Thinking...` … `...done thinking.`: Ollama's command line.
"""

from __future__ import annotations

from typing import NamedTuple

import regex

_NAMES = "think(?:ing)?|thoughts?|reason(?:ing)?|analysis|scratchpad|reflection|inner_monologue"
_OPENING = regex.compile(
    rf"""
    (?:<|&lt;|\uff1c)(?:\w+:|\w+_)?(?:{_NAMES})(?::\w+|\s[^<>]*)?(?:>|&gt;|\uff1e)
    |◁think▷
    |\[THINK\]
    |<\|begin_of_thought\|>
    |<\|START_THINKING\|>
    |<\|channel\|>\s*(?:analysis|commentary)\b
    |<\|channel>\s*thought
    |<unused94>
    |<\|open\|>think<\|sep\|>
    |<details\s+type="reasoning"[^>]*>
    |\A\W*Here\sis\smy\sthought\sprocess:
    |\A\W*Here\sare\smy\sreasoning\ssteps:
    |\A\s*Thinking\.\.\.\s*\n
    |\A\s*analysis(?=.*assistantfinal)
    """,
    regex.VERBOSE | regex.IGNORECASE | regex.DOTALL,
)
_CLOSING = regex.compile(
    rf"""
    (?:<|&lt;|\uff1c)/(?:\w+:|\w+_)?(?:{_NAMES})(?::\w+)?\s*(?:>|&gt;|\uff1e)
    |◁/think▷
    |\[/THINK\]
    |<\|end_of_thought\|>
    |<\|END_THINKING\|>
    |<\|channel\|>\s*final\b[^<\n]*(?:<\|constrain\|>\s*\w+\s*)?<\|message\|>
    |<channel\|>
    |<unused95>
    |<\|close\|>think<\|sep\|>
    |</details>
    |Here\sis\smy\sresponse:
    |\[BEGIN\sFINAL\sRESPONSE\]
    |^\.\.\.done\sthinking\.
    |assistantfinal
    """,
    regex.VERBOSE | regex.IGNORECASE | regex.MULTILINE | regex.DOTALL,
)


_OPENED_BY = {"</details>": "<details", "assistantfinal": "analysis"}
"""Closing marks that close nothing without their opening one."""


class Visible(NamedTuple):
    """A reply without its thoughts.

    text: the reply with spaces where a thought stood, so that places stay; no blanks at its end.
    cut: a thought was opened and not closed: there is no answer.
    """

    text: str
    cut: bool


def visible(reply: str) -> Visible:
    """The part of a reply that is said, not thought.

    Whatever stands before the last closing mark is thought: the opening mark may have been in the
    prompt. If nothing follows it, what stands before the first thought counts.

    >>> visible("Red? No.</think>blue").text.strip()
    'blue'
    >>> visible("<think>It could be red, but")
    Visible(text='                           ', cut=True)
    """
    openings = list(_OPENING.finditer(reply))
    opened = [found.span() for found in openings]
    names = [found.group().strip().casefold() for found in openings]
    closed = [
        found.end()
        for found in _CLOSING.finditer(reply)
        if any(name.startswith(_OPENED_BY.get(found.group().casefold(), "")) for name in names)
        or found.group().casefold() not in _OPENED_BY
    ]
    after = closed[-1] if closed else 0
    if any(start >= after for start, _ in opened):
        return Visible(" " * len(reply), cut=True)
    if not closed:
        return Visible(reply.rstrip(), cut=False)
    if not reply[after:].strip() and opened:
        before = opened[0][0]
        return Visible(reply[:before] + " " * (len(reply) - before), cut=False)
    return Visible(" " * after + reply[after:].rstrip(), cut=False)
