"""Robustness, side effects and saliency as plain text.

Shares are in percent, changes of shares in points.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bbtvp.checks.effects import Effects, LabelShift, MissingReplies, Stability, TaskEffect
from bbtvp.checks.robustness import ModelRobustness, Robustness
from bbtvp.checks.saliency import Saliency, SaliencyMap
from bbtvp.core.table import text_table
from bbtvp.report.figures import change, interval, p_value, points, share

_LISTED = 8
"""Broken images of a task that are named."""


def robustness_table(found: Robustness) -> str:
    """A table for each model, with a line for each corruption."""
    return "\n\n".join(map(_table, found.models))


def _table(model: ModelRobustness) -> str:
    clean = model.clean.paired
    severities = sorted({cell.severity for cell in model.cells})
    asked = ", ".join(map(str, severities))
    head = ("corruption", f"zero-shot at {asked}", "prompted", "gain", "harms at")
    kinds = dict.fromkeys(cell.corruption for cell in model.cells)
    helped = f"helps in {len(model.helped())} of {len(model.cells)} cells"
    harmed = f"harms in {len(model.harmed())}"
    lines = [
        f"{model.model}: clean {_from_to(clean.before, clean.after)} (n {clean.n})",
        text_table([head, *(_corruption(kind, model) for kind in kinds)], left=len(head)),
        _means(model),
        f"{helped}, {harmed} (McNemar, Holm over all cells, 5 %)",
    ]
    if model.unanswered:
        lines.append(f"unanswered: {', '.join(model.unanswered)}")
    return "\n".join(lines)


def _corruption(kind: str, model: ModelRobustness) -> tuple[str, ...]:
    cells = [cell for cell in model.cells if cell.corruption == kind]
    before = " ".join(f"{100 * cell.paired.before:3.0f}" for cell in cells)
    after = " ".join(f"{100 * cell.paired.after:3.0f}" for cell in cells)
    gain = float(np.mean([cell.paired.gain for cell in cells]))
    harms = [str(cell.severity) for cell in cells if cell in model.harmed()]
    return kind, before, after, points(gain), ", ".join(harms)


def _means(model: ModelRobustness) -> str:
    shares = _from_to(model.mean_zero_shot, model.mean_prompted)
    gain = change(model.mean_gain, model.mean_gain_ci95)
    line = f"mean over corruptions: {shares}, gain {gain}"
    if model.gain_kept is not None:
        line += f"; {100 * model.gain_kept:.0f} % of the clean gain is kept"
    return line


def _from_to(before: float, after: float) -> str:
    return f"{100 * before:.1f} → {100 * after:.1f} %"


def effects_table(found: Effects) -> str:
    """The tasks, then images of no task, then what was broken and mended."""
    return "\n\n".join([_tasks(found), _strays(found), _rest(found)])


def _tasks(found: Effects) -> str:
    head = (
        "task",
        "n",
        "before",
        "after",
        "change",
        "95 % interval",
        "Holm p",
        "yes",
        "error",
        "labels moved",
        "unparsed",
        "refused",
    )
    return text_table([head, *map(_task, found.tasks)], left=len(head))


def _task(one: TaskEffect) -> tuple[str, ...]:
    return (
        f"{one.task} (own)" if one.role == "own" else one.task,
        str(one.paired.n),
        f"{100 * one.paired.before:.1f}",
        f"{100 * one.paired.after:.1f}",
        points(one.paired.gain),
        interval(one.paired.ci),
        p_value(one.holm_p),
        "-" if one.yes is None else f"{100 * one.yes.before:.0f} → {100 * one.yes.after:.0f}",
        _errors(one),
        _moved(one.shift),
        *_missing(one.missing),
    )


def _errors(one: TaskEffect) -> str:
    if one.error_before is None or one.error_after is None:
        return "-"
    return f"{one.error_before:.2f} → {one.error_after:.2f}"


def _missing(missing: MissingReplies) -> tuple[str, str]:
    """Replies of no label, and refusals, before and after."""
    return (
        f"{missing.unparsed_before} → {missing.unparsed_after}",
        f"{missing.refused_before} → {missing.refused_after}",
    )


def _strays(found: Effects) -> str:
    head = (
        "images of no task",
        "n",
        "labels moved",
        "commonest before",
        "after",
        "unparsed",
        "refused",
    )
    rows: list[tuple[str, ...]] = [head]
    for one in found.strays:
        shift = one.shift
        rows.append(
            (
                one.images,
                str(shift.n if shift else 0),
                _moved(shift),
                _commonest(shift.before) if shift else "-",
                _commonest(shift.after) if shift else "-",
                *_missing(one.missing),
            )
        )
    return text_table(rows, left=len(head))


def _rest(found: Effects) -> str:
    broken = f"{len(found.broken)} images (right before, wrong after)"
    lines = [f"broken: {broken}; mended: {len(found.mended)}"]
    for name in dict.fromkeys(one.task for one in found.broken):
        ids = [one.id for one in found.broken if one.task == name]
        more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
        lines.append(f"  {name}: {', '.join(ids[:_LISTED])}{more}")
    lines.append(f"stability: {_stability(found.stability)}")
    if found.unanswered:
        lines.append(f"unanswered: {', '.join(found.unanswered)}")
    return "\n".join(lines)


def _stability(found: Stability) -> str:
    if found.exact:
        return "the model always answers the same; exact"
    if found.same is None:
        return "not known, no image was answered twice"
    return (
        f"the second answer is the same for {share(found.same.before)} of images without the "
        f"prompt and {share(found.same.after)} with it (n {found.same.n})"
    )


def _moved(shift: LabelShift | None) -> str:
    if shift is None:
        return "-"
    p = "" if shift.p is None else f", p {p_value(shift.p)}"
    return f"{100 * shift.distance:.0f} % ({shift.label} {100 * shift.change:+.0f}{p})"


def _commonest(shares: Mapping[str, float]) -> str:
    label = max(shares, key=lambda name: shares[name])
    return f"{label} {100 * shares[label]:.0f} %"


def saliency_table(found: Saliency) -> str:
    """A line for each map: whose score it explains, its quality, and its share on the image."""
    rows: list[tuple[str, ...]] = [
        ("image", "arm", "label", "score", "deletion", "insertion", "on the image", "its area"),
        *map(_map, found.maps),
    ]
    return text_table(rows, left=3)


def _map(found: SaliencyMap) -> tuple[str, ...]:
    areas = ("-" if area is None else f"{area:.2f}" for area in (found.deletion, found.insertion))
    on = "-" if found.in_picture is None else f"{100 * found.in_picture:.0f} %"
    return (
        found.id,
        found.arm,
        found.label,
        f"{found.score:.2f}",
        *areas,
        on,
        f"{100 * found.picture:.0f} %",
    )
