"""How often a check of the registry sees a model that got worse, and how often it is wrong.

    python tests/benchmarks/drift.py simulate    # baselines of 50 to 95 %, with and without noise
    python tests/benchmarks/drift.py zoo         # miniatures made worse in several ways

In a simulation each image has a probability of a right answer, drawn from a Beta distribution with
the baseline's mean; `noise` is the share of the variance that lies within an image, from a model
that always answers the same (0) to one that is equally unsure of every image (1). `differ` is how
many answers are then judged differently the second time. Accuracy falls by 10 points: spread evenly
over all answers, wholly on some images, or by a successor that answers half of the images anew. The
last two columns are not to be flagged as a fall: the same model, and a successor of equal accuracy
that answers a third of the images anew.
"""

from __future__ import annotations

import argparse
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, NamedTuple

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.rng import stream
from bbtvp.models import (
    Budget,
    Capabilities,
    LabelScore,
    Model,
    Outcome,
    Reply,
    Request,
    load_model,
)
from bbtvp.prompt import Placement, Prompt, PromptSpace, Tone
from bbtvp.registry import PromptRegistry
from bbtvp.registry.baseline import REPEATS
from bbtvp.registry.check import DriftOptions, check
from bbtvp.registry.drift import DriftTest
from bbtvp.search import ask, choose_reader
from bbtvp.tasks import Task
from bbtvp.tasks.registry import load_task
from bbtvp.zoo.catalogue import members

IMAGES = 200
DROP = 0.10
WAYS = ("evenly", "some images", "successor", "same", "equal successor")
ACCURACIES = (0.5, 0.65, 0.8, 0.95)
NOISES = (0.0, 0.1, 0.3, 1.0)


def skills(rng: np.random.Generator, accuracy: float, noise: float, images: int) -> Vector:
    """(n,) the probability of a right answer to each image."""
    if noise == 0:
        return (rng.random(images) < accuracy).astype(float)
    if noise == 1:
        return np.full(images, accuracy)
    weight = noise / (1 - noise)  # Beta's spread leaves this share of the variance within an image
    return rng.beta(accuracy * weight, (1 - accuracy) * weight, images)


def worse(rng: np.random.Generator, p: Vector, way: str, accuracy: float, noise: float) -> Vector:
    """The probabilities after the change."""
    images = len(p)
    if way == "evenly":
        return p * (1 - DROP / accuracy)
    if way == "some images":
        return np.where(rng.random(images) < DROP / accuracy, 0.0, p)
    if way == "successor":
        anew = skills(rng, accuracy - 2 * DROP, noise, images)
        return np.where(rng.random(images) < 0.5, anew, p)
    if way == "equal successor":
        return np.where(rng.random(images) < 1 / 3, skills(rng, accuracy, noise, images), p)
    return p


@cache
def test_of(exact: bool) -> DriftTest:
    return DriftTest(IMAGES, exact=exact)


def simulated(rng: np.random.Generator, accuracy: float, noise: float, way: str) -> tuple[str, int]:
    """What one check finds about the prompted score, and with how many image queries."""
    exact = noise == 0
    repeats = 1 if exact else REPEATS
    p = skills(rng, accuracy, noise, IMAGES)
    old = (rng.random((repeats, IMAGES)) < p).astype(float)
    new = (rng.random(IMAGES) < worse(rng, p, way, accuracy, noise)).astype(float)
    test = test_of(exact)
    for number, end in enumerate(test.ends):
        look = test.look(number, old[:, :end], new[:end])
        if look.found != "open":
            break
    return look.found, end


def simulate(checks: int) -> None:
    print("flagged stale, % (image queries, mean)")
    print(f"{'baseline':>8} {'noise':>5} {'differ':>6}", *(f"{way:>15}" for way in WAYS))
    for accuracy in ACCURACIES:
        for noise in NOISES:
            differ = 2 * accuracy * (1 - accuracy) * noise
            cells = []
            for way in WAYS:
                rng = stream(0, "drift", f"{accuracy} {noise} {way}")
                found = [simulated(rng, accuracy, noise, way) for _ in range(checks)]
                flagged = np.mean([word == "stale" for word, _ in found])
                cells.append(f"{100 * flagged:8.1f} ({np.mean([n for _, n in found]):4.0f})")
            print(
                f"{accuracy:8.0%} {noise:5.1f} {differ:6.1%}",
                *(f"{c:>15}" for c in cells),
                flush=True,
            )


