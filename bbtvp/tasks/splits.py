"""Deterministic splits, by a hash of seed and image, stratified by answer.

The order in which the samples come does not matter.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bbtvp.core.digest import digest
from bbtvp.core.errors import DataError, UsageError
from bbtvp.tasks.task import Sample

FRACTIONS = (0.5, 0.2, 0.3)
"""Default shares of train, validation and test."""

_NEEDED = {"train": 1, "validation": 1, "test": 2}  # one test sample has no spread, so no interval

Splits = tuple[tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...]]


class _Group(NamedTuple):
    """All samples of one image, or of one stated group, in hash order; they stay together."""

    order: str
    samples: tuple[Sample, ...]

    @property
    def stratum(self) -> str:
        return self.samples[0].answer


def split(
    samples: Iterable[Sample],
    *,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    stratify: bool = True,
) -> Splits:
    """(train, validation, test), decided by seed and image alone.

    The order of `samples` does not matter.

    `fractions`: three shares that sum to 1, or three whole numbers of samples (what is over is left
    out). Samples of one image file, or of one group, stay in one split, so a size may be off by
    less than their number. With `stratify`, each answer has its share of every split within
    rounding, the first image of each answer goes to train, and an added sample moves few others.
    Turn it off where answers are free text.

    Raises DataError where a split would be too small, UsageError for impossible fractions.
    """
    groups = _arranged(samples, seed, stratify)
    total = sum(len(group.samples) for group in groups)
    sizes = _sizes(total, fractions)
    _check_sizes(total, dict(zip(_NEEDED, sizes, strict=True)))
    train, validation, test, _ = _cut(groups, sizes)
    _check_sizes(total, {"train": len(train), "validation": len(validation), "test": len(test)})
    return train, validation, test


def hold_out(
    samples: Iterable[Sample], *, seed: int, share: float, stratify: bool = True
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """(kept, held): about `share` of the samples held, by the rules of `split`.

    `share` lies between 0 and 1. `held` may be empty.
    """
    groups = _arranged(samples, seed, stratify)
    total = sum(len(group.samples) for group in groups)
    kept, held = _cut(groups, [_rounded(total * (1 - share))])
    return kept, held


def published(
    train: Sequence[Sample],
    validation: Sequence[Sample],
    test: Sequence[Sample],
    *,
    seed: int,
    name: str,
    stratify: bool = True,
) -> Splits:
    """Splits that are stated with the samples, each as `arrange` puts it.

    Where only validation is missing, train gives up the share that validation has beside train by
    default. DataError, with the `name` of what states them, if train has too few for that.
    """
    kept, held = (arrange(part, seed=seed, stratify=stratify) for part in (train, validation))
    if not held:
        share = FRACTIONS[1] / (FRACTIONS[0] + FRACTIONS[1])
        kept, held = hold_out(train, seed=seed, share=share, stratify=stratify)
    if not held:
        raise DataError(
            f"{name} has no validation images and too few in train to take some; add a validation "
            "split"
        )
    return kept, held, arrange(test, seed=seed, stratify=stratify)


def arrange(samples: Iterable[Sample], *, seed: int, stratify: bool = True) -> tuple[Sample, ...]:
    """The samples in hash order, with the answers interleaved.

    Every prefix has each answer in proportion, within rounding.
    """
    return tuple(sample for group in _arranged(samples, seed, stratify) for sample in group.samples)


def _cut(groups: Iterable[_Group], sizes: Sequence[int]) -> list[tuple[Sample, ...]]:
    """Parts of these sizes and one for the rest; a group goes where its first sample falls."""
    ends = list(itertools.accumulate(sizes))
    parts: list[list[Sample]] = [[] for _ in range(len(sizes) + 1)]
    taken = 0
    for group in groups:
        parts[bisect.bisect_right(ends, taken)].extend(group.samples)
        taken += len(group.samples)
    return [tuple(part) for part in parts]


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


def _hash(seed: int, *names: str) -> str:
    return digest(str(seed).encode(), *(name.encode() for name in names))


def _arranged(samples: Iterable[Sample], seed: int, stratify: bool) -> list[_Group]:
    """Groups sorted by their place in their own stratum, from 0 to 1.

    So any cut takes an equal share of all strata.
    """
    strata: dict[str, list[_Group]] = defaultdict(list)
    for group in _groups(samples, seed):
        strata[group.stratum if stratify else ""].append(group)
    placed: list[tuple[float, str, _Group]] = []
    for answer, members in strata.items():
        members.sort(key=lambda group: group.order)
        # Without an offset of its own, every stratum would round the same way.
        offset = int(_hash(seed, "offset", answer)[:8], 16) / 2**32
        for rank, group in enumerate(members):
            # Rank 0 comes before everything: no answer is absent from train while train has room.
            placed.append(((rank + offset) / len(members) if rank else 0.0, group.order, group))
    return [group for _, _, group in sorted(placed, key=lambda item: item[:2])]


def _groups(samples: Iterable[Sample], seed: int) -> list[_Group]:
    together: dict[Path | str | tuple[str], list[tuple[str, str, Sample]]] = defaultdict(list)
    for sample in samples:
        image = sample.image if isinstance(sample.image, Path) else sample.id
        key = image if sample.group is None else (sample.group,)
        together[key].append((_hash(seed, sample.id), sample.id, sample))
    groups = []
    for members in together.values():
        members.sort(key=lambda item: item[:2])
        groups.append(_Group(members[0][0], tuple(sample for _, _, sample in members)))
    return groups


def _sizes(total: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    if len(fractions) != 3 or not all(share > 0 for share in fractions):
        raise UsageError(
            "the split needs three shares above 0 (train, validation, test), got "
            f"{tuple(fractions)}"
        )
    first, second, third = fractions
    if isinstance(first, int) and isinstance(second, int) and isinstance(third, int):
        return _counts(total, first, second, third)
    if not math.isclose(first + second + third, 1, abs_tol=1e-6):
        raise UsageError(
            f"the shares {tuple(fractions)} do not sum to 1; give three that do, or three whole "
            "numbers"
        )
    train = _rounded(total * first)
    seen = _rounded(total * (first + second))
    return train, seen - train, total - seen


def _counts(total: int, train: int, validation: int, test: int) -> tuple[int, int, int]:
    wanted = train + validation + test
    if wanted > total:
        raise DataError(
            f"{train} + {validation} + {test} samples are asked for and there are {total}; ask for "
            "fewer"
        )
    return train, validation, test


def _check_sizes(total: int, sizes: dict[str, int]) -> None:
    for name, needed in _NEEDED.items():
        if sizes[name] < needed:
            would = ", ".join(f"{split} {size}" for split, size in sizes.items())
            raise DataError(
                f"{total} samples are too few: {name} would have {sizes[name]} and needs {needed} "
                f"({would}); "
                "add images or change the shares"
            )
