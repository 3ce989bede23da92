"""Searches from a jobs file as one batch: models, rate limits and the response store are shared.

OUT/jobs.json               the jobs: {"schema": "bbtvp.jobs/1", "jobs": [{"name", "folder", …}]}
OUT/<folder>/               the run folder of a job; result.json is there once the job is finished
OUT/<folder>/failure.json   why it is not finished: {"error", "exit_code", "when"}
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import final

from bbtvp.core.digest import canonical_json
from bbtvp.core.errors import BudgetReached, UsageError
from bbtvp.core.files import atomic_write_json
from bbtvp.core.origin import Origin
from bbtvp.jobs.job import SearchJob
from bbtvp.jobs.result import result
from bbtvp.jobs.runner import Batch, BatchWatch, Document, JobResult, JobWatch, run_batch
from bbtvp.runs.folder import BUNDLE, RESULT
from bbtvp.search.events import silent
from bbtvp.search.optimize import Run
from bbtvp.search.recipe import Loader
from bbtvp.verify import Proof, verify

SCHEMA = "bbtvp.jobs/1"
JOBS = "jobs.json"
LOCK = "jobs"
"""Name of the lock of a folder of jobs."""


def run_jobs(
    jobs: Sequence[SearchJob],
    folder: Path,
    *,
    every: Sequence[SearchJob] | None = None,
    parallel: int = 1,
    loader: Loader | None = None,
    watch: BatchWatch = silent,
) -> list[JobResult[SearchJob]]:
    """Run jobs, each in its own folder below `folder`; what became of each, in their order.

    A job that is finished is not run again, and one that was killed goes on. A job that fails is
    reported, and the others go on.

    every: all jobs of the batch, if only some of them are to run now. parallel: jobs at once, in
    threads that share the loaded models. watch: see `bbtvp.jobs.runner.run_batch`, whose errors
    this raises too.

    Jobs of the same models follow each other, so that few models are in memory at a time.
    """
    folder = folder.expanduser()
    batch = _SearchBatch(folder, jobs, every or jobs, loader or Loader())
    first = {job.models: place for place, job in reversed(list(enumerate(jobs)))}
    ordered = sorted(jobs, key=lambda job: first[job.models])
    ended = {one.job.name: one for one in run_batch(batch, ordered, parallel=parallel, watch=watch)}
    return [ended[job.name] for job in jobs]


def finished(job: SearchJob, folder: Path) -> Document | None:
    """The result of a job that is finished as it is described now, None otherwise."""
    try:
        document: Document = json.loads((folder / job.folder / RESULT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    try:
        same = SearchJob.of(document["job"]) == job
    except (LookupError, TypeError, ValueError, UsageError):  # another version wrote it
        return None
    return document if same else None


@final
class _SearchBatch(Batch[SearchJob]):
    """Searches with their proofs. Lets go of each model after the last job that needs it."""

    lock = LOCK

    def __init__(
        self, folder: Path, jobs: Sequence[SearchJob], every: Sequence[SearchJob], loader: Loader
    ) -> None:
        self.folder = folder
        self._every = every
        self._jobs = jobs
        self._loader = loader
        self._needed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def prepare(self) -> None:
        left = [job for job in self._jobs if self.finished(job) is None]
        self._needed.update(key for job in left for key in _model_keys(job))
        rows = [{"folder": job.folder, **job.described()} for job in self._every]
        atomic_write_json(self.folder / JOBS, {"schema": SCHEMA, "jobs": rows})

    def place(self, job: SearchJob) -> Path:
        return self.folder / job.folder

    def finished(self, job: SearchJob) -> Document | None:
        return finished(job, self.folder)

    def abandon(self) -> None:
        for model in self._loader.models:
            model.abandon()

    def run(self, job: SearchJob, watch: JobWatch) -> Document:
        try:
            return self._search_and_prove(job, watch)
        finally:
            self._release_models(job)

    def _search_and_prove(self, job: SearchJob, watch: JobWatch) -> Document:
        began = time.monotonic()
        place = self.place(job)
        run = job.recipe.search(out=place, loader=self._loader, watch=watch)
        proof, *others = self._proofs(job, run, watch) or [None]
        document = result(
            run,
            proof,
            task=run.task.name,
            seed=job.search.seed,
            prompt=str(place / BUNDLE),
            seconds=time.monotonic() - began,
        )
        for other in filter(None, others):
            document["queries"]["verify"] += other.queries
            document["queries"]["failed"] += other.failed
            document["queries"]["refused"] += other.refused
            document["usd"] = round((document["usd"] or 0.0) + other.usd, 6) or None
        document["also"] = [
            {"task": other.task, "models": other.as_json()} for other in others if other
        ]
        document["job"] = job.described()
        atomic_write_json(place / RESULT, document)
        return dict(json.loads(json.dumps(document)))  # as a later process reads it

    def _proofs(self, job: SearchJob, run: Run, watch: JobWatch) -> list[Proof | None]:
        """The proof on the task of the search, then those on the other tasks.

        Empty if the job wants no proof.
        """
        if not job.proved_on:
            return []
        models = [self._loader.model(job.origin(spec)) for spec in job.proved_on]
        tasks = [run.task, *(self._loader.task(Origin(spec)) for spec in job.also)]
        proofs: list[Proof | None] = []
        spent = run.usd
        for task in tasks:
            left = None if job.search.usd is None else job.search.usd - spent
            if left is not None and left <= 0:
                raise BudgetReached(
                    f"${job.search.usd:g} are spent; nothing is left for the proof on {task.name}; "
                    "raise usd"
                )
            proof = verify(
                run.prompt,
                task,
                models,
                source=[model.spec for model in run.models],
                reader=job.search.reader,
                usd=left,
                seed=job.search.seed,
                out=self.place(job),
                watch=watch,
            )
            spent += proof.usd
            proofs.append(proof)
        return proofs

    def _release_models(self, job: SearchJob) -> None:
        with self._lock:
            for key, model in _model_keys(job).items():
                self._needed[key] -= 1
                if self._needed[key] == 0:
                    self._loader.release(model)


def _model_keys(job: SearchJob) -> dict[str, Origin]:
    """The models that a job needs, each by a key that tells its options too."""
    specs = {*job.models, *job.proved_on}
    return {_key_of(origin): origin for origin in map(job.origin, specs)}


def _key_of(model: Origin) -> str:
    return canonical_json([model.spec, dict(model.options)])
