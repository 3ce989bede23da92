"""Robustness and side effects as plain text: shares in percent, changes in points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bbtvp.checks.effects import Effect, Effects, Shift
from bbtvp.checks.robustness import ModelRobustness, Robustness
from bbtvp.checks.saliency import Look, Saliency
from bbtvp.core.table import text_table
from bbtvp.report.figures import change, interval, p_value, points


def robustness_table(found: Robustness) -> str:
    """A table for each model, a line for each corruption."""
    return "\n\n".join(map(_table, found.models))


def _table(model: ModelRobustness) -> str:
    clean = model.clean
    asked = ", ".join(str(severity) for severity in sorted({cell.severity for cell in model.cells}))
    rows: list[tuple[str, ...]] = [
        ("corruption", f"zero-shot at {asked}", "prompted", "gain", "harms at")
    ]
    for name in dict.fromkeys(cell.corruption for cell in model.cells):
        cells = [cell for cell in model.cells if cell.corruption == name]
        shares = [
            " ".join(f"{100 * share:3.0f}" for share in of)
            for of in ([c.zero_shot for c in cells], [c.prompted for c in cells])
        ]
        gain = float(np.mean([cell.gain for cell in cells]))
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
    head = f"{model.model}: clean {100 * clean.zero_shot:.1f} → {100 * clean.prompted:.1f} % (n {clean.n})"
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


def _task(one: Effect) -> tuple[str, ...]:
    return (
        f"{one.task} (own)" if one.role == "own" else one.task,
        str(one.n),
        f"{100 * one.before:.1f}",
        f"{100 * one.after:.1f}",
        points(one.change),
        interval(one.change_ci95),
        p_value(one.holm_p),
        _pair(one.yes_before, one.yes_after, 100, 0),
        _pair(one.error_before, one.error_after, 1, 2),
        _moved(one.shift),
        f"{one.unparsed_before} → {one.unparsed_after}",
        f"{one.refused_before} → {one.refused_after}",
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
                f"{one.unparsed_before} → {one.unparsed_after}",
                f"{one.refused_before} → {one.refused_after}",
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
    elif stability.before is None or stability.after is None:
        lines.append("stability: not known, no image was answered twice")
    else:
        lines.append(
            f"stability: the second answer is the same for {100 * stability.before:.1f} % of images without the prompt "
            f"and {100 * stability.after:.1f} % with it (n {stability.n})"
        )
    if found.unanswered:
        lines.append(f"unanswered: {', '.join(found.unanswered)}")
    return "\n".join(lines)


def _moved(shift: Shift | None) -> str:
    if shift is None:
        return "-"
    p = "" if shift.p is None else f", p {p_value(shift.p)}"
    return f"{100 * shift.distance:.0f} % ({shift.label} {100 * shift.change:+.0f}{p})"


def _commonest(shares: Mapping[str, float]) -> str:
    label = max(shares, key=lambda name: shares[name])
    return f"{label} {100 * shares[label]:.0f} %"


def _pair(before: float | None, after: float | None, times: float, digits: int) -> str:
    return (
        "-"
        if before is None or after is None
        else f"{times * before:.{digits}f} → {times * after:.{digits}f}"
    )


def saliency_table(found: Saliency) -> str:
    """A line for each map: whose score, how good the map is, how much of it lies on the image
    itself.
    """
    rows: list[tuple[str, ...]] = [
        ("image", "arm", "label", "score", "deletion", "insertion", "on the image", "its area"),
        *map(_look, found.looks),
    ]
    return text_table(rows, left=3)


def _look(look: Look) -> tuple[str, ...]:
    areas = ("-" if area is None else f"{area:.2f}" for area in (look.deletion, look.insertion))
    on = "-" if look.in_picture is None else f"{100 * look.in_picture:.0f} %"
    return (
        look.id,
        look.arm,
        look.label,
        f"{look.score:.2f}",
        *areas,
        on,
        f"{100 * look.picture:.0f} %",
    )
