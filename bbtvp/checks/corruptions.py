"""What may happen to an image before a model sees it: corruptions by name, at several severities.

    corrupt("motion-blur", pixels, 3, sample="cat-017")   one of ImageNet-C's; see `imagenet_c`
    corrupt("sent-as-webp", pixels, 5)                    what a product's own pipeline does
    corrupt("vendor:openai/gpt-6-luna", pixels)           what a vendor does to an image so large

Equal name, seed and sample give an equal draw for every picture. So the same noise falls on an
image with and without a prompt, and at every severity.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeAlias, final

import numpy as np
from PIL import Image

from bbtvp.checks.imagenet_c import PUBLISHED, corrupted
from bbtvp.core.arrays import Pixels
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.rng import stream
from bbtvp.endpoint.images import decoded, encode, plan
from bbtvp.endpoint.limits import Limits

Apply: TypeAlias = Callable[[Pixels, int, np.random.Generator], Pixels]
"""(pixels, severity from 1, generator) to pixels, of another size where the name says so."""

FAMILIES = ("noise", "blur", "weather", "digital", "channel", "vendor")
"""Families of corruptions. The first four are ImageNet-C's."""

VENDOR = "vendor:"

_OF_TOKENS = {"base", "per_tile", "times", "tokens", "pixels_per_token", "degrades_below"}
"""Fields of a vendor's rule about the cost of an image, not about its pixels."""


@final
@dataclass(frozen=True)
class Corruption:
    """One corruption; levels: each severity in words, one level where it has no severities."""

    name: str
    family: str
    levels: tuple[str, ...]
    apply: Apply

    def severities(self, asked: Iterable[int]) -> tuple[int, ...]:
        """The severities among `asked` that it has; 1 alone where it has none."""
        if len(self.levels) == 1:
            return (1,)
        return tuple(severity for severity in sorted({*asked}) if severity <= len(self.levels))

    def __call__(
        self, pixels: Pixels, severity: int = 1, *, seed: int = 0, sample: str = ""
    ) -> Pixels:
        """(H, W, 3) uint8 to (H', W', 3) uint8. UsageError for a severity that does not exist."""
        if not 1 <= severity <= len(self.levels):
            raise UsageError(
                f"{self.name} has no severity {severity}; give 1 to {len(self.levels)}"
            )
        return self.apply(pixels, severity, stream(seed, "corruption", self.name, sample))


def corrupt(
    name: str, pixels: Pixels, severity: int = 1, *, seed: int = 0, sample: str = ""
) -> Pixels:
    """Apply the corruption of this name to (H, W, 3) uint8 pixels.

    UsageError for an unknown name or severity, or a vendor that does not publish what it does.
    """
    return find(name)(pixels, severity, seed=seed, sample=sample)


def find(name: str) -> Corruption:
    """The corruption of this name. UsageError, with the nearest names, for an unknown one."""
    if name.startswith(VENDOR):
        service, _, model = name.removeprefix(VENDOR).partition("/")
        if service not in {row.service for row in (*Limits.load().own, *Limits.load().shipped)}:
            raise unknown("vendor plan", name, vendors(1024))
        return Corruption(
            name, "vendor", ("as its plan says",), partial(_as_vendor, service, model)
        )
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, [*CORRUPTIONS, f"{VENDOR}openai/gpt-6-luna"])
    return CORRUPTIONS[name]


def choose(families: Sequence[str], canvas: int) -> tuple[Corruption, ...]:
    """All corruptions of these families, each once, in the order of `FAMILIES`.

    canvas: the side in pixels of the images; vendors that leave such an image alone are left out.
    UsageError for an unknown family.
    """
    for family in families:
        if family not in FAMILIES:
            raise unknown("family of corruptions", family, FAMILIES)
    found = [kind for kind in CORRUPTIONS.values() if kind.family in families]
    return (*found, *map(find, vendors(canvas) if "vendor" in families else ()))


def vendors(canvas: int) -> tuple[str, ...]:
    """`vendor:SERVICE/MODEL` for each known rule that changes a square of `canvas` px.

    A rule that several models share is listed once, under the first of them. A pattern of names
    stands for the shortest name that it fits. Rules that are not published cannot be imitated and
    are left out.
    """
    table = Limits.load()
    names = []
    seen = set()
    for row in (*table.own, *table.shipped):
        if row.resize is None or row.service in ("*", "hf", "zoo"):
            continue
        model = re.sub(r"\[(.)[^]]*\]", r"\1", row.model).replace("*", "")
        rule = repr(table.find(row.service, model).resize.model_dump(exclude=_OF_TOKENS))
        steps = plan(row.service, model, canvas, limits=table).steps
        if rule not in seen and any(not step.what.startswith("cut") for step in steps):
            seen.add(rule)
            names.append(f"{VENDOR}{row.service}/{model}".rstrip("/"))
    return tuple(names)


