"""Measure what a Hugging Face image processor does to a canvas.

Equal settings mean different things in different classes of processors, so none is read. The
processor is run on test images, and its outputs are compared:

- cosines along an axis tell where on the canvas each number of the output lies;
- lines of random brightness tell how many different columns and rows there are;
- noise of two values tells whether pixels are copied or mixed with their neighbours;
- inverted single pixels tell which pixels change the output.

Cosines and lines are in the red channel only, so that the other channels do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from bbtvp.adapters.hf.layout import REFUSALS
from bbtvp.adapters.hf.pretrained import source_of, told
from bbtvp.adapters.hf.views import PHASES, Axis, Floats, Integers, lines, place, position, views
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import ModelError
from bbtvp.core.rng import stream
from bbtvp.models import Delivered
from bbtvp.models.preprocessing import Preprocessed

_SIDES = (768, 384, 96)
"""Sides in pixels of the canvases that are compared, from the largest that a search chooses."""

_AMPLITUDE = 100
"""Of a cosine around a grey of 127.5: what kernels overshoot must not be clipped."""
_LINES = 2
_NOISES = 4
_LATTICES = 3
_PER_LINE = 64
"""Numbers of each column and row of a picture in which lines are counted."""
_APART = 8
"""Distance of inverted pixels, in pixels of the output: over twice a Lanczos kernel's reach."""
_LOST = 0.01
"""Share of the numbers that may show a pixel in one test image and none in another."""
_ALIKE = 0.1
"""Most that a number of the output, of a range of 1, changes with the size of a smooth image."""
_ENOUGH = 4
"""Sides of the picture that a processor makes, above which a larger one tells no more of it."""
_STEPS = 6
"""Most canvases that are tried for one that fits."""

Run = Mapping[str, NDArray[Any]]


def preprocessor(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False, **_: Any
) -> ImageProcessor:
    """Load the image processor of a folder or of a hub id that was downloaded before.

    Nothing else of the model is loaded, and nothing is downloaded. The other options of a model are
    ignored. Raises ModelError if there is none.
    """
    source = source_of(name)
    with told(source, "has no usable image processor", "name a folder that holds one"):
        return ImageProcessor(
            transformers.AutoImageProcessor.from_pretrained(
                source,
                backend="pil",
                revision=revision,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
            )
        )


