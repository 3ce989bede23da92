"""What a layer is: named variables, and a map from its slice of z to something done to an image.

A new layer is one file: a final frozen dataclass below `Layer` or `PaintLayer`. A line in
`layers.LAYERS`, or an entry point of the group `bbtvp.layers`, makes it known by name; see
docs/extending.md.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from bbtvp.core.arrays import Matrix, Pixels, Vector
from bbtvp.core.errors import UsageError, unknown
from bbtvp.core.shown import Shown

MIN_CANVAS = 8
MAX_CANVAS = 2048
"""Pixels a side."""
MAX_VARIABLES = 900_000
"""Of all layers of a prompt together: a stranger's bundle must not fill the memory."""

BACKGROUND = 128
"""Level (0-255) of canvas pixels that neither the image nor a frame covers."""


@final
class Box(NamedTuple):
    """Where the image lies on the canvas, in pixels.

    left and top are inside, right and bottom just outside.
    """

    left: int
    top: int
    right: int
    bottom: int

    def of(self, canvas: Pixels) -> Pixels:
        """The (bottom - top, right - left, 3) view of the canvas, not a copy."""
        return canvas[self.top : self.bottom, self.left : self.right]


@final
class Insets(NamedTuple):
    """Strips along the canvas' edges that the image keeps clear of, in pixels: room for labels."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def joined(self, other: Insets) -> Insets:
        """Room for both; strips on one side share it."""
        return Insets(*map(max, self, other))


@final
class Size(NamedTuple):
    """Pixels across and down."""

    width: int
    height: int

    @property
    def longer(self) -> int:
        """The longer side."""
        return max(self)


@final
class Geometry(NamedTuple):
    """What a layer is bound to, in pixels.

    A canvas, and in its centre the rectangle, of the same shape, into which the image is fitted.
    """

    canvas: Size
    inside: Size
    fixed: bool
    """True where no variable moves or scales the image."""
    covered: Size
    """The centred rectangle that an image of the canvas' shape hides wherever its placement's
    variables move it.
    """
    shared: bool = True
    """True where every picture gets a canvas of this very size.

    Else the layer draws on canvases of many shapes. It is bound to a square one, which settles its
    variables, and `painter` and `insets` are called with the geometry of each picture.
    """
    own_shape: bool = False
    """True where the canvas has the shape of the picture itself."""

    @property
    def width(self) -> int:
        """Pixels of the canvas across."""
        return self.canvas.width

    @property
    def height(self) -> int:
        """Pixels of the canvas down."""
        return self.canvas.height

    @property
    def side(self) -> int:
        """The shorter side: lengths of what is drawn are shares of it, so that it fits across."""
        return min(self.canvas)

    @property
    def box(self) -> Box:
        """The inside rectangle before any zoom or offset."""
        return centred(self.inside, self.canvas)


def centred(inner: Size, outer: Size) -> Box:
    """Where a rectangle lies in the middle of another one."""
    left = (outer.width - inner.width) // 2
    top = (outer.height - inner.height) // 2
    return Box(left, top, left + inner.width, top + inner.height)


Paint: TypeAlias = Callable[[Pixels, Box], None]
"""Alters a (height, width, 3) uint8 canvas in place, given where the image lies on it."""


Group: TypeAlias = tuple[int, int]
"""(first, count): so many adjacent variables of which the largest names the choice, the first one
on ties.
"""

Levels: TypeAlias = NDArray[np.float32]
"""(…, height, width, 3) float32, in levels 0-255 or per level."""


@final
class Derivative(NamedTuple):
    """How the pixels follow a layer of the form pixel = f(B z), with a fixed linear pattern B.

    d pixel / d z = f'(B z) B, so the product with a gradient G by pixels is Bᵀ (f'(B z) G): one
    pass, however many variables there are.
    """

    slope: Callable[[Callable[[Vector], Pixels]], Levels]
    """f'(B z) for one image, (height, width, 3) float32. Its argument renders that image with
    other variables of this layer, and everything else as it is.
    """
    adjoint: Callable[[Levels], Matrix]
    """Bᵀ: (r, m, height, width, 3) to (r, m, variables)."""


_OURS = "bbtvp"
DEFAULT_ORDER = 45
"""Where a layer is drawn that does not say it: over all patterns, and below marks and labels."""


@dataclass(frozen=True)
class Layer(ABC):
    """One part of a prompt. z is unbounded, about N(0, 1) in scale, and z = 0 is neutral.

    Bounds live in the map from z. Fields are JSON-able, for a bundle keeps them.
    """

    kind: ClassVar[str]
    """Its name in z, in bundles and on the command line."""
    order: ClassVar[int] = DEFAULT_ORDER
    """Layers are rendered, and their variables lie in z, by rising order; see `layers.LAYERS`."""
    fine: ClassVar[bool] = False
    """True for many variables of little meaning each: they are searched after the others."""
    speaks: ClassVar[bool] = False
    """True for a layer that puts words around the question, and does nothing to the image."""

    @property
    def alters_image(self) -> bool:
        """Whether it does something to the image itself, and not only to what goes with it."""
        return not self.speaks

    @abstractmethod
    def names(self, geometry: Geometry) -> tuple[str, ...]:
        """The variables in the order of z; their number is the layer's dimension.

        UsageError if the layer cannot bind to this geometry.
        """

    @abstractmethod
    def params(self, z: Vector, geometry: Geometry) -> Mapping[str, float | str]:
        """The parameters that z stands for, for human eyes; JSON-able.

        Numbers, or the names of choices.
        """

    def choices(self, geometry: Geometry) -> tuple[Group, ...]:
        """The categorical groups among the variables.

        Their places count from this layer's first variable.
        """
        return ()

    def sentence(self, z: Vector, parts: Mapping[str, LayerPart]) -> str:
        """What this z puts before the question; nothing, for most layers.

        A text with {question} in it, once, is put around the question: it stands in that place.
        parts: every layer of the prompt and its variables, by kind.
        """
        return ""

    def reply_tokens(self, z: Vector) -> int:
        """Tokens that an answer to this z's words needs; 0 where it is as short as without them."""
        return 0

    def context(self, z: Vector, geometry: Geometry) -> tuple[Shown, ...]:
        """Images that this z shows before the image itself; none, for most layers."""
        return ()

    def files(self, z: Vector) -> Mapping[str, bytes]:
        """Files that a bundle of this z holds for the layer, by name; none, for most layers."""
        return {}

    def with_files(self, files: Mapping[str, bytes]) -> Layer:
        """The layer with its files among those of a bundle. UsageError for one that is not its."""
        return self

    def check_installed(self, z: Vector) -> None:
        """Raise UsageError where this z needs a package that is not installed; most need none."""
        return

    def without_data(self) -> Layer:
        """The layer with grey in place of images of the task, to be looked at, never sent."""
        return self

    def starts(self, layers: Mapping[str, Layer]) -> list[dict[str, Vector]]:
        """Points where a search may begin, as variables by kind; the others are 0.

        None, for most layers. layers: every layer of the space, by kind.
        """
        return []

    def shows_in(self, box: Box, geometry: Geometry) -> bool:
        """Whether anything of it can be seen when an image of the canvas' shape fills `box`."""
        return True

    def surround(self, z: Vector, geometry: Geometry) -> Pixels | None:
        """(height, width, 3): the picture that it shows around the image; None if it has none."""
        return None

    def derivative(self, z: Vector, geometry: Geometry) -> Derivative | None:
        """How pixels follow this z; None for central differences of the rendered pixels.

        Differences cost two renders for each variable and image: a layer of thousands of variables
        that a surrogate's gradient guides should give its own.
        """
        return None

    def config(self) -> dict[str, Any]:
        """JSON-able fields, with the kind, that rebuild this layer.

        Those of a plug-in's layer hold its package too, so that a bundle can name what it needs.
        """
        package = type(self).__module__.partition(".")[0]
        origin = {} if package == _OURS else {"package": package}
        return {"kind": self.kind, **origin, **asdict(self)}


