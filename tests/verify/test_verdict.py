"""The rule: what is go, what is no-go, and where nothing may be said."""

from __future__ import annotations

import numpy as np
import pytest

from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.stats import images_needed, score_interval
from bbtvp.verify.messages import message
from bbtvp.verify.planning import SequentialDesign
from bbtvp.verify.verdict import ChangedAnswers, Evidence, Rule, judge, settled

RULE = Rule()


def source(gained: int, lost: int, n: int = 500, asked: int | None = None) -> Evidence:
    return Evidence("a/source", True, ChangedAnswers(gained, lost, n), asked or n)


def other(
    gained: int, lost: int, n: int = 500, asked: int | None = None, name: str = "a/other"
) -> Evidence:
    return Evidence(name, False, ChangedAnswers(gained, lost, n), asked or n)


def test_a_clear_gain_is_a_go() -> None:
    verdict = judge(RULE, [source(100, 20), other(30, 25)])
    assert (verdict.word, verdict.exit_code) == ("go", 0)
    assert verdict.reasons[0] == "a/source gains +16.0 points on 500 images"
    assert "no other model is shown to lose more than 2 points" in verdict.reasons


def test_the_bound_decides_and_not_the_gain() -> None:
    """The one-sided 95 % limit of the gain must pass the minimum."""
    for gained in range(20, 80):
        low, _ = score_interval(gained, 20, 500, 1.6448536269514722)
        assert (judge(RULE, [source(gained, 20)]).word == "go") == (low >= 0.02 - 1e-12)


def test_a_small_gain_is_go_only_where_small_gains_count() -> None:
    evidence = [source(45, 25, n=3000)]
    assert judge(RULE, evidence).word == "no-go"
    assert judge(Rule(min_gain=0.0), evidence).word == "go"


def test_harm_to_another_forbids() -> None:
    verdict = judge(RULE, [source(100, 20), other(10, 60)])
    assert (verdict.word, verdict.exit_code) == ("no-go", 4)
    assert verdict.reasons == ("a/other is shown to lose more than 2 points (-10.0)",)
    assert judge(Rule(max_harm=0.2), [source(100, 20), other(10, 60)]).word == "go"


def test_harm_is_held_to_holms_level() -> None:
    """A loss that one test alone would show is not shown among ten."""
    hurt = other(20, 45)
    assert judge(RULE, [source(100, 20), hurt]).word == "no-go"
    crowd = [other(30, 30, name=f"a/{i}") for i in range(9)]
    assert judge(RULE, [source(100, 20), hurt, *crowd]).word == "go"


def test_without_a_source_every_model_must_gain() -> None:
    good = source(100, 20)
    weak = source(26, 25)._replace(model="a/weak")
    assert judge(RULE, [good, good]).word == "go"
    verdict = judge(RULE, [good, weak])
    assert verdict.word == "undecided"
    assert "a/weak" in verdict.reasons[0]


def test_undecided_says_how_many_more() -> None:
    verdict = judge(RULE, [source(16, 8, n=100)])
    assert (verdict.word, verdict.exit_code) == ("undecided", 5)
    gained = 16.5 / 101
    lost = 8.5 / 101
    wanted = images_needed(gained - lost, lost, margin=0.02)
    assert wanted is not None and verdict.more_images == wanted - 100
    assert f"about {verdict.more_images:,} more test images" in verdict.reasons[-1]


def test_a_gain_at_the_margin_is_never_settled() -> None:
    verdict = judge(RULE, [source(200, 190, n=499)])
    assert verdict.word == "undecided"
    assert verdict.more_images is None or verdict.more_images > 100_000


def test_a_model_that_fails_on_a_third_decides_nothing() -> None:
    assert judge(RULE, [source(100, 5, n=334, asked=500)]).word == "go"
    verdict = judge(RULE, [source(100, 5, n=333, asked=500)])
    assert verdict.word == "undecided"
    assert "failed on 167 of 500 images" in verdict.reasons[0]
    assert (
        judge(RULE, [source(100, 5), other(0, 100, n=300)._replace(asked=500)]).word == "undecided"
    )
    assert judge(RULE, [source(0, 0, n=0, asked=500)]).word == "undecided"