@final
class ImageProcessor:
    """An image processor of transformers that can be measured."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.side = cache(self._side)
        self.delivered = cache(self._delivered)

    def measure(self, width: int, height: int, *, frame: int) -> Preprocessed:
        """Measure what it makes of a canvas; see `Preprocessor`."""
        found = self._measured(width, height)
        try:
            arrives, frame_arrives = found.arriving(frame)
            return Preprocessed(
                processor=type(self._processor).__name__,
                width=width,
                height=height,
                inputs=found.inputs,
                views=found.views,
                copied=found.copied(),
                arrives=arrives,
                frame=frame,
                frame_arrives=frame_arrives,
                padding=found.padding(),
            )
        except REFUSALS as error:
            raise self._refusal(error) from error

    def _side(self) -> int | None:
        """Return the side of the square that it makes of every square canvas, None if it varies."""
        try:
            if not self._is_fixed():
                return None
        except REFUSALS as error:
            raise self._refusal(error) from error
        canvas = _SIDES[1]
        side: int = round(canvas * max(self._measured(canvas, canvas).views[0].scale))
        return side

    def _is_fixed(self) -> bool:
        """Whether canvases of three sizes with the same picture get the same output."""
        first, *others = (
            dict(_arrays(_made(self._processor, _cosine((side, side), 0, 0)))) for side in _SIDES
        )
        return all(
            array.shape == other[name].shape
            and np.allclose(array, other[name], rtol=0, atol=_ALIKE * float(np.ptp(array)))
            for other in others
            for name, array in first.items()
            if array.dtype.kind == "f"
        )

    def fitting(self, wanted: int) -> int:
        """Return the side, nearest to `wanted` pixels, of a square canvas that it takes as it is.

        `wanted` itself where all are made one size, and where none is found. Raises ModelError as
        `measure` does.
        """
        if self.side() is not None:
            return wanted
        side = wanted
        for _ in range(_STEPS):
            made = round(side * max(self._measured(side, side).views[0].scale))
            if made == side:
                return side
            side = made
        return wanted

    def _delivered(self, width: int, height: int) -> Delivered:
        """Return what arrives of a picture. Raises ModelError as `measure` does.

        Where all pictures are made one size, a smaller one of the same shape is looked at: it is
        measured sooner, and arrives alike.
        """
        side = self.side()
        longer = max(width, height)
        if side is not None and longer > _ENOUGH * side:
            shorter = max(1, round(min(width, height) * _ENOUGH * side / longer))
            return self.delivered(
                *((_ENOUGH * side, shorter) if width >= height else (shorter, _ENOUGH * side))
            )
        view = self._measured(width, height).views[0]
        shown = (view.box.right - view.box.left, view.box.bottom - view.box.top)
        wide, high = (
            max(1, round(part * scale)) for part, scale in zip(shown, view.scale, strict=True)
        )
        return Delivered(wide, high, whole=shown == (width, height))

    def _measured(self, width: int, height: int) -> _Measured:
        try:
            return _Measured(self._processor, width, height)
        except REFUSALS as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> ModelError:
        reason = " ".join(str(error).split())[:160]
        return ModelError(
            f"what {type(self._processor).__name__} does to an image cannot be measured: {reason}"
        )


@final
class _Measured:
    """An image processor on test images of one size.

    Raises ValueError where no output depends on the image, or its shape depends on the content.
    """

    def __init__(self, processor: Any, width: int, height: int) -> None:
        self._processor = processor
        self._size = (width, height)
        self._shapes: dict[str, tuple[int, ...]] = {}
        first = [self._run(_cosine(self._size, 0, phase)) for phase in range(PHASES)]
        strength = {name: np.abs(place([run[name] for run in first])) for name in first[0]}
        self._live = {
            name: np.flatnonzero(found > found.max() / 2)
            for name, found in strength.items()
            if found.size and found.max() > 1e-6
        }
        if not self._live:
            raise ValueError("nothing that it makes depends on the pixels")
        groups = self._groups()
        sample = self._sample(groups)
        across = self._axis(0, [self._vector(run) for run in first], sample)
        second = [self._vector(self._run(_cosine(self._size, 1, phase))) for phase in range(PHASES)]
        down = self._axis(1, second, sample)
        shown = np.abs(down.places)
        if (shown < shown.max() / 4).mean() > _LOST:
            raise ValueError("what it makes depends on the content of the image")
        self._places = (across.places, down.places)
        self.views = views(
            across._replace(places=across.places[sample]),
            down._replace(places=down.places[sample]),
            groups[sample],
            np.bincount(groups),
        )
        if not self.views:
            raise ValueError("what it makes depends on the content of the image")

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that depend on the image."""
        return {name: self._shapes[name] for name in self._live}

    # -- running the processor ---------------------------------------------------------------------
    def _run(self, pixels: Pixels) -> Run:
        found = dict(_arrays(_made(self._processor, pixels)))
        shapes = {name: array.shape for name, array in found.items()}
        if self._shapes and shapes != self._shapes:
            raise ValueError("the shape of what it makes depends on the content of the image")
        self._shapes = shapes
        return found

    def _vector(self, run: Run) -> Floats:
        """Return the numbers of a run that depend on the red of the image."""
        return np.concatenate(
            [run[name].reshape(-1)[index].astype(np.float64) for name, index in self._live.items()]
        )

    def _groups(self) -> Integers:
        """Return for each of these numbers which piece of the output it is in.

        The leading axes of a tensor hold pieces: tiles, or patches, which the model sees together.
        """
        patch = getattr(self._processor, "patch_size", None)
        found = []
        begun = 0
        for name, index in self._live.items():
            shape = self._shapes[name]
            inside = shape[-3:] if len(shape) > 3 else shape[-2:]
            if len(shape) < 3 or inside[-2:] == (patch, patch):
                inside = shape
            found.append(begun + index // math.prod(inside))
            begun += math.prod(shape) // math.prod(inside)
        return np.concatenate(found)

    def _sample(self, groups: Integers) -> Integers:
        """Return which numbers to look at: some of each column where a piece is large."""
        share = _PER_LINE / np.sqrt(np.bincount(groups).clip(1))
        drawn = stream(0, "frame sample").random(len(groups))
        return np.flatnonzero(drawn < share[groups])

    def _axis(self, axis: int, phases: Sequence[Floats], sample: Integers) -> Axis:
        """Return places of all numbers, and codes of a sample."""
        random = [
            self._vector(self._run(_random_lines(self._size, axis, n))) for n in range(_LINES)
        ]
        return Axis(
            self._size[axis], place(phases), lines([run[sample] for run in (*phases, *random)])
        )

    # -- what arrives ------------------------------------------------------------------------------
    def copied(self) -> bool:
        """Whether each number of the output shows one pixel and nothing of its neighbours."""
        runs = np.sort(
            [self._vector(self._run(_noise(self._size, n))) for n in range(_NOISES)], axis=0
        )
        steps = np.diff(runs, axis=0) > 1e-4 * np.ptp(runs)
        return bool((steps.sum(0) <= 1).mean() > 0.999)

    def arriving(self, frame: int) -> tuple[float, float]:
        """Return the shares of all pixels, and of the outer `frame`, that change the output."""
        coarsest = min(min(view.scale) for view in self.views)
        step = max(_APART, math.ceil(_APART / coarsest))
        found = [self._inverted(number, step) for number in range(_LATTICES)]
        points = np.concatenate([where for where, _ in found])
        arrived = np.concatenate([changed for _, changed in found])
        rim = np.minimum(points, np.array(self._size) - 1 - points).min(1) < frame
        return float(arrived.mean()), float(arrived[rim].mean() if rim.any() else arrived.mean())

    def _inverted(self, number: int, step: int) -> tuple[Integers, NDArray[np.bool_]]:
        """Invert pixels that are `step` apart.

        Returns their (x, y), and whether each changed a number of the output that lies near it.
        """
        rng = stream(number, "frame lattice")
        grid = [np.arange(rng.integers(min(step, size)), size, step) for size in self._size]
        points = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 2)
        base = _noise(self._size, number)
        # As many turn white as black, so that standardising stays the same.
        base[points[:, 1], points[:, 0]] = (np.arange(len(points)) % 2 * 255)[:, None]
        other = base.copy()
        other[points[:, 1], points[:, 0]] ^= 255
        one, two = (self._vector(self._run(image)) for image in (base, other))
        moved = np.abs(one - two) > 1e-3 * np.ptp(one)
        nearest = [
            np.rint((position(places[moved], size) - 0.5 - along[0]) / step)
            .astype(int)
            .clip(0, len(along) - 1)
            for places, size, along in zip(self._places, self._size, grid, strict=True)
        ]
        hit = np.zeros([len(along) for along in grid], bool)
        hit[nearest[0], nearest[1]] = True
        return points, hit.reshape(-1)

    def padding(self) -> float:
        """Return the share of the output, of what depends on the image, that shows no pixel."""
        width, height = self._size
        halves = np.zeros((height, width, 3), np.uint8)
        halves[:, : width // 2] = 255
        one = self._run(halves)
        two = self._run(255 - halves)
        same = sum(int((one[name] == two[name]).sum()) for name in self._live)
        return same / sum(one[name].size for name in self._live)


# -- test images -----------------------------------------------------------------------------------
def _cosine(size: tuple[int, int], axis: int, phase: int) -> Pixels:
    turns = (np.arange(size[axis]) + 0.5) / size[axis] + phase / PHASES
    return _red(size, axis, 127.5 + _AMPLITUDE * np.cos(2 * np.pi * turns))


def _random_lines(size: tuple[int, int], axis: int, number: int) -> Pixels:
    """Lines that differ much from their neighbours, so that lines between them differ too."""
    levels = stream(number, "frame lines").uniform(40, 100, size[axis])
    levels[1::2] += 115
    return _red(size, axis, levels)


def _red(size: tuple[int, int], axis: int, levels: Floats) -> Pixels:
    width, height = size
    image = np.full((height, width, 3), 128, np.uint8)
    line = np.rint(levels).astype(np.uint8)
    image[..., 0] = line if axis == 0 else line[:, None]
    return image


def _noise(size: tuple[int, int], number: int) -> Pixels:
    """Noise of black and white, as much of one as of the other in each image.

    So a processor that standardises each image does the same to all of them.
    """
    width, height = size
    half = (np.arange(width * height * 3) % 2 * 255).astype(np.uint8)
    return stream(number, "frame noise").permutation(half).reshape(height, width, 3)


# -- outputs ---------------------------------------------------------------------------------------
def _made(processor: Any, pixels: Pixels) -> Mapping[str, Any]:
    made = processor([[Image.fromarray(pixels)]], return_tensors="pt")
    return made if isinstance(made, Mapping) else {"pixel_values": made}


def _arrays(made: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, value in made.items():
        if isinstance(value, torch.Tensor):
            yield name, value.detach().cpu().numpy()
        elif isinstance(value, np.ndarray) and value.dtype != object:
            yield name, value
