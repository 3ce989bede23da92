"""A picture of test images before and after the prompt, with the answers of the model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from bbtvp.verify import Proof

HALF = 0.5
"""Graded score from which an answer has a tick."""

_FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "IPAexGothic",
    "MS Gothic",
    "Noto Sans CJK SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK KR",
    "Malgun Gothic",
    "Arial Unicode MS",
)
"""Fonts with letters that matplotlib's own lacks, tried in this order where they are installed."""


def save_gallery(proof: Proof, path: Path) -> None:
    """Write the examples of a proof as a PNG, the images above and the prompted ones below.

    A tick or a cross says, beside the colour, whether an answer is right. A letter that no font of
    the machine has is a box. OSError if the disk refuses.
    """
    from matplotlib import font_manager, rc_context, rcParams

    installed = set(font_manager.get_font_names())
    families = [*rcParams["font.family"], *(name for name in _FALLBACKS if name in installed)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ")
        _drawn(proof).savefig(path, dpi=110)


def _drawn(proof: Proof) -> Any:
    """The figure, of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = proof.examples
    figure = Figure(figsize=(1.7 * max(4, len(shown)), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, max(1, len(shown)), squeeze=False)
    whose = shown[0].model if shown else "?"
    # No text here is mathematics: an answer such as "$5 or $6" stands as it is.
    figure.suptitle(
        f"{proof.task}: answers of {whose} before (above) and after the prompt", parse_math=False
    )
    for column, example in enumerate(shown):
        pairs = (
            (example.before, example.answer_before, example.score_before),
            (example.after, example.answer_after, example.score_after),
        )
        for ax, (pixels, answer, score) in zip(axes[:, column], pairs, strict=True):
            right = score >= HALF
            ax.imshow(pixels, interpolation="nearest")
            color = "#1a7f37" if right else "#b42318"
            grade = f" ({score:.2f})" if 0 < score < 1 else ""
            ax.set_title(
                f"{'✓' if right else '✗'} {answer or '(none)'}{grade}",
                color=color,
                parse_math=False,
            )
            ax.set_axis_off()
        below = axes[1, column]
        below.text(
            0.5,
            -0.08,
            f"truth: {example.truth}",
            transform=below.transAxes,
            ha="center",
            va="top",
            fontsize=9,
            parse_math=False,
        )
    return figure