@final
class LayerPart(NamedTuple):
    """A layer, and its variables."""

    layer: Layer
    z: Vector


class PaintLayer(Layer):
    """A layer that alters pixels of the canvas."""

    @abstractmethod
    def painter(self, z: Vector, geometry: Geometry) -> Paint:
        """What this z does to a canvas.

        Work that does not depend on the image belongs here: it is done once per candidate.
        """

    def insets(self, z: Vector, geometry: Geometry) -> Insets:
        """The room that this z needs beside the image; none, for most layers."""
        return Insets()


def soft(z: float, step: float, limit: float) -> float:
    """A smooth, monotone bound: `step` per unit of z around 0, within −limit..limit.

    soft(0) is exactly 0.
    """
    return limit * math.tanh(step * z / limit)


def chosen(options: Sequence[str], z: Sequence[float]) -> str:
    """The option of the largest value.

    The first of equal ones counts, so zeros choose the first option.
    """
    return options[max(range(len(options)), key=lambda place: z[place])]


def checked_choice(kind: str, chosen: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """The chosen names as a tuple; UsageError if one is unknown or named twice."""
    names = tuple(chosen)
    choices = tuple(known)
    for name in names:
        if name not in choices:
            raise unknown(kind, name, choices)
    if len(set(names)) < len(names):
        raise UsageError(f"a {kind} is named twice in {', '.join(names)}; name each once")
    return names
