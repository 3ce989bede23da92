"""A check of a prompt: the journal, the budget and the models of the proof and of the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, final

from bbtvp.core.errors import UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.models import AnyModel, Budget, MeteredModel, Model, as_model, probe_model
from bbtvp.prompt import Prompt
from bbtvp.runs.journal import Journal
from bbtvp.runs.proofs import FOLDER as PROOFS
from bbtvp.runs.proofs import check_document, check_folder
from bbtvp.search import Reader, choose_reader
from bbtvp.search.events import silent
from bbtvp.tasks import Sample, Task
from bbtvp.verify.events import CheckPlanned, ModelProbed


class CheckCost(NamedTuple):
    """What a check cost in all processes that worked on it.

    Image queries, the failed ones among them, the refused ones among the failed, and US dollars.
    """

    queries: int
    failed: int
    refused: int
    usd: float


class CheckOptions(TypedDict, total=False):
    """Options that the proof and the checks share; all of them may be left out.

    reader ("auto"), normalise ("mean"): how replies are read, as `choose_reader` takes them. usd
    (None): the most that all models together may cost, in US dollars. seed (0): of the random
    draws. out (None): a run folder, in whose `CHECK/` part the journal and the results lie, so that
    the same call resumes; None keeps the journal in memory. watch: is called with every event of
    the check.
    """

    reader: str
    normalise: str
    usd: float | None
    seed: int
    out: Path | str | None
    watch: Callable[[Any], None]


@final
class CheckSession:
    """One check of a prompt on a task. Use it as a context, which holds the journal's file.

    check: its name, such as "robustness". The other arguments are `CheckOptions`.
    """

    def __init__(
        self,
        check: str,
        prompt: Prompt,
        task: Task,
        *,
        reader: str = "auto",
        normalise: str = "mean",
        usd: float | None = None,
        seed: int = 0,
        out: Path | str | None = None,
        watch: Callable[[Any], None] = silent,
    ) -> None:
        if prompt.is_identity and check != PROOFS:
            raise UsageError(
                "the prompt is the identity, which changes no image: there is nothing to check; "
                "give the bundle of a search that improved, or one of --keep-best"
            )
        self.check = check
        self.prompt = prompt
        self.task = task
        self.seed = seed
        self.watch = watch
        self._reader = reader
        self._normalise = normalise
        self._usd = usd
        self.folder = (
            None
            if out is None
            else check_folder(Path(out).expanduser(), check, prompt.digest, task.digest)
        )
        config = {
            "task": task.digest,
            "prompt": prompt.digest,
            "reader": reader,
            "normalise": normalise,
        }
        if check != PROOFS:  # the journals of proofs have never named their check
            config = {"check": check, **config}
        self._closing = ExitStack()
        self._journal = Journal(config, self.folder)
        self.resumed = self._journal.spent.total()
        """Image queries that earlier processes sent."""

    def __enter__(self) -> CheckSession:
        self._closing.enter_context(self._journal)
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    def model(self, given: AnyModel) -> MeteredModel:
        """The model behind the journal, probed if it is an endpoint.

        Raises as `as_model` and `probe_model` do, and UsageError for one that takes fewer images in
        a request than the prompt shows.
        """
        model = as_model(given)
        journal = self._journal
        usd_left = None if self._usd is None else self._usd - journal.usd
        probe = probe_model(model, Budget(usd_cap=usd_left))
        if probe is not None:
            journal.write_probe(model.spec, probe)
            self.watch(ModelProbed(model.spec, probe.findings))
        budget = journal.budget(usd_cap=self._usd)
        budget.phase = f"{self.check} {model.spec}"
        metered = MeteredModel(model, journal, budget=budget)
        metered.need_images(1 + len(self.prompt.context()))
        return metered

    def reader(self, model: Model, task: Task | None = None) -> Reader:
        """How the model's replies are read; task: another than the session's."""
        return choose_reader(self._reader, model, task or self.task, normalise=self._normalise)

    def announce(self, queries: int) -> None:
        """Tell how many image queries the check sends at most, before the first is sent."""
        self.watch(CheckPlanned(self.check, queries, self.resumed))

    def save(self, document: Mapping[str, Any]) -> None:
        """Keep the results in the folder, if there is one, under the name of the check."""
        if self.folder is not None:
            atomic_write_json(self.folder / check_document(self.check), document)

    @property
    def cost(self) -> CheckCost:
        """What the check cost so far."""
        journal = self._journal
        return CheckCost(journal.spent.total(), journal.failed, journal.refused, journal.usd)


def held_out(task: Task, limit: int | None) -> tuple[Sample, ...]:
    """The first `limit` test samples, all of them without a limit.

    UsageError for a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(
            f"a limit of {limit} leaves no test samples; give at least 1 (--limit 100)"
        )
    return task.test[:limit]
