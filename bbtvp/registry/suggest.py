"""Which prompt a new model is likely to gain from, judged by proofs on other models.

A gain y of prompt i on model j is taken to be

    y = μ + β [j was searched on] + a_i + b_(i, family of j) + c_(i, j) + d_j + noise

with all effects normal, the noise of the size that the proof's interval gives. So a prompt's gains
are shrunk towards the mean of all prompts, proofs on models of the same family count more, and what
a prompt gained on the models that it was searched on is known to be more than it will gain
elsewhere. The sizes of the effects are those of the greatest posterior density, given the registry
and weak priors; the prediction is the conditional normal distribution (Robinson, "That BLUP is a
good thing", Statistical Science 6 (1991) 15, eq. 1.2). It is a forecast, and no proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, NamedTuple, final

import numpy as np

from bbtvp.core.arrays import Matrix, Vector
from bbtvp.core.origin import is_among
from bbtvp.registry.entries import RegistryEntry
from bbtvp.registry.records import EvidenceRow

WORTH = 0.02
"""The gain that a prompt must have to be worth while: the rule of a proof."""

_MEAN = (0.0, 0.10)
_SEARCHED = (0.05, 0.05)
"""Prior mean and standard deviation of μ and of β."""

_SPREADS: Mapping[str, float] = MappingProxyType(
    {"prompt": 0.05, "family": 0.03, "pair": 0.04, "model": 0.03}
)
"""Prior medians of the standard deviations of a, b, c and d."""

_LOOSE = 0.7
"""Standard deviation of the prior of a spread's logarithm: a factor of two either way."""

_MOST_ROWS = 300
_WORDS = ((0.9, "likely"), (0.6, "rather likely"), (0.3, "open"), (0.0, "unlikely"))


@final
class GainRow(NamedTuple):
    """One proof as the forecast sees it. unit: the prompt, and the task that it was proved on."""

    unit: tuple[str, str]
    model: str
    searched: bool
    gain: float
    error: float

    @property
    def family(self) -> str:
        return family(self.model)


@final
@dataclass(frozen=True)
class Suggestion:
    """What a prompt is expected to gain on a model, −1 to 1, and how sure that is.

    interval: of 95 %. chance: that the gain is above `WORTH`. proofs: of this prompt on this task;
    related: those on models of the same family.
    """

    entry: RegistryEntry
    task: str
    model: str
    gain: float
    interval: tuple[float, float]
    chance: float
    proofs: int
    related: int

    @property
    def sureness(self) -> str:
        """The chance in a word."""
        return next(word for least, word in _WORDS if self.chance >= least)

    def as_json(self) -> dict[str, Any]:
        return {
            "bundle": self.entry.digest,
            "task": self.task,
            "model": self.model,
            "gain": self.gain,
            "interval": list(self.interval),
            "chance": self.chance,
            "sureness": self.sureness,
            "proofs": self.proofs,
            "related": self.related,
        }


def suggest(
    entries: Sequence[RegistryEntry], model: str, task: str | None = None
) -> list[Suggestion]:
    """The prompts in use with evidence, the best for this model first; empty without evidence.

    task: a part of the task's name; without it, prompts of all tasks.
    """
    used = [entry for entry in entries if not entry.retired]
    rows = gain_rows(used)
    units: dict[tuple[str, str], RegistryEntry] = {}
    for entry in used:
        for row in entry.evidence:
            if task is None or task.lower() in row.task.lower():
                units.setdefault((row.prompt, row.task), entry)
    if not units:
        return []
    forecast = GainForecast(rows)
    found = []
    for unit, entry in units.items():
        own = [row for row in rows if row.unit == unit]
        mean, spread = forecast.predict(unit, model, searched=is_among(model, entry.facts.sources))
        normal = NormalDist(mean, max(spread, 1e-9))
        found.append(
            Suggestion(
                entry,
                unit[1],
                model,
                mean,
                (max(-1.0, mean - 1.96 * spread), min(1.0, mean + 1.96 * spread)),
                1 - normal.cdf(WORTH),
                len(own),
                sum(row.family == family(model) for row in own),
            )
        )
    return sorted(found, key=lambda one: -one.gain)


