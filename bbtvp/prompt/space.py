"""A prompt space: layers on a canvas, and the map from z to uint8 pixels.

A prompt is one point of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, final, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.digest import canonical_json, digest
from bbtvp.core.errors import BundleError, UsageError, unknown
from bbtvp.core.shown import Shown
from bbtvp.core.signing import check_signature
from bbtvp.prompt.identity import Identity
from bbtvp.prompt.image import AnyImage, any_image
from bbtvp.prompt.layer import (
    MAX_CANVAS,
    MAX_VARIABLES,
    MIN_CANVAS,
    Box,
    Geometry,
    Group,
    Layer,
    LayerPart,
)
from bbtvp.prompt.placement import Copy, Extent, Placement, Shape, place
from bbtvp.prompt.rendering import Canvases, Prepared, Renderer
from bbtvp.prompt.wordings import PLACE, put_around

if TYPE_CHECKING:
    from bbtvp.prompt.bundle import Bundle

ARMS = ("identity", "sentence_only", "image_only", "both")
"""What a prompt with a sentence is taken apart into."""


@final
@dataclass(frozen=True)
class PromptSpace:
    """Layers on a canvas of at most `canvas` pixels a side (8..2048).

    shape: "square", the same canvas for every image; or "picture", a canvas of the image's own
    shape and size, made smaller only where its longer side exceeds `canvas`. What is drawn follows
    the sides, and a square image of `canvas` pixels gives equal bytes in both.

    The layers are rendered, and their variables lie in z, by rising `Layer.order`, whatever order
    they are given in: placement, tone (the image only), frame (the rest), overlays, marks, legend;
    see `layers`. Each kind at most once; without a Placement the image fills the canvas, and
    without a Frame the rest is mid grey (128). `Identity` goes with no other layer
    that alters the image (`Layer.alters_image`): the image goes as it is, and the canvas says
    nothing. UsageError for a composition that cannot be rendered.
    """

    layers: tuple[Layer, ...]
    canvas: int = 224
    shape: Shape = "square"
    _names: dict[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not MIN_CANVAS <= self.canvas <= MAX_CANVAS:
            raise UsageError(f"a canvas of {self.canvas} px; give {MIN_CANVAS} to {MAX_CANVAS}")
        if self.shape not in get_args(Shape):
            raise unknown("canvas shape", self.shape, get_args(Shape))
        given = {layer.kind: layer for layer in self.layers}
        if len(given) < len(self.layers):
            raise UsageError("two layers of one kind; give each kind once")
        if Identity.kind not in given:
            given.setdefault(Placement.kind, Placement())
        elif any(layer.alters_image for kind, layer in given.items() if kind != Identity.kind):
            raise UsageError(
                "the layer identity leaves the image as it is; it goes with no other but words "
                "and exemplars that are images of their own"
            )
        ordered = sorted(given.values(), key=lambda layer: (layer.order, layer.kind))
        object.__setattr__(self, "layers", tuple(ordered))
        # every layer binds to the geometry now, or says why it cannot
        object.__setattr__(
            self, "_names", {layer.kind: layer.names(self.geometry) for layer in self.layers}
        )
        if self.dim > MAX_VARIABLES:
            raise UsageError(
                f"{self.dim} variables; at most {MAX_VARIABLES}: take a smaller canvas, or another "
                "basis"
            )

    @cached_property
    def placement(self) -> Placement:
        """The layer that says where the image lies."""
        found = (layer for layer in self.layers if isinstance(layer, Placement))
        return next(found, Placement())

    @property
    def keeps_image(self) -> bool:
        """Whether every image goes as it is, with words or without."""
        return Identity.kind in self._names

    @property
    def is_identity(self) -> bool:
        """Whether every image and every question goes as it is."""
        return self.keeps_image and len(self.layers) == 1

    @classmethod
    def identity(cls) -> Prompt:
        """The prompt that leaves every image and every question as it is."""
        return cls((Identity(),)).prompt(np.zeros(0))

    @cached_property
    def geometry(self) -> Geometry:
        """What the layers are bound to: a square canvas of `canvas` pixels a side."""
        return self.canvases.nominal

    @cached_property
    def canvases(self) -> Canvases:
        """Which canvas each image gets."""
        return Canvases(self.placement, self.canvas, self.shape)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each variable, such as "tone.contrast", in the order of z."""
        return tuple(f"{kind}.{name}" for kind, names in self._names.items() for name in names)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """The place of each layer's variables in z, by kind."""
        slices = {}
        start = 0
        for kind, names in self._names.items():
            slices[kind] = slice(start, start + len(names))
            start += len(names)
        return slices

    @property
    def dim(self) -> int:
        """The number of variables."""
        return sum(len(names) for names in self._names.values())

    @cached_property
    def choices(self) -> tuple[Group, ...]:
        """(first place in z, count) of every categorical group.

        Of its adjacent variables, the largest chooses.

        The first of equal ones counts, so z = 0 takes the first option of each. All other variables
        are continuous.
        """
        return tuple(
            (self.slices[layer.kind].start + first, count)
            for layer in self.layers
            for first, count in layer.choices(self.geometry)
        )

    @property
    def canvas_text(self) -> str:
        """The canvas in words, such as "canvas 224 px"."""
        if self.keeps_image:
            return "images as they are"
        own = "of the image's own shape, at most " if self.shape == "picture" else ""
        return f"canvas {own}{self.canvas} px"

    def dim_of(self, kinds: Collection[str]) -> int:
        """The number of variables of these layers. UsageError for a kind that is not here."""
        return int(self._mask(kinds).sum())

    def neutral(self) -> Vector:
        """z = 0: the initial placement, the image's own tone, the frame's initial colour."""
        return np.zeros(self.dim)

    def starts(self) -> list[Vector]:
        """Points worth asking about first: the neutral one, then those that the layers propose.

        The first of each layer comes before the second of any, for a small budget reaches only the
        first few.
        """
        layers = {layer.kind: layer for layer in self.layers}
        proposed = (layer.starts(layers) for layer in self.layers)
        points = [self.neutral()]
        for start in chain.from_iterable(zip_longest(*proposed)):
            if start is None:
                continue
            z = self.neutral()
            for kind, part in start.items():
                z = self.embed(part, (kind,), z)
            points.append(z)
        return points

    def arms(self, z: Vector) -> dict[str, Prompt]:
        """A prompt taken apart, as `ARMS`: "identity" is z = 0, and "both" is z itself.

        "sentence_only" keeps the variables of the layers that speak and drops all else, so it names
        no marks. UsageError for a prompt without a sentence.
        """
        kinds = tuple(layer.kind for layer in self.layers if layer.speaks)
        if not kinds:
            raise UsageError("this prompt has no sentence to take apart; add the layer Guidance")
        sentence = self._checked(z)[self._mask(kinds)]
        silent = self.embed(np.zeros_like(sentence), kinds, z)
        points = (self.neutral(), self.embed(sentence, kinds, self.neutral()), silent, z)
        return {arm: Prompt(self, point) for arm, point in zip(ARMS, points, strict=True)}

    def ask(self, z: Vector, question: str) -> str:
        """The question with this z's words around it; the question itself is never changed."""
        asked = question
        for said in reversed(self._sentences(self._checked(z)).values()):
            asked = put_around(said, asked) if said else asked
        return asked

    def reply_tokens(self, z: Vector) -> int:
        """Tokens that an answer to this z's words needs; 0 where no layer asks for more."""
        checked = self._checked(z)
        return max(layer.reply_tokens(self._part(layer, checked)) for layer in self.layers)

    def context(self, z: Vector) -> tuple[Shown, ...]:
        """The images that this z shows before the image itself, in the order of the layers."""
        checked = self._checked(z)
        return tuple(
            shown
            for layer in self.layers
            for shown in layer.context(self._part(layer, checked), self.geometry)
        )

    def files(self, z: Vector) -> dict[str, bytes]:
        """The files that a bundle of this z holds for its layers, by name."""
        checked = self._checked(z)
        return {
            name: data
            for layer in self.layers
            for name, data in layer.files(self._part(layer, checked)).items()
        }

    def check(self, z: Vector) -> None:
        """Raise UsageError where this z needs a file or a package that is not here."""
        checked = self._checked(z)
        for layer in self.layers:
            layer.check_installed(self._part(layer, checked))
            layer.files(self._part(layer, checked))

    def embed(self, active: Vector, kinds: Collection[str], base: Vector) -> Vector:
        """`base` with `active` as the variables of these layers.

        They come in the order of z, whatever the order of `kinds`.
        """
        z = self._checked(base).copy()
        mask = self._mask(kinds)
        if np.shape(active) != (mask.sum(),):
            raise UsageError(
                f"{np.size(active)} values for the {mask.sum()} variables of {', '.join(kinds)}"
            )
        z[mask] = active
        return self._checked(z)

    def params(self, z: Vector) -> dict[str, dict[str, float | str]]:
        """The named parameters that z stands for, by kind of layer; JSON-able.

        Those of a layer that speaks hold its sentence too.
        """
        checked = self._checked(z)
        named = {
            layer.kind: dict(layer.params(self._part(layer, checked), self.geometry))
            for layer in self.layers
        }
        for kind, sentence in self._sentences(checked).items():
            named[kind]["sentence"] = sentence
        return named

    def describe(self, z: Vector) -> str:
        """What z changes, in a few words: the parameters that are not those of z = 0."""
        neutral = self.params(self.neutral())
        changed = [
            f"{kind} {name} {value if isinstance(value, str) else format(value, '.3g')}"
            for kind, named in self.params(z).items()
            for name, value in named.items()
            if value != neutral[kind].get(name) and name != "sentence"
        ]
        return ", ".join(changed) or "the image as it is"

    def prepare(self, pixels: Pixels) -> Prepared:
        """The work on (H, W, 3) uint8 pixels that no z changes, kept to render many z.

        UsageError for other pixels.
        """
        return self._prepared(pixels, once=False)

    def _prepared(self, image: AnyImage, *, once: bool) -> Prepared:
        canvases = None if self.keeps_image else self.canvases
        return Prepared(any_image(image), canvases, once=once)

    def ready(self, image: AnyImage | Prepared) -> Prepared:
        """The image prepared for this space.

        UsageError if it was prepared for another placement or canvas.
        """
        if not isinstance(image, Prepared):
            return self._prepared(image, once=True)
        if image.canvases != (None if self.keeps_image else self.canvases):
            raise UsageError(
                "this image was prepared for another placement or canvas; "
                "prepare it with this space"
            )
        return image

    def renderer(self, z: Vector) -> Renderer:
        """z made ready for many images. UsageError for a z of another length, or not finite."""
        checked = self._checked(z)
        view = self.placement.view(self._part(self.placement, checked))
        parts = tuple(LayerPart(layer, self._part(layer, checked)) for layer in self.layers)
        renderer = Renderer(self.ready, view, parts)
        if self.geometry.shared:
            renderer.insets(self.geometry)  # all that does not depend on the image is made now
        return renderer

    def render(self, z: Vector, image: Pixels | Prepared) -> Pixels:
        """The pixels to deploy for one z and one image; for many images use `renderer`."""
        return self.renderer(z)(image)

    def prompt(self, z: Vector) -> Prompt:
        """The prompt that z stands for. UsageError for a z of another length, or not finite."""
        return Prompt(self, z)

    def empty_frame(self, z: Vector) -> Prompt:
        """The control: the image placed as z places it, and all else neutral.

        So the tone is the image's own, and the frame has its initial colour.

        Margins belong to the marks and to the legend that they hold, and go with them. The control
        of the identity is the identity, and that of words alone has no words.
        """
        if self.keeps_image:
            return Prompt(self, self.neutral())
        kinds = (Placement.kind,)
        return Prompt(self, self.embed(self._checked(z)[self._mask(kinds)], kinds, self.neutral()))

    def hidden(self, kinds: Collection[str], z: Vector) -> bool:
        """True if nothing of these layers can be seen around a square image that z places."""
        box = self.square(z)
        chosen = [layer for layer in self.layers if layer.kind in kinds]
        return not any(layer.shows_in(box, self.geometry) for layer in chosen)

    def square(self, z: Vector) -> Box:
        """Where z places a square image on the canvas that layers are bound to."""
        ready = self.renderer(z)
        scratch = np.empty((self.canvas, self.canvas, 3), np.uint8)
        pixel = Copy(Extent(1.0, 1.0), lambda: Image.new("RGB", (1, 1)))
        insets = ready.insets(self.geometry)
        return place([pixel], ready.view, self.geometry, scratch, insets)

    def config(self) -> dict[str, Any]:
        """JSON-able: canvas, shape and layers, enough to rebuild the space.

        A square, the only shape of early bundles, is not said.
        """
        shape = {} if self.shape == "square" else {"shape": self.shape}
        return {
            "canvas": self.canvas,
            **shape,
            "layers": [layer.config() for layer in self.layers],
        }

    def _sentences(self, z: Vector) -> dict[str, str]:
        """The sentence of each layer that speaks, by kind; it may be empty."""
        parts = {layer.kind: LayerPart(layer, self._part(layer, z)) for layer in self.layers}
        return {
            layer.kind: layer.sentence(parts[layer.kind].z, parts)
            for layer in self.layers
            if layer.speaks
        }

    def _part(self, layer: Layer, z: Vector) -> Vector:
        part: Vector = z[self.slices.get(layer.kind, slice(0, 0))]
        return part

    def _mask(self, kinds: Collection[str]) -> NDArray[np.bool_]:
        mask = np.zeros(self.dim, np.bool_)
        for kind in kinds:
            if kind not in self.slices:
                raise unknown("layer", kind, self.slices)
            mask[self.slices[kind]] = True
        return mask

    def _checked(self, z: Vector) -> Vector:
        checked = np.asarray(z, np.float64)
        if checked.shape != (self.dim,):
            raise UsageError(
                f"z has shape {checked.shape}; give ({self.dim},), one value per variable"
            )
        if not np.isfinite(checked).all():
            raise UsageError("z holds values that are not finite; give numbers")
        return checked


