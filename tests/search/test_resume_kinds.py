"""Interrupted anywhere and started again, a search of any kind ends in the same prompt and asks
nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import pytest

from bbtvp.core.errors import ModelError, UsageError
from bbtvp.models import Budget, Model, Outcome, Reply, Request
from bbtvp.prompt import Prompt
from bbtvp.runs.folder import BUNDLE
from bbtvp.runs.records import FILE
from bbtvp.search import Run
from bbtvp.surrogate import Surrogate
from tests.search.runs import KINDS, Kind, search, steps
from tests.support import SIDE, Eye, Flaky, Recorder, Wrapper
from tests.surrogate.conftest import tiny_clip


class Calls:
    """Counts the calls of all models of a run, and may break one off: Ctrl-C, before or after its
    answer is there. Every reply reports a version, which the bundle tells.
    """

    def __init__(self, fatal: int | None = None) -> None:
        self.fatal = fatal
        self.made = 0
        self.keys: list[str] = []

    def __call__(self, model: Model) -> Model:
        return Counted(model, self)


@final
class Counted(Wrapper):
    def __init__(self, inner: Model, calls: Calls) -> None:
        super().__init__(inner)
        self.calls = calls

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        self.calls.made += 1
        if self.calls.made == self.calls.fatal:
            raise KeyboardInterrupt
        self.calls.keys += [f"{self.spec} {request.key}" for request in requests]
        replies = super().query(requests, budget)
        return [
            replace(reply, version=f"{self.spec} 1") if isinstance(reply, Reply) else reply
            for reply in replies
        ]


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (FILE, BUNDLE)}


@pytest.fixture(scope="module")
def clip() -> Surrogate:
    return tiny_clip(SIDE, batch=256)


def check_resumed(kind: Kind, root: Path, fractions: Sequence[float]) -> None:
    calls = Calls()
    whole = search(kind, calls, root / "whole")
    assert len(calls.keys) == len(set(calls.keys)) == sum(whole.queries.values())
    for i, fraction in enumerate(fractions):
        out = root / str(i)
        broken = Calls(fatal=1 + int(fraction * calls.made))
        rest = Calls()
        with pytest.raises(KeyboardInterrupt):
            search(kind, broken, out)
        run = search(kind, rest, out)
        assert files(out) == files(root / "whole"), fraction
        assert run.prompt.z.tobytes() == whole.prompt.z.tobytes()
        assert (run.queries, run.arms) == (whole.queries, whole.arms)
        assert run.versions == whole.versions != {}
        assert broken.keys + rest.keys == calls.keys


@pytest.mark.parametrize("name", KINDS)
def test_interrupted_and_started_again_it_is_the_same_run(name: str, tmp_path: Path) -> None:
    check_resumed(KINDS[name], tmp_path, (0.3,))
    again = Calls()
    search(KINDS[name], again, tmp_path / "whole")
    assert again.keys == []
    assert files(tmp_path / "whole") == files(tmp_path / "0")


def test_interrupted_in_the_middle_of_a_generation_or_between_two(tmp_path: Path) -> None:
    models, options = KINDS["two sources"]
    kind = Kind(models, {**options, "budget": 120})
    calls = Calls()
    search(kind, calls, tmp_path / "whole")
    check_resumed(
        kind, tmp_path / "each", [fatal / calls.made for fatal in range(0, calls.made, 3)]
    )


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_cut_at_any_byte_of_the_journal(share: float, tmp_path: Path) -> None:
    kind = KINDS["gp"]
    whole = search(kind, out=tmp_path / "whole")
    journal = (tmp_path / "whole" / FILE).read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / FILE).write_bytes(journal[: int(share * len(journal))])
    assert search(kind, out=tmp_path / "cut").prompt.z.tobytes() == whole.prompt.z.tobytes()
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_search_with_a_surrogate_is_the_same_run_too(clip: Surrogate, tmp_path: Path) -> None:
    """With priming, a warm start, and both terms in matched units."""
    options = {"surrogate": clip, "fca": 0.5, "tse": 0.1, "warm": True, "prime": 12}
    kind = Kind(lambda: [Eye()], {"images": 4, **options, "budget": 180})
    check_resumed(kind, tmp_path, (0.4,))
    found = steps(tmp_path / "whole")
    assert {step["scale"][0] for step in found.values() if "scale" in step} == {
        found["tone/0"]["scale"][0]
    }
    assert found["tone/0"]["scale"][0] > 0


def test_failures_while_priming_are_left_out_for_good(clip: Surrogate, tmp_path: Path) -> None:
    """They would be answered now; but another student would be another search."""
    kind = Kind(
        lambda: [Eye()], {"images": 4, "surrogate": clip, "warm": True, "prime": 20, "budget": 260}
    )
    first = search(kind, lambda model: Flaky(model, share=0.25, seed=1), tmp_path)
    primed = steps(tmp_path)["prime"]["logprobs"]
    assert 0 < primed.count(None) < 12
    before = files(tmp_path)
    models = list[Recorder]()
    again = search(kind, recorded(models), tmp_path)
    assert [model.calls for model in models] == [[]]
    assert files(tmp_path) == before
    assert again.prompt.z.tobytes() == first.prompt.z.tobytes()


def test_too_few_answers_to_prime_with_are_asked_for_again(clip: Surrogate, tmp_path: Path) -> None:
    kind = Kind(
        lambda: [Eye()], {"images": 4, "surrogate": clip, "warm": True, "prime": 12, "budget": 260}
    )
    served = iter(range(10_000))

    def lossy(model: Model) -> Model:
        return Flaky(model, refuses=lambda request: 33 < next(served) < 39)

    with pytest.raises(UsageError, match="7 answered images to prime on; query at least 8"):
        search(kind, lossy, tmp_path)
    assert "prime" not in steps(tmp_path)
    assert search(kind, out=tmp_path).failed == 5
    assert None not in steps(tmp_path)["prime"]["logprobs"]


def recorded(models: list[Recorder]) -> Callable[[Model], Model]:
    def wrapped(model: Model) -> Model:
        models.append(Recorder(model))
        return models[-1]

    return wrapped


def test_a_generation_that_went_unanswered_is_asked_again(tmp_path: Path) -> None:
    """So few queries that the metered model takes their failure for refusals."""
    kind = Kind(lambda: [Eye()], {"images": 1, "popsize": 2, "budget": 60})
    served = iter(range(10_000))

    def lossy(model: Model) -> Model:
        return Flaky(model, refuses=lambda request: next(served) >= 14)

    with pytest.raises(ModelError, match="a whole generation went unanswered"):
        search(kind, lossy, tmp_path)
    resumed: Run = search(kind, out=tmp_path)
    assert resumed.failed == 2
    assert {"tone/0", "validation/tone"} <= steps(tmp_path).keys()
    assert Prompt.load(tmp_path / BUNDLE).digest == resumed.prompt.digest
