"""Where does a black-box model look? Maps from answers to altered copies of an image, with and
without the prompt.

- `rise`: RISE (Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421): random masks M of s × s cells, each kept with
  probability p, enlarged and shifted at random; saliency S(λ) = 1 / (N E[M]) Σ f(I ⊙ M_i) M_i(λ)
  (eq. 6).
- `occlusion`: a square slid over the image (Zeiler and Fergus, ECCV 2014): the fall of the score, averaged over the
  squares that hide a pixel.

The score f is the model's probability of one label; where it gives none, 1 for that label and 0 for
another. What is hidden takes the picture's mean colour, where RISE takes black: on a dark picture
black hides nothing. RISE's sum is divided by Σ M_i(λ), not by its expectation, which has the same
limit and less noise.

How good a map is, is measured by deletion (its pixels hidden, the most salient first: the score
should fall early, a small area) and insertion (shown first, on a blurred copy: a large area), both
0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.core.files import atomic_write, atomic_write_json
from bbtvp.core.rng import stream
from bbtvp.endpoint.images import encode
from bbtvp.models import MeteredModel, Model, QueryFailed
from bbtvp.prompt import Prompt
from bbtvp.prompt.placement import place
from bbtvp.search import Reader, Reading, choose_reader
from bbtvp.search.loop import Watch, silent
from bbtvp.search.readers import LogProbReader, label_logprobs
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.registry import load_task
from bbtvp.verify.asking import BATCH, Desk, check_folder, held_out

SCHEMA = "bbtvp.saliency/1"
METHODS = ("occlusion", "rise")
Map: TypeAlias = NDArray[np.float64]
"""(H, W) float64; for RISE a mean score, for occlusion a fall of the score."""
Score: TypeAlias = Callable[[Sequence[Pixels]], Vector]
"""Images to (n,) scores 0 to 1, NaN where the model did not answer."""


@final
@dataclass(frozen=True)
class Way:
    """How a map is made, in image queries of one map: `cost`.

    occlusion: a square of `patch` of the side every `stride` of the side. rise: `masks` masks of
    cells², each cell kept with probability `keep`. steps: points of the insertion and deletion
    curves, 0 for none.
    """

    method: Literal["occlusion", "rise"] = "occlusion"
    patch: float = 0.25
    stride: float = 0.125
    masks: int = 500
    cells: int = 7
    keep: float = 0.5
    steps: int = 8

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("saliency method", self.method, METHODS)
        if not 0 < self.stride <= self.patch <= 1:
            raise UsageError(
                f"occlusion by {self.patch} every {self.stride} of a side; give 0 < stride ≤ patch ≤ 1"
            )
        if self.masks < 1 or self.cells < 2 or not 0 < self.keep < 1 or self.steps < 0:
            raise UsageError(
                "RISE needs at least 1 mask, 2 cells a side and a share kept between 0 and 1"
            )

    def cost(self, height: int, width: int) -> int:
        """Image queries, without retries: of the map, and of its two curves."""
        made = (
            self.masks
            if self.method == "rise"
            else len(self._corners(height)) * len(self._corners(width))
        )
        return 1 + made + (2 * (self.steps + 1) if self.steps else 0)

    def _corners(self, side: int) -> list[int]:
        """First pixels of the squares along one side; the last square ends at the edge."""
        patch = max(1, round(side * self.patch))
        stride = max(1, round(side * self.stride))
        return sorted({*range(0, side - patch, stride), side - patch})

    def kept(self, height: int, width: int, rng: np.random.Generator) -> list[Map]:
        """(H, W) masks, 1 where the picture is kept, 0 where it is hidden."""
        if self.method == "rise":
            return [_mask(height, width, self.cells, self.keep, rng) for _ in range(self.masks)]
        tall = max(1, round(height * self.patch))
        wide = max(1, round(width * self.patch))
        masks = []
        for top in self._corners(height):
            for left in self._corners(width):
                mask = np.ones((height, width))
                mask[top : top + tall, left : left + wide] = 0
                masks.append(mask)
        return masks


@final
@dataclass(frozen=True)
class Look:
    """One map. arm: "before" (the bare image) or "after" (prompted). label: whose score; score: of
    the whole image.

    deletion, insertion: areas, None where they were not asked for. in_picture: share of the
    saliency (the positive part of `evidence`) that lies on the image itself, in the rest (frame,
    margin) what is left of 1; None where the map is flat. picture: share of the area that is the
    image, which chance would give. map: (H, W).
    """

    id: str
    arm: str
    label: str
    score: float
    deletion: float | None
    insertion: float | None
    in_picture: float | None
    picture: float
    failed: int
    method: str
    map: Map = field(repr=False, compare=False)
    image: Pixels = field(repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The figures, without the arrays."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in ("map", "image")
        }


@final
@dataclass(frozen=True)
class Saliency:
    """Maps of the first test images, before and after in turn. `files`: their pictures, in the run
    folder.
    """

    task: str
    prompt: str
    model: str
    way: Way
    looks: tuple[Look, ...]
    files: tuple[str, ...]
    queries: int
    failed: int
    refused: int
    usd: float

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.saliency/1` document, without the maps."""
        rest = {
            name: getattr(self, name)
            for name in ("task", "prompt", "model", "queries", "failed", "refused", "usd")
        }
        looks = [look.as_json() for look in self.looks]
        return {
            "schema": SCHEMA,
            **rest,
            "way": asdict(self.way),
            "looks": looks,
            "files": list(self.files),
        }