@final
@dataclass(frozen=True, eq=False)
class Prompt:
    """A visual prompt: a space and one z of it, (d,) float64 and finite.

    UsageError for any other z.
    """

    space: PromptSpace
    z: Vector

    def __post_init__(self) -> None:
        z = self.space._checked(self.z) + 0.0  # a copy, with one spelling of zero
        z.flags.writeable = False
        object.__setattr__(self, "z", z)

    def __repr__(self) -> str:
        kinds = "+".join(layer.kind for layer in self.space.layers)
        return (
            f"Prompt({kinds}, {self.space.dim} variables, {self.space.canvas_text}, "
            f"{self.digest[:12]})"
        )

    @cached_property
    def renderer(self) -> Renderer:
        """The prompt made ready for many images."""
        return self.space.renderer(self.z)

    def render(self, image: AnyImage | Prepared) -> Pixels:
        """What is deployed: (height, width, 3) uint8; of the identity, the image's own pixels.

        image: (H, W, 3) uint8 sRGB pixels, or prepared ones; a path or a PIL image will do too.
        """
        return self.renderer(self.space.ready(image))

    def apply(self, image: AnyImage) -> Image.Image:
        """The prompted RGB image of a PIL image of any mode, of pixels, or of an image file.

        DataError for one that cannot be read.
        """
        return Image.fromarray(self.render(image))

    def ask(self, question: str) -> str:
        """The question as it goes with the prompted image: with its words around it, if any."""
        return self.space.ask(self.z, question)

    @property
    def words(self) -> str | None:
        """What goes around the question, with {question} in its place; None for no words."""
        asked = self.ask(PLACE)
        return None if asked == PLACE else asked

    @property
    def reply_tokens(self) -> int:
        """Tokens that an answer to the prompt's words needs; 0 where they ask for no more."""
        return self.space.reply_tokens(self.z)

    def context(self) -> tuple[Shown, ...]:
        """The images that go before the prompted one, each with its text; none for most prompts."""
        return self.space.context(self.z)

    @property
    def contains_data(self) -> bool:
        """Whether images of the task are part of the prompt, and so of its bundle."""
        return bool(self.space.files(self.z))

    def without_data(self) -> Prompt:
        """The same prompt with grey in place of images of the task: for pages that others see."""
        if not self.contains_data:
            return self
        layers = tuple(layer.without_data() for layer in self.space.layers)
        return Prompt(PromptSpace(layers, self.space.canvas, self.space.shape), self.z)

    @property
    def keeps_image(self) -> bool:
        """Whether the prompt leaves every image as it is, with words or without."""
        return self.space.keeps_image

    @property
    def is_identity(self) -> bool:
        """Whether the prompt leaves every image and every question as it is."""
        return self.space.is_identity

    @property
    def theta(self) -> dict[str, dict[str, float | str]]:
        """The named parameters by kind of layer; JSON-able, for human eyes. z is what counts."""
        return self.space.params(self.z)

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the pixels and the sentence: canvas, layers and z."""
        return digest(canonical_json(self.space.config()).encode(), self.z.astype("<f8").tobytes())

    @property
    def frame(self) -> Pixels | None:
        """(canvas, canvas, 4) RGBA: the frame, transparent where a square image goes.

        None without a layer that has such a picture (`Layer.surround`). It is the layer alone: an
        overlay, marks or a legend may yet be drawn over it.
        """
        for layer in self.space.layers:
            field = layer.surround(self.space._part(layer, self.z), self.space.geometry)
            if field is not None:
                break
        else:
            return None
        hidden = self.space.square(self.z)  # first: it draws a canvas of its own
        frame = np.full((*field.shape[:2], 4), 255, np.uint8)
        frame[..., :3] = field
        hidden.of(frame)[..., 3] = 0
        return frame

    def save(self, path: Path | str, meta: Mapping[str, Any] | None = None) -> None:
        """Write a bundle: one file where the path ends in .vprompt, else a folder.

        See `bbtvp.prompt.bundle`, and `as_bundle` for meta. UsageError as there, OSError if the
        disk refuses.
        """
        from bbtvp.prompt import bundle  # brings pydantic, which rendering does not need

        bundle.write(Path(path).expanduser(), self.as_bundle(meta))

    def as_bundle(self, meta: Mapping[str, Any] | None = None) -> Bundle:
        """What a bundle of the prompt holds.

        meta: JSON to keep with it. What `bundle.About` documents (task, source_models, evidence,
        licence, …) becomes a field of the bundle, all else stays free. A bundle that holds images
        of the task says so: `contains_data`. UsageError if it is not JSON, or a documented field of
        another type.
        """
        from bbtvp.prompt import bundle

        data = {"contains_data": True} if self.contains_data else {}
        about, free = bundle.split({**(meta or {}), **data})
        return bundle.Bundle(
            canvas=self.space.canvas,
            layers=self.space.layers,
            z=self.z,
            theta=self.theta,
            about=about,
            frame=self.frame,
            shape=self.space.shape,
            files=self.space.files(self.z),
            free=free,
            words=self.words,
            reply_tokens=self.reply_tokens,
            apply=bundle.steps(
                self.space.layers,
                self.space.canvas,
                self.space.shape,
                theta=self.theta,
                words=self.words,
            ),
        )

    @classmethod
    def load(cls, path: Path | str, *, signed_by: Sequence[str] = ()) -> Prompt:
        """Read a bundle, and make its frame and its sentence again.

        signed_by: public keys, or files that hold one, of which one must have signed it; none where
        its author does not matter (`bbtvp.core.signing`).

        BundleError if anything in it was altered or is not understood, if another version of bbtvp
        worded it, or if none of these keys signed it.
        """
        from bbtvp.prompt import bundle

        content = bundle.read(Path(path).expanduser())
        if signed_by:
            _check_signer(path, content, signed_by)
        try:
            prompt = cls(PromptSpace(content.layers, content.canvas, content.shape), content.z)
            prompt.space.check(prompt.z)
        except UsageError as error:
            raise BundleError(f"{path}: {error!s:.1000}") from error
        if not _same(content.frame, prompt.frame):
            raise BundleError(
                f"{path}: frame.png is not the frame that z gives; "
                "get the bundle from its author again"
            )
        for kind, sentence in prompt.space._sentences(prompt.z).items():
            if content.theta.get(kind, {}).get("sentence", "") != sentence:
                raise BundleError(
                    f"{path}: this version gives another sentence for the layer {kind}; "
                    f"install the version that wrote the bundle"
                )
        if content.schema == bundle.SCHEMA:
            _check_said(path, content, prompt)
        return prompt

    def push_to_hub(
        self, repo_id: str, *, meta: Mapping[str, Any] | None = None, **options: Any
    ) -> str:
        """Upload the prompt with its card to the Hugging Face Hub; return the commit's URL.

        repo_id: "organisation/name"; it is made if it is not there. meta: as of `save`. options:
        `private`, `token`, `branch`, `create_pr`, `commit_message`, and `with_data` for a prompt
        that holds images of its task, `with_leaks` for one that says more than it should
        (`bbtvp.bundles.hub`). To upload a bundle as it is, signature
        and evidence included: `bbtvp bundle push`.

        UsageError for what is not to be uploaded; DataError, in one line, for all that the Hub
        refuses.
        """
        from bbtvp.prompt.hubs import HUBS

        with TemporaryDirectory() as folder:
            path = Path(folder) / "prompt.vprompt"
            self.save(path, meta)
            return str(HUBS.load("huggingface")(path).push_to_hub(repo_id, **options))

    @classmethod
    def from_pretrained(
        cls, repo_id: str | Path, *, signed_by: Sequence[str] = (), **options: Any
    ) -> Prompt:
        """The prompt of a repository on the Hugging Face Hub, "organisation/name".

        A folder with a `prompt.vprompt` in it will do too. signed_by: as of `load`. options:
        `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

        DataError, in one line, for all that the Hub refuses; BundleError as of `load`.
        """
        from bbtvp.prompt.hubs import HUBS

        found = HUBS.load("huggingface").from_pretrained(repo_id, **options)
        return cls.load(found.path, signed_by=signed_by)


def _check_signer(path: Path | str, content: Bundle, signed_by: Sequence[str]) -> None:
    """Raise BundleError for a bundle that none of these keys signed."""
    try:
        check_signature(content.digest, content.signature, signed_by, kind="bundle")
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def _check_said(path: Path | str, content: Bundle, prompt: Prompt) -> None:
    """Raise BundleError where what a bundle says to other readers is not what its prompt does."""
    if content.words != prompt.words:
        raise BundleError(
            f"{path}: this version asks in other words; install the version that wrote the bundle"
        )
    if content.about.contains_data != prompt.contains_data:
        held = "images of a task are in it" if prompt.contains_data else "no image of a task is"
        said = str(content.about.contains_data).lower()
        raise BundleError(
            f"{path}: contains_data is {said}, and {held}; get the bundle from its author again"
        )


def _same(one: Pixels | None, other: Pixels | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
