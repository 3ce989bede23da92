"""Whether a prompt still holds on a model: the same small probe, asked on the first day and today.

The probe is the test split of a task, or the first images of it in an order that is drawn once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np

from bbtvp.core import clock
from bbtvp.core.arrays import Vector
from bbtvp.core.errors import DataError, UsageError
from bbtvp.endpoint.remote import Endpoint
from bbtvp.models import AnyModel, Model, as_model, load_model
from bbtvp.registry.baseline import (
    FEWEST,
    KeptBaseline,
    ProbeQuestions,
    make_baseline,
    newest_baseline,
    probe_places,
    score_table,
)
from bbtvp.registry.drift import (
    DROP,
    GAIN_LEVEL,
    DriftLook,
    DriftTest,
    gain_p,
    mean_scores,
    shares,
)
from bbtvp.registry.entries import RegistryEntry
from bbtvp.registry.records import (
    BASELINES,
    CHECKS,
    MOST_TEXT,
    CheckRecord,
    ProbeBaseline,
)
from bbtvp.registry.registry import PromptRegistry
from bbtvp.tasks import Sample
from bbtvp.verify.inputs import AnyTask, open_prompt
from bbtvp.verify.session import CheckSession

QUERIES = 200
"""The most image queries of a check."""

_GAIN_IMAGES = 30
"""Images asked without the prompt below which the gain is not tested."""


@final
@dataclass(frozen=True)
class DriftOptions:
    """Options of a check.

    queries: the most image queries, retries included. drop: of the mean score, 0 to 1, that is to
    be found or excluded. reader: how replies are read. usd: the most that may be spent, US dollars.
    out: a folder that makes a check of today resumable. rebase: make a new baseline.
    """

    queries: int = QUERIES
    drop: float = DROP
    reader: str = "auto"
    usd: float | None = None
    out: Path | None = None
    rebase: bool = False


@final
@dataclass(frozen=True)
class PromptCheck:
    """What one call of `check` did for one entry: it made a baseline, or compared with one."""

    entry: RegistryEntry
    baseline: ProbeBaseline
    record: CheckRecord | None = None

    @property
    def found(self) -> str:
        """The record's word, or "baseline"."""
        return self.record.found if self.record else "baseline"

    def as_json(self) -> dict[str, Any]:
        """What was done: the word, the record of a comparison, and the baseline's summary."""
        first = self.baseline
        return {
            "bundle": self.entry.digest,
            "found": self.found,
            "baseline": {
                "date": first.date.isoformat(),
                "images": len(first.samples),
                "queries": first.queries,
                "versions": list(first.versions),
                "prompted": float(np.nanmean(score_table(first.prompted))),
                "zero_shot": float(np.nanmean(shares(first.zero_shot))),
            },
            "check": self.record and self.record.model_dump(mode="json", by_alias=True),
        }

    def __str__(self) -> str:
        if self.record is not None:
            return f"{self.found}: {self.record.reason}"
        with_prompt = float(np.nanmean(score_table(self.baseline.prompted)))
        return (
            f"baseline: {100 * with_prompt:.1f} % with the prompt on "
            f"{len(self.baseline.samples)} images; run the same command again on a later day"
        )


def check(
    registry: PromptRegistry,
    entry: RegistryEntry,
    model: AnyModel,
    probe: AnyTask,
    options: DriftOptions | None = None,
) -> PromptCheck:
    """Ask a model about a probe with an entry's prompt, and compare with the first day.

    The first call makes the baseline, which costs one image query per image without the prompt, and
    one with it, or `REPEATS` where the model does not always answer the same. model: one that is
    given loaded must keep no replies of other days (`fresh_model`).

    Raises UsageError for a probe of under `FEWEST` images, or one that is not the baseline's, and
    ModelError where the model is down. Nothing is then written to the registry.
    """
    options = options or DriftOptions()
    if options.queries < FEWEST:
        raise UsageError(f"{options.queries} image queries say too little; give {FEWEST} or more")
    with registry.bundle_file(entry) as file:
        opened = open_prompt(file)
        task = opened.task(probe)
    asked = fresh_model(model) if isinstance(model, str) else as_model(model)
    kept = None if options.rebase else newest_baseline(registry, entry, asked.spec, task)
    session = CheckSession(
        f"drift-{clock.today()}",
        opened.prompt,
        task,
        reader=options.reader,
        usd=options.usd,
        out=options.out,
    )
    with session:
        metered = session.model(asked)
        asking = ProbeQuestions(session, metered)
        if kept is None:
            baseline = make_baseline(asking, options.queries)
            registry.keep(BASELINES, baseline)
            return PromptCheck(registry.entry(entry.digest), baseline)
        record = _compared(asking, kept, options)
    registry.keep(CHECKS, record)
    return PromptCheck(registry.entry(entry.digest), kept.content, record)


