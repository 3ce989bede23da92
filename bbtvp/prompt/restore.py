"""Restoration that follows the picture: each operation reads its own strength from the image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias, final

import numpy as np
from PIL import Image, ImageOps

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import UsageError
from bbtvp.prompt.blur import wide_blur
from bbtvp.prompt.chroma import chroma_evened
from bbtvp.prompt.focus import refocused
from bbtvp.prompt.layer import (
    Box,
    Geometry,
    Group,
    Layer,
    Paint,
    PaintLayer,
    checked_choice,
    chosen,
)
from bbtvp.prompt.levels import Floats, bands, floats_of, rounded
from bbtvp.prompt.local import locally_stretched
from bbtvp.prompt.looks import looks
from bbtvp.prompt.median import median_filtered
from bbtvp.prompt.motion import deblurred
from bbtvp.prompt.pose import trimmed, unsqueezed, upright
from bbtvp.prompt.stripes import destriped

_Operation: TypeAlias = Callable[[Image.Image], Image.Image]

_NONE = "none"
_RANGE = "autocontrast"
"""What gives a picture its range of levels back, whatever else was mended."""

_CUTOFF = 1
"""Percent of the pixels at each end that autocontrast may clip."""
_SMOOTHED = 0.5
"""Differences of levels that are smoothed, as a share of the picture's range of luma."""
_LIGHT_SHARE = 1 / 8
"""Standard deviation of the blur that stands for the light, as a share of the longer side."""
_CAST_LIMIT = 4.0
"""The most by which white balance multiplies a channel: a picture of one colour is no cast."""
_EVERY = np.arange(256, dtype=np.float32)
_PIXELS_AT_ONCE = 1 << 13
"""So many are added before the next ones become floats, so that they stay in cache."""