def gain_rows(entries: Sequence[RegistryEntry]) -> list[GainRow]:
    """The last proof of each prompt, task and model; of very many, the last `_MOST_ROWS`."""
    last: dict[tuple[str, str, str], tuple[EvidenceRow, RegistryEntry]] = {}
    for entry in entries:
        for row in entry.evidence:
            last[row.prompt, row.task, row.model] = (row, entry)
    kept = sorted(last.values(), key=lambda pair: str(pair[0].date))[-_MOST_ROWS:]
    return [
        GainRow(
            (row.prompt, row.task),
            row.model,
            row.role == "source" or is_among(row.model, entry.facts.sources),
            row.gain,
            max((row.ci[1] - row.ci[0]) / 3.92, 1 / max(row.images, 1)),
        )
        for row, entry in kept
    ]


def family(model: str) -> str:
    """The family of a model, by its name: "gpt" for openai/gpt-4o and azure/gpt-6-luna."""
    name = model.rpartition("/")[2].lower()
    name = re.sub(r"^(?:[a-z-]+\.)+(?=[a-z])", "", name)  # Bedrock's region and vendor
    found = re.match(r"[^\W\d_]+", name)
    return found[0] if found else name


@final
class GainForecast:
    """The normal model of the module, fitted to rows; at least one."""

    def __init__(self, rows: Sequence[GainRow]) -> None:
        self._rows = list(rows)
        self._gains = np.array([row.gain for row in rows])
        self._errors = np.array([row.error for row in rows])
        self._means = np.array([_MEAN[0] + _SEARCHED[0] * row.searched for row in rows])
        self._alike = _likeness(self._rows, self._rows)
        self.spreads = self._fitted()

    def predict(
        self, unit: tuple[str, str], model: str, *, searched: bool = False
    ) -> tuple[float, float]:
        """The mean and the standard deviation of the gain of a prompt on a model."""
        new = GainRow(unit, model, searched, 0.0, 0.0)
        across = self._covariance(_likeness([new], self._rows), self.spreads)[0]
        own = self._covariance(_likeness([new], [new]), self.spreads)[0, 0]
        whole = self._covariance(self._alike, self.spreads) + np.diag(self._errors**2)
        weights = np.linalg.solve(whole, across)
        mean = _MEAN[0] + _SEARCHED[0] * searched + weights @ (self._gains - self._means)
        return float(mean), float(np.sqrt(max(0.0, own - weights @ across)))

    def _fitted(self) -> Vector:
        """(4,) the spreads of greatest posterior density."""
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        start = np.log(list(_SPREADS.values()))

        def badness(logs: Vector) -> float:
            whole = self._covariance(self._alike, np.exp(logs)) + np.diag(self._errors**2)
            _, volume = np.linalg.slogdet(whole)
            rest = self._gains - self._means
            misfit = rest @ np.linalg.solve(whole, rest)
            prior = (((logs - start) / _LOOSE) ** 2).sum()
            return float(volume + misfit + prior) / 2

        found = minimize(badness, start, method="Nelder-Mead", options={"maxfev": 300})
        return np.asarray(np.exp(found.x), np.float64)

    @staticmethod
    def _covariance(alike: Sequence[Matrix], spreads: Vector) -> Matrix:
        """Of gains without noise; μ and β are effects that all rows share."""
        effects = (*spreads, _MEAN[1], _SEARCHED[1])
        return np.asarray(
            sum(spread**2 * same for spread, same in zip(effects, alike, strict=True)), np.float64
        )


def _likeness(some: Sequence[GainRow], others: Sequence[GainRow]) -> list[Matrix]:
    """For each effect, which rows share it: six (len(some), len(others)) tables of 0 and 1."""

    def table(shares: Any) -> Matrix:
        return np.array([[float(shares(a, b)) for b in others] for a in some])

    return [
        table(lambda a, b: a.unit == b.unit),
        table(lambda a, b: a.unit == b.unit and a.family == b.family),
        table(lambda a, b: a.unit == b.unit and a.model == b.model),
        table(lambda a, b: a.model == b.model),
        np.ones((len(some), len(others))),
        table(lambda a, b: a.searched and b.searched),
    ]
