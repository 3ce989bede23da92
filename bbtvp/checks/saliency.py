"""Where does a model look? Maps from its answers about altered copies of an image.

There are two methods, with and without the prompt:

- `rise`: RISE (Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421). Random masks M of s × s
  cells, each kept with probability p, are enlarged and shifted at random; the saliency is
  S(λ) = 1 / (N E[M]) Σ f(I ⊙ M_i) M_i(λ) (eq. 6).
- `occlusion`: a square is slid over the image (Zeiler and Fergus, ECCV 2014); the saliency is the
  fall of the score, averaged over the squares that hide a pixel.

The score f is the model's probability of one label. Where the model gives no probability, it is 1
for the label that is answered and 0 for the others. Hidden pixels take the mean colour of the
picture, where RISE takes black: on a dark picture black hides nothing. RISE's sum is divided by
Σ M_i(λ), not by its expectation, which has the same limit and less noise.

Deletion and insertion measure how good a map is, each by an area from 0 to 1. Deletion hides the
most salient pixels first: the score should fall early, a small area. Insertion shows them first, on
a blurred copy: a large area is good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias, Unpack, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bbtvp.checks.result import CheckResult
from bbtvp.core.arrays import Pixels, Vector
from bbtvp.core.errors import ModelError, UsageError, unknown
from bbtvp.core.files import atomic_write
from bbtvp.core.rng import stream
from bbtvp.endpoint.images import encode
from bbtvp.models import AnyModel, Model
from bbtvp.prompt import Prompt
from bbtvp.search import Answers, Reader, ask
from bbtvp.search.ask import BATCH
from bbtvp.tasks import Sample
from bbtvp.verify.inputs import AnyPrompt, AnyTask, open_prompt
from bbtvp.verify.session import CheckOptions, CheckSession, held_out

SCHEMA = "bbtvp.saliency/1"
METHODS = ("occlusion", "rise")
HeatMap: TypeAlias = NDArray[np.float64]
"""(H, W) float64: for RISE a mean score, for occlusion a fall of the score."""

Score: TypeAlias = Callable[[Sequence[Pixels]], Vector]
"""From n images to (n,) scores, 0 to 1, NaN where the model did not answer."""


@final
@dataclass(frozen=True)
class MapMethod:
    """How a map is made.

    Occlusion hides a square of `patch` of the side, every `stride` of the side. RISE draws `masks`
    masks of cells² cells, and keeps each cell with probability `keep`. steps: steps of the deletion
    and insertion curves, 0 for no curves.
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
                f"occlusion by {self.patch} every {self.stride} of a side; "
                "give 0 < stride ≤ patch ≤ 1"
            )
        if self.masks < 1 or self.cells < 2 or not 0 < self.keep < 1 or self.steps < 0:
            raise UsageError(
                "RISE needs at least 1 mask, 2 cells a side and a share kept between 0 and 1"
            )

    def cost(self, height: int, width: int) -> int:
        """Image queries of one map and its two curves, without retries."""
        masks = self.masks
        if self.method == "occlusion":
            masks = len(self._corners(height)) * len(self._corners(width))
        return 1 + masks + (2 * (self.steps + 1) if self.steps else 0)

    def _corners(self, side: int) -> list[int]:
        """First pixels of the squares along one side; the last square ends at the edge."""
        patch = max(1, round(side * self.patch))
        stride = max(1, round(side * self.stride))
        return sorted({*range(0, side - patch, stride), side - patch})

    def kept(self, height: int, width: int, rng: np.random.Generator) -> list[HeatMap]:
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
class SaliencyMap:
    """The map of one image.

    arm: "before" (the bare image) or "after" (prompted). label: whose score is followed; score:
    that of the whole image. deletion, insertion: areas, None where they were not asked for.
    in_picture: the share of the `evidence` that lies on the image itself; the rest lies on the
    frame and margin. None where the map is flat. picture: the share of the area that is the image,
    which is what chance would give. map: (H, W). image: (H, W, 3), what was sent.
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
    map: HeatMap = field(repr=False, compare=False)
    image: Pixels = field(repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The figures, without the arrays."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in ("map", "image")
        }


@final
@dataclass(frozen=True, kw_only=True)
class Saliency(CheckResult):
    """The result of `saliency`: maps of the first test images, before and after in turn.

    files: their pictures, in the run folder.
    """

    model: str
    method: MapMethod
    maps: tuple[SaliencyMap, ...]
    files: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.saliency/1` document, without the arrays."""
        return self.document(
            SCHEMA,
            model=self.model,
            way=asdict(self.method),
            looks=[one.as_json() for one in self.maps],
            files=self.files,
        )