def fresh_model(spec: str, options: Mapping[str, Any] | None = None) -> Model:
    """The model behind a spec, asked anew: replies of another day say nothing of today.

    options: those of `load_model`.
    """
    given = dict(options or {})
    model = load_model(spec, **given)
    return load_model(spec, **{**given, "store": False}) if isinstance(model, Endpoint) else model


def _compared(asking: ProbeQuestions, kept: KeptBaseline, options: DriftOptions) -> CheckRecord:
    baseline = kept.content
    places = probe_places(asking.session.task, baseline)[: options.queries]
    samples = [sample for _, sample in places]
    columns = [column for column, _ in places]
    old = score_table(baseline.prompted)[:, columns]
    budget = asking.model.budget
    budget.cap = options.queries
    asking.session.announce(options.queries)
    test = DriftTest(len(samples), drop=options.drop, exact=baseline.deterministic)
    new = np.empty(0)
    for number, end in enumerate(test.ends):
        allowed = min(end - len(new), int(budget.left))
        new = np.append(new, asking.scores(samples[len(new) : len(new) + allowed], True))
        look = test.look(number, old[:, : len(new)], new)
        if look.found != "open" or len(new) < end:
            break
    if look.images < FEWEST and look.found != "stale":
        raise DataError(
            f"{asking.model.spec} answered {look.images} images of the probe, and a check needs "
            f"{FEWEST}; try again later"
        )
    gains = _gains(asking, baseline, samples[: len(new)], columns[: len(new)], new)
    return _record(asking, kept, look, gains, options)


@final
class GainsSeen(NamedTuple):
    """Mean gains over the same images, −1 to 1, and the p-value of a fall."""

    then: float
    now: float
    p: float


def _gains(
    asking: ProbeQuestions,
    baseline: ProbeBaseline,
    samples: Sequence[Sample],
    columns: Sequence[int],
    new: Vector,
) -> GainsSeen | None:
    """The gain then, now, and the p-value of its fall, with the image queries that are left."""
    count = min(len(samples), int(asking.model.budget.left))
    if count < _GAIN_IMAGES:
        return None
    plain = asking.scores(samples[:count], False)
    old = mean_scores(score_table(baseline.prompted)[:, columns[:count]])
    then = old - shares(baseline.zero_shot)[list(columns[:count])]
    now = new[:count] - plain
    kept = np.isfinite(then) & np.isfinite(now)
    if kept.sum() < _GAIN_IMAGES:
        return None
    means = float(then[kept].mean()), float(now[kept].mean())
    return GainsSeen(*means, gain_p(then[kept], now[kept]))


def _record(
    asking: ProbeQuestions,
    kept: KeptBaseline,
    look: DriftLook,
    gains: GainsSeen | None,
    options: DriftOptions,
) -> CheckRecord:
    baseline = kept.content
    versions = asking.versions
    changed = None
    if versions and baseline.versions:
        changed = not set(versions) <= set(baseline.versions)
    found, reason = _verdict(look, gains, options)
    cost = asking.session.cost
    return CheckRecord(
        prompt=baseline.prompt,
        model=baseline.model,
        versions=versions,
        date=clock.today(),
        baseline=kept.digest,
        found=found,
        reason=f"{reason}; {_version_words(baseline.versions, versions)}"[:MOST_TEXT],
        version_changed=changed,
        images=look.images,
        queries=cost.queries,
        failed=cost.failed,
        then=look.then,
        now=look.now,
        ci=look.ci,
        p=look.p,
        drop=options.drop,
        gain_then=gains and gains.then,
        gain_now=gains and gains.now,
        gain_p=gains and gains.p,
    )


def _verdict(
    look: DriftLook, gains: GainsSeen | None, options: DriftOptions
) -> tuple[Literal["holds", "stale", "open"], str]:
    means = f"{100 * look.then:.1f} -> {100 * look.now:.1f} % on {look.images} images"
    said = ""
    if gains is not None:
        said = f", gain {100 * gains.then:+.1f} -> {100 * gains.now:+.1f} points"
    if look.changed:
        return "stale", (
            f"the answers changed, and a fall of {100 * options.drop:g} points is not excluded, "
            f"{means}{said}"
        )
    if look.found == "stale":
        return "stale", f"the prompted score fell, {means} (p {look.p:.2g}){said}"
    if gains is not None and gains.p <= GAIN_LEVEL:
        return "stale", f"the gain fell{said} (p {gains.p:.2g}), with the prompt {means}"
    if look.found == "holds":
        return "holds", f"no fall of {100 * options.drop:g} points or more, {means}{said}"
    return "open", (
        f"a fall of {100 * options.drop:g} points is neither shown nor excluded, {means}{said}; "
        f"ask more: --queries {2 * options.queries}"
    )


def _version_words(old: Sequence[str], new: Sequence[str]) -> str:
    if not old or not new:
        return "the model reports no version, so the answers alone speak"
    if set(new) <= set(old):
        return "the version is as before"
    return f"the version changed, {', '.join(old)} -> {', '.join(new)}"
