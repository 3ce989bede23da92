"""How often the verdict is fooled by models that refuse, ramble or collapse.

    python tests/benchmarks/null_prompts.py [--runs 2000] [--images 100 300]

Replies are simulated image by image. A model knows the answer to an image with probability `skill`,
and names another label where it does not. Before it is said, a reply may be refused or rambled (not
read), and a label may take its place. None of the prompts here makes the model know more, so every
go is false, but for the last table, whose prompts do. The package's own `judge` judges, with
the looks of its sequential mode.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.rng import stream
from bbtvp.verify.planning import SequentialDesign
from bbtvp.verify.verdict import ChangedAnswers, Constant, Evidence, Rule, judge, settled

Labels = NDArray[np.int64]
"""(n,) the label said, or one of the two below."""

RAMBLED = -1
REFUSED = -2


@dataclass(frozen=True)
class Behaviour:
    """How a model replies, with the prompt or without it; shares of the replies.

    skill: right ones, of what it knows. rambles: not read. refuses: declined in words. says: the
    label 0, in place of what the model knows. fades: of the replies that would be wrong, those that
    are not read instead.
    """

    skill: float
    rambles: float = 0.0
    refuses: float = 0.0
    says: float = 0.0
    fades: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A task of so many labels, of which the first is right for a share, and a model before and
    after. shared: whether it knows the same images in both arms, as a model does that always
    answers the same and sees nothing new.
    """

    before: Behaviour
    after: Behaviour
    labels: int = 4
    first: float | None = None
    shared: bool = True


HALF = Behaviour(0.5)
GOOD = Behaviour(0.8)
NULLS: Mapping[str, Scene] = MappingProxyType(
    {
        "no change": Scene(HALF, HALF, shared=False),
        "refuses 30 % in both arms": Scene(
            replace(GOOD, refuses=0.3), replace(GOOD, refuses=0.3), shared=False
        ),
        "refuses all, then one label": Scene(replace(GOOD, refuses=1.0), replace(GOOD, says=1.0)),
        "refuses all, then guesses": Scene(replace(GOOD, refuses=1.0), Behaviour(0.25)),
        "rambles 30 % in both arms": Scene(
            replace(GOOD, rambles=0.3), replace(GOOD, rambles=0.3), shared=False
        ),
        "rambles 10 %, then not": Scene(replace(GOOD, rambles=0.1), GOOD, shared=False),
        "rambles 40 %, then not": Scene(replace(GOOD, rambles=0.4), GOOD, shared=False),
        "rambles 80 %, then not": Scene(replace(GOOD, rambles=0.8), GOOD, shared=False),
        "rambles where it would be wrong, then not": Scene(
            replace(HALF, fades=0.8), HALF, shared=False
        ),
        "rambles always, then guesses": Scene(replace(GOOD, rambles=1.0), Behaviour(0.25)),
        "rambles always, then one label": Scene(
            replace(GOOD, rambles=1.0), replace(GOOD, says=1.0)
        ),
        "one label 50 % likelier": Scene(HALF, replace(HALF, says=0.5)),
        "one label always": Scene(HALF, replace(HALF, says=1.0)),
        "the label of nine in ten, always": Scene(HALF, replace(HALF, says=1.0), 2, 0.9),
        "the label of nine in ten, nearly always": Scene(HALF, replace(HALF, says=0.9), 2, 0.9),
        "yes to everything, half of it right": Scene(
            replace(HALF, rambles=1.0), replace(HALF, says=1.0), 2
        ),
    }
)
"""Prompts by which the model comes to know nothing."""

TRUE: Mapping[str, Scene] = MappingProxyType(
    {
        "50 % right, then 80 %": Scene(HALF, GOOD, shared=False),
        "rambles 20 %; of the rest 50 %, then 80 %": Scene(
            replace(HALF, rambles=0.2), GOOD, shared=False
        ),
        "rambles always, then 80 %": Scene(replace(GOOD, rambles=1.0), GOOD),
        "refuses 40 %, then answers, 80 % right": Scene(replace(GOOD, refuses=0.4), GOOD),
    }
)
"""Prompts that help."""


