"""Floor 7: a registry of prompts, with what holds on which model.

>>> from bbtvp.registry import PromptRegistry
>>> registry = PromptRegistry.create("memory://prompts-of-the-registry-room")
>>> registry.search(task="digits")
[]
"""

from bbtvp.registry.entries import RegistryEntry as RegistryEntry
from bbtvp.registry.registry import PromptRegistry as PromptRegistry
