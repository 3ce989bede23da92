"""How often the verdict errs: false go, false no-go, coverage of the intervals, and what looking
early saves.

    python tests/benchmarks/verdict.py [--runs 1000]

Answers are simulated: of n test images a prompt mends a share `gain + lost` and spoils `lost`. What
judges is the package's own `judge`, with the looks of its sequential mode. Models that refuse,
ramble or collapse are simulated reply by reply, in `null_prompts.py` beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.rng import stream
from bbtvp.stats import images_needed, paired_gain, paired_interval, roc_auc, score_interval
from bbtvp.stats.power import Z
from bbtvp.verify.planning import SequentialDesign
from bbtvp.verify.verdict import ChangedAnswers, Evidence, Rule, judge, settled

LOST = 0.10
RULE = Rule()
TWO_SIDED = 1.959963984540054


def tables(
    name: str, runs: int, n: int, gain: float, lost: float = LOST
) -> Iterator[tuple[int, int]]:
    """(gained, lost) of each run."""
    draws = stream(0, "verdict", name, n, gain, lost).multinomial(
        n, [gain + lost, lost, 1 - gain - 2 * lost], runs
    )
    yield from ((int(row[0]), int(row[1])) for row in draws)


def words(
    runs: int,
    n: int,
    gain: float,
    *,
    rule: Rule = RULE,
    lost: float = LOST,
    others: int = 0,
    harm: float = 0.0,
) -> dict[str, float]:
    """Share of each verdict, for a source with this gain and so many other models with a gain of
    −harm.
    """
    found = {"go": 0, "no-go": 0, "undecided": 0}
    rows = [list(tables(f"other {i}", runs, n, -harm, lost + harm)) for i in range(others)]
    for run, (better, worse) in enumerate(tables("source", runs, n, gain, lost)):
        evidence = [Evidence("source", True, ChangedAnswers(better, worse, n), n)]
        evidence += [
            Evidence(f"other {i}", False, ChangedAnswers(*row[run], n), n)
            for i, row in enumerate(rows)
        ]
        found[judge(rule, evidence).word] += 1
    return {word: count / runs for word, count in found.items()}


def early(runs: int, n: int, gain: float, lost: float = LOST) -> dict[str, float]:
    """Shares of go and no-go, images saved, and how often the repeated interval at the stop holds
    the true gain.
    """
    looks = SequentialDesign.of(n, 1)
    sizes = np.diff((0, *looks.ends))
    chances = [gain + lost, lost, 1 - gain - 2 * lost]
    draw = stream(0, "verdict", "early", n, gain, lost)
    go = 0
    no = 0
    asked = 0
    held = 0
    for _ in range(runs):
        seen = np.cumsum([draw.multinomial(size, chances) for size in sizes], axis=0)
        for k, end in enumerate(looks.ends):
            z = float(looks.z[k])
            below = float(looks.below_z[k])
            changed = ChangedAnswers(int(seen[k, 0]), int(seen[k, 1]), end)
            evidence = Evidence("source", True, changed, end, z, below)
            if settled(RULE, evidence):
                break
        word = judge(RULE, [evidence]).word
        go = go + (word == "go")
        no = no + (word == "no-go")
        asked = asked + end
        low, high = changed.interval(float(looks.limit_z[k]))
        held += low <= gain <= high
    return {
        "go": go / runs,
        "no-go": no / runs,
        "saved": 1 - asked / runs / n,
        "interval holds": held / runs,
    }


def coverage(runs: int, n: int, gain: float, lost: float) -> tuple[float, float]:
    """Of the bootstrap interval of the gain, and of the score interval."""
    boot = score = 0
    for number, (better, worse) in enumerate(tables("coverage", runs, n, gain, lost)):
        before = np.repeat([0, 1, 1], (better, worse, n - better - worse))
        after = np.repeat([1, 0, 1], (better, worse, n - better - worse))
        low, high = paired_gain(before, after, seed=number).ci
        boot += low - 1e-12 <= gain <= high + 1e-12
        low, high = score_interval(better, worse, n, TWO_SIDED)
        score += low <= gain <= high
    return boot / runs, score / runs


def figures(runs: int, n: int) -> dict[str, float]:
    """Coverage of the paired interval of the ROC area's rise and of F1's, against the true rise."""
    rng = stream(0, "verdict", "figures", n)

    def drawn(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        truth = rng.random(size) < 0.5
        ease = rng.normal(size=size)  # common to both runs: they are paired
        first, second = (
            shift * truth + 0.7 * ease + 0.7 * rng.normal(size=size) for shift in (0.8, 1.4)
        )
        return truth, first, second

    def f1(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
        result: np.ndarray = 2 * (said & truth).sum(-1) / (said.sum(-1) + truth.sum(-1))
        return result

    def rises(
        truth: np.ndarray, first: np.ndarray, second: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return roc_auc(second, truth) - roc_auc(first, truth), f1(second > 0.5, truth) - f1(
            first > 0.5, truth
        )

    def rise(sample: Sequence[np.ndarray], which: int) -> Callable[[NDArray[np.intp]], np.ndarray]:
        return lambda rows: rises(*(values[rows] for values in sample))[which]

    true = [float(value) for value in rises(*drawn(4_000_000))]
    held = [0, 0]
    for number in range(runs):
        sample = drawn(n)
        for which in (0, 1):
            figure = rise(sample, which)
            low, high = paired_interval(figure, n, seed=number, resamples=1000)
            held[which] += low <= true[which] <= high
    return {"roc_auc": held[0] / runs, "f1": held[1] / runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    planned = images_needed(0.10, LOST, margin=RULE.min_gain)
    if planned is None:
        raise SystemExit("no sample shows a gain of 10 points")
    print(
        f"{RULE}\n{runs} runs each; a prompt spoils {LOST:.0%} of the answers; planned sample "
        f"for 10 points: {planned}"
    )
    print("\nnull prompts (gain 0): share of each verdict")
    for n in (100, planned, 500, 2000):
        print(
            f"  n {n:5}: {words(runs, n, 0.0)}   minimum 0: "
            f"{words(runs, n, 0.0, rule=Rule(min_gain=0.0))}"
        )
    print("gain exactly at the minimum (2 points)")
    for n, lost in ((100, LOST), (planned, LOST), (500, LOST), (500, 0.01), (2000, LOST)):
        print(f"  n {n:5}, lost {lost:.0%}: {words(runs, n, RULE.min_gain, lost=lost)}")
    print("true gain of 10 points")
    for others in (0, 5):
        print(
            f"  n {planned:5}, {others} other models of gain 0: "
            f"{words(runs, planned, 0.10, others=others)}"
        )
    for n in (100, 281, 500):
        found = words(runs, n, 0.3, others=5, harm=RULE.max_harm)
        print(f"harm exactly at the maximum on 5 models, n {n}: {found['no-go']} no-go")
    print("looking early")
    for n in (planned, 500):
        for gain in (0.0, RULE.min_gain, 0.10, 0.15, 0.30):
            print(f"  n {n:5}, gain {gain:.0%}: {early(runs, n, gain)}")
    print("coverage of 95 % intervals of the gain: bootstrap, score")
    for n, gain, lost in (
        (50, 0.1, 0.1),
        (100, 0.0, 0.1),
        (200, 0.1, 0.1),
        (500, 0.02, 0.05),
        (500, 0.15, 0.1),
    ):
        print(f"  n {n:4}, gain {gain:.0%}, lost {lost:.0%}: {coverage(runs, n, gain, lost)}")
    print(f"  of a rise of ROC area and of F1, n 200: {figures(runs, 200)}")
    print(f"one-sided quantile {Z:.6f}")


if __name__ == "__main__":
    main()
