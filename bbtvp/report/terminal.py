"""Results as plain text, legible in any terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bbtvp.verify import Detail, Proof, Row

HEAD = ("model", "role", "n", "zero-shot", "empty frame", "prompted", "gain", "95 % interval", "McNemar p")
GUIDED = ("sentence only", "image only")
"""Further columns, for a prompt with a sentence."""


def verdict_lines(proof: Proof) -> str:
    """The verdict in one sentence, then what a reader of the figures must know."""
    return "\n".join([f"verdict: {proof.verdict}", *(f"note: {note}" for note in proof.notes)])


def proof_table(proof: Proof) -> str:
    """One line per model, the transfer mean below; shares in percent, gains in points."""
    guided = any(row.sentence_only is not None for row in proof.rows)
    head = (*HEAD, *GUIDED) if guided else HEAD
    lines = [head, *((*_cells(row), *(_halves(row) if guided else ())) for row in proof.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [_line(line, widths) for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    if proof.transfer is not None:
        others = sum(row.role == "target" for row in proof.rows)
        whom = f"mean over {others} models that were" if others > 1 else "on a model that was"
        text.append(f"transfer: {100 * proof.transfer:+.1f} points, {whom} never queried")
    missing = sum(row.failed for row in proof.rows)
    if missing:
        text.append(f"failed queries: {missing} (missing data, in no figure above)")
    return "\n".join(text)


def proof_details(proof: Proof) -> str:
    """The rule, and of each model what the table has no room for: controls, noise, figures, classes, confusions."""
    blocks = [f"rule: {proof.verdict.rule}"]
    for row in proof.rows:
        lines = [f"{row.model}: {row.n} of {row.images} images answered; {row.gained} gained, {row.lost} lost"]
        low, high = row.over_empty_frame_ci95
        lines.append(f"  over the empty frame  {_change(row.over_empty_frame, (low, high))}")
        if row.over_calibrated is not None and row.over_calibrated_ci95 is not None:
            change = _change(row.over_calibrated, row.over_calibrated_ci95)
            lines.append(f"  over an output calibration ({_share(row.calibrated or 0)})  {change}")
        if row.noise is not None:
            lines.append(f"  asked the same twice  {_share(row.noise)} of the images judged otherwise")
        if row.mcnemar_p_holm is not None:
            lines.append(f"  McNemar p over all models (Holm)  {_p(row.mcnemar_p_holm)}")
        blocks.append("\n".join(lines + (_detail(row.detail) if row.detail else [])))
    return "\n\n".join(blocks)


def _detail(detail: Detail) -> list[str]:
    lines = []
    for figure in detail.figures:
        name = figure.name.replace("_", " ") + (f" ({figure.positive})" if figure.positive else "")
        low, high = figure.difference_ci95
        change = f"{figure.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"  {name}  {figure.before:.3f} -> {figure.after:.3f}, {change}")
    if detail.per_class:
        rows = [("class", "n", "zero-shot", "prompted", "mostly taken for")]
        for label, found in detail.per_class.items():
            rows.append((label, str(found.n), _share(found.before), _share(found.after), _mistake(detail, label)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [("  " + _line(cells, widths, left=(0, 4))).rstrip() for cells in rows]
    return lines


def _mistake(detail: Detail, label: str) -> str:
    """The commonest wrong answer to the prompted images of a class."""
    wrong = {said: count for said, count in detail.confusion_after.get(label, {}).items() if said != label}
    if not wrong:
        return ""
    said = max(wrong, key=lambda answer: wrong[answer])
    return f"{said or 'nothing (unparsed)'} ({wrong[said]})"


def _change(gain: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * gain:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.gain_ci95
    shares = map(_share, (row.zero_shot, row.empty_frame, row.prompted))
    return (
        row.model, row.role, str(row.n), *shares, f"{100 * row.gain:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]",
        _p(row.mcnemar_p),
    )  # fmt: skip


def _halves(row: Row) -> tuple[str, ...]:
    return tuple("-" if share is None else _share(share) for share in (row.sentence_only, row.image_only))


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[int] = (0, 1)) -> str:
    """left: the columns that are words."""
    places = enumerate(zip(cells, widths, strict=True))
    return "  ".join(cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in places)