def heat_map(
    score: Score, pixels: Pixels, method: MapMethod, rng: np.random.Generator
) -> tuple[HeatMap, float]:
    """The map of an image, and the score of the whole image.

    ModelError if the image, or every copy that tells of some pixel, got no answer.
    """
    height, width = pixels.shape[:2]
    whole = float(score([pixels])[0])
    total = np.zeros((height, width))
    weight = np.zeros((height, width))
    rise = method.method == "rise"
    masks = method.kept(height, width, rng)
    for start in range(0, len(masks), BATCH):
        part = masks[start : start + BATCH]
        scores = score([hidden(pixels, mask) for mask in part])
        for mask, value in zip(part, scores, strict=True):
            if np.isfinite(value):
                # RISE: the score where a pixel is kept; occlusion: the fall where it is hidden.
                share = mask if rise else 1 - mask
                total += (value if rise else whole - value) * share
                weight += share
    if not np.isfinite(whole) or not weight.all():
        raise ModelError(
            "too many queries failed for a saliency map; ask again, or with fewer images"
        )
    return total / weight, whole


def hidden(pixels: Pixels, kept: HeatMap, under: Pixels | None = None) -> Pixels:
    """The picture where `kept` is 1, and `under`, or the picture's mean colour, where it is 0."""
    below = pixels.mean(axis=(0, 1)) if under is None else under
    share = kept[..., None]
    return np.rint(share * pixels + (1 - share) * below).astype(np.uint8)


def evidence(found: HeatMap, method: str) -> HeatMap:
    """(H, W), not negative: how much each pixel speaks for the label.

    RISE's map counts from its mean, which is the score of a random mask.
    """
    centre = found.mean() if method == "rise" else 0.0
    return np.maximum(found - centre, 0)


def share_within(found: HeatMap, inside: NDArray[np.bool_], method: str) -> float | None:
    """The share of the evidence that lies inside; None for a map without any."""
    part = evidence(found, method)
    return float(part[inside].sum() / part.sum()) if part.sum() > 0 else None


def curves(
    score: Score, pixels: Pixels, found: HeatMap, steps: int
) -> tuple[float | None, float | None]:
    """(deletion, insertion): areas under the score, 0 to 1, by the trapezium rule.

    They are None where fewer than two of the steps were answered.
    """
    order = np.argsort(-found, axis=None, kind="stable")
    rank = np.empty(found.size, int)
    rank[order] = np.arange(found.size)
    blur = ImageFilter.GaussianBlur(max(found.shape) / 20)
    blurred = np.asarray(Image.fromarray(pixels).filter(blur))
    shares = np.linspace(0, 1, steps + 1)
    tops = [
        (rank < round(share * found.size)).reshape(found.shape).astype(float) for share in shares
    ]
    deleted = score([hidden(pixels, 1 - top) for top in tops])
    inserted = score([hidden(pixels, top, blurred) for top in tops])
    return _area(shares, deleted), _area(shares, inserted)


def planned_maps(prompt: Prompt, samples: Sequence[Sample], method: MapMethod) -> int:
    """The most image queries that `saliency` sends, without retries."""
    pictures = [sample.pixels() for sample in samples]
    shown = [*pictures, *map(prompt.render, pictures)]
    return sum(method.cost(*picture.shape[:2]) for picture in shown)


def saliency(
    prompt: AnyPrompt,
    task: AnyTask,
    model: AnyModel,
    *,
    limit: int = 4,
    method: MapMethod | None = None,
    target: Literal["truth", "answer"] = "answer",
    **options: Unpack[CheckOptions],
) -> Saliency:
    """Maps of the first `limit` test images, bare and prompted.

    target: the label whose score is followed: the one that is answered to the whole image in that
    arm, or the true one. options: see `CheckOptions`; an `out` folder gets a picture of each map.
    The event "looking" tells the most image queries before the first.

    Raises UsageError for a task without labels, ModelError if too many queries fail, and
    BudgetReached at the cap of `usd` dollars.
    """
    opened = open_prompt(prompt)
    prompt = opened.prompt
    task = opened.task(task)
    method = method or MapMethod()
    samples = held_out(task, limit)
    maps = []
    with CheckSession("saliency", prompt, task, **options) as session:
        session.announce(planned_maps(prompt, samples, method))
        asked = session.model(model)
        chosen = session.reader(asked)
        for sample in samples:
            for worn in (None, prompt):
                image = _MappedImage(session, asked, chosen, sample, worn)
                maps.append(image.map(method, target))
                session.watch(maps[-1])
        cost = session.cost
    files: tuple[str, ...] = ()
    if session.folder is not None:
        files = tuple(f"{one.id}-{one.arm}.png".replace("/", "_") for one in maps)
        for one, name in zip(maps, files, strict=True):
            atomic_write(session.folder / name, encode(picture(one)).data)
    result = Saliency(
        task=task.name,
        prompt=prompt.digest,
        model=asked.spec,
        method=method,
        maps=tuple(maps),
        files=files,
        cost=cost,
    )
    session.save(result.as_json())
    return result


