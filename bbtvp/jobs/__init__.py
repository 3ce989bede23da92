"""Floor 7: many runs from one file; status, reproduction and comparison of runs.

>>> jobs = read_jobs(Path("jobs.toml"))
>>> run_jobs(jobs, Path("runs/friday"), parallel=4)
"""

from bbtvp.jobs.file import read_jobs as read_jobs
from bbtvp.jobs.job import SearchJob as SearchJob
from bbtvp.jobs.run import run_jobs as run_jobs
