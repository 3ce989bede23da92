"""A prompt that depends on the image.

A small decoder turns a descriptor of the image into an additive pattern.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.prompt.basis import add_clipped, bounded
from bbtvp.prompt.layer import Box, Geometry, Paint, PaintLayer

_GRID = 7
_CELL = 4
_FEATURES = 8
_TRIGGERS = 8
_STAGES = 3
_LARGEST = 127 / 255


@final
class _Block(NamedTuple):
    """One array of weights: its name, shape, and the deviation of its start and of a unit of z."""

    name: str
    shape: tuple[int, ...]
    start: float
    step: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@final
@dataclass(frozen=True)
class Coordinator(PaintLayer):
    """After BlackVIP (CVPR 2023): clip(x + 255 * p_eps * tanh(h(x))).

    z holds the weights of the decoder h.

    A frozen descriptor of the image (8 x 7 x 7) is joined by a learned trigger (8 x 7 x 7); three
    transposed convolutions (kernel 2, stride 2; tanh between them) give a 3 x 56 x 56 pattern,
    enlarged to the canvas. Weights and trigger are start + step * z: a fixed, seeded start, and the
    step that keeps activations near unit scale at z ~ N(0, 1). The last stage starts at zero, so
    that z = 0 changes no bit; the earlier ones start at random, so that the last one has something
    to weigh. At z = 0 the gradient is therefore that of the last stage alone, and the others join
    as soon as it has moved.

    `width`: channels between the stages, 1..64. 2,667 variables at 16, 9,915 at 40, which is
    BlackVIP's 9,920 in all but name. `p_eps`: the largest change as a share of the range, above 0
    and at most 127/255.

    What differs from the paper. (1) Its feature is the CLS token of a frozen MAE ViT-B; no network
    may be loaded here, so the descriptor is: in each cell of a 7 x 7 grid over the canvas as
    painted so far, mean and deviation of red, green and blue and the mean absolute steps of luma
    across and down. It sees layout, colour and texture, not things. (2) Its 3 x 224 x 224 pattern
    has five stages; here the last two are interpolation, which is what keeps a render far below 2
    ms. (3) Its output is unbounded; here tanh bounds it.
    """

    width: int = 16
    p_eps: float = 32 / 255

    kind: ClassVar[str] = "coordinator"
    order: ClassVar[int] = 40
    fine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 64:
            raise UsageError(f"a coordinator of width {self.width}; give 1 to 64 channels")
        if not 0 < self.p_eps <= _LARGEST:
            raise UsageError(
                f"p_eps is {self.p_eps}; give a share of the range, "
                f"above 0 and at most {_LARGEST:.3f}"
            )

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return tuple(f"{block.name}_{at}" for block in self._blocks for at in range(block.size))

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float]:
        """The root mean square of each block of weights."""
        weights = self._weights(z)
        return {name: float(np.sqrt(np.mean(values**2))) for name, values in weights.items()}

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        weights = self._weights(z)

        def paint(canvas: Pixels, box: Box) -> None:
            coarse = self._decoded(weights, described(canvas))
            # whole levels around 128, enlarged in Pillow's integers: the same bytes on every
            # platform
            image = Image.fromarray((coarse + 128).astype(np.uint8))
            fine = np.asarray(image.resize(geometry.canvas, Image.Resampling.BILINEAR))
            add_clipped(canvas, np.maximum(fine, 128) - 128, 128 - np.minimum(fine, 128))

        return paint

    @property
    def _blocks(self) -> tuple[_Block, ...]:
        blocks = [_Block("trigger", (_TRIGGERS, _GRID, _GRID), 1.0, 1.0)]
        ins = _FEATURES + _TRIGGERS
        for stage in range(_STAGES):
            last = stage == _STAGES - 1
            outs = 3 if last else self.width
            fan = 1 / math.sqrt(ins)
            start = 0.0 if last else fan
            blocks.append(_Block(f"weight{stage}", (outs, 4, ins), start, 0.5 * fan))
            blocks.append(_Block(f"bias{stage}", (outs,), 0.0, 0.5))
            ins = outs
        return tuple(blocks)

    @cached_property
    def _starts(self) -> dict[str, NDArray[np.float64]]:
        rng = stream(0, "coordinator", self.width)
        return {
            block.name: block.start * rng.standard_normal(block.shape) for block in self._blocks
        }

    def _weights(self, z: Vector) -> dict[str, NDArray[np.float64]]:
        weights = {}
        at = 0
        for block in self._blocks:
            part = bounded(z[at : at + block.size]).reshape(block.shape)
            weights[block.name] = self._starts[block.name] + block.step * part
            at += block.size
        return weights

    def _decoded(
        self, weights: dict[str, NDArray[np.float64]], features: NDArray[np.float64]
    ) -> NDArray[np.int16]:
        """(56, 56, 3): the pattern in whole levels."""
        values = np.concatenate([features, weights["trigger"]])
        for stage in range(_STAGES):
            values = np.tanh(_doubled(values, weights[f"weight{stage}"], weights[f"bias{stage}"]))
        return np.rint(values * (255 * self.p_eps)).astype(np.int16).transpose(1, 2, 0)


def described(canvas: Pixels) -> NDArray[np.float64]:
    """(8, 7, 7), about unit scale: the frozen descriptor, from a thumbnail of 28 x 28 pixels."""
    side = _GRID * _CELL
    thumb = (
        np.asarray(Image.fromarray(canvas).resize((side, side), Image.Resampling.BOX), np.float64)
        / 255
    )
    cells = thumb.reshape(_GRID, _CELL, _GRID, _CELL, 3)
    luma = thumb @ np.array([0.299, 0.587, 0.114])
    across = np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    down = np.abs(np.diff(luma, axis=0, append=luma[-1:]))
    steps = np.stack([across, down]).reshape(2, _GRID, _CELL, _GRID, _CELL).mean(axis=(2, 4))
    means = cells.mean(axis=(1, 3))
    spreads = cells.std(axis=(1, 3))
    colours = np.concatenate([(means - 0.5) / 0.25, spreads / 0.1], axis=2).transpose(2, 0, 1)
    return np.concatenate([colours, steps / 0.1])


def _doubled(
    values: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A transposed convolution of kernel 2 and stride 2: (c, n, n) to (outs, 2n, 2n)."""
    outs = len(weight)
    n = values.shape[1]
    flat = weight.reshape(outs * 4, -1) @ values.reshape(len(values), -1)
    parts = flat.reshape(outs, 2, 2, n, n).transpose(0, 3, 1, 4, 2)
    doubled: NDArray[np.float64] = parts.reshape(outs, 2 * n, 2 * n) + bias[:, None, None]
    return doubled