def test_harm_that_is_shown_is_no_go_whatever_else_fails() -> None:
    assert judge(RULE, [source(100, 5, n=300, asked=500), other(5, 100)]).word == "no-go"


def test_what_is_withheld_is_undecided() -> None:
    leaks = message("split-leaks", seen=30, images=80)
    verdict = judge(RULE, [source(100, 5)], (leaks,))
    assert (verdict.word, verdict.reasons) == ("undecided", (leaks,))
    rule = {"min_gain": 0.02, "max_harm": 0.02, "level": 0.05, "text": str(RULE)}
    assert verdict.as_json() == {"word": "undecided", "rule": rule, "reasons": [leaks.as_json()]}


@pytest.mark.parametrize("values", [{"min_gain": -1.0}, {"max_harm": -0.1}, {"max_harm": 1.0}])
def test_a_rule_needs_shares(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="give a share"):
        Rule(**values)


# -- simulated: the floors -------------------------------------------------------------------------
def simulated(runs: int, n: int, gain: float) -> list[str]:
    draws = stream(1, "simulated", n, gain).multinomial(n, [gain + 0.1, 0.1, 0.8 - gain], runs)
    return [judge(RULE, [source(int(row[0]), int(row[1]), n=n)]).word for row in draws]


def test_errors_are_as_rare_as_promised() -> None:
    null = simulated(1000, 281, 0.0)
    assert null.count("go") / 1000 <= 0.06
    at_the_margin = simulated(1000, 281, 0.02)
    assert at_the_margin.count("go") / 1000 <= 0.07  # 5 %, give or take what 1000 runs show
    assert at_the_margin.count("no-go") / 1000 <= 0.07
    true = simulated(1000, 281, 0.10)
    assert true.count("go") / 1000 >= 0.75
    assert true.count("no-go") == 0


def test_looking_early_errs_no_more_and_asks_less() -> None:
    n = 281
    runs = 1000
    looks = SequentialDesign.of(n, 1)

    def run(gain: float) -> tuple[float, float, float]:
        draw = stream(2, "early", gain)
        go = 0
        asked = 0
        held = 0
        for _ in range(runs):
            counts = np.zeros(3, int)
            for k, size in enumerate(np.diff((0, *looks.ends))):
                counts += draw.multinomial(size, [gain + 0.1, 0.1, 0.8 - gain])
                changed = ChangedAnswers(int(counts[0]), int(counts[1]), looks.ends[k])
                found = Evidence("a", True, changed, n, float(looks.z[k]))
                if settled(RULE, found):
                    break
            asked += looks.ends[k]
            go += found.at(0.02) >= found.z
            low, high = changed.interval(float(looks.limit_z[k]))
            held += low <= gain <= high
        return go / runs, 1 - asked / runs / n, held / runs

    go, _, held = run(0.02)
    assert go <= 0.07 and held >= 0.93
    go, saved, held = run(0.15)
    assert go >= 0.95 and saved >= 0.25 and held >= 0.93


def test_looks_are_equally_spaced_and_end_with_all() -> None:
    assert SequentialDesign.of(500, 5).ends == tuple(range(50, 501, 50))
    assert SequentialDesign.of(36, 1).ends == (36,)
    assert [len(batch) for batch in SequentialDesign.of(90, 1).batches(range(90))] == [
        22,
        23,
        23,
        22,
    ]  # type: ignore[arg-type]
    several = SequentialDesign.of(500, 5)
    assert (several.below_z > several.z).all() and (several.limit_z > several.z).all()


def test_a_prompt_that_was_searched_for_its_cost_may_lose_as_much_as_another_model() -> None:
    rule = Rule.of({"goal": "cost"})
    assert (rule.min_gain, rule.max_harm) == (-0.02, 0.02)
    assert Rule.of({"task": "colours"}) == Rule.of(None) == Rule()
    same = source(3, 3)
    assert judge(rule, [same]).word == "go"
    assert judge(Rule(), [same]).word == "no-go"
