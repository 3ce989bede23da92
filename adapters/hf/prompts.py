"""How a question becomes the text and the tokens that a Hugging Face model was trained on.

A chat template may open a thought, so that the model would think before it answers. A label is then
no likely continuation, and a short reply is all thought. So the thought is closed before the
answer: by the template's own switch, or by writing the mark that ends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from bbtvp.adapters.hf.layout import REFUSALS, image_layout, one_line
from bbtvp.core.errors import ModelError

_SWITCHES = ("enable_thinking", "thinking")
"""Names under which chat templates can be told not to open a thought."""

_NAME = r"[\w:]*(?:think|thought|reason|analysis|scratchpad|reflection|inner_monologue)\w*"
_MARK = re.compile(
    rf"(?i)(?P<left><\|?|\u25c1|\[)(?P<end>/|end_of_|)(?P<name>{_NAME})(?P<right>\|?>|\u25b7|\])"
)
"""A mark that begins or ends a thought, such as "<think>" and "[/THINK]"."""

_ENDS = {
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|open|>think<|sep|>": "<|close|>think<|sep|>",
    "<|channel>thought": "<channel|>",
    "<unused94>thought": "<unused95>",
    "<|channel|>analysis<|message|>": "",
}
"""Marks that begin a thought and are ended by another one, "" where more than a mark ends it."""


class ThoughtWarning(UserWarning):
    """A chat template opens a thought, and something was done about it."""


class AnswerPrompt(NamedTuple):
    """The text after which a model answers.

    opened: the mark of the thought that the model's template opens, "" for none. closed: whether
    the text ends outside the thought. note: what was done, in words.
    """

    text: str
    opened: str = ""
    closed: bool = True
    note: str = ""


def prompt_text(processor: Any, question: str) -> str:
    """Return the full text prompt for one image and one question, with the image placeholder.

    A chat template is used where the processor has one, without a thought that it opens. Raises
    ModelError for a chat template that cannot be rendered, and for a processor that takes no image
    with a question.
    """
    if getattr(processor, "chat_template", None):
        return answer_prompt(processor, question).text
    return f"{image_layout(processor).placeholder}{question}"


def several_text(processor: Any, before: Sequence[str], question: str) -> str:
    """Return the full text prompt for several images.

    Each stands before its text, and the last one before the question. Raises ModelError for a
    processor without a chat template: nothing says where its images go.
    """
    if not getattr(processor, "chat_template", None):
        raise ModelError(
            f"{type(processor).__name__} has no chat template, so it takes one image in a request"
        )
    return answer_prompt(processor, question, before).text


def answer_prompt(processor: Any, question: str, before: Sequence[str] = ()) -> AnswerPrompt:
    """Return the prompt of a processor's chat template, with its thought closed if it opens one.

    before: the texts of the images that are shown before the question's own.

    A template with a switch for thinking is told not to think, also where it leaves it to the model
    to open the thought. A processor without a template opens no thought.
    """
    template = getattr(processor, "chat_template", None)
    if not template:
        return AnswerPrompt("")
    text = rendered(processor, question, before=before)
    opened = _opened(text, question)
    for switch in _SWITCHES:
        if switch not in str(template):
            continue
        off = rendered(processor, question, before=before, switches={switch: False})
        if off != text and not _opened(off, question):
            return AnswerPrompt(off, opened, note=f"thinking is switched off ({switch}=False)")
    if not opened:
        return AnswerPrompt(text, note=_untold(str(template), text, question))
    end = _ends(opened)
    if not end:
        return AnswerPrompt(text, opened, closed=False, note="it cannot be closed")
    gap = "\n" if text.endswith("\n") else "\n\n"
    return AnswerPrompt(
        f"{text}{gap}{end}\n\n", opened, note=f"it is closed with {end} before the answer"
    )


def thought_note(spec: str, prompt: AnswerPrompt) -> str:
    """Return one line about the thought that a model's template opens, "" if it opens none."""
    if not prompt.note:
        return ""
    if not prompt.opened:
        return f"{spec} may think before it answers: {prompt.note}"
    told = (
        f"{spec} would think before it answers, its chat template opens a thought "
        f"({prompt.opened}): {prompt.note}"
    )
    if prompt.closed:
        return told
    return f"{told}, so labels cannot be scored; give a model that does not think"


