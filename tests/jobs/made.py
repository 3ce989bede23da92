"""Small finished runs in folders, on image files and models that can be named again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bbtvp.core.origin import Origin
from bbtvp.models import Model, load_model
from bbtvp.runs.records import FILE
from bbtvp.search import Run, optimize
from bbtvp.tasks.registry import load_task
from bbtvp.verify import verify
from tests.support import folder_of_patterns


def images(root: Path = Path("images")) -> Path:
    """The task, made once."""
    return root if root.exists() else folder_of_patterns(root, per_class=20)


def made(folder: Path | str, models: Sequence[Model] = (), **options: Any) -> Run:
    """A run of about 100 image queries. Models made in Python are given an origin that cannot be
    loaded.
    """
    asked = list(models) or [load_model("eye/near")]
    for model in asked:
        model.origin = model.origin or Origin(f"gone/{model.spec}")
    called: dict[str, Any] = {"budget": 100, "prompt": "tone", "images": 2, **options}
    return optimize(load_task(str(images())), asked, out=folder, **called)


def proved(folder: Path | str, *models: str) -> None:
    """The proof of a run, in its folder."""
    from bbtvp.prompt import Prompt

    prompt = Prompt.load(Path(folder) / "prompt.vprompt")
    verify(prompt, str(images()), models or ("eye/near",), source="eye/near", out=folder)


def lines(folder: Path | str) -> list[dict[str, Any]]:
    """The records of a journal."""
    return [json.loads(line) for line in (Path(folder) / FILE).read_bytes().splitlines()]


def rewrite(folder: Path | str, records: Sequence[dict[str, Any]]) -> None:
    (Path(folder) / FILE).write_text("".join(json.dumps(record) + "\n" for record in records))


def edit(path: Path | str, **changes: Any) -> None:
    """Change keys of the object in a JSON file."""
    document = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps({**document, **changes}))
