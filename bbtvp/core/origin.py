"""Where a task or a model came from: what was typed, so that it can be loaded again."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, final

_PROGRAM = "exec"
"""The provider whose names are commands."""

_PATH = re.compile(
    r"(?P<before>(?:[^/\\]+/)*?)(?P<path>(?:\.{0,2}|~[^/\\]*|[A-Za-z]:)[/\\].*)", re.DOTALL
)
"""A path in a name, also behind the name of another provider."""


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


def without_paths(spec: str) -> str:
    r"""The name of a model as others may read it: of a file or a folder the last part only.

    What begins with `/`, `./`, `../`, `~` or a drive is a path, and so is every word with a slash
    in the command of a program. What is left can be loaded from within the folder that was left
    out; which weights it meant is said by the version that stands beside the name.

    >>> without_paths("hf//data/models/llava-mini"), without_paths("hf/llava-hf/llava-1.5-7b-hf")
    ('hf/./llava-mini', 'hf/llava-hf/llava-1.5-7b-hf')
    >>> without_paths("exec/python /home/me/read.py --fast")
    'exec/python ./read.py --fast'
    """
    provider, slash, name = spec.partition("/")
    if provider == _PROGRAM:
        return provider + slash + " ".join(map(_program_word, name.split(" ")))
    found = _PATH.match(name)
    if found is None:
        return spec
    return f"{provider}/{found['before']}./{_last_part(found['path'])}"


def is_among(spec: str, names: Collection[str]) -> bool:
    """Whether a model is one of the named ones: by its own name, or by that without its path."""
    return spec in names or without_paths(spec) in names


def _program_word(word: str) -> str:
    return f"./{_last_part(word)}" if "/" in word or "\\" in word else word


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