def rendered(
    processor: Any,
    question: str,
    answer: Any = None,
    *,
    before: Sequence[str] = (),
    switches: Mapping[str, bool] = MappingProxyType({}),
) -> str:
    """Return a processor's chat template applied to an image and a question.

    answer: the content of the model's turn; by default the template invites it to answer. before:
    the texts of the images that are shown before the question's own. All are in one turn, or each
    in a turn of the user's where the template would move the images of a turn to its front.
    switches: further options of the template. Raises ModelError for a template that cannot be
    rendered.
    """
    shown = [_shown(text) for text in (*before, question)]
    if before and not _keeps_order(processor):
        chat = [{"role": "user", "content": parts} for parts in shown]
    else:
        chat = [{"role": "user", "content": [part for parts in shown for part in parts]}]
    if answer is not None:
        chat.append({"role": "assistant", "content": answer})
    return _applied(processor, chat, add_generation_prompt=answer is None, **switches)


def _shown(text: str) -> list[dict[str, str]]:
    # Only whether there is an image is seen by a template, some look for its key.
    picture = {"type": "image", "image": "image"}
    return [picture, {"type": "text", "text": text}] if text else [picture]


def _keeps_order(processor: Any) -> bool:
    """Whether a chat template leaves an image that stands between two texts where it is."""
    first = "alpha"
    second = "omega"
    texts = [{"type": "text", "text": text} for text in (first, second)]
    picture = _shown("")

    def between(*parts: dict[str, str]) -> str:
        text = _applied(processor, [{"role": "user", "content": list(parts)}])
        return text.rpartition(first)[2].partition(second)[0]

    return between(*picture, texts[0], *picture, texts[1]) != between(*picture, *texts)


def _applied(processor: Any, chat: Sequence[dict[str, Any]], **options: bool) -> str:
    try:
        return str(processor.apply_chat_template(list(chat), tokenize=False, **options))
    except REFUSALS as error:
        raise ModelError(
            f"the chat template of {type(processor).__name__} cannot be used for an image and a "
            f"question ({one_line(error)}); mend chat_template.jinja, or give another model"
        ) from error


def switched(processor: Any) -> list[dict[str, bool]]:
    """Return the options with which a prompt may have been rendered, the plain one first."""
    template = str(getattr(processor, "chat_template", None))
    return [{}, *({switch: False} for switch in _SWITCHES if switch in template)]


def _untold(template: str, text: str, question: str) -> str:
    """Return what to say of a template that knows thoughts and leaves it to the model to open one.

    "" for a template that knows none, or that closes the thought itself.
    """
    known = _MARK.search(template)
    if known is None or _MARK.search(_after(text, question)):
        return ""
    return (
        f"its chat template knows thoughts ({known.group()}), and labels are scored as the first "
        "words of its reply; see whether it thinks (--reader text), or give another model"
    )


def _after(text: str, question: str) -> str:
    """Return what follows the question in a prompt."""
    return text.rpartition(question.strip())[2] if question.strip() else text


def _opened(text: str, question: str) -> str:
    """Return the mark of a thought that is open at the end of a prompt, "" if none is.

    Marks in the question do not count.
    """
    after = _after(text, question)
    for mark in _ENDS:
        begun = after.rfind(mark)
        if begun >= 0 and (not _ENDS[mark] or _ENDS[mark] not in after[begun:]):
            return mark
    marks = list(_MARK.finditer(after))
    return marks[-1].group() if marks and not marks[-1]["end"] else ""


def _ends(mark: str) -> str:
    """Return the mark that ends the thought that this one begins, "" if there is none."""
    if mark in _ENDS:
        return _ENDS[mark]
    found = _MARK.fullmatch(mark)
    return f"{found['left']}/{found['name']}{found['right']}" if found else ""