# -- what a product's own pipeline does ------------------------------------------------------------
_QUALITIES = (95, 85, 75, 60, 40)
_CROPS = (0.02, 0.05, 0.1, 0.15, 0.2)
_DOWN = (0.9, 0.75, 0.6, 0.5, 0.35)
_UP = (1.25, 1.5, 2.0, 3.0, 4.0)
_SCREENS = (  # share of the side, gamma, width of the window's edge in shares of the side
    (0.9, 1.05, 0.01),
    (0.8, 1.1, 0.02),
    (0.7, 1.15, 0.03),
    (0.6, 1.2, 0.04),
    (0.5, 1.25, 0.05),
)
_WINDOW = 240


def _sent_as(format: str, pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    return decoded(encode(pixels, format, _QUALITIES[severity - 1]))


def _cropped(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """The same share is cut off at each edge, which makes the picture smaller."""
    share = _CROPS[severity - 1]
    height, width = pixels.shape[:2]
    down = int(height * share)
    across = int(width * share)
    return np.ascontiguousarray(pixels[down : height - down, across : width - across])


def _rescaled(
    shares: Sequence[float], pixels: Pixels, severity: int, rng: np.random.Generator
) -> Pixels:
    return _resized(pixels, shares[severity - 1])


def _screenshot(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """A screenshot of a viewer: smaller, with a screen's gamma and a window's edge, as JPEG 90."""
    share, gamma, edge = _SCREENS[severity - 1]
    shown = _resized(pixels, share, Image.Resampling.BILINEAR)
    shown = np.rint(255 * (shown / 255.0) ** gamma).astype(np.uint8)
    margin = max(1, round(edge * min(shown.shape[:2])))
    shown = np.pad(shown, ((margin, margin), (margin, margin), (0, 0)), constant_values=_WINDOW)
    file = io.BytesIO()
    Image.fromarray(shown).save(file, "JPEG", quality=90)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _resized(
    pixels: Pixels, share: float, kind: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    height, width = pixels.shape[:2]
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(pixels).resize(size, kind))


# -- what a vendor does ----------------------------------------------------------------------------
def _as_vendor(
    service: str, model: str, pixels: Pixels, severity: int, rng: np.random.Generator
) -> Pixels:
    """The steps of the vendor's plan. Resampling is bicubic and padding black: none is published.

    Cutting into tiles changes no pixel. What the model makes of the tiles is not imitated.
    """
    height, width = pixels.shape[:2]
    found = plan(service, model, (width, height))
    if found.scale is None:
        raise UsageError(
            f"what {service}/{model} does to {width} x {height} px is not told, "
            "so it cannot be imitated; "
            f"name one of {', '.join(vendors(max(height, width)))}"
        )
    image = Image.fromarray(pixels)
    for step in found.steps:
        size = step.width, step.height
        if step.what.startswith("scaled"):
            image = image.resize(size, Image.Resampling.BICUBIC)
        elif step.what.startswith("padded"):
            padded = Image.new("RGB", size)
            corner = "bottom and right" in step.what
            at = (0, 0) if corner else ((size[0] - image.width) // 2, (size[1] - image.height) // 2)
            padded.paste(image, at)
            image = padded
        elif not step.what.startswith("cut"):
            raise NotImplementedError(f"a plan's step that is not known here: {step.what}")
    return np.asarray(image)


def _words(constants: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in constants)


def _percents(shares: Iterable[float]) -> tuple[str, ...]:
    return tuple(f"{100 * share:g} %" for share in shares)


_IMAGENET_C = [
    Corruption(name, kind.family, tuple(map(_words, kind.constants)), partial(corrupted, kind))
    for name, kind in PUBLISHED.items()
]
_SENT_AS = [
    Corruption(
        f"sent-as-{format}",
        "channel",
        tuple(f"quality {quality}" for quality in _QUALITIES),
        partial(_sent_as, format),
    )
    for format in ("jpeg", "webp")
]
_CHANNEL = [
    *_SENT_AS,
    Corruption("crop", "channel", _percents(_CROPS), _cropped),
    Corruption("scaled-down", "channel", _percents(_DOWN), partial(_rescaled, _DOWN)),
    Corruption("scaled-up", "channel", _percents(_UP), partial(_rescaled, _UP)),
    Corruption("screenshot", "channel", _percents(share for share, _, _ in _SCREENS), _screenshot),
]
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {kind.name: kind for kind in (*_IMAGENET_C, *_CHANNEL)}
)
"""All corruptions by name, without the vendors' plans."""