def saliency_map(
    score: Score, pixels: Pixels, way: Way, rng: np.random.Generator
) -> tuple[Map, float]:
    """(map, score of the whole image). ModelError if the image, or a pixel in every copy, got no
    answer.
    """
    height, width = pixels.shape[:2]
    whole = float(score([pixels])[0])
    total = np.zeros((height, width))
    weight = np.zeros((height, width))
    masks = way.kept(height, width, rng)
    for start in range(0, len(masks), BATCH):
        part = masks[start : start + BATCH]
        for mask, value in zip(part, score([hidden(pixels, mask) for mask in part]), strict=True):
            if np.isfinite(value):
                # RISE: the score where a pixel is kept; occlusion: the fall where it is hidden.
                share, told = (mask, value) if way.method == "rise" else (1 - mask, whole - value)
                total += told * share
                weight += share
    if not np.isfinite(whole) or not weight.all():
        raise ModelError(
            "too many queries failed for a saliency map; ask again, or with fewer images"
        )
    return total / weight, whole


def hidden(pixels: Pixels, kept: Map, under: Pixels | None = None) -> Pixels:
    """The picture where `kept` is 1 and, where it is 0, what lies under it: its mean colour, or
    `under`.
    """
    below = pixels.mean(axis=(0, 1)) if under is None else under
    mixed: Pixels = np.rint(kept[..., None] * pixels + (1 - kept[..., None]) * below).astype(
        np.uint8
    )
    return mixed


def evidence(found: Map, method: str) -> Map:
    """(H, W) not negative: what speaks for the label. RISE's map counts from its mean, the score of
    a random mask.
    """
    centre = found.mean() if method == "rise" else 0.0
    part: Map = np.maximum(found - centre, 0)
    return part


def share_within(found: Map, inside: NDArray[np.bool_], method: str) -> float | None:
    """The share of the evidence that lies inside; None for a map without any."""
    part = evidence(found, method)
    return float(part[inside].sum() / part.sum()) if part.sum() > 0 else None


def curves(
    score: Score, pixels: Pixels, found: Map, steps: int
) -> tuple[float | None, float | None]:
    """(deletion, insertion): areas under the score, 0 to 1, by the trapezium rule over what was
    answered.
    """
    order = np.argsort(-found, axis=None, kind="stable")
    rank = np.empty(found.size, int)
    rank[order] = np.arange(found.size)
    blurred = np.asarray(
        Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(max(found.shape) / 20))
    )
    shares = np.linspace(0, 1, steps + 1)
    tops = [
        (rank < round(share * found.size)).reshape(found.shape).astype(float) for share in shares
    ]
    deleted = score([hidden(pixels, 1 - top) for top in tops])
    inserted = score([hidden(pixels, top, blurred) for top in tops])
    return _area(shares, deleted), _area(shares, inserted)


def planned_maps(prompt: Prompt, samples: Sequence[Sample], way: Way) -> int:
    """The most image queries that `saliency` sends, without retries."""
    shapes = [sample.pixels().shape[:2] for sample in samples]
    side = prompt.space.canvas
    return sum(way.cost(*shape) + way.cost(side, side) for shape in shapes)


def saliency(
    prompt: Prompt,
    task: Task | str,
    model: Model | str,
    *,
    limit: int = 4,
    way: Way | None = None,
    target: Literal["truth", "answer"] = "answer",
    reader: str = "auto",
    normalise: str = "mean",
    usd: float | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    watch: Watch = silent,
) -> Saliency:
    """Maps of the first `limit` test images, bare and prompted.

    target: the label whose score is followed, the one given to the whole image in that arm, or the
    true one. out: a run folder whose `saliency/` part makes the call resumable, with a picture for
    each map. The event "looking" tells the most image queries before the first. UsageError for a
    task without labels.
    """
    task = load_task(task) if isinstance(task, str) else task
    way = way or Way()
    samples = held_out(task, limit)
    config = {"check": "saliency", "task": task.digest, "prompt": prompt.digest, "reader": reader}
    folder = check_folder(out, "saliency", prompt, task)
    looks = []
    with Desk({**config, "normalise": normalise}, folder, usd=usd, watch=watch) as desk:
        watch(
            "looking",
            {
                "queries": planned_maps(prompt, samples, way),
                "images": len(samples),
                "resumed": desk.before,
            },
        )
        metered = desk.metered(model, "saliency")
        chosen = choose_reader(reader, metered, task, normalise=normalise)
        for sample in samples:
            for arm, worn in (("before", None), ("after", prompt)):
                asking = _Asking(metered, chosen, task, sample, worn, normalise)
                looks.append(_look(asking, arm, way, target, seed))
                watch("looked", looks[-1].as_json())
        spent = desk.spent
    files = (
        tuple(f"{look.id}-{look.arm}.png".replace("/", "_") for look in looks)
        if folder is not None
        else ()
    )
    result = Saliency(task.name, prompt.digest, metered.spec, way, tuple(looks), files, *spent)
    if folder is not None:
        for look, name in zip(looks, files, strict=True):
            atomic_write(folder / name, encode(picture(look)).data)
        atomic_write_json(folder / "saliency.json", result.as_json())
    return result


