"""A search on a model that costs money: probed, capped, counted, and resumed without paying
twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bbtvp.core.errors import BudgetReached
from bbtvp.search import Run, optimize
from bbtvp.search.events import SearchEvent, SearchPlanned
from bbtvp.verify import verify
from tests.support import Vendor, patterns

TASK = patterns()


def search(vendor: Vendor, **options: Any) -> Run:
    return optimize(TASK, vendor, **{"budget": 400, "prompt": "tone", **options})


def test_the_reader_is_what_the_probe_found() -> None:
    events: list[SearchEvent] = []
    vendor = Vendor()
    run = search(vendor, watch=events.append)
    (planned,) = [event for event in events if isinstance(event, SearchPlanned)]
    assert planned.reader == "logprob"
    assert planned.resumed == 0, "the probe was sent by this process"
    assert planned.probes == {vendor.spec: ("log-probabilities: honoured",)}
    assert run.queries["probe"] == 2
    assert run.usd == pytest.approx(0.001 * vendor.sold)
    assert sum(run.queries.values()) == vendor.sold <= 400


def test_a_cap_on_money_ends_the_search_and_leaves_enough_to_choose() -> None:
    vendor = Vendor(usd=0.001)
    run = search(vendor, budget=2000, usd=0.25)
    assert 0.15 < run.usd <= 0.25
    assert run.usd == pytest.approx(0.001 * vendor.sold)
    assert run.arms[0].name == "unprompted"
    assert len(run.arms) == 2
    assert run.improved


def test_too_little_money_for_a_choice_is_said() -> None:
    with pytest.raises(BudgetReached, match=r"cap of \$0\.01"):
        search(Vendor(), usd=0.01)


def test_flaky_attempts_count_and_stay_within_the_cap() -> None:
    vendor = Vendor(flaky=0.3)
    run = search(vendor, budget=300)
    assert sum(run.queries.values()) == vendor.sold <= 300
    assert len(run.arms) == 2


def test_a_run_that_goes_on_pays_for_nothing_twice(tmp_path: Path) -> None:
    first = Vendor()
    run = search(first, out=tmp_path / "run")
    second = Vendor()
    again = search(second, out=tmp_path / "run")
    assert again.prompt.digest == run.prompt.digest
    assert (again.usd, again.queries) == (run.usd, run.queries)
    assert second.sold == 2  # its own probe, for want of a store


def test_refusals_survive_in_the_journal(tmp_path: Path) -> None:
    vendor = Vendor(refuses=lambda request: bool(request.image[0, 0, 0] % 5 == 0))
    run = search(vendor, out=tmp_path / "run")
    assert 0 < run.refused == run.failed
    assert search(vendor, out=tmp_path / "run").refused >= run.refused


def test_a_verification_is_capped_and_continues_with_more_money(tmp_path: Path) -> None:
    prompt = search(Vendor()).prompt
    vendor = Vendor()
    with pytest.raises(BudgetReached, match=r"pass the cap of \$0\.1 "):
        verify(prompt, TASK, [vendor], usd=0.1, out=tmp_path)
    spent = vendor.sold
    proof = verify(prompt, TASK, [vendor], usd=1.0, out=tmp_path)
    assert proof.usd == pytest.approx(0.001 * proof.queries)
    assert proof.queries == 2 * len(TASK.test) + 2  # the empty frame of a tone is the image itself
    assert vendor.sold - spent == proof.queries - spent + 2
