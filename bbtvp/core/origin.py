"""Where a task or a model came from: what was typed, so that it can be loaded again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass(frozen=True)
class Origin:
    """A spec and the options it was loaded with; both JSON.

    Options hold no secrets: keys are read from environment variables.
    """

    spec: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: str, options: Mapping[str, Any]) -> Origin:
        """As called: what is no JSON (a path, say) becomes text, which every loader takes too."""
        return cls(spec, json.loads(json.dumps(dict(options), default=str)))
