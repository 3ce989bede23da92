"""The contract of adapters finds an adapter that breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bbtvp.models import Budget, Capabilities, Model, Outcome, Reply, Request
from bbtvp.testing import AdapterContract

CHECK = "test_an_image_before_another_belongs_to_its_own_request"


class Counting(Model):
    """Says how many images it was sent, and the level of the last one."""

    spec = "mine/counting"
    capabilities = Capabilities(logprobs=False, deterministic=True, images=4)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self.say(request, requests) for request in requests]

    def say(self, request: Request, others: Sequence[Request]) -> Reply:
        return Reply(f"{request.images} images, {request.image.max()}")


class Leaky(Counting):
    """What one request shows is seen by all that follow it."""

    def say(self, request: Request, others: Sequence[Request]) -> Reply:
        return Reply(f"{max(other.images for other in others)} images")


class Boastful(Counting):
    """Says that it takes several images, and gives no reply to them."""

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self.say(request, requests) for request in requests if not request.context]


class OneImage(Boastful):
    """Says that it takes one image, and is held to no more."""

    capabilities = replace(Counting.capabilities, images=1)


def check(made: type[Counting]) -> None:
    class Contract(AdapterContract):
        def make(self) -> Model:
            return made()

    getattr(Contract(), CHECK)()


@pytest.mark.parametrize("made", [Counting, OneImage])
def test_a_model_that_keeps_it(made: type[Counting]) -> None:
    check(made)


@pytest.mark.parametrize(
    ("made", "said"), [(Leaky, "changes no other reply"), (Boastful, "2 outcomes for 3 requests")]
)
def test_a_model_that_breaks_it(made: type[Counting], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(made)
