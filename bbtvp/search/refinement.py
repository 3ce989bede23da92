"""A search that begins from a prompt that there is: what `--start BUNDLE` changes.

The space and z are the prompt's own. The optimiser's first candidates lie within `STEP` of that z,
and it widens only where wider candidates do better. On validation the images as they are, the start
and what was found are all asked; another takes the place of the start only if it is better by more
than the noise of the paired differences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, final

from bbtvp.core.arrays import Vector
from bbtvp.core.errors import UsageError
from bbtvp.core.files import atomic_write
from bbtvp.models import Model
from bbtvp.prompt import Exemplars, Prompt, PromptSpace, bundle
from bbtvp.runs.folder import bundle_path
from bbtvp.search.config import SearchConfig
from bbtvp.search.exemplars import takes
from bbtvp.search.methods import takes_whole_layers
from bbtvp.tasks import Sample, Task
from bbtvp.tasks.overlap import Fingerprint, fingerprint, fingerprints, repeated

Outcome: TypeAlias = Literal["refined", "start", "identity"]
"""What a refinement ends with: a better prompt, the start as it was, or images as they are."""

STEP = 0.4
"""Standard deviation of the first candidates around the start, in units of z, where a search
without a start has 1.
"""

REACH = 8.0
"""How many of these the search may go from the start in each variable: as far as any other."""

GP_OPTIONS: Mapping[str, Any] = MappingProxyType({"reach": REACH, "pull": 0.03})
"""What `gp` is told beside its step."""


def open_start(config: SearchConfig) -> Prompt | None:
    """The prompt of `config.start`, None without one.

    Raises BundleError for a bundle that cannot be read, and UsageError for the identity, of which
    nothing can be refined, and for a method that would choose among examples that the bundle does
    not hold.
    """
    if config.start is None:
        return None
    prompt = Prompt.load(bundle_path(config.start))
    if prompt.is_identity:
        raise UsageError(
            f"{config.start} leaves every image as it is, and nothing of it can be refined; search "
            "without --start"
        )
    if takes_whole_layers(config.method) and _shows_examples(prompt.space):
        raise UsageError(
            "the bundle holds only the examples that its prompt shows, and this method would try "
            "others; refine it with the usual --method"
        )
    return prompt


def check_images(prompt: Prompt, models: Sequence[Model]) -> None:
    """Raise UsageError if a local model takes fewer images in a request than the prompt shows."""
    held = 1 + len(prompt.context())
    for model in models:
        if not model.is_endpoint and not takes(model, held):
            raise UsageError(
                f"the prompt of --start shows {held - 1} images before each, and {model.spec} "
                f"takes at most {model.capabilities.images} in a request; name another model"
            )


def without_shown(task: Task, space: PromptSpace) -> Task:
    """The task without the training and validation images that the space shows as examples.

    UsageError if none are left.
    """
    shown = [
        fingerprint(layer.pixels(one))
        for layer in space.layers
        if isinstance(layer, Exemplars)
        for one in layer.exemplars
        if one.file in layer.pictures
    ]
    if not shown:
        return task
    train = _others(task.train, shown)
    validation = _others(task.validation, shown)
    if not train or not validation:
        raise UsageError(
            f"the prompt of --start shows all training or validation images of {task.name} as "
            "examples; give more images"
        )
    return replace(task, train=train, validation=validation)


def alternatives(space: PromptSpace, start: Vector) -> list[Vector]:
    """The start first, then the start with one of the choices that a layer proposes.

    The examples stay: a bundle holds no others.
    """
    layers = {layer.kind: layer for layer in space.layers}
    points = [start]
    for layer in space.layers:
        if isinstance(layer, Exemplars):
            continue
        for proposed in layer.starts(layers):
            z = start
            for kind, part in proposed.items():
                z = space.embed(part, (kind,), z)
            if not any((z == one).all() for one in points):
                points.append(z)
    return points


@final
class StartedFrom(NamedTuple):
    """What a run keeps of its start: its bundle, and what became of it.

    digest: of the bundle. licence: as the bundle has it.
    """

    path: Path
    digest: str
    licence: str | None
    outcome: Outcome

    @classmethod
    def of(cls, start: str, outcome: Outcome) -> StartedFrom:
        """Of the bundle at this path, which is read once more."""
        path = bundle_path(start)
        found = bundle.read(path)
        return cls(path, found.digest, found.about.licence, outcome)

    @property
    def facts(self) -> dict[str, str]:
        """What the bundle of a refined prompt says of it."""
        if self.outcome != "refined":
            return {}
        licence = {} if self.licence is None else {"licence": self.licence}
        return {"parent": self.digest, **licence}

    def copy(self, path: Path) -> None:
        """Write the start as it was."""
        if self.path.is_file() and path.suffix == bundle.SUFFIX:
            atomic_write(path, self.path.read_bytes())
        else:
            bundle.write(path, bundle.read(self.path))

    def __str__(self) -> str:
        said = {
            "refined": "the refined prompt is better than the start on validation",
            "start": "no refinement is better than the start by more than the noise: the bundle "
            "is the start as it was",
            "identity": "the images as they are do better than the start: the bundle leaves them "
            "so",
        }
        return said[self.outcome]


def _others(samples: Sequence[Sample], shown: Sequence[Fingerprint]) -> tuple[Sample, ...]:
    found = repeated(fingerprints(samples).of(samples), shown).places
    return tuple(sample for i, sample in enumerate(samples) if i not in found)


def _shows_examples(space: PromptSpace) -> bool:
    return any(isinstance(layer, Exemplars) for layer in space.layers)
