"""What an endpoint really does, found by asking: a server may accept a field and ignore it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.endpoint import values
from bbtvp.endpoint.labels import label_scores
from bbtvp.endpoint.provider import ApiFeatures, ParsedReply, ProviderApi
from bbtvp.models import Capabilities, Request
from bbtvp.tasks import parse_label, read_reply
from bbtvp.tasks.replies.thoughts import visible

V = TypeVar("V", int, float)

SIDE = 224
COLOURS = ("red", "blue")
QUESTION = "Which colour fills this image, red or blue? Answer with one word."
UNLIKELY = ("quartz", "zebra")
"""Labels that no model answers unless it is forced to."""

Ask = Callable[[Request, ApiFeatures], ParsedReply]
"""Makes one image query with these features. Raises ModelError if it is rejected."""


def _filled(colour: tuple[int, int, int]) -> Pixels:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


RED = _filled((220, 30, 30))
BLUE = _filled((30, 30, 220))


MOST = 9
"""Most image queries of a probe, if none is retried and no field is refused for its value."""

AGREEMENT = 0.9
"""Least share of replies in which the label that is scored must be the label that is said."""


class ProbeResult(NamedTuple):
    """The features that are honoured, the capabilities they give, and the findings in words."""

    features: ApiFeatures
    capabilities: Capabilities
    findings: tuple[str, ...]


def run_probe(api: ProviderApi, ask: Ask, wished: ApiFeatures) -> ProbeResult:
    """Try one feature after another, in at most `MOST` image queries and some that are refused.

    A field that is refused for its value is tried with another value (see `values`). Raises
    ModelError if even a plain question fails, or its reply is empty, or both colours get the same
    reply, in which the model declines to answer.
    """
    return _Prober(api, ask, wished).run()


@final
@dataclass
class _Prober:
    api: ProviderApi
    ask: Ask
    wished: ApiFeatures

    def __post_init__(self) -> None:
        self.findings: list[str] = []
        self.kept = ApiFeatures(temperature=None)
        self.thinks = False

    def run(self) -> ProbeResult:
        plain = self._plain()
        self._sampling()
        top, forced, both = self._scores()
        if self.api.can_repeat:
            parsed = self._tried("n samples", replace(self.kept, samples=2))
            if parsed is not None:
                self._say("n samples", len(parsed.texts) == 2)
        scored = replace(self.kept, top=top, forced=both)
        held = COLOURS if both else ()
        first, other, again = (
            self._asked(self._request(image, held), scored) for image in (RED, BLUE, RED)
        )
        if top and not self._agree((first, other, again)):
            top = 0
        repeated = _same(first, again)
        self.findings.append(f"the same request gave {'the same' if repeated else 'another'} reply")
        if _same(first, other):
            self._blind(first)
        # Without a fixed seed or a temperature of 0, one repetition proves little.
        deterministic = repeated and (self.kept.temperature == 0 or self.kept.seed is not None)
        how = f"top {top} alternatives" if top else ""
        if both and top:
            how += ", structured output"
        if self.thinks:
            self.findings.append("it thinks before it answers: its replies need room for that")
        features = replace(self.kept, top=top, forced=both if top else forced, thinks=self.thinks)
        capabilities = Capabilities(
            logprobs=bool(top),
            deterministic=deterministic,
            forced=forced,
            how=how,
            revision=plain.model,
            thinks=self.thinks,
        )
        return ProbeResult(features, capabilities, tuple(self.findings))

    def _plain(self) -> ParsedReply:
        """Return the reply to a plain question. Raises ModelError without one that says a thing."""
        try:
            plain = self._asked(self._request(RED), self.kept)
        except ModelError as error:
            if not (self.api.can_rename_length and values.names_length(str(error))):
                raise
            self.kept = replace(self.kept, other_length=True)
            plain = self._asked(self._request(RED), self.kept)
            self.findings.append("the longest reply: accepted under the field's other name")
        if plain.refusal:
            raise ModelError(
                f"{self.api.spec} refuses a plain question about a red image: {plain.refusal}"
            )
        if not "".join(plain.texts).strip() or _thinks_only(plain):
            raise ModelError(self._silent(plain))
        return plain

    def _silent(self, plain: ParsedReply) -> str:
        """Return what to do about a model that said nothing."""
        spec = self.api.spec
        if not (plain.truncated or self.thinks):
            return (
                f"{spec} gave an empty reply to a plain question: "
                "raise -M max_tokens, or see what it says with bbtvp doctor"
            )
        spent = plain.output_tokens
        count = f"all {spent} tokens" if spent else "all tokens"
        enough = max(2048, 4 * (spent or 0))
        return (
            f"{spec} gave no answer to a plain question: {count} of its reply went into a thought; "
            f"raise -M max_tokens, for instance to {enough}"
        )

    def _sampling(self) -> None:
        """Keep a temperature and a seed, if they are wished and accepted.

        The repeated request shows whether they are honoured.
        """
        wished = self.wished
        if self.api.can_sample and wished.temperature is not None:
            self._keep_first(
                "temperature", wished.temperature, self._with_temperature, values.warmer
            )
        if self.api.can_seed and wished.seed is not None:
            self._keep_first("seed", wished.seed, self._with_seed, values.other_seeds)

    def _with_temperature(self, value: float) -> ApiFeatures:
        return replace(self.kept, temperature=value)

    def _with_seed(self, value: int) -> ApiFeatures:
        return replace(self.kept, seed=value)

    def _scores(self) -> tuple[int, bool, bool]:
        """Return (alternatives shown, labels forced, both at once).

        Both at once are used only where a plain reply gives no label that can be scored. The JSON
        around a forced label is not what the model would write by itself, so its probabilities are
        not its own either.
        """
        top = 0
        near = False
        if self.api.top and self.wished.top:
            top, near = self._alternatives()
        if not (self.api.can_force and self.wished.forced):
            return top, False, False
        parsed = self._tried("forced labels", replace(self.kept, forced=True, top=top), UNLIKELY)
        if parsed is None:
            return top, False, False
        forced = bool(parsed.texts) and parsed.texts[0].strip() in UNLIKELY
        self._say("forced labels", forced)
        scored = any(len(token.top) > 1 for token in parsed.tokens)
        return top, forced, forced and scored and not near

    def _alternatives(self) -> tuple[int, bool]:
        """Return how many alternatives are shown, and whether a plain reply gives a label."""
        name = "log-probabilities"
        wanted = min(self.api.top, self.wished.top)
        parsed, accepted = self._first_accepted(
            name,
            wanted,
            lambda value: replace(self.kept, top=value),
            lambda why: values.fewer(why, wanted),
        )
        if parsed is None:
            return 0, False
        # A token that is not among its own alternatives is one more than were asked for.
        shown = min(max((len(token.top) for token in parsed.tokens), default=0), accepted)
        if parsed.unspelt:
            self.findings.append(f"{name}: not used, their tokens do not spell the reply")
            return 0, False
        if shown < 2:
            self._say(name, False)
            return 0, False
        self._say(f"{name} ({shown} alternatives)", True)
        return shown, label_scores(parsed.tokens, COLOURS) is not None

    def _agree(self, replies: Iterable[ParsedReply]) -> bool:
        """Whether the labels that are scored are those that are said, where a label is said."""
        said = [(_said(reply), _scored(reply)) for reply in replies]
        compared = [(answer, scored) for answer, scored in said if answer is not None]
        agreed = sum(answer == scored for answer, scored in compared)
        if agreed >= AGREEMENT * len(compared):
            return True
        self.findings.append(
            "log-probabilities: not used, the label that they score is the label that is said in "
            f"{agreed} of {len(compared)} replies"
        )
        return False

    def _blind(self, reply: ParsedReply) -> None:
        """Tell of a model that says the same about a red and a blue image.

        Raises ModelError if it declines to answer.
        """
        text = reply.texts[0] if reply.texts else ""
        words = " ".join(text.split())[:60]
        if read_reply(text, COLOURS).status == "refused":
            raise ModelError(
                f"{self.api.spec} says {words!r} about a red and about a blue image: "
                "check that the server passes images on to the model"
            )
        wrong = "" if _said(reply) else f", {words!r}, which is right for neither"
        self.findings.insert(
            0,
            f"a red and a blue image gave the same reply{wrong}: "
            "it is a weak model, or sees no image",
        )

    # -- asking ------------------------------------------------------------------------------------
    def _keep_first(
        self,
        name: str,
        wished: V,
        with_value: Callable[[V], ApiFeatures],
        others: Callable[[str], Sequence[V]],
    ) -> None:
        """Keep a field with the first value that is accepted, if one is."""
        parsed, value = self._first_accepted(name, wished, with_value, others)
        if parsed is None:
            return
        self.kept = with_value(value)
        if value == wished:
            self.findings.append(f"{name}: accepted")

    def _first_accepted(
        self,
        name: str,
        wished: V,
        with_value: Callable[[V], ApiFeatures],
        others: Callable[[str], Sequence[V]],
    ) -> tuple[ParsedReply | None, V]:
        """Return a reply to the first value of a field that is accepted, and that value.

        with_value: the features with a value. others: further values, given the error for the one
        that is wished.
        """
        first = len(self.findings)
        parsed = self._tried(name, with_value(wished))
        if parsed is not None:
            return parsed, wished
        for value in others(self.findings[first]):
            parsed = self._tried(name, with_value(value))
            if parsed is not None:
                self.findings[first:] = [f"{name}: {wished:g} rejected, {value:g} accepted"]
                return parsed, value
        del self.findings[first + 1 :]
        return None, wished

    def _tried(
        self, name: str, features: ApiFeatures, labels: Sequence[str] = ()
    ) -> ParsedReply | None:
        try:
            return self._asked(self._request(RED, labels), features)
        except ModelError as error:
            self.findings.append(f"{name}: rejected ({error})")
            return None

    def _asked(self, request: Request, features: ApiFeatures) -> ParsedReply:
        reply = self.ask(request, features)
        self.thinks = self.thinks or reply.thought or any(map(_holds_thought, reply.texts))
        return reply

    def _say(self, name: str, honoured: bool) -> None:
        self.findings.append(f"{name}: {'honoured' if honoured else 'answered 200, but ignored'}")

    def _request(self, image: Pixels, labels: Sequence[str] = ()) -> Request:
        return Request(image, QUESTION, tuple(labels) or None, forced=bool(labels))


def _same(one: ParsedReply, other: ParsedReply) -> bool:
    return (one.texts, one.input_tokens) == (other.texts, other.input_tokens)


def is_cut_thought(reply: ParsedReply) -> bool:
    """Whether a reply ended at the limit of tokens before it said anything but a thought."""
    silent = not "".join(reply.texts).strip() or _thinks_only(reply)
    return silent and (reply.truncated or reply.thought)


def _thinks_only(reply: ParsedReply) -> bool:
    """Whether a reply was cut within the thought that its text opens, or says nothing after it."""
    text = reply.texts[0] if reply.texts else ""
    return bool(text.strip()) and not visible(text).text.strip()


def _holds_thought(text: str) -> bool:
    return visible(text).text != text


def _said(reply: ParsedReply) -> str | None:
    """Return the colour that a reply says, None if it says none."""
    return parse_label(reply.texts[0], COLOURS) if reply.texts else None


def _scored(reply: ParsedReply) -> str | None:
    """Return the colour with the highest log-probability, None if there are none."""
    scores = label_scores(reply.tokens, COLOURS)
    if scores is None:
        return None
    return max(zip(scores, COLOURS, strict=True))[1]
