"""What an endpoint really does, found by asking: a server may accept a field and ignore it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.endpoint.labels import label_scores
from bbtvp.endpoint.provider import ApiFeatures, ParsedReply, ProviderApi
from bbtvp.models import Capabilities, Request

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
"""Most image queries of a probe, if none is retried."""


class ProbeResult(NamedTuple):
    """The features that are honoured, the capabilities they give, and the findings in words."""

    features: ApiFeatures
    capabilities: Capabilities
    findings: tuple[str, ...]


def run_probe(api: ProviderApi, ask: Ask, wished: ApiFeatures) -> ProbeResult:
    """Try one feature after another, in at most `MOST` image queries.

    Raises ModelError if even a plain question fails.
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

    def run(self) -> ProbeResult:
        plain = self.ask(self._request(RED), self.kept)
        if plain.refusal:
            raise ModelError(
                f"{self.api.spec} refuses a plain question about a red image: {plain.refusal}"
            )
        api = self.api
        wished = self.wished
        if api.can_sample and wished.temperature is not None:
            self._try("temperature", replace(self.kept, temperature=wished.temperature))
        if api.can_seed and wished.seed is not None:
            self._try("seed", replace(self.kept, seed=wished.seed))
        top, forced, both = self._scores()
        if api.can_repeat:
            parsed = self._tried("n samples", replace(self.kept, samples=2))
            if parsed is not None:
                self._say("n samples", len(parsed.texts) == 2)
        first, other, again = (
            self.ask(self._request(image), self.kept) for image in (RED, BLUE, RED)
        )
        repeated = _same(first, again)
        self.findings.append(f"the same request gave {'the same' if repeated else 'another'} reply")
        if _same(first, other):
            self.findings.append(
                "a red and a blue image gave the same reply: it is a weak model, or sees no image"
            )
        # Without a fixed seed or a temperature of 0, one repetition proves little.
        deterministic = repeated and (self.kept.temperature == 0 or self.kept.seed is not None)
        how = f"top {top} alternatives" if top else ""
        if both:
            how += ", structured output"
        features = replace(self.kept, top=top, forced=both if top else forced)
        capabilities = Capabilities(
            logprobs=bool(top),
            deterministic=deterministic,
            forced=forced,
            how=how,
            revision=plain.model,
        )
        return ProbeResult(features, capabilities, tuple(self.findings))

    def _scores(self) -> tuple[int, bool, bool]:
        """Return (alternatives shown, labels forced, both at once).

        Both at once are used only where a plain reply does not begin with a label. The JSON around
        a forced label is not what the model would write by itself, so its probabilities are not its
        own either.
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
        """Return how many alternatives are shown, and whether a plain reply begins with a label."""
        name = "log-probabilities"
        wanted = min(self.api.top, self.wished.top)
        parsed = self._tried(name, replace(self.kept, top=wanted))
        if parsed is None:
            return 0, False
        shown = max((len(token.top) for token in parsed.tokens), default=0)
        if shown < 2:
            self._say(name, False)
            shown = 0
        else:
            self._say(f"{name} ({shown} alternatives)", True)
        return shown, label_scores(parsed.tokens, COLOURS) is not None

    def _try(self, name: str, changed: ApiFeatures) -> None:
        """Keep a feature that is accepted. The repeated request shows whether it is honoured."""
        if self._tried(name, changed) is not None:
            self.kept = changed
            self.findings.append(f"{name}: accepted")

    def _tried(
        self, name: str, features: ApiFeatures, labels: Sequence[str] = ()
    ) -> ParsedReply | None:
        try:
            return self.ask(self._request(RED, labels), features)
        except ModelError as error:
            self.findings.append(f"{name}: rejected ({error})")
            return None

    def _say(self, name: str, honoured: bool) -> None:
        self.findings.append(f"{name}: {'honoured' if honoured else 'answered 200, but ignored'}")

    def _request(self, image: Pixels, labels: Sequence[str] = ()) -> Request:
        return Request(image, QUESTION, tuple(labels) or None, forced=bool(labels))


def _same(one: ParsedReply, other: ParsedReply) -> bool:
    return (one.texts, one.tokens, one.input_tokens) == (
        other.texts,
        other.tokens,
        other.input_tokens,
    )
