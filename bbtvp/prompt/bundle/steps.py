"""How to apply a prompt, in five lines that need no bbtvp to be understood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbtvp.prompt.exemplars import Exemplars
from bbtvp.prompt.identity import Identity
from bbtvp.prompt.layer import BACKGROUND, Layer
from bbtvp.prompt.placement import Placement, Shape

_NOT_DRAWN = (Placement.kind, Identity.kind, "guidance")


def steps(
    layers: Sequence[Layer],
    canvas: int,
    shape: Shape,
    *,
    theta: Mapping[str, Mapping[str, float | str]],
    words: str | None,
) -> list[str]:
    """Five lines: image, canvas, placement, layers, question.

    The names are those of docs/bundle.md, which says what each layer does. layers: in the order in
    which they are drawn. theta, words: as in a bundle.
    """
    kinds = [layer.kind for layer in layers]
    first = "Decode the image to 8-bit sRGB, turned as its EXIF orientation says."
    shown = "show the exemplars first, each with its text; " if Exemplars.kind in kinds else ""
    said = "ask the question as it is" if words is None else f"ask: {words}"
    last = f"Send the pixels losslessly, as PNG; {shown}{said}"
    if Identity.kind in kinds:
        return [first, "Leave its pixels as they are.", last]
    placement = next((layer for layer in layers if isinstance(layer, Placement)), Placement())
    drawn = [kind for kind in kinds if kind not in _NOT_DRAWN]
    side = (
        f"of {canvas} x {canvas} px"
        if shape == "square"
        else f"of the image's own shape and size, made smaller where a side is over {canvas} px"
    )
    listed = "Draw nothing else."
    if drawn:
        listed = f"Apply in this order, with the values of theta: {', '.join(drawn)}."
    return [
        first,
        f"Make a canvas {side}, all of grey {BACKGROUND}.",
        _scaled(placement, theta.get(Placement.kind, {})),
        listed,
        last,
    ]


def _scaled(placement: Placement, theta: Mapping[str, float | str]) -> str:
    """The line about the placement of the image."""
    inside = placement.inside
    room = "the canvas" if inside == 1 else f"the middle {inside:.4g} of the canvas"
    where = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in theta.items()
    )
    scaled = f"Scale the image into {room}, its shape kept" + (f" ({where})." if where else ".")
    if not placement.reduce:
        return scaled
    return f"{scaled} Where it is larger, average whole squares of pixels first."
