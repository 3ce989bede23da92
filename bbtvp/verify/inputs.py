"""What the proof and the checks are given, in whatever form: prompts, tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

from bbtvp.core.errors import UsageError
from bbtvp.prompt import Prompt, bundle
from bbtvp.runs.folder import bundle_path
from bbtvp.tasks import Task
from bbtvp.tasks.loaders import is_table
from bbtvp.tasks.registry import load_task

AnyPrompt: TypeAlias = Prompt | str | Path
"""A prompt, or the path of a bundle or of a run folder that holds one."""

AnyTask: TypeAlias = Task | str | Path
"""A task, or what `load_task` takes."""


@final
class OpenedPrompt(NamedTuple):
    """A prompt, and what its bundle says of its origin; empty for a prompt that came without."""

    prompt: Prompt
    facts: Mapping[str, Any]

    def task(self, given: AnyTask, **options: Any) -> Task:
        """The task that is given, or loaded with these options of `load_task`.

        A folder or a file is by default asked the question that the prompt was searched with, and
        scored as there; a table takes the labels of that search.
        """
        if isinstance(given, Task):
            return given
        path = Path(given).expanduser() if isinstance(given, str | Path) else None
        found = dict(options)
        if path is not None and path.exists():
            names = ("question", "metric", "max_tokens")
            known = {name: self.facts[name] for name in names if self.facts.get(name)}
            if is_table(path.name) and known.get("question"):
                known["labels"] = self.facts.get("labels") or ()  # without any: free answers
            found = known | found
        return load_task(given, **found)


def open_prompt(given: AnyPrompt, *, signed_by: Sequence[str] = ()) -> OpenedPrompt:
    """The prompt that is given, or in a bundle.

    signed_by: as of `Prompt.load`. Raises BundleError for a bundle that cannot be read or that none
    of these keys signed, UsageError for anything else.
    """
    if isinstance(given, Prompt):
        return OpenedPrompt(given, {})
    if not isinstance(given, str | Path):
        raise UsageError(
            f"a prompt of type {type(given).__name__}; give run.prompt, or the path of a bundle"
        )
    path = bundle_path(given)
    return OpenedPrompt(Prompt.load(path, signed_by=signed_by), bundle.read(path).meta)
