"""How members are trained: every number that their weights depend on."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class TrainingRecipe(NamedTuple):
    """The same recipe gives the same weights on one kind of CPU.

    family: the architecture, a key of `FAMILIES`. seed: of the scenes, of their order and of the
    first weights. perception, instruction: steps of the two stages. refinement: steps of more
    instruction, after it and with a rise and fall of the rate of its own. scenes: size of the pool
    of training scenes. batch: scenes of a step. threads: of the CPU, on which the order of sums
    depends; 0 for all.
    """

    family: str
    seed: int = 0
    perception: int = 1500
    instruction: int = 700
    refinement: int = 0
    scenes: int = 60_000
    batch: int = 96
    threads: int = 0


RECIPES: Mapping[str, TrainingRecipe] = MappingProxyType(
    {
        "llava-seed1": TrainingRecipe(
            "llava", seed=1, perception=2500, instruction=1600, threads=1
        ),
        "gemma3": TrainingRecipe(
            "gemma3", seed=2, perception=1500, instruction=800, refinement=600, threads=1
        ),
        "llava-dinov2": TrainingRecipe(
            "llava-dinov2", seed=3, perception=1500, instruction=800, threads=1
        ),
    }
)
"""The recipes by which members were trained, as far as they were recorded."""

REACHED: Mapping[str, float] = MappingProxyType(
    {"llava-seed1": 95.6, "gemma3": 85.5, "llava-dinov2": 87.4}
)
"""Mean accuracy (%) on the clean tasks that each recipe reached: that of the shipped weights."""


def recipe_of(name: str) -> TrainingRecipe:
    """The recorded recipe of a member, or else the trainer's defaults for its architecture."""
    return RECIPES.get(name) or TrainingRecipe(name)
