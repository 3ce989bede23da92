"""The baseline of a check: how a model answered about a probe on the first day.

It holds scores and salted digests of the samples: no image, no question and no label. Later checks
find the same images again by these digests.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from bbtvp.core import clock
from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import DataError, UsageError
from bbtvp.core.origin import is_among, without_paths
from bbtvp.core.rng import stream
from bbtvp.models import MeteredModel
from bbtvp.registry.drift import shares
from bbtvp.registry.entries import RegistryEntry
from bbtvp.registry.records import ProbeBaseline, unpacked
from bbtvp.registry.registry import PromptRegistry
from bbtvp.search import ask
from bbtvp.tasks import Sample, Task
from bbtvp.verify.session import CheckSession

REPEATS = 4
"""How often a model that does not always answer the same is asked for the baseline."""

FEWEST = 30
"""Images of a probe below which a check says too little."""

_FOUND_AGAIN = 0.9
"""The share of a baseline's images that a probe must still hold."""


_VERSION = 400
"""Characters of a version that are kept."""

_VERSIONS = 20
"""Versions of one check that are kept."""


@final
class KeptBaseline(NamedTuple):
    """A baseline in a registry. digest: of its record."""

    digest: str
    content: ProbeBaseline


def newest_baseline(
    registry: PromptRegistry, entry: RegistryEntry, model: str, task: Task
) -> KeptBaseline | None:
    """The last baseline of an entry's prompt on a model and a probe; None if there is none."""
    found = [
        (one.date, path)
        for path, one in registry.baselines().items()
        if (one.prompt, one.task) == (entry.facts.prompt, task.name)
        and is_among(model, [one.model])
    ]
    if not found:
        return None
    path = max(found)[1]
    name = path.rpartition("/")[2].partition(".")[0]
    return KeptBaseline(name, unpacked(ProbeBaseline, registry.record(path)))


@final
class ProbeQuestions:
    """Asks a model about samples, in one arm."""

    def __init__(self, session: CheckSession, model: MeteredModel) -> None:
        self.session = session
        self.model = model
        self._reader = session.reader(model)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that the replies reported; of very many or very long ones, a part."""
        return tuple(version[:_VERSION] for version in self.model.versions[:_VERSIONS])

    def scores(self, samples: Sequence[Sample], prompted: bool, replicate: int = 0) -> Vector:
        """(n,) scores, NaN where the query failed."""
        if not samples:
            return np.empty(0)
        prompt = self.session.prompt if prompted else None
        found = ask(
            self.model, self._reader, self.session.task, samples, prompt, replicate=replicate
        )
        return np.asarray(found.correct, np.float64)


def make_baseline(asking: ProbeQuestions, queries: int) -> ProbeBaseline:
    """Ask about the first `queries` images of the probe, in an order that is drawn once.

    UsageError for a probe of under `FEWEST` images, DataError if too few are answered.
    """
    session = asking.session
    task = session.task
    order = stream(0, "registry", "probe", task.name).permutation(len(task.test))
    samples = [task.test[i] for i in order[:queries]]
    if len(samples) < FEWEST:
        raise UsageError(
            f"the probe {task.name} has {len(samples)} test images; a check needs {FEWEST} or more"
        )
    same = asking.model.capabilities.deterministic
    repeats = 1 if same else REPEATS
    session.announce((repeats + 1) * len(samples))
    prompted = [asking.scores(samples, True, number) for number in range(repeats)]
    plain = asking.scores(samples, False)
    if np.isfinite(np.vstack(prompted)).any(axis=0).sum() < FEWEST:
        raise DataError(f"{asking.model.spec} answered too few images for a baseline; try again")
    salt = secrets.token_hex(16)
    return ProbeBaseline(
        prompt=session.prompt.digest,
        model=without_paths(asking.model.spec),
        versions=asking.versions,
        date=clock.today(),
        task=task.name,
        salt=salt,
        samples=tuple(salted(salt, task, sample) for sample in samples),
        deterministic=same,
        prompted=tuple(map(_plain, prompted)),
        zero_shot=_plain(plain),
        queries=session.cost.queries,
    )


def salted(salt: str, task: Task, sample: Sample) -> str:
    """The salted digest of a sample: of its pixels, the question about it, and its answer.

    Who holds the very image can compute it; nobody else learns anything from it.
    """
    pixels = sample.pixels()
    said = canonical_json([pixels.shape, task.ask(sample), sample.answer])
    return digest(bytes.fromhex(salt), pixels.tobytes(), said.encode())


def probe_places(task: Task, baseline: ProbeBaseline) -> list[tuple[int, Sample]]:
    """The baseline's images in the task: their columns, in its order, and the samples.

    UsageError where too many are gone.
    """
    there = {salted(baseline.salt, task, sample): sample for sample in task.test}
    found = [(column, there[name]) for column, name in enumerate(baseline.samples) if name in there]
    if len(found) < _FOUND_AGAIN * len(baseline.samples):
        raise UsageError(
            f"{task.name} holds {len(found)} of the {len(baseline.samples)} images of the "
            f"baseline of {baseline.date}; give the same probe, or make a new baseline: --rebase"
        )
    return found


def score_table(rows: Sequence[Sequence[float | None]]) -> Matrix:
    """(R, n) float64, NaN for None. DataError for rows of unequal length."""
    if len({len(row) for row in rows}) != 1:
        raise DataError("the baseline's rows differ in length; make a new one: --rebase")
    return np.array([shares(row) for row in rows])


def _plain(scores: Vector) -> tuple[float | None, ...]:
    return tuple(float(one) if np.isfinite(one) else None for one in scores)