# -- miniatures ------------------------------------------------------------------------------------
TASK = "zoo/digits-low-contrast"
NEAR = (0.08, 0.13)
"""Falls, measured on all 500 test images, that count as one of about 10 points."""


class Scores(NamedTuple):
    """What a miniature makes of every test image: (n, labels) scores of each arm."""

    plain: Matrix
    prompted: Matrix

    def accuracy(self, truths: Vector) -> float:
        return float((self.prompted.argmax(axis=1) == truths).mean())


def with_noise(name: str, scale: float, seed: int) -> Model:
    """A member whose weights have noise of `scale` times each tensor's own spread."""
    from safetensors.numpy import load_file, save_file

    from bbtvp.zoo.catalogue import model_folder

    folder = Path(mkdtemp())
    copytree(model_folder(name), folder, dirs_exist_ok=True)
    rng = stream(seed, "drift", "weights", name)
    file = folder / "model.safetensors"
    weights = {
        key: (value + rng.normal(0, scale * value.std(), value.shape)).astype(value.dtype)
        if value.dtype.kind == "f"
        else value
        for key, value in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})
    return load_model(f"hf/{folder}", check=False)


def scored(model: Model, task: Task, prompt: Prompt) -> Scores:
    """Both arms of every test image, asked once."""
    reader = choose_reader("logprob", model, task)
    labels = len(task.labels or ())
    arms = [ask(model, reader, task, task.test, arm).score_table(labels) for arm in (None, prompt)]
    return Scores(*arms)


