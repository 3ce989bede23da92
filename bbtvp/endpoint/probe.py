"""What an endpoint really does, found by asking: a server may answer 200 and ignore a field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.endpoint.dialect import Dialect, Features, Parsed
from bbtvp.endpoint.labels import label_scores
from bbtvp.models import Capabilities, Request

SIDE = 224
COLOURS = ("red", "blue")
QUESTION = "Which colour fills this image, red or blue? Answer with one word."
UNLIKELY = ("quartz", "zebra")
"""Labels that no model gives unless it is made to."""

Ask = Callable[[Request, Features], Parsed]
"""One image query with these features. Raises ModelError if it is rejected."""


def _filled(colour: tuple[int, int, int]) -> Pixels:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


RED = _filled((220, 30, 30))
BLUE = _filled((30, 30, 220))


MOST = 9
"""Image queries of a probe, if none is retried."""


class Found(NamedTuple):
    """Features that are honoured, what they make possible, and the findings in words."""

    features: Features
    capabilities: Capabilities
    findings: tuple[str, ...]


def explore(dialect: Dialect, ask: Ask, wished: Features) -> Found:
    """Try one field after another, at most `MOST` image queries. Raises ModelError if even a plain
    question fails.
    """
    return _Explorer(dialect, ask, wished).run()


@final
@dataclass
class _Explorer:
    dialect: Dialect
    ask: Ask
    wished: Features

    def __post_init__(self) -> None:
        self.findings: list[str] = []
        self.kept = Features(temperature=None)

    def run(self) -> Found:
        plain = self.ask(self._request(RED), self.kept)
        if plain.refusal:
            raise ModelError(
                f"{self.dialect.spec} refuses a plain question about a red image: {plain.refusal}"
            )
        dialect = self.dialect
        wished = self.wished
        if dialect.can_sample and wished.temperature is not None:
            self._try("temperature", replace(self.kept, temperature=wished.temperature))
        if dialect.can_seed and wished.seed is not None:
            self._try("seed", replace(self.kept, seed=wished.seed))
        top, forced, both = self._scores()
        if dialect.can_repeat:
            parsed = self._tried("n samples", replace(self.kept, samples=2))
            self._say("n samples", parsed is not None and len(parsed.texts) == 2)
        first, other, again = (
            self.ask(self._request(image), self.kept) for image in (RED, BLUE, RED)
        )
        repeated = _same(first, again)
        self.findings.append(f"the same request gave {'the same' if repeated else 'another'} reply")
        if _same(first, other):
            self.findings.append(
                "a red and a blue image gave the same reply: it is a weak model, or sees no image"
            )
        # One repetition proves little where replies are drawn, and nothing holds the draw.
        deterministic = repeated and (self.kept.temperature == 0 or self.kept.seed is not None)
        how = (
            f"top {top} alternatives, structured output"
            if both
            else f"top {top} alternatives"
            if top
            else ""
        )
        features = replace(self.kept, top=top, forced=both if top else forced)
        capabilities = Capabilities(
            logprobs=bool(top),
            deterministic=deterministic,
            forced=forced,
            how=how,
            revision=plain.model,
        )
        return Found(features, capabilities, tuple(self.findings))

    def _scores(self) -> tuple[int, bool, bool]:
        """(alternatives shown, labels forced, both at once).

        Both at once only where a plain reply does not begin with a label: the wrapping that forces
        one is not what the model would say, and its probabilities are not either.
        """
        top = 0
        forced = False
        both = False
        near = False
        if self.dialect.top and self.wished.top:
            parsed = self._tried(
                "log-probabilities", replace(self.kept, top=min(self.dialect.top, self.wished.top))
            )
            shown = max((len(token.top) for token in parsed.tokens), default=0) if parsed else 0
            top = shown if shown > 1 else 0
            near = parsed is not None and label_scores(parsed.tokens, COLOURS) is not None
            self._say(
                f"log-probabilities ({top} alternatives)" if top else "log-probabilities", bool(top)
            )
        if self.dialect.can_force and self.wished.forced:
            parsed = self._tried(
                "forced labels", replace(self.kept, forced=True, top=top), UNLIKELY
            )
            forced = (
                parsed is not None and bool(parsed.texts) and parsed.texts[0].strip() in UNLIKELY
            )
            both = (
                forced
                and not near
                and parsed is not None
                and any(len(token.top) > 1 for token in parsed.tokens)
            )
            self._say("forced labels", forced)
        return top, forced, both

    def _try(self, name: str, changed: Features) -> None:
        """Keep a field that is accepted; whether it is honoured shows in the repetition."""
        if self._tried(name, changed) is not None:
            self.kept = changed
            self.findings.append(f"{name}: accepted")

    def _tried(self, name: str, features: Features, labels: Sequence[str] = ()) -> Parsed | None:
        try:
            return self.ask(self._request(RED, labels), features)
        except ModelError as error:
            self.findings.append(f"{name}: rejected ({error})")
            return None

    def _say(self, name: str, honoured: bool) -> None:
        if not any(finding.startswith(f"{name}: rejected") for finding in self.findings):
            self.findings.append(
                f"{name}: {'honoured' if honoured else 'answered 200, but ignored'}"
            )

    def _request(self, image: Pixels, labels: Sequence[str] = ()) -> Request:
        return Request(image, QUESTION, tuple(labels) or None, forced=bool(labels))


def _same(one: Parsed, other: Parsed) -> bool:
    return (one.texts, one.tokens, one.input_tokens) == (
        other.texts,
        other.tokens,
        other.input_tokens,
    )