def _autocontrast(image: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(image, cutoff=_CUTOFF, preserve_tone=True)


def _equalize(image: Image.Image) -> Image.Image:
    return _relit(image, ImageOps.equalize)


def _white_balance(image: Image.Image) -> Image.Image:
    """Grey world: the mean of each channel becomes the mean of all."""
    pixels = np.asarray(image)
    means = np.maximum(_means(pixels), 1)
    gains = np.clip(means.mean() / means, 1 / _CAST_LIMIT, _CAST_LIMIT)
    table = rounded(_EVERY * gains[:, None])
    return image.point(table.reshape(-1).tolist())


def _means(pixels: Pixels) -> Floats:
    """(3,): of each channel, added one pixel after another in float32.

    The order decides the last bits, and so do numpy's sums over both axes, at twice the time.
    """
    flat = pixels.reshape(-1)
    channels = np.tile(np.arange(3), _PIXELS_AT_ONCE)
    sums = np.zeros(3, np.float32)
    for start in range(0, flat.size, channels.size):
        part = floats_of(flat[start : start + channels.size], "summed")
        np.add.at(sums, channels[: part.size], part)
    np.true_divide(sums, np.intp(flat.size // 3), out=sums, casting="unsafe")
    return sums


def _flatten(image: Image.Image) -> Image.Image:
    """Divided by its own light, the luma of a wide blur, and brought back to its mean."""
    pixels = np.asarray(image)
    wide = Image.fromarray(wide_blur(image, max(image.size) * _LIGHT_SHARE)).convert("L")
    mean = np.maximum(np.asarray(wide, np.float32), 1).mean()
    gains = mean / np.maximum(_EVERY, 1)
    table = rounded(gains[:, None] * _EVERY).reshape(-1)
    light = np.asarray(wide.convert("RGB"))  # a level per value: numpy is slow at three per level
    flat = np.empty_like(pixels)
    for rows in bands(pixels):
        places = light[rows].astype(np.uint16)
        places <<= 8
        places |= pixels[rows]
        table.take(places, out=flat[rows], mode="wrap")
    return Image.fromarray(flat)


def _clahe(image: Image.Image) -> Image.Image:
    cv2 = _opencv()
    equaliser = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    return _relit(image, lambda luma: Image.fromarray(equaliser.apply(np.asarray(luma))))


def _median(image: Image.Image) -> Image.Image:
    return Image.fromarray(median_filtered(np.asarray(image), 3))


def _wide_median(image: Image.Image) -> Image.Image:
    return Image.fromarray(median_filtered(np.asarray(image), 5))


def _smooth(image: Image.Image) -> Image.Image:
    low, high = np.percentile(np.asarray(image.convert("L")), [_CUTOFF, 100 - _CUTOFF])
    spread = max(1.0, float(high - low) * _SMOOTHED)
    smoothed = _opencv().bilateralFilter(np.asarray(image), 7, sigmaColor=spread, sigmaSpace=3)
    return Image.fromarray(smoothed)


@final
class _Choice(NamedTuple):
    group: str
    apply: _Operation
    needs_opencv: bool = False


_GROUPS = ("pose", "stripes", "noise", "blur", "light")
"""In the order in which they are applied: sharpening and light would amplify the noise."""

_OPERATIONS: Mapping[str, _Choice] = {
    "deskew": _Choice("pose", upright),
    "trim": _Choice("pose", trimmed),
    "unsqueeze": _Choice("pose", unsqueezed),
    "destripe": _Choice("stripes", destriped),
    "median": _Choice("noise", _median),
    "wide-median": _Choice("noise", _wide_median),
    "chroma": _Choice("noise", chroma_evened),
    "smooth": _Choice("noise", _smooth, needs_opencv=True),
    "deblur": _Choice("blur", deblurred),
    "refocus": _Choice("blur", refocused),
    "autocontrast": _Choice("light", _autocontrast),
    "equalize": _Choice("light", _equalize),
    "white-balance": _Choice("light", _white_balance),
    "flatten": _Choice("light", _flatten),
    "local-stretch": _Choice("light", locally_stretched),
    "clahe": _Choice("light", _clahe, needs_opencv=True),
}


@final
@dataclass(frozen=True)
class Restore(PaintLayer):
    """Standard restoration of the placed image, of which the search chooses; never of the frame.

    A fixed tone curve helps pictures of one kind of damage; these operations read theirs from each
    picture, so one choice suits dark and pale pictures, and models that share nothing.

    In this order, at most one of each group, "none" first, so z = 0 changes no bit:

    - pose: "deskew" turns a picture by at most 45 degrees, so that most of its edges are level or
      plumb; "trim" cuts an even margin off, and enlarges the rest by 1.6 at most; "unsqueeze"
      stretches a foreshortened picture along one axis, by 2 at most, until edges run in all
      directions alike;
    - stripes: "destripe" brings the lines along stripes that cross the whole picture, such as moiré
      or the shadow of a blind, to one level;
    - noise: "median" of 3 × 3 pixels, "wide-median" of 5 × 5; "chroma" evens colour among
      neighbours of like luma, of 9 × 9; "smooth", a bilateral filter of 7 × 7 that keeps edges of
      more than half of the picture's range (OpenCV);
    - blur: "deblur" undoes a motion along a straight line, whose direction and length the picture
      shows; "refocus" a blur alike in all directions, whose width the steepest edges show;
    - light: "autocontrast" stretches luma over the whole range, 1 % clipped at each end; "equalize"
      flattens the histogram of luma; "white-balance" makes the channels' means equal (grey world,
      each gain within 1/4..4); "flatten" divides by the light, a blur of 1/8 of the longer side;
      "local-stretch" makes the darkest channel within 1/8 of the longer side black and the lightest
      white, 48 levels apart at least; "clahe" equalises 8 × 8 parts of the picture with a clip
      limit of 2 (OpenCV).

    operations: those that may be chosen. What needs OpenCV says so with UsageError, in one line,
    where a search would choose it and where a prompt uses it: pip install 'bbtvp[restore]'.
    """

    operations: tuple[str, ...] = (
        "deskew",
        "unsqueeze",
        "destripe",
        "median",
        "wide-median",
        "deblur",
        "white-balance",
        "local-stretch",
        "autocontrast",
    )

    kind: ClassVar[str] = "restore"
    order: ClassVar[int] = 5

    def __post_init__(self) -> None:
        names = checked_choice("restoration", self.operations, _OPERATIONS)
        object.__setattr__(self, "operations", names)
        if not names:
            raise UsageError("a restoration without operations does nothing; leave the layer out")

    def names(self, geometry: Geometry) -> tuple[str, ...]:
        return tuple(
            f"{group}_{name}" for group, names in self._options().items() for name in names
        )

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        groups = []
        first = 0
        for names in self._options().values():
            groups.append((first, len(names)))
            first += len(names)
        return tuple(groups)

    def params(self, z: Vector, geometry: Geometry) -> dict[str, float | str]:
        return dict(self._chosen(z))

    def start(self, *operations: str) -> Vector:
        """A z that chooses these operations, one of each group at most.

        UsageError for one that is not among the layer's.
        """
        wanted = checked_choice("restoration", operations, self.operations)
        return np.array(
            [float(name in wanted) for names in self._options().values() for name in names]
        )

    def starts(self, layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
        """Operations, alone and in pairs, and `looks` of the layers beside, in turn.

        A pair is one against stripes and the first against noise, or one against noise and
        autocontrast. It comes before its parts: a model that one of the two suffices for holds the
        pair equal, and another model may need both. Light that is mended shows the noise, and a
        picture without its noise may still have little contrast. Parts of pairs come last.
        """
        if any(_OPERATIONS[name].needs_opencv for name in self.operations):
            _opencv()
        options = self._options()
        poses, stripes, blurs, noises = (
            options.get(group, [])[1:] for group in ("pose", "stripes", "blur", "noise")
        )
        light = [name for name in options.get("light", []) if name == _RANGE]
        noisy: list[tuple[str, ...]] = list(itertools.product(noises, light))
        first, *others = noisy or [()]
        pairs = (first, *itertools.product(stripes, noises[:1]), *others)
        single = [(name,) for name in (*poses, *blurs)]
        parts = {*itertools.chain(*pairs)}
        unpaired = [(name,) for name in self.operations if name not in {*poses, *blurs, *parts}]
        paired = [(name,) for name in reversed(self.operations) if name in parts]
        ordered = (first, *single, *pairs[1:], *unpaired, *paired)
        own = [{self.kind: self.start(*names)} for names in ordered if names]
        mixed = itertools.zip_longest(own, looks(layers))
        return [start for start in itertools.chain.from_iterable(mixed) if start is not None]

    def check_installed(self, z: Vector) -> None:
        if any(operation.needs_opencv for operation in self._used(z)):
            _opencv()

    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        self.check_installed(z)
        used = self._used(z)

        def paint(canvas: Pixels, box: Box) -> None:
            if not used:
                return
            inside = box.of(canvas)
            image = Image.fromarray(np.ascontiguousarray(inside))
            for operation in used:
                image = operation.apply(image)
            inside[...] = np.asarray(image)

        return paint

    def _used(self, z: Vector) -> list[_Choice]:
        return [_OPERATIONS[name] for name in self._chosen(z).values() if name != _NONE]

    def _options(self) -> dict[str, list[str]]:
        """The names in each group that has any, "none" first."""
        groups = {
            group: [name for name in self.operations if _OPERATIONS[name].group == group]
            for group in _GROUPS
        }
        return {group: [_NONE, *names] for group, names in groups.items() if names}

    def _chosen(self, z: Vector) -> dict[str, str]:
        """The operation of each group, or "none"."""
        found = {}
        values = iter(z.tolist())
        for group, names in self._options().items():
            found[group] = chosen(names, [next(values) for _ in names])
        return found


def _relit(image: Image.Image, change: _Operation) -> Image.Image:
    """The picture with its luma changed and its colour differences kept."""
    luma, blue, red = image.convert("YCbCr").split()
    return Image.merge("YCbCr", (change(luma), blue, red)).convert("RGB")


def _opencv() -> Any:
    """The module cv2. UsageError where it is not installed."""
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            f"this restoration needs OpenCV ({error}): "
            "pip install -c constraints.txt 'bbtvp[restore]'"
        ) from error
    return cv2