class _Asking(NamedTuple):
    metered: MeteredModel
    reader: Reader
    task: Task
    sample: Sample
    prompt: Prompt | None
    normalise: str

    def read(self, images: Sequence[Pixels]) -> list[tuple[dict[str, float], str | None] | None]:
        """For each image the scores of the labels and the answer; None where the query failed."""
        question = self.task.ask(self.sample)
        if self.prompt is not None:
            question = self.prompt.ask(question)
        requests = [
            self.reader.request(image, question, self.task, self.sample) for image in images
        ]
        found: list[tuple[dict[str, float], str | None] | None] = []
        for outcome in self.metered.query(requests):
            if isinstance(outcome, QueryFailed):
                found.append(None)
                continue
            reading: Reading = self.reader.read(outcome, self.task, self.sample)
            labels = self.task.sample_labels(self.sample) or ()
            if isinstance(self.reader, LogProbReader) and outcome.scores:
                scores = np.exp(label_logprobs(outcome, len(labels), self.normalise)).tolist()
            else:
                scores = [float(label == reading.answer) for label in labels]
            found.append((dict(zip(labels, scores, strict=True)), reading.answer))
        return found


def _look(asking: _Asking, arm: str, way: Way, target: str, seed: int) -> Look:
    bare = asking.sample.pixels()
    image = bare if asking.prompt is None else asking.prompt.render(bare)
    if asking.task.sample_labels(asking.sample) is None:
        raise UsageError(
            f"task {asking.task.name} has free answers, whose scores no map can follow; give it labels"
        )
    first = asking.read([image])[0]
    answer = None if first is None else first[1]
    label = answer if target == "answer" and answer is not None else asking.sample.answer
    failed = 0

    def score(images: Sequence[Pixels]) -> Vector:
        nonlocal failed
        found = [math.nan if one is None else one[0][label] for one in asking.read(images)]
        failed += int(np.isnan(found).sum())
        return np.array(found)

    found, whole = saliency_map(
        score, image, way, stream(seed, "verify", "saliency", asking.sample.id)
    )
    deletion, insertion = curves(score, image, found, way.steps) if way.steps else (None, None)
    inside = np.ones(found.shape, bool) if asking.prompt is None else on_canvas(asking.prompt, bare)
    return Look(
        asking.sample.id,
        arm,
        label,
        whole,
        deletion,
        insertion,
        share_within(found, inside, way.method),
        float(inside.mean()),
        failed,
        way.method,
        found,
        image,
    )


def on_canvas(prompt: Prompt, pixels: Pixels) -> NDArray[np.bool_]:
    """(canvas, canvas): where the image lies once the prompt is on it; the rest is frame and
    margin.
    """
    space = prompt.space
    ready = prompt.renderer
    scratch = np.empty((space.canvas, space.canvas, 3), np.uint8)
    box = place(space.prepare(pixels).copies, ready.view, space.geometry, scratch, ready.insets)
    inside = np.zeros((space.canvas, space.canvas), bool)
    inside[box.top : box.bottom, box.left : box.right] = True
    return inside


def picture(look: Look) -> Pixels:
    """(H, W, 3): the image in grey under its evidence in red, the redder the stronger."""
    heat = evidence(look.map, look.method)
    heat = heat / heat.max() if heat.max() > 0 else heat
    grey = look.image.mean(axis=2, keepdims=True) * np.ones(3)
    cover = 0.7 * heat[..., None]
    mixed: Pixels = np.rint((1 - cover) * grey + cover * np.array([230, 30, 30])).astype(np.uint8)
    return mixed


def _mask(height: int, width: int, cells: int, keep: float, rng: np.random.Generator) -> Map:
    """RISE's mask: cells² of 0 and 1, enlarged bilinearly by a cell more than the image, cut out at
    random.
    """
    tall = math.ceil(height / cells)
    wide = math.ceil(width / cells)
    grid = Image.fromarray((rng.random((cells, cells)) < keep).astype(np.float32))
    large = np.asarray(
        grid.resize(((cells + 1) * wide, (cells + 1) * tall), Image.Resampling.BILINEAR), np.float64
    )
    top = int(rng.integers(tall))
    left = int(rng.integers(wide))
    return large[top : top + height, left : left + width]


def _area(shares: Vector, scores: Vector) -> float | None:
    known = np.isfinite(scores)
    return float(np.trapezoid(scores[known], shares[known])) if known.sum() > 1 else None
