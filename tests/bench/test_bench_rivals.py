"""Rivals as methods of the benchmark: models that cannot be asked as the source can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bbtvp.bench.answers import SplitAnswers
from bbtvp.bench.method import MethodInput
from bbtvp.bench.methods import get
from bbtvp.models import Budget, Model, Outcome, Reply, Request
from bbtvp.surrogate import load_surrogate
from tests.support import Eye, Wrapper, patterns


class ManyImages(Wrapper):
    """Takes examples as images of their own, and says a word."""

    def __init__(self, spec: str) -> None:
        super().__init__(Eye(spec))
        self.capabilities = replace(self.inner.capabilities, images=6, logprobs=False)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [Reply("rows") for _ in requests]


def never() -> SplitAnswers:
    raise AssertionError("a rival needs no answers to images without a prompt")


def asked(folder: Path, source: Model, *targets: Model) -> set[str]:
    """The models that answered with the examples of the source."""
    given = MethodInput(
        patterns(), source, 0, 0, folder, load_surrogate, never, targets=lambda: targets
    )
    method = get("few-shot")
    return set(method.run(given, method.constants).answers)


def test_a_target_that_cannot_see_the_examples_is_left_out(tmp_path: Path) -> None:
    """On 16 pixels a strip cannot be told, and the target takes one image."""
    source = ManyImages("eye/many")
    found = asked(tmp_path, source, ManyImages("eye/other"), Eye("eye/one"))
    assert found == {"eye/many", "eye/other"}
