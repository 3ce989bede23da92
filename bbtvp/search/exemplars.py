"""Which training images a search may show as examples, and what is checked of those it was given.

Examples come from the training split alone. They are taken out of it for the search, so that no
candidate is scored on an image whose answer it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, final

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.rng import stream
from bbtvp.models import Budget, Model
from bbtvp.prompt import Exemplars, PromptSpace
from bbtvp.search.ask import Context
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.overlap import fingerprint, fingerprints, image_key, repeated

DRAWS = 2
"""Orders of examples that are drawn; each is cut after 1, 2, … to give sets of every size."""

_SPARE = 4
"""Training images that are looked at for each that is shown, since some may be in other splits."""


@final
class ProposedExemplars(NamedTuple):
    """The space with the layer, and the task without the training images that it shows."""

    space: PromptSpace
    task: Task


def with_exemplars(
    space: PromptSpace, task: Task, models: Sequence[Model], *, most: int, seed: int
) -> ProposedExemplars:
    """Add sets of 1 to `most` examples, balanced over the labels, to a space.

    They are images of their own where all models take so many in a request, else a strip. Raises
    UsageError where there are too few training images, or a strip cannot show them.
    """
    chosen = _draws(task, most, seed)
    samples = list({sample.id: sample for draw in chosen for sample in draw}.values())
    place = {sample.id: i for i, sample in enumerate(samples)}
    sets = [[place[one.id] for one in draw[:size]] for draw in chosen for size in _sizes(draw)]
    several = all(takes(model, 1 + most) for model in models)
    layer = Exemplars.of(
        [(sample.pixels(), shown_text(task, sample), sample.answer) for sample in samples],
        dict.fromkeys(map(tuple, sets)),
        side=space.canvas,
        form="images" if several else "strip",
    )
    # A strip has room on a canvas of one size only.
    shape = space.shape if several else "square"
    rest = tuple(sample for sample in task.train if sample.id not in place)
    layers = [one for one in space.layers if one.kind != Exemplars.kind]
    return ProposedExemplars(
        PromptSpace((*layers, layer), space.canvas, shape), replace(task, train=rest)
    )


def shown_text(task: Task, sample: Sample) -> str:
    """What follows an example: its question and its answer."""
    return f"{task.ask(sample)}\nAnswer: {sample.answer}"


def takes(model: Model, images: int) -> bool:
    """Whether a model takes so many images in a request.

    A local model is tried, which costs nothing; of an endpoint counts what is known of it.
    """
    if not model.is_endpoint:
        model.probe_images(images, Budget())
    return model.capabilities.images >= images


def seen_elsewhere(samples: Sequence[Sample], task: Task) -> set[str]:
    """The ids of those samples whose picture validation or test hold too, or one like it."""
    held = fingerprints((*task.validation, *task.test)).by_image
    if not held:
        return set()
    twice = repeated(fingerprints(samples).of(samples), list(held.values())).places
    return {samples[place].id for place in twice}


def check_exemplars(space: PromptSpace, task: Task) -> None:
    """Raise UsageError if a space shows a test image as an example, pixel by pixel or alike."""
    for layer in space.layers:
        if isinstance(layer, Exemplars) and layer.pictures:
            _check_layer(layer, task)


def largest_context(space: PromptSpace, points: Iterable[Vector]) -> Context:
    """What a space shows before an image at most, of these points."""
    return max((space.context(z) for z in points), key=len)


def describe_exemplars(space: PromptSpace) -> Iterator[str]:
    """Say what showing training images means; nothing for a space that shows none."""
    for layer in space.layers:
        if isinstance(layer, Exemplars):
            how = "before every image" if layer.form == "images" else "in a strip on every image"
            yield (
                f"up to {layer.most} training images with their answers are sent {how}, to every "
                "model that is asked, and will lie inside the bundle (contains_data)"
            )


def _check_layer(layer: Exemplars, task: Task) -> None:
    shown = [
        fingerprint(layer.pixels(one)) for one in layer.exemplars if one.file in layer.pictures
    ]
    prints = fingerprints(task.test)
    readable = [one for one in task.test if image_key(one) in prints.by_image]
    alike = repeated(prints.of(readable), shown).places
    for place, sample in enumerate(readable):
        # A picture that was made smaller may be too faint to be found alike.
        if place in alike or layer.shows(sample.pixels()):
            raise UsageError(
                f"an exemplar is the test image {sample.id!r}: a proof would see its answer; take "
                "exemplars from the training split"
            )


def _sizes(draw: Sequence[Sample]) -> range:
    return range(1, len(draw) + 1)


def _draws(task: Task, most: int, seed: int) -> list[list[Sample]]:
    """`DRAWS` orders of `most` examples each, without an image twice."""
    pools = _pools(task, most, seed)
    available = sum(map(len, pools.values()))
    draws = min(DRAWS, available // most, len(task.train) // (2 * most))
    if draws < 1:
        raise UsageError(
            f"--exemplars {most} would take more than half of the {len(task.train)} training "
            f"images of {task.name}, or there are not enough that no other split holds; give fewer"
        )
    used: set[str] = set()
    return [_drawn(pools, most, used, seed=seed, number=number) for number in range(draws)]


def _drawn(
    pools: Mapping[str, Sequence[Sample]], most: int, used: set[str], *, seed: int, number: int
) -> list[Sample]:
    """An order that goes through the labels in turn; adds its images to `used`."""
    names = sorted(pools)
    turn = [names[i] for i in stream(seed, "exemplars", number).permutation(len(names))]
    found: list[Sample] = []
    while len(found) < most:
        before = len(found)
        for name in turn:
            sample = next((one for one in pools[name] if one.id not in used), None)
            if sample is not None and len(found) < most:
                used.add(sample.id)
                found.append(sample)
        if len(found) == before:
            break
    return found


def _pools(task: Task, most: int, seed: int) -> dict[str, list[Sample]]:
    """Training images by answer, or all together where answers are free.

    Those that validation or test hold too are left out. Raises UsageError for a label without any.
    """
    order = stream(seed, "exemplars", "images").permutation(len(task.train))
    pools: dict[str, list[Sample]] = {label: [] for label in task.labels or ("",)}
    for i in order:
        sample = task.train[i]
        pool = pools.setdefault(sample.answer if task.labels else "", [])
        if len(pool) < _SPARE * DRAWS * most:
            pool.append(sample)
    dropped = seen_elsewhere([sample for pool in pools.values() for sample in pool], task)
    for label, pool in pools.items():
        pools[label] = [sample for sample in pool if sample.id not in dropped]
        if not pools[label]:
            raise UsageError(
                f"there is no training image of {label!r} to show as an example that validation "
                "and test do not hold; add one, or leave out --exemplars"
            )
    return pools