@final
class _MappedImage(NamedTuple):
    """One test image, bare or prompted, and the model that is asked about copies of it."""

    session: CheckSession
    model: Model
    reader: Reader
    sample: Sample
    prompt: Prompt | None

    def map(self, method: MapMethod, target: str) -> SaliencyMap:
        """The map; UsageError for a task of free answers."""
        task = self.session.task
        labels = task.sample_labels(self.sample)
        if labels is None:
            raise UsageError(
                f"task {task.name} has free answers, whose scores no map can follow; give it labels"
            )
        bare = self.sample.pixels()
        image = bare if self.prompt is None else self.prompt.render(bare)
        answer = self._ask([image]).labels[0]
        label = answer if target == "answer" and answer is not None else self.sample.answer
        failed = 0

        def score(images: Sequence[Pixels]) -> Vector:
            nonlocal failed
            answers = self._ask(images)
            failed += answers.failed
            return _scores_of(label, labels, answers)

        draws = stream(self.session.seed, "verify", "saliency", self.sample.id)
        found, whole = heat_map(score, image, method, draws)
        deletion = insertion = None
        if method.steps:
            deletion, insertion = curves(score, image, found, method.steps)
        inside = np.ones(found.shape, bool)
        if self.prompt is not None:
            inside = on_canvas(self.prompt, bare)
        return SaliencyMap(
            self.sample.id,
            "before" if self.prompt is None else "after",
            label,
            whole,
            deletion,
            insertion,
            share_within(found, inside, method.method),
            float(inside.mean()),
            failed,
            method.method,
            found,
            image,
        )

    def _ask(self, images: Sequence[Pixels]) -> Answers:
        task = self.session.task
        samples = [self.sample] * len(images)
        return ask(self.model, self.reader, task, samples, self.prompt, images=images)


def _scores_of(label: str, labels: Sequence[str], answers: Answers) -> Vector:
    """(n,) the probability of the label; without scores 1 where it is the answer, else 0."""
    place = labels.index(label)
    found = [
        float(answer == label) if scores is None else float(np.exp(scores)[place])
        for answer, scores in zip(answers.labels, answers.scores, strict=True)
    ]
    return np.where(np.isnan(answers.correct), math.nan, found)


def on_canvas(prompt: Prompt, pixels: Pixels) -> NDArray[np.bool_]:
    """(height, width): where the image lies in the prompt; the rest is frame and margin."""
    prepared = prompt.space.prepare(pixels)
    inside = np.zeros(prompt.render(prepared).shape[:2], bool)
    box = prompt.renderer.box(prepared)
    inside[box.top : box.bottom, box.left : box.right] = True
    return inside


def picture(found: SaliencyMap) -> Pixels:
    """(H, W, 3): the image in grey under its evidence in red, the redder the stronger."""
    heat = evidence(found.map, found.method)
    heat = heat / heat.max() if heat.max() > 0 else heat
    grey = found.image.mean(axis=2, keepdims=True) * np.ones(3)
    cover = 0.7 * heat[..., None]
    mixed = (1 - cover) * grey + cover * np.array([230, 30, 30])
    shown: Pixels = np.rint(mixed).astype(np.uint8)
    return shown


def _mask(height: int, width: int, cells: int, keep: float, rng: np.random.Generator) -> HeatMap:
    """A mask of RISE.

    cells² of 0 and 1 are enlarged bilinearly to a cell more than the image, and cut out at random.
    """
    tall = math.ceil(height / cells)
    wide = math.ceil(width / cells)
    grid = Image.fromarray((rng.random((cells, cells)) < keep).astype(np.float32))
    size = ((cells + 1) * wide, (cells + 1) * tall)
    large = np.asarray(grid.resize(size, Image.Resampling.BILINEAR), np.float64)
    top = int(rng.integers(tall))
    left = int(rng.integers(wide))
    return large[top : top + height, left : left + width]


def _area(shares: Vector, scores: Vector) -> float | None:
    known = np.isfinite(scores)
    return float(np.trapezoid(scores[known], shares[known])) if known.sum() > 1 else None
