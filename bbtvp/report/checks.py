"""Robustness and side effects as plain text: shares in percent, changes in points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bbtvp.checks.effects import Effects, LabelShift, MissingReplies, TaskEffect
from bbtvp.checks.robustness import ModelRobustness, Robustness
from bbtvp.checks.saliency import Saliency, SaliencyMap
from bbtvp.core.table import text_table
from bbtvp.report.figures import change, interval, p_value, points


def robustness_table(found: Robustness) -> str:
    """A table for each model, a line for each corruption."""
    return "\n\n".join(map(_table, found.models))


def _table(model: ModelRobustness) -> str:
    clean = model.clean.paired
    asked = ", ".join(str(severity) for severity in sorted({cell.severity for cell in model.cells}))
    rows: list[tuple[str, ...]] = [
        ("corruption", f"zero-shot at {asked}", "prompted", "gain", "harms at")
    ]
    for name in dict.fromkeys(cell.corruption for cell in model.cells):
        cells = [cell for cell in model.cells if cell.corruption == name]
        shares = [
            " ".join(f"{100 * share:3.0f}" for share in of)
            for of in ([c.paired.before for c in cells], [c.paired.after for c in cells])
        ]
        gain = float(np.mean([cell.paired.gain for cell in cells]))
        harms = [str(cell.severity) for cell in cells if cell in model.harmed()]
        rows.append((name, *shares, points(gain), ", ".join(harms)))
    lines = [text_table(rows, left=len(rows[0]))]
    kept = (
        ""
        if model.gain_kept is None
        else f"; {100 * model.gain_kept:.0f} % of the clean gain is kept"
    )
    means = f"mean over corruptions: {100 * model.mean_zero_shot:.1f} → {100 * model.mean_prompted:.1f} %"
    helped = len(model.helped())
    harmed = len(model.harmed())
    lines += [
        f"{means}, gain {change(model.mean_gain, model.mean_gain_ci95)}{kept}",
        f"helps in {helped} of {len(model.cells)} cells, harms in {harmed} (McNemar, Holm over all cells, 5 %)",
    ]
    if model.unanswered:
        lines.append(f"unanswered: {', '.join(model.unanswered)}")
    head = f"{model.model}: clean {100 * clean.before:.1f} → {100 * clean.after:.1f} % (n {clean.n})"
    return "\n".join([head, *lines])


def effects_table(found: Effects) -> str:
    """Tasks, then images of no task, then what was broken and mended."""
    parts = [_tasks(found), _strays(found), _rest(found)]
    return "\n\n".join(parts)


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
    rows = [
        (
            "images of no task",
            "n",
            "labels moved",
            "commonest before",
            "after",
            "unparsed",
            "refused",
        )
    ]
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
    return text_table(rows, left=len(rows[0]))


def _rest(found: Effects) -> str:
    lines = [
        f"broken: {len(found.broken)} images (right before, wrong after); mended: {len(found.mended)}"
    ]
    for name in dict.fromkeys(one.task for one in found.broken):
        ids = [one.id for one in found.broken if one.task == name]
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        lines.append(f"  {name}: {shown}")
    stability = found.stability
    if stability.exact:
        lines.append("stability: the model always answers the same; exact")
    elif stability.same is None:
        lines.append("stability: not known, no image was answered twice")
    else:
        lines.append(
            f"stability: the second answer is the same for {100 * stability.same.before:.1f} % of images without the prompt "
            f"and {100 * stability.same.after:.1f} % with it (n {stability.same.n})"
        )
    if found.unanswered:
        lines.append(f"unanswered: {', '.join(found.unanswered)}")
    return "\n".join(lines)


def _moved(shift: LabelShift | None) -> str:
    if shift is None:
        return "-"
    p = "" if shift.p is None else f", p {p_value(shift.p)}"
    return f"{100 * shift.distance:.0f} % ({shift.label} {100 * shift.change:+.0f}{p})"


def _commonest(shares: Mapping[str, float]) -> str:
    label = max(shares, key=lambda name: shares[name])
    return f"{label} {100 * shares[label]:.0f} %"


def saliency_table(found: Saliency) -> str:
    """A line for each map: whose score, how good the map is, how much of it lies on the image
    itself.
    """
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
