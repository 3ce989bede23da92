"""The sentences of a proof. Each also knows its code and values, so that it can be translated.

A template names its values in braces, as `str.format` does, with three additions:

    {gain!p:+.1f}              a share in points or percent: 0.123 → +12.3
    {harm!p:point|points}      the word that fits the number: the first for 1, else the second
    {labels:, }                a list, with the format spec between its items

>>> said = message("gains", model="zoo/llava", gain=0.123, images=500)
>>> said, said.code
('zoo/llava gains +12.3 points on 500 images', 'gains')
>>> fill("{model}: {gain!p:+.1f} Punkte auf {images} Bildern", said.values)
'zoo/llava: +12.3 Punkte auf 500 Bildern'
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from types import MappingProxyType
from typing import Any, Self, final

MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        # the rule, and why the verdict is what it is
        "rule": (
            "go if every source (every model, if none is among them) is shown to gain more "
            "than {min_gain!p:g} {min_gain!p:point|points}, also where its reply was read "
            "without the prompt, and to do better than the best constant answer, "
            "and no other is shown to lose more than {max_harm!p:g} "
            "{max_harm!p:point|points}; no-go if one is shown to gain less, or another to lose "
            "more; else undecided; one-sided at {level!p:g} %, for harm over all models together"
        ),
        "nothing-judged": "nothing was judged",
        "identity": (
            "nothing is to be proved: the prompt is the identity, which sends every image as it is"
        ),
        "gains": "{model} gains {gain!p:+.1f} points on {images} images",
        "no-worse": (
            "{model} is shown to lose less than {most!p:g} {most!p:point|points} "
            "({gain!p:+.1f} on {images} images)"
        ),
        "no-harm": (
            "no other model is shown to lose more than {max_harm!p:g} {max_harm!p:point|points}"
        ),
        "answers-now": (
            "without the prompt {model} gave {read} answers to {images} images that could be read; "
            "with it, it is {above!p:+.1f} points above the best constant answer"
        ),
        "collapsed": (
            "the prompted replies of {model} are {answer!r} for {share!p:.0f} % of the images "
            "({earlier!p:.0f} % without the prompt), whatever they show: that reaches "
            "{prompted!p:.1f} %, and the best constant answer {constant!p:.1f} %"
        ),
        "not-above-constant": (
            "with the prompt {model} reaches {prompted!p:.1f} % on {images} images, which is "
            "not shown to be more than the {constant!p:.1f} % of always saying {answer!r}"
        ),
        "parses-now": (
            "{model} gains where its reply could not be read without the prompt: on the {read} "
            "images whose reply was read it gains {gain!p:+.1f} points, which does not show more "
            "than {min_gain!p:g}; ask for one word, or raise max_tokens, and prove it again"
        ),
        "gains-too-little": (
            "{model} is shown to gain less than {min_gain!p:g} {min_gain!p:point|points} "
            "({gain!p:+.1f})"
        ),
        "harmed": (
            "{model} is shown to lose more than {max_harm!p:g} {max_harm!p:point|points} "
            "({gain!p:+.1f})"
        ),
        "fails": "{model} failed on {failed} of {asked} images: what it answered says little",
        "open": (
            "{model} gains {gain!p:+.1f} points on {images} images, which shows neither more "
            "nor less than {min_gain!p:g} {min_gain!p:point|points}"
        ),
        "open-loss": (
            "{model} changes by {gain!p:+.1f} points on {images} images, which shows neither a "
            "loss of less than {most!p:g} {most!p:point|points} nor one of more"
        ),
        "more-images": (
            "about {images:,} more test {images:image|images} would settle it, if what was "
            "seen holds"
        ),
        "at-the-margin": (
            "the gain lies so near the margin that no number of images in reach would settle it"
        ),
        # why none can be given
        "split-leaks": (
            "{seen} of {images} test images are in train or validation too: split the data "
            "anew, so that what is held out was not seen"
        ),
        "too-few-images": (
            "{images} test {images:image is|images are} too few: give at least {least}"
        ),
        "one-answer": (
            "all test images have the answer {answer!r}: a model that always says so is always "
            "right"
        ),
        # what must be said beside the figures
        "seen-equal": (
            "of {images} test images, {equal} equal to one in train or validation: the verdict "
            "leaves them out, the table does not"
        ),
        "seen-alike": (
            "of {images} test images, {alike} nearly alike to one in train or validation: the "
            "verdict leaves them out, the table does not"
        ),
        "seen-equal-and-alike": (
            "of {images} test images, {equal} equal and {alike} nearly alike to one in train "
            "or validation: the verdict leaves them out, the table does not"
        ),
        "other-question": (
            "the prompt was searched with the question {searched!r}, and is asked {asked!r} here"
        ),
        "other-labels": (
            "the prompt was searched with the labels {searched:, }; this task has {labels:, }"
        ),
        "free-answers": (
            "the prompt was searched with the labels {searched:, }; this task has free answers"
        ),
        "other-task": "the prompt was searched on the task {searched}, and is proved on {task}",
        "not-asked": "{model} was not asked: the verdict was settled before",
        "settled-early": "{model} was settled after {asked} of {images} test images",
        "canvas-resampled": (
            "the prompt was made for a canvas of {canvas} px, which {model} resamples; "
            "{fitting} px it would take as it is"
        ),
        "delivered": "the median test image, {image}, arrives at {model} in {arrives}",
        "delivered-in-part": (
            "of the median test image, {image}, the middle arrives at {model}, in {part}"
        ),
        "image-cost": (
            "{model}: image tokens (or pixels, where tokens are not known) change by "
            "{share!p:+.0f} % with the prompt"
        ),
        "image-usd": (
            "{model}: image tokens change by {share!p:+.0f} % with the prompt, which saves "
            "${saved:.2f} for 1,000 images"
        ),
        "canvas-blurred": (
            "the prompt was made for a canvas of {canvas} px; the processor of {model} makes "
            "it {side} px, blurred"
        ),
        "canvas-loses-detail": (
            "the prompt was made for a canvas of {canvas} px; the processor of {model} makes "
            "it {side} px, and details of two pixels are lost"
        ),
        "several-versions": (
            "{model} reported {count} versions during the proof ({versions:, }): its figures mix "
            "them"
        ),
        "version-missing": (
            "some replies of {model} report no version, the others {versions:, }: they may come "
            "from another one"
        ),
        "noise": "{model}: {noise!p:.1f} % of the answers change when it is asked the same again",
        "noise-graded": (
            "{model}: the score of an image changes by {noise!p:.1f} points on average when it is "
            "asked the same again"
        ),
        "unread": (
            "{model}: without the prompt {unread} of {images} replies could not be read, with it "
            "{after}; a question that asks for one word, or more tokens, may gain as much"
        ),
        "collapse": (
            "{model}: {answer!r} is {share!p:.0f} % of the prompted replies, {earlier!p:.0f} % of "
            "those without the prompt, and right for {true!p:.0f} % of the images"
        ),
        "calibration-does-it": (
            "{model}: a correction of its answers alone, without a prompt, reaches "
            "{calibrated!p:.1f} %, and the prompt is not shown to do better"
        ),
        "sentence-does-it": (
            "{model}: the words alone reach {words!p:.1f} %, and the picture is not shown to add "
            "to them ({gain!p:+.1f} points [{low!p:+.1f}, {high!p:+.1f}]); search them alone: "
            "--prompt words"
        ),
        "picture-adds": (
            "{model}: the picture adds {gain!p:+.1f} points [{low!p:+.1f}, {high!p:+.1f}] to the "
            "words alone, which reach {words!p:.1f} %"
        ),
        "words-alone": "the prompt is words alone: every image is sent as it is",
    }
)
"""Code → English template. Gains, margins and rates are shares, −1 to 1; images are counts."""


@final
class Message(str):
    """An English sentence, its code in `MESSAGES`, and its values (JSON; shares are not in %)."""

    __slots__ = ("code", "values")
    code: str
    values: Mapping[str, Any]

    def __new__(cls, code: str, values: Mapping[str, Any]) -> Self:
        self = super().__new__(cls, fill(MESSAGES[code], values))
        self.code = code
        self.values = MappingProxyType(dict(values))
        return self

    def __reduce__(self) -> tuple[type[Message], tuple[str, dict[str, Any]]]:
        return Message, (self.code, dict(self.values))  # a copy is not made from the sentence alone

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "text": str(self), "values": dict(self.values)}


def message(code: str, /, **values: Any) -> Message:
    """The sentence of this code with these JSON values.

    KeyError for an unknown code or a missing value.
    """
    return Message(code, values)


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put the values of a message into a template, in any language; it need not use all of them.

    Raises KeyError for an unknown value, and ValueError for an invalid format.
    """
    return _FORMATTER.vformat(template, (), values)


class _Formatter(Formatter):
    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return 100 * value if conversion == "p" else super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, list | tuple):
            return format_spec.join(map(str, value))
        one, either, many = format_spec.partition("|")
        if either:
            # As it is shown: 100 × a share may be 1.0000000000000002.
            return one if f"{value:g}" == "1" else many
        return str(super().format_field(value, format_spec))


_FORMATTER = _Formatter()
