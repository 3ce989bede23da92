"""A file of jobs, TOML: single jobs, and grids in which any key may be a list.

    [defaults]                      # of every job in this file
    queries = 1000

    [models."openai/gpt-6-luna"]        # options of a model, as -M
    rpm = 500

    [[grid]]                        # every combination: 2 tasks × 2 models × 3 seeds
    task = ["zoo/shapes-dark", "photos/"]
    model = ["zoo/llava", "openai/gpt-6-luna"]
    seed = [0, 1, 2]
    verify = true                   # lists of verify and also are never multiplied

    [[grid]]
    task = "suite/wide-dev"         # a suite is the list of its tasks; see bbtvp.zoo.suites
    model = "zoo/llava"

    [[job]]                         # one job; a list of models is one search on several
    name = "both"
    task = "photos/"
    model = ["zoo/llava", "zoo/paligemma"]

A key is taken from the command line, else from the environment (BBTVP_JOB_QUERIES), else from the
file's job or grid, else from its defaults, else it is `bbtvp optimize`'s.
"""

from __future__ import annotations

import itertools
import os
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bbtvp.core.errors import UsageError, unknown
from bbtvp.jobs.job import KEYS, SearchJob
from bbtvp.runs.upgrade import REMOVED
from bbtvp.search.config import OLD_NAMES
from bbtvp.zoo.suites import expanded

VARIABLE = "BBTVP_JOB_"
_TABLES = ("defaults", "models", "grid", "job")
_OF_TASKS = ("task", "also")
"""Keys that take a suite."""

_WHOLE = ("verify", "also")
"""Keys of a grid whose lists are values, and are not multiplied."""


def read_jobs(path: Path, given: Mapping[str, Any] | None = None) -> list[SearchJob]:
    """The jobs of a file: single jobs in their order, then grids, the last key fastest.

    given: values from a command line, which take precedence. Raises UsageError that names the file,
    the job and the key, and the nearest name where one is unknown.
    """
    content = _content(path)
    above = {**_environment(), **(given or {})}
    rows = [*_single(path, content), *_multiplied(path, content)]
    if not rows:
        raise UsageError(
            f"{path} has no job: add a [[job]] or a [[grid]] with at least task and model"
        )
    for key in above:
        if key not in {*KEYS, *REMOVED, *OLD_NAMES} or key == "name":
            raise unknown("key of a job", key, KEYS - {"name"})
    models = _table(path, content, "models")
    jobs = [_job(path, where, {**row, **above}, models) for where, row in rows]
    twice = [name for name, count in Counter(job.folder for job in jobs).items() if count > 1]
    if twice:
        raise UsageError(
            f"{path}: {twice[0]!r} is the name of more than one job; give each a name of its own"
        )
    return jobs


def _content(path: Path) -> dict[str, Any]:
    """The tables of the file."""
    try:
        # "sig": Windows' editors begin a file with a byte order mark.
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}; see bbtvp run --help for an example") from error
    for table in content:
        if table not in _TABLES:
            raise UsageError(f"{path}: {unknown('table', table, _TABLES)}")
    return content


def _environment() -> dict[str, str]:
    """Keys of jobs from environment variables."""
    return {
        name.removeprefix(VARIABLE).lower(): value
        for name, value in sorted(os.environ.items())
        if name.startswith(VARIABLE)
    }


def _table(path: Path, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} must be a table, [{name}]")
    return table


def _tables(path: Path, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    tables = content.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path}: {name} must be written with two brackets, [[{name}]]")
    return tables


_NamedRow = tuple[str, dict[str, Any]]
"""Where a job stands in the file, for errors, and its keys."""


def _single(path: Path, content: Mapping[str, Any]) -> Iterator[_NamedRow]:
    defaults = _table(path, content, "defaults")
    for number, table in enumerate(_tables(path, content, "job"), start=1):
        row = _with_suites(path, {**defaults, **table})
        if isinstance(row.get("task"), list):
            raise UsageError(
                f"{path}, job {number}: a job has one task; write [[grid]] for a job on each of "
                "several"
            )
        named = row.get("name") or "-".join(_words(row, ("task", "model")))
        yield f"job {number} ({named})", {**row, "name": named}


def _multiplied(path: Path, content: Mapping[str, Any]) -> Iterator[_NamedRow]:
    defaults = _with_suites(path, _table(path, content, "defaults"))
    for number, written in enumerate(_tables(path, content, "grid"), start=1):
        table = _with_suites(path, written)
        lists = {
            key: value
            for key, value in table.items()
            if isinstance(value, list) and key not in _WHOLE
        }
        for key, values in lists.items():
            if not values:
                raise UsageError(
                    f"{path}, grid {number}: {key} is an empty list, and leaves no job"
                )
        for chosen in itertools.product(*lists.values()):
            row = {**defaults, **table, **dict(zip(lists, chosen, strict=True))}
            words = [table["name"]] if "name" in table else []
            words += _words(row, ("task", "model"))
            words += _words(row, [key for key in lists if key not in ("task", "model")])
            name = "-".join(words)
            yield f"grid {number} ({name})", {**row, "name": name}


def _with_suites(path: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row, with the tasks of a suite in place of its name."""
    found = dict(row)
    for key in _OF_TASKS:
        given = found.get(key)
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            continue  # a row that is not valid is refused with its key, later
        try:
            tasks = expanded(names)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        if tasks != names:
            found[key] = tasks
    return found


def _words(row: Mapping[str, Any], keys: tuple[str, ...] | list[str]) -> list[str]:
    """The words of a job's name for some of its keys."""
    words = []
    for key in keys:
        value = row.get(key)
        if isinstance(value, list):
            words.append("+".join(map(str, value)))
        elif key in ("task", "model", "method", "prompt", "surrogate"):
            words.append(str(value))
        else:
            words.append(f"{key}={value}")
    return words


def _job(path: Path, where: str, row: Mapping[str, Any], models: Mapping[str, Any]) -> SearchJob:
    own = {**models, **row["own"]} if isinstance(row.get("own"), dict) else models
    try:
        return SearchJob.of({**row, "own": own})
    except ValidationError as error:
        raise UsageError(f"{path}, {where}: {_explained(error)}") from error
    except UsageError as error:
        raise UsageError(f"{path}, {where}: {error}") from error


def _explained(error: ValidationError) -> str:
    """The first fault, and how many others there are."""
    faults = error.errors(include_url=False)
    first = faults[0]
    key = ".".join(map(str, first["loc"][:1]))
    if first["type"] == "missing":
        said = f"{key} is missing"
    else:
        said = f"{key} = {first['input']!r}: {first['msg']}"
    others = len({fault["loc"][:1] for fault in faults}) - 1
    return said + (f" (and {others} more)" if others else "")
