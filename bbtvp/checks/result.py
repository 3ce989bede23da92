"""What the results of all checks have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bbtvp.verify.session import CheckCost


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check: on which task, of which prompt (its digest), and at what cost."""

    task: str
    prompt: str
    cost: CheckCost

    def document(self, schema: str, **parts: Any) -> dict[str, Any]:
        """The JSON document of this schema, with the `parts` of one kind of check."""
        about = {"schema": schema, "task": self.task, "prompt": self.prompt}
        return {**about, **parts, **self.cost._asdict()}
