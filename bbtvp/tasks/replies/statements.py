r"""Where a reply states its answer, in the forms that models use.

| form | example |
|---|---|
| JSON, bare or fenced, with other fields | `{"reasoning": "…", "answer": "yes"}` |
| an answer tag | `<answer>yes</answer>` |
| a box | `\boxed{yes}`, `<|begin_of_box|>yes<|end_of_box|>`, `#### yes` |
| a key and a colon | `**Answer:** yes`, `答え：はい`, `정답: 예` |
| a sentence | `The final answer is yes`, `I would go with yes` |
| after the label | `B is correct`, `Bが正解です` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import regex

from bbtvp.tasks.replies.clauses import sentences
from bbtvp.tasks.replies.languages import leading, pattern, words

Form = Literal["marked", "key", "field", "sentence", "after"]
"""marked: JSON, a tag, a box. key: "Answer:". field: "Class:", which may say something else.
sentence: "the answer is". after: "B is correct".
"""


class Statement(NamedTuple):
    """A stated answer. at: where it is announced. start, end: what is stated. closed: it ends."""

    at: int
    start: int
    end: int
    form: Form
    closed: bool = True


_TAG = regex.compile(
    r"<(?P<name>(?:final_?)?answer|label|conclusion|output|result|response|prediction|choice|ans|class)>"
    r"(?P<value>.*?)(?P<close></(?P=name)>|\Z)",
    regex.IGNORECASE | regex.DOTALL,
)
_BOX = regex.compile(
    r"\\f?box(?:ed)?\s*\{(?P<value>(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)(?P<close>\}|\Z)"
)
_BOX_TOKEN = regex.compile(
    r"<\|begin_of_(?:box|solution)\|>(?P<value>.*?)(?P<close><\|end_of_(?:box|solution)\|>|\Z)",
    regex.DOTALL,
)
_HASHES = regex.compile(r"^####\s*(?P<value>[^\n]+)(?P<close>\n|\Z)", regex.MULTILINE)
_SHORT = regex.compile(r"\s*[^\n]{0,60}\s*")
"""What may stand in a tag or box that is not closed: a stop sequence took the closing mark."""
_STRING = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'(?=\s*[,}\]\n]))"""
_PAIR = regex.compile(
    rf"""["'](?P<key>[\w][\w \-]*)["']\s*:\s*
    (?P<value>{_STRING}|\[[^\[\]]*\]|-?\d[\d.,]*(?:[eE][-+]?\d+)?|true|false|null|None)
    (?P<close>\s*[,}}\]\n])?""",
    regex.VERBOSE | regex.IGNORECASE | regex.DOTALL,
)


def marked(text: str, is_label: Callable[[str], bool]) -> list[Statement]:
    """Answers in JSON, tags and boxes. `text`: the visible reply with its marks."""
    found = []
    for form in (_TAG, _BOX, _BOX_TOKEN, _HASHES):
        for match in form.finditer(text):
            closed = bool(match["close"])
            start, end = match.span("value")
            if not closed and not _SHORT.fullmatch(match["value"]):
                continue
            found.append(Statement(match.start(), start, end, "marked", closed))
    return sorted([*found, *_from_json(text, is_label)])


def _from_json(text: str, is_label: Callable[[str], bool]) -> list[Statement]:
    """The value of the key that ranks first: a final answer, an answer, one that is a label.

    Different values of that key are a statement of nothing.
    """
    if "{" not in text:
        return []
    pairs = list(_PAIR.finditer(text))
    keys = [pair["key"].strip() for pair in pairs]
    ranks = [_rank(key) for key in keys]
    for told in (is_label, None):
        for rank in range(_IGNORED):
            chosen = [
                pair
                for pair, its in zip(pairs, ranks, strict=True)
                if its == rank and (told(_unquoted(pair["value"])) if told else rank < _OTHER)
            ]
            if chosen:
                return [_spanning(chosen)]
    return []


_OTHER = 2
_IGNORED = 3


def _rank(key: str) -> int:
    """0 for a final answer, 1 for an answer, 2 for any other key, 3 for a reason and its like."""
    if pattern("keys_final").fullmatch(key):
        return 0
    if pattern("keys").fullmatch(key):
        return 1
    return _IGNORED if pattern("keys_ignored").fullmatch(key) else _OTHER


def _unquoted(value: str) -> str:
    return value.strip("\"' ")


def _spanning(pairs: list[regex.Match[str]]) -> Statement:
    first = pairs[0]
    last = pairs[-1]
    start, end = first.span("value")
    if any(pair["value"] != first["value"] for pair in pairs):
        end = start
    quoted = last["value"][0] in "\"'["
    return Statement(first.start(), start, end, "marked", quoted or bool(last["close"]))


# -- in words --------------------------------------------------------------------------------------
_COLON = r"\s*(?:[:：=】]|[-–—](?=\s))[ \t]*"
_KEYS = rf"(?P<key>@decisive@)(?:{_COLON}|[^\S\n]*\n)|^[^\w\n]*(?P<field>@fields@){_COLON}"
"""A key and a colon, or a heading on a line of its own."""


def worded(text: str) -> Iterator[Statement]:
    """Answers stated in words. `text`: the visible reply without marks of layout."""
    for found in words(_KEYS).finditer(text):
        heading = "\n" in found.group() and found["key"] is not None
        if heading and text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip():
            continue
        start, end = _rest(text, found.end())
        yield Statement(found.start(), start, end, "key" if found["key"] else "field")
    for found in pattern("is").finditer(text):
        if not leading("not_is").match(text, found.end()):
            yield Statement(found.start(), *_rest(text, found.end()), "sentence")
    for found in pattern("correct").finditer(text):
        yield Statement(found.start(), _before(text, found.start()), found.start(), "after")


_REASON = r"(?<=\w\W*)[,;]?\s+@reasons@"
_LEAD_IN = regex.compile(r"[\s:：]*")
_LONGEST_CLAUSE = 400
"""Characters by which a clause before "is correct" is looked for."""
_CLAUSE_END = regex.compile(r"[,.;:!?。、，\n]")


def _rest(text: str, start: int) -> tuple[int, int]:
    """From `start`, or from the next line with words, to the end of the sentence.

    A reason is left out: "B, because A has no stripes" is B.
    """
    found = _LEAD_IN.match(text, start)
    start = found.end() if found else start
    parts = sentences(text[start:])
    if not parts:
        return start, len(text)
    end = start + parts[0].end
    reason = words(_REASON).search(text, start, end)
    return start, reason.start() if reason else end


def _before(text: str, end: int) -> int:
    """Where the clause begins that ends at `end`."""
    first = max(0, end - _LONGEST_CLAUSE)
    starts = [first, *(found.end() for found in _CLAUSE_END.finditer(text, first, end))]
    return starts[-1]
