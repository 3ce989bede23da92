"""Proofs as plain text, legible in any terminal."""

from __future__ import annotations

from textwrap import indent

from bbtvp.core.table import text_table
from bbtvp.report.figures import P_NAMES, change, interval, p_value, points, share
from bbtvp.verify import Proof, ProofDetail, ProofRow
from bbtvp.verify.controls import ReplyCounts, shortened

HEAD = (
    "model",
    "role",
    "n",
    "zero-shot",
    "empty frame",
    "prompted",
    "gain",
    "95 % interval",
    "McNemar p",
)
GUIDED = ("sentence only", "image only")
"""Further columns for a prompt with a sentence."""


def verdict_lines(proof: Proof) -> str:
    """The verdict in one sentence, then notes without which the figures mislead."""
    return "\n".join([f"verdict: {proof.verdict}", *(f"note: {note}" for note in proof.notes)])


def proof_table(proof: Proof) -> str:
    """One line for each model, and the transfer mean below.

    Shares are in percent, gains in points.
    """
    guided = any(row.sentence_only is not None for row in proof.rows)
    first = (
        HEAD if not any(row.paired.graded for row in proof.rows) else (*HEAD[:-1], "sign-flip p")
    )
    head = (*first, *GUIDED) if guided else first
    lines = [head, *((*_cells(row), *(_halves(row) if guided else ())) for row in proof.rows)]
    text = [text_table(lines, left=2)]
    if proof.transfer is not None:
        others = sum(row.role == "target" for row in proof.rows)
        whom = f"mean over {others} models that were" if others > 1 else "on a model that was"
        text.append(f"transfer: {points(proof.transfer)} points, {whom} never queried")
    text += _constant_lines(proof)
    text += _unanswered_lines(proof)
    missing = sum(row.failed for row in proof.rows)
    if missing:
        text.append(f"failed queries: {missing} (missing data, in no figure above)")
    return "\n".join(text)


def _constant_lines(proof: Proof) -> list[str]:
    """The best constant answer, the same for all models but for the images that they missed."""
    found = {
        f"best constant answer: {shortened(row.constant_answer)!r}, {share(beyond.before)}"
        for row in proof.rows
        if row.constant_answer is not None and (beyond := row.over_constant) is not None
    }
    return sorted(found)


def _unanswered_lines(proof: Proof) -> list[str]:
    """For each model the replies without an answer, by arm; nothing where all gave one."""
    lines = []
    for row in proof.rows:
        parts = [
            f"{arm.replace('_', ' ')} {', '.join(named)}"
            for arm, counts in row.replies.items()
            if (named := _named_counts(counts))
        ]
        if parts:
            lines.append(f"replies without an answer, {row.model}: {'; '.join(parts)}")
    return lines


def _named_counts(counts: ReplyCounts) -> list[str]:
    named = (
        ("unparsed", counts.unparsed),
        ("refused", counts.refused),
        ("cut", counts.cut),
    )
    return [f"{count} {name}" for name, count in named if count]


def proof_details(proof: Proof) -> str:
    """The rule of the verdict, and for each model what the table has no room for.

    These are the controls, the noise, further figures, the classes and their confusions.
    """
    blocks = [f"rule: {proof.verdict.rule}"]
    for row in proof.rows:
        paired = row.paired
        turned = ("better", "worse") if paired.graded else ("gained", "lost")
        changed = f"{paired.gained} {turned[0]}, {paired.lost} {turned[1]}"
        lines = [
            f"{row.model}: {row.n} of {row.images} images answered; {changed}",
            f"  over the empty frame  {change(row.over_frame.gain, row.over_frame.ci)}",
        ]
        if row.version is not None:
            lines.append(f"  reported version  {row.version}")
        lines += _control_lines(row)
        beyond = row.over_calibration
        if beyond is not None:
            over = change(beyond.gain, beyond.ci)
            lines.append(f"  over an output calibration ({share(beyond.before)})  {over}")
        if row.noise is not None:
            judged = (
                "mean change of the score" if paired.graded else "of the images judged otherwise"
            )
            lines.append(f"  asked the same twice  {share(row.noise)} {judged}")
        if row.holm_p is not None:
            name = P_NAMES[paired.graded]
            lines.append(
                f"  {name[0].upper()}{name[1:]} p over all models (Holm)  {p_value(row.holm_p)}"
            )
        if row.detail:
            lines += _detail(row.detail)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _control_lines(row: ProofRow) -> list[str]:
    """The controls that cost no query."""
    lines = []
    beyond = row.over_constant
    if beyond is not None:
        over = change(beyond.gain, beyond.ci)
        lines.append(f"  over the best constant answer ({share(beyond.before)})  {over}")
    if row.collapse is not None:
        before, after = (
            f"{shortened(common.answer or '(none)')!r} {share(common.share)}"
            for common in (row.collapse.before, row.collapse.after)
        )
        lines.append(f"  commonest answer  {before} -> {after}")
    return lines


def _detail(detail: ProofDetail) -> list[str]:
    lines = []
    for figure in detail.figures:
        name = figure.name.replace("_", " ") + (f" ({figure.positive})" if figure.positive else "")
        low, high = figure.difference_ci95
        moved = f"{figure.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"  {name}  {figure.before:.3f} -> {figure.after:.3f}, {moved}")
    if detail.per_class:
        rows = [("class", "n", "zero-shot", "prompted", "mostly taken for")]
        for label, found in detail.per_class.items():
            rows.append(
                (
                    label,
                    str(found.n),
                    share(found.before),
                    share(found.after),
                    _mistake(detail, label),
                )
            )
        lines.append(indent(text_table(rows, left={0, 4}, rule=False), "  "))
    return lines


def _mistake(detail: ProofDetail, label: str) -> str:
    """The most frequent wrong answer to the prompted images of a class."""
    wrong = {
        said: count
        for said, count in detail.confusion_after.get(label, {}).items()
        if said != label
    }
    if not wrong:
        return ""
    said = max(wrong, key=lambda answer: wrong[answer])
    return f"{said or 'nothing (unparsed)'} ({wrong[said]})"


def _cells(row: ProofRow) -> tuple[str, ...]:
    shares = map(share, (row.zero_shot, row.empty_frame, row.prompted))
    return (
        row.model,
        row.role,
        str(row.n),
        *shares,
        points(row.gain),
        interval(row.gain_ci95),
        p_value(row.paired.p),
    )


def _halves(row: ProofRow) -> tuple[str, ...]:
    return tuple(
        "-" if half is None else share(half) for half in (row.sentence_only, row.image_only)
    )