def truths(scene: Scene, n: int, draw: np.random.Generator) -> Labels:
    """(n,) the true labels."""
    rest = scene.labels - 1
    first = 1 / scene.labels if scene.first is None else scene.first
    return draw.choice(scene.labels, n, p=[first, *[(1 - first) / rest] * rest])


def replies(
    behaviour: Behaviour,
    truth: Labels,
    luck: NDArray[np.float64],
    draw: np.random.Generator,
    labels: int,
) -> Labels:
    """(n,) what the model says; luck: (n,) uniform, below `skill` where it knows."""
    n = len(truth)
    wrong = (truth + draw.integers(1, labels, n)) % labels
    knows = luck < behaviour.skill
    said = np.where(knows, truth, wrong)
    said = np.where(~knows & (draw.random(n) < behaviour.fades), RAMBLED, said)
    said = np.where(draw.random(n) < behaviour.says, 0, said)
    said = np.where(draw.random(n) < behaviour.rambles, RAMBLED, said)
    return np.where(draw.random(n) < behaviour.refuses, REFUSED, said)


def evidence(truth: Labels, before: Labels, after: Labels, *, best: int) -> Evidence:
    """What a proof would know of these replies; best: the best constant answer to the whole task.

    A test compares it with what `bbtvp.verify.controls` makes of the same replies.
    """
    first = (before == truth).astype(float)
    second = (after == truth).astype(float)
    named = after[after >= 0]
    constants = [best, *([int(np.bincount(named).argmax())] if len(named) else [])]
    always = max(((truth == one).astype(float) for one in constants), key=np.sum)
    read = before != RAMBLED
    changed = ChangedAnswers.of(always, second)
    return Evidence(
        "a/model",
        True,
        ChangedAnswers.of(first, second),
        len(truth),
        constant=Constant("?", float(always.mean()), float(second.mean()), changed),
        read=None if read.all() else ChangedAnswers.of(first[read], second[read]),
    )


def drawn(scene: Scene, n: int, draw: np.random.Generator) -> tuple[Labels, Labels, Labels]:
    """True labels, and what is said without the prompt and with it."""
    truth = truths(scene, n, draw)
    luck = draw.random(n)
    before = replies(scene.before, truth, luck, draw, scene.labels)
    after = replies(
        scene.after, truth, luck if scene.shared else draw.random(n), draw, scene.labels
    )
    return truth, before, after


def words(scene: Scene, n: int, runs: int, *, early: bool, name: str = "") -> Counter[str]:
    """How often each verdict is given."""
    draw = stream(0, "replies", name, n, early)
    looks = SequentialDesign.of(n, 1)
    found: Counter[str] = Counter()
    for _ in range(runs):
        truth, before, after = drawn(scene, n, draw)
        best = int(np.bincount(truth).argmax())
        known = evidence(truth, before, after, best=best)
        for k, end in enumerate(looks.ends if early else ()):
            known = evidence(truth[:end], before[:end], after[:end], best=best)._replace(
                z=float(looks.z[k]), below_z=float(looks.below_z[k])
            )
            if settled(Rule(), known):
                break
        found[judge(Rule(), [known]).word] += 1
    return found


def interval(count: int, runs: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson, 1934)."""
    from scipy.stats import binomtest

    low, high = binomtest(count, runs).proportion_ci(0.95, "exact")
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300])
    given = parser.parse_args()
    for title, scenes in (("null prompts: false go", NULLS), ("prompts that help: go", TRUE)):
        print(f"{title}, {given.runs} proofs each")
        for name, scene in scenes.items():
            for early in (False, True):
                for n in given.images:
                    found = words(scene, n, given.runs, early=early, name=name)["go"]
                    low, high = interval(found, given.runs)
                    print(
                        f"  {name:45} n {n:4} {'early' if early else 'whole'}  "
                        f"{found / given.runs:.2%} [{low:.2%}, {high:.2%}]",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
