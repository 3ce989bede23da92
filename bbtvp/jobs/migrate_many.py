"""Many prompts to many models: what is loaded, in which order it is asked, and the document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from bbtvp.core.errors import BbtvpError, BudgetReached, UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.origin import without_paths
from bbtvp.jobs.migrate import MigrateOptions, Migrator, PromptToMove
from bbtvp.jobs.migrate_cost import ModelEnding
from bbtvp.jobs.migration import Migration
from bbtvp.models import Model
from bbtvp.prompt import Prompt, bundle
from bbtvp.prompt.bundle import SUFFIX
from bbtvp.runs.folder import BUNDLE, bundle_path
from bbtvp.tasks import Task
from bbtvp.verify.inputs import OpenedPrompt

SCHEMA = "bbtvp.migrate/1"
DOCUMENT = "migrate.json"
PAGE = "migrate.html"
_MANIFEST = "manifest.json"


@final
class Unmoved(NamedTuple):
    """A prompt that nothing was decided about, and why. new: "" where it is of no model."""

    prompt: str
    new: str
    why: str


@final
class LoadedPrompts(NamedTuple):
    """The prompts that can be moved, and those that cannot be loaded."""

    prompts: tuple[PromptToMove, ...]
    unmoved: tuple[Unmoved, ...]


@final
@dataclass(frozen=True)
class MigrationReport:
    """What became of all prompts on all new models.

    endings: a line for each model that is known to end. queries, usd: spent in all, of every
    process that worked in the folder.
    """

    old: str
    new: tuple[str, ...]
    migrations: tuple[Migration, ...]
    unmoved: tuple[Unmoved, ...]
    endings: tuple[str, ...]
    queries: int
    usd: float

    @property
    def exit_code(self) -> int:
        """0 where all is decided, 5 where something is not, 1 where something could not be done."""
        if self.unmoved:
            return 1
        return 5 if any(one.decision == "undecided" for one in self.migrations) else 0

    def as_json(self) -> dict[str, Any]:
        """The `bbtvp.migrate/1` document."""
        return {
            "schema": SCHEMA,
            "old": self.old,
            "new": list(self.new),
            "endings": list(self.endings),
            "migrations": [one.as_json() for one in self.migrations],
            "unmoved": [one._asdict() for one in self.unmoved],
            "queries": self.queries,
            "usd": round(self.usd, 6),
        }


def bundles_in(paths: Sequence[Path]) -> list[Path]:
    """The bundles at these paths: each a bundle, a run folder, or a folder of such.

    UsageError for a folder without any. A path that is nothing is kept: loading it says what is
    wrong.
    """
    found: list[Path] = []
    for given in paths:
        path = bundle_path(given)
        if not path.is_dir() or (path / _MANIFEST).exists():
            found.append(path)
            continue
        inside = sorted({*path.glob(f"*{SUFFIX}"), *path.glob(f"*/{BUNDLE}")})
        if not inside:
            raise UsageError(f"{path} holds no prompt (*{SUFFIX}); give bundles, or their folder")
        found += inside
    return list(dict.fromkeys(found))


def load_prompts(
    paths: Sequence[Path], load: Callable[[OpenedPrompt, str], Task], task: str | None
) -> LoadedPrompts:
    """Load the prompts at these paths, each with its task.

    load: gives the task of this spec for a prompt. task: for all prompts; None for the one that
    each bundle names, which must be a built-in one, or lie where the command runs. What cannot be
    loaded is listed, and the others go on.
    """
    prompts: list[PromptToMove] = []
    unmoved: list[Unmoved] = []
    for path in bundles_in(paths):
        name = path.parent.name if path.name == BUNDLE and path.parent.name else path.stem
        if any(one.name == name for one in prompts):
            name = f"{name}-{len(prompts)}"
        try:
            prompts.append(_loaded(path, name, load, task))
        except BbtvpError as error:
            unmoved.append(Unmoved(name, "", str(error)))
    return LoadedPrompts(tuple(prompts), tuple(unmoved))


def _loaded(
    path: Path, name: str, load: Callable[[OpenedPrompt, str], Task], task: str | None
) -> PromptToMove:
    prompt = Prompt.load(path)
    content = bundle.read(path)
    opened = OpenedPrompt(prompt, content.meta)
    spec = task or _named(path, content.meta)
    try:
        found = load(opened, spec)
    except BbtvpError as error:
        raise UsageError(f"{path}: its task {spec!r}: {error}; name another by --task") from error
    return PromptToMove(
        name, path, prompt, content.digest, found, content.meta, content.about.evidence
    )


def _named(path: Path, facts: Mapping[str, Any]) -> str:
    spec = facts.get("task")
    if not isinstance(spec, str) or not spec:
        raise UsageError(f"{path} names no task; give one by --task")
    if Path(spec).is_absolute() or ".." in Path(spec).parts:
        raise UsageError(
            f"{path} names a task outside this folder, {spec!r}; give it by --task if that is meant"
        )
    return spec


def migrate_all(
    loaded: LoadedPrompts,
    models: Sequence[Model],
    options: MigrateOptions,
    *,
    each: Callable[[Migration | Unmoved], None] = lambda found: None,
) -> MigrationReport:
    """Move every prompt to every model; what goes wrong with one does not stop the others.

    The document is written into the folder after each pair. each: is called with what became of
    it. A cap on money that is met leaves the rest unmoved.
    """
    migrator = Migrator(options)
    migrations: list[Migration] = []
    unmoved = list(loaded.unmoved)
    reached = ""
    for moved in loaded.prompts:
        for new in models:
            found = reached or _moved(migrator, moved, new)
            if isinstance(found, BudgetReached):
                reached = str(found)
                found = reached
            if isinstance(found, str):
                unmoved.append(Unmoved(moved.name, without_paths(new.spec), found))
                each(unmoved[-1])
                continue
            migrations.append(found)
            each(found)
            _written(options, report_of(options, models, migrator, migrations, unmoved))
    report = report_of(options, models, migrator, migrations, unmoved)
    _written(options, report)
    return report


def report_of(
    options: MigrateOptions,
    models: Sequence[Model],
    migrator: Migrator,
    migrations: Sequence[Migration],
    unmoved: Sequence[Unmoved],
) -> MigrationReport:
    """The report on what was moved so far."""
    specs = [model.spec for model in models]
    endings = [str(ModelEnding(spec)) for spec in (options.old, *specs)]
    return MigrationReport(
        without_paths(options.old),
        tuple(map(without_paths, specs)),
        tuple(migrations),
        tuple(unmoved),
        tuple(line for line in endings if line),
        migrator.queries,
        migrator.usd,
    )


def _moved(migrator: Migrator, moved: PromptToMove, new: Model) -> Migration | str | BudgetReached:
    try:
        return migrator.move(moved, new)
    except BudgetReached as error:
        return error
    except BbtvpError as error:
        return str(error)


def _written(options: MigrateOptions, report: MigrationReport) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    atomic_write_json(options.out / DOCUMENT, report.as_json())
