"""What of a receipt can be computed again from its own counts: intervals, p-values, the verdict.

An edited figure is found so, also in a receipt that nobody signed. A receipt that was invented as a
whole, with counts that fit, is not: that is what signatures are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, final

from bbtvp.core.errors import DataError, UsageError
from bbtvp.stats import counted_interval, holm, mcnemar, score_interval
from bbtvp.tasks.metrics import RIGHT_OR_WRONG
from bbtvp.verify.planning import SequentialDesign
from bbtvp.verify.receipt import Receipt
from bbtvp.verify.receipt_parts import (
    FEWEST,
    ReceiptChange,
    ReceiptControl,
    ReceiptModel,
    ReceiptSettings,
)
from bbtvp.verify.verdict import (
    LEAST,
    WITHHELD,
    ChangedAnswers,
    Constant,
    Evidence,
    Rule,
    Verdict,
    judge,
)

_TOLERANCE = 1e-6
"""Relative; another version of scipy may round otherwise."""


@final
class Recount(NamedTuple):
    """What was computed again and found equal, and what stands as it was claimed."""

    equal: tuple[str, ...]
    claimed: tuple[str, ...]


def recount(receipt: Receipt) -> Recount:
    """Compute a receipt's figures again. DataError names the first that is another.

    Of graded scores the accuracies, the intervals, the p-values, the controls and the verdict need
    every score. A receipt does not hold them, since a score such as 6/7 tells how long an answer
    is: these figures stand as claimed, where they do not contradict each other.
    """
    if len({model.model for model in receipt.models}) < len(receipt.models):
        raise _altered("a model comes twice")
    if receipt.task.images < LEAST:
        raise _altered(f"it is of {receipt.task.images} test images, and needs {LEAST}")
    claimed = ["answers", "versions", "noise", "image queries", "date"]
    for model in receipt.models:
        _check_counts(receipt, model)
        if model.graded:
            _check_graded(model)
        else:
            _check_figures(receipt, model)
    _check_holm(receipt.models)
    graded = [model.model for model in receipt.models if model.graded]
    if graded:
        _check_graded_verdict(receipt)
        names = ", ".join(graded)
        claimed += ["the verdict", f"accuracies, intervals, p-values and controls of {names}"]
        equal = ["the gain of each model from its accuracies", "bounds of gains and counts"]
        if len(graded) < len(receipt.models):
            equal += ["intervals, p-values and controls of the other models"]
        return Recount(tuple(equal), tuple(claimed))
    _check_verdict(receipt)
    return Recount(("gains", "intervals", "p-values", "controls", "verdict"), tuple(claimed))


def _check_counts(receipt: Receipt, model: ReceiptModel) -> None:
    """That the counts of a model can be, and that its means are those of the gain."""
    name = model.model
    held = model.evidence
    if not FEWEST <= model.n <= model.images <= receipt.task.images:
        raise _altered(f"{name} has {model.n} of {model.images} images")
    parts = [held.changed, *(part for part in (held.constant, held.read) if part is not None)]
    counts = [(part.gained, part.lost, part.n) for part in parts]
    counts += [(one.gained, one.lost, one.n) for one in model.controls.values()]
    counts.append((model.gained, model.lost, model.n))
    if any(gained + lost > n for gained, lost, n in counts):
        raise _altered(f"{name} has more changed answers than images")
    inner = held.changed
    if not inner.n <= min(held.asked, model.n) or held.asked > model.images:
        raise _altered(f"{name}: the verdict has more images than the table")
    if inner.gained > model.gained or inner.lost > model.lost:
        raise _altered(f"{name}: the verdict has more changed answers than the table")
    if model.graded and receipt.task.metric in RIGHT_OR_WRONG:
        raise _altered(f"{receipt.task.metric} gives {name} no graded scores")
    _check_constant(model)
    frame = model.controls.get("empty_frame")
    if frame is None:
        raise _altered(f"{name} has no empty-frame control")
    _same(f"the empty frame of {name}", model.empty_frame, frame.score)
    _same(f"the gain of {name}", model.gain, model.prompted - model.zero_shot)
    low, high = model.gain_ci95
    if not low - _TOLERANCE <= model.gain <= high + _TOLERANCE:
        raise _altered(f"the gain of {name} lies outside its interval")


def _check_constant(model: ReceiptModel) -> None:
    """That the best constant answer of the verdict is that of the table, on the same images."""
    held = model.evidence
    constant = held.constant
    control = model.controls.get("best_constant")
    if constant is None:
        return
    same = control is not None and (constant.gained, constant.lost) == (
        control.gained,
        control.lost,
    )
    if constant.n != held.changed.n or not (same or held.changed.n < model.n):
        raise _altered(f"{model.model} has two best constant answers")


def _check_figures(receipt: Receipt, model: ReceiptModel) -> None:
    """Of right and wrong answers, that every figure is that of its counts."""
    name = model.model
    right = round(model.zero_shot * model.n)
    _same(f"the zero-shot accuracy of {name}", model.zero_shot, right / model.n)
    if not model.lost <= right <= model.n - model.gained:
        raise _altered(f"{name} mends or breaks more answers than there are")
    _same(f"the gain of {name}", model.gain, (model.gained - model.lost) / model.n)
    _same(f"the p of {name}", model.p, mcnemar(model.gained, model.lost))
    interval = _interval(receipt, model)
    for stated, found in zip(model.gain_ci95, interval, strict=True):
        _same(f"the interval of {name}", stated, found)
    for kind, control in model.controls.items():
        _check_control(f"{kind} of {name}", control, model, receipt.settings.seed)


def _interval(receipt: Receipt, model: ReceiptModel) -> tuple[float, float]:
    settings = receipt.settings
    if not settings.sequential:
        return counted_interval(model.gained, model.lost, model.n, seed=settings.seed)
    design, look = _look(receipt, model)
    return score_interval(model.gained, model.lost, model.n, float(design.limit_z[look]))


def _check_control(what: str, control: ReceiptControl, model: ReceiptModel, seed: int) -> None:
    if not 0 < control.n <= model.n:
        raise _altered(f"{what} has {control.n} images")
    _same(f"the gain over {what}", control.gain, (control.gained - control.lost) / control.n)
    if control.n == model.n:
        _same(f"the score of {what}", control.score, model.prompted - control.gain)
    found = counted_interval(control.gained, control.lost, control.n, seed=seed)
    for stated, limit in zip(control.gain_ci95, found, strict=True):
        _same(f"the interval of {what}", stated, limit)


def _check_graded(model: ReceiptModel) -> None:
    """Of graded scores, that the figures do not contradict each other."""
    name = model.model
    _check_bounds(f"the gain of {name}", model.gain, model)
    for kind, control in model.controls.items():
        what = f"the gain over {kind} of {name}"
        if not 0 < control.n <= model.n:
            raise _altered(f"{kind} of {name} has {control.n} images")
        if control.n == model.n:
            _same(f"the score of {kind} of {name}", control.score, model.prompted - control.gain)
        _check_bounds(what, control.gain, control)
        low, high = control.gain_ci95
        if not low - _TOLERANCE <= control.gain <= high + _TOLERANCE:
            raise _altered(f"{what} lies outside its interval")


def _check_bounds(what: str, gain: float, counts: ReceiptModel | ReceiptControl) -> None:
    """That a mean of differences, each of at most 1, can be of so many that rose and fell."""
    low = -counts.lost / counts.n
    high = counts.gained / counts.n
    if not low - _TOLERANCE <= gain <= high + _TOLERANCE:
        raise _altered(f"{what} is {gain:g}, and its counts allow {low:g} to {high:g}")


def _check_holm(models: Sequence[ReceiptModel]) -> None:
    adjusted = holm([model.p for model in models])
    for model, found in zip(models, adjusted, strict=True):
        if model.p_holm is not None:
            _same(f"the adjusted p of {model.model}", model.p_holm, float(found))


# -- the verdict -----------------------------------------------------------------------------------
def _check_verdict(receipt: Receipt) -> None:
    if _is_withheld(receipt):
        return
    stated = receipt.verdict
    found = _judged(receipt)
    codes = tuple(reason.code for reason in found.reasons)
    if found.word != stated.word:
        raise _altered(f"its counts give {found.word}, and it says {stated.word}")
    if codes != stated.reasons or found.more_images != stated.more_images:
        raise _altered(f"the reasons of its verdict are {', '.join(codes)}")


def _is_withheld(receipt: Receipt) -> bool:
    """Whether the test images allow no verdict. DataError where there is one all the same."""
    stated = receipt.verdict
    withheld = [code for code in stated.reasons if code in WITHHELD]
    if withheld and (stated.word != "undecided" or len(withheld) < len(stated.reasons)):
        raise _altered("its test images allow no verdict, and it has one")
    return bool(withheld)


def _check_graded_verdict(receipt: Receipt) -> None:
    """That no gain contradicts the verdict, which itself needs every score.

    A gain counts where the verdict was judged by the images of the table.
    """
    word = receipt.verdict.word
    if _is_withheld(receipt) or word == "undecided":
        return
    rule = receipt.settings
    same = [model for model in receipt.models if model.evidence.changed.n == model.n]
    low = [model for model in same if model.gain <= _margin(model, rule)]
    if word == "go" and any(model.evidence.decides for model in low):
        raise _altered(f"{low[0].model} gains too little for a go")
    if word == "no-go" and not low and len(same) == len(receipt.models):
        raise _altered("no model gains little enough for a no-go")


def _margin(model: ReceiptModel, rule: ReceiptSettings) -> float:
    """The gain that a go takes to be above, and a no-go to be below."""
    return rule.min_gain if model.evidence.decides else -rule.max_harm


def _judged(receipt: Receipt) -> Verdict:
    settings = receipt.settings
    rule = _rule(receipt)
    evidence = [_evidence(receipt, model, rule) for model in receipt.models]
    deciding = sum(one.decides for one in evidence)
    if deciding > settings.deciding or len(evidence) - deciding > settings.others:
        raise _altered("it has more models than its settings name")
    if not settings.sequential and any(one.asked < LEAST for one in evidence):
        raise _altered(f"fewer than {LEAST} test images allow no verdict")
    order = sorted(evidence, key=lambda one: not one.decides) if settings.sequential else evidence
    return judge(rule, order)


def _rule(receipt: Receipt) -> Rule:
    settings = receipt.settings
    try:
        return Rule(settings.min_gain, settings.max_harm, level=settings.level)
    except UsageError as error:
        raise _altered(str(error)) from error


def _evidence(receipt: Receipt, model: ReceiptModel, rule: Rule) -> Evidence:
    held = model.evidence
    constant = None
    if held.constant is not None:
        changed = _changed(held.constant)
        # Answers and means stand in the reasons' texts only, of which the codes are compared.
        fallen = ("", 0.0, 0.0) if held.collapsed else None
        constant = Constant("", 0.0, 0.0, changed, fallen)
    found = Evidence(
        model.model,
        held.decides,
        _changed(held.changed),
        held.asked,
        rule.z,
        constant=constant,
        read=held.read and _changed(held.read),
    )
    if not receipt.settings.sequential:
        return found
    design, look = _look(receipt, model)
    return found._replace(z=float(design.z[look]), below_z=float(design.below_z[look]))


def _look(receipt: Receipt, model: ReceiptModel) -> tuple[SequentialDesign, int]:
    """The design of a sequential proof, and the number of the look at which a model was settled."""
    settings = receipt.settings
    count = settings.deciding if model.evidence.decides else settings.others
    design = _design(receipt.task.images, count, settings.level)
    if model.images not in design.ends:
        raise _altered(f"no look was after {model.images} images")
    return design, design.ends.index(model.images)


@lru_cache(maxsize=64)
def _design(images: int, models: int, level: float) -> SequentialDesign:
    """A hostile receipt may name a hundred models, and a design takes a second."""
    return SequentialDesign.of(images, models, level)


def _changed(counts: ReceiptChange) -> ChangedAnswers:
    return ChangedAnswers(counts.gained, counts.lost, counts.n)


def _same(what: str, stated: float, found: float) -> None:
    if not math.isclose(stated, found, rel_tol=_TOLERANCE, abs_tol=1e-9):
        raise _altered(f"{what} is {stated:g}, and its counts give {found:g}")


def _altered(said: str) -> DataError:
    return DataError(f"the receipt does not hold together: {said}; ask its author for it again")