class Recorded(Model):
    """Answers with the scores that a miniature gave, by the pixels of the request.

    spoils: an image is answered wrongly if this says so of its place. temperature: of answers that
    are drawn; 0 for the likeliest.
    """

    spec = "zoo/recorded"

    def __init__(
        self,
        places: Mapping[bytes, tuple[str, int]],
        scores: Scores,
        *,
        spoils: Callable[[int], bool] = lambda place: False,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._places = places
        self._scores = scores
        self._spoils = spoils
        self._temperature = temperature
        self._rng = stream(seed, "drift", "answers")
        self.capabilities = Capabilities(logprobs=True, deterministic=temperature == 0)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Outcome:
        arm, place = self._places[request.image.tobytes()]
        row = getattr(self._scores, arm)[place]
        if self._temperature:
            row = row / self._temperature + self._rng.gumbel(size=row.shape)
        if self._spoils(place):
            row = np.roll(row, 1)
        return Reply(scores=tuple(LabelScore(float(score), 1) for score in row))


def drawn_accuracy(scores: Scores, truths: Vector, temperature: float) -> float:
    """The expected accuracy of answers that are drawn at a temperature."""
    logits = scores.prompted / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return float((p / p.sum(axis=1, keepdims=True))[np.arange(len(p)), truths].mean())


def hotter(scores: Scores, truths: Vector, start: float) -> float:
    """The temperature at which accuracy is `DROP` below that at `start`."""
    wanted = drawn_accuracy(scores, truths, start) - DROP
    low = start
    high = 100.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        if drawn_accuracy(scores, truths, middle) < wanted:
            high = middle
        else:
            low = middle
    return low


class Bench:
    """The miniatures on one task with one prompt, and what the checks of each kind found."""

    def __init__(self, checks: int) -> None:
        self.checks = checks
        self.task = load_task(TASK)
        space = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",))), 64)
        self.prompt = space.prompt(np.array([0.0, 1.5]))
        labels = self.task.labels or ()
        self.truths = np.array([labels.index(sample.answer) for sample in self.task.test])
        images = [sample.pixels() for sample in self.task.test]
        self.places = {pixels.tobytes(): ("plain", i) for i, pixels in enumerate(images)}
        for i, pixels in enumerate(images):
            self.places[self.prompt.render(pixels).tobytes()] = ("prompted", i)
        self.tally: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def scores(self, model: Model) -> Scores:
        return scored(model, self.task, self.prompt)

    def recorded(self, scores: Scores, **options: Any) -> Callable[[int], Model]:
        return lambda seed: Recorded(self.places, scores, seed=seed, **options)

    def run(self, way: str, old: Callable[[int], Model], new: Callable[[int], Model]) -> None:
        for seed in range(self.checks):
            self.tally[way].append(
                checked(self.task, self.prompt, old(seed), new(seed + 10_000), seed)
            )

    def show(self) -> None:
        for way, found in sorted(self.tally.items()):
            words = [word for word, _ in found]
            queries = [spent for _, spent in found]
            print(
                f"{way:>32}: {words.count('stale')} of {len(words)} stale, "
                f"{np.mean(queries):.0f} image queries, at most {max(queries)}",
                flush=True,
            )

    def spoil(self, name: str, scores: Scores) -> None:
        """Answers of a member that are flipped, drawn hotter, or those of noisy weights."""
        accuracy = scores.accuracy(self.truths)
        same = self.recorded(scores)
        self.run("unchanged", same, same)
        right = np.flatnonzero(scores.prompted.argmax(axis=1) == self.truths)
        count = round(DROP * len(self.truths))
        flips = frozenset(stream(0, "flips", name).choice(right, count, replace=False).tolist())
        self.run("answers flipped", same, self.recorded(scores, spoils=flips.__contains__))
        for start in (0.5, 1.0):
            warm = self.recorded(scores, temperature=start)
            self.run(f"unchanged, temperature {start}", warm, warm)
            hot = hotter(scores, self.truths, start)
            self.run(f"temperature {start} raised", warm, self.recorded(scores, temperature=hot))
        for scale in (0.1, 0.15, 0.2, 0.3):
            noisy = self.scores(with_noise(name, scale, 0))
            fall = accuracy - noisy.accuracy(self.truths)
            if NEAR[0] <= fall <= NEAR[1]:
                self.run("weights with noise", same, self.recorded(noisy))
            if fall >= NEAR[0]:
                break

    def succeed(self, old: Scores, new: Scores) -> None:
        """Another member answers under the name of the first."""
        fall = old.accuracy(self.truths) - new.accuracy(self.truths)
        way = ""
        if fall > NEAR[1]:
            way = "successor, a larger fall"
        elif fall >= NEAR[0]:
            way = "successor, 8 to 13 points"
        elif abs(fall) < 0.02:
            way = "successor, under 2 points"
        if way:
            self.run(way, self.recorded(old), self.recorded(new))


def zoo(checks: int) -> None:
    bench = Bench(checks)
    known: dict[str, Scores] = {}
    for name in members():
        known[name] = bench.scores(load_model(f"zoo/{name}"))
        print(f"{name}: {known[name].accuracy(bench.truths):.3f} with the prompt", flush=True)
    for name, scores in known.items():
        bench.spoil(name, scores)
        for other in sorted(known.keys() - {name}):
            bench.succeed(scores, known[other])
    bench.show()


def checked(task: Task, prompt: Prompt, old: Model, new: Model, seed: int) -> tuple[str, int]:
    """The word of one real check, on a probe of 200 of the test images, and its image queries."""
    places = stream(seed, "drift", "probe").permutation(len(task.test))[:IMAGES]
    probe = replace(task, name=f"probe-{seed}", test=tuple(task.test[i] for i in places))
    registry = PromptRegistry.create(f"memory://drift-{secrets.token_hex(8)}/prompts")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "prompt.vprompt"
        prompt.save(file)
        entry = registry.add(file)
    options = DriftOptions(queries=IMAGES, reader="logprob")
    check(registry, entry, old, probe, options)
    found = check(registry, entry, new, probe, options)
    return found.found, found.record.queries if found.record else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("simulate", "zoo"))
    parser.add_argument("--checks", type=int, default=500, help="of each kind; of each miniature")
    arguments = parser.parse_args()
    {"simulate": simulate, "zoo": zoo}[arguments.what](arguments.checks)


if __name__ == "__main__":
    main()
