"""What `bbtvp report` costs on a long run.

    python tests/benchmarks/report.py [--queries 100000] [--runs 5] [--keep FOLDER]

A search of so many image queries on zoo/shapes-dark, by a model that guesses, and its proof on 500
test images; then the page of it, each time in a process of its own, with the gallery, for which the
task is loaded and images rendered again. Wall and CPU time with the start of Python, memory, and
size of the page, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bbtvp.core.rng import stream
from bbtvp.models import Budget, Capabilities, LabelScore, Model, Outcome, Reply, Request
from bbtvp.prompt import Prompt
from bbtvp.runs.folder import BUNDLE
from bbtvp.search import optimize
from bbtvp.verify import verify

TASK = "zoo/shapes-dark"


class Guess(Model):
    """Log-probabilities drawn by the request."""

    spec = "bench/guess"
    capabilities = Capabilities(logprobs=True, deterministic=True, image_side=64)

    def query(self, requests: Sequence[Request], budget: Budget | None = None) -> list[Outcome]:
        return [self._guess(request) for request in requests]

    def _guess(self, request: Request) -> Outcome:
        shares = stream(0, "guess", request.key).dirichlet(np.ones(len(request.labels or ())))
        return Reply(scores=tuple(LabelScore(float(np.log(share)), 1) for share in shares))


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where the run lies, or will")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = (given.keep or Path(root)) / "run"
        if not (folder / BUNDLE).exists():
            optimize(TASK, Guess(), budget=given.queries, method="cma", out=folder)
        verify(Prompt.load(folder / BUNDLE), TASK, [Guess()], source=Guess.spec, out=folder)
        page = Path(root) / "page.html"
        walls = []
        cpus = []
        for _ in range(given.runs):
            began = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-m", "bbtvp.cli", "report", folder, "-o", page], check=True
            )
            walls.append(time.perf_counter() - began)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(
            json.dumps(
                {
                    "MB of journal": round((folder / "journal.jsonl").stat().st_size / 1e6, 1),
                    "s": round(statistics.median(walls), 2),
                    "cpu s": round(statistics.median(cpus), 2),
                    "MiB": round(after.ru_maxrss / 1024),
                    "MB of page": round(page.stat().st_size / 1e6, 2),
                    "runs": given.runs,
                }
            )
        )


if __name__ == "__main__":
    main()
