"""The walls of the house: imports go down only, and what the code of the package may not do.

A rule takes a `Module` and yields its faults as (line, reason). Each has negative controls below:
source that it must refuse. Tests of what an import loads run in processes of their own.
"""

from __future__ import annotations

import ast
import builtins
import graphlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PLAN = ROOT / "docs" / "architecture.md"
ROOM = re.compile(r"\| (\d+) \| `([\w/.]+)` \| .+ \|")


def room_rows(text: str) -> list[str]:
    """The rows of the table of rooms, as they are written."""
    return [line for line in text.splitlines() if ROOM.fullmatch(line)]


def floors(text: str) -> dict[str, int]:
    """Package → floor, from the table of rooms: {"bbtvp.core": 0, "bbtvp.adapters": 4, …}."""
    found = {}
    for row in room_rows(text):
        match = ROOM.fullmatch(row)
        if match is None:
            continue
        folder = match[2].removesuffix("__init__.py").rstrip("/")
        name = "bbtvp.adapters" if folder == "adapters" else folder.replace("/", ".")
        found[name] = int(match[1])
    return found


FLOORS = floors(PLAN.read_text("utf-8"))

SIDEWAYS = {
    ("bbtvp.tasks", "bbtvp.prompt.image"): "an image file is opened in one way, whoever opens it",
}
"""Imports between packages of one floor, from a package to a module, each with its reason."""

MAY_NAME_ADAPTERS = ("bbtvp.adapters", "bbtvp.zoo")
"""The zoo's miniatures are Hugging Face folders; all else finds a provider by its entry point."""

Fault = tuple[int, str]


class Module:
    """One source file: its dotted name, tree, and what its names stand for."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.tree = ast.parse(source)
        self.nodes = list(ast.walk(self.tree))

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Local name → what was imported under it: {"np": "numpy", "load": "torch.load"}."""
        found: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                tops = {alias: alias.name.split(".")[0] for alias in node.names}
                found |= {a.asname or top: a.name if a.asname else top for a, top in tops.items()}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        return found

    def dotted(self, node: ast.AST) -> str:
        """`np.random.rand` as "numpy.random.rand"; "" for what begins with neither an import nor a
        builtin.
        """
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id if hasattr(builtins, node.id) else "")
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    @cached_property
    def is_script(self) -> bool:
        tests = (ast.unparse(node.test) for node in self.tree.body if isinstance(node, ast.If))
        return "__name__ == '__main__'" in tests

    def imports(self, nodes: Iterable[ast.AST]) -> Iterator[Fault]:
        """(line, dotted name) of each import; `from a import b` is "a.b", whether b is a module or
        not.
        """
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def checkout() -> list[Module]:
    """Every module of the package, from the checkout."""
    files = [(path, path.relative_to(ROOT)) for path in ROOT.glob("bbtvp/**/*.py")]
    files += [
        (path, Path("bbtvp") / path.relative_to(ROOT)) for path in ROOT.glob("adapters/**/*.py")
    ]
    named = (
        (".".join(name.with_suffix("").parts).removesuffix(".__init__"), path)
        for path, name in files
    )
    return [Module(name, path.read_text("utf-8")) for name, path in sorted(named)]


def package(name: str) -> str:
    """The room that a dotted name lies in; an attribute of `bbtvp` lies in `bbtvp`."""
    head = ".".join(name.split(".")[:2])
    return head if head in FLOORS else "bbtvp"


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


# -- the rules -------------------------------------------------------------------------------------
def imports_go_down(module: Module) -> Iterator[Fault]:
    """Lazy imports and those for type checkers count too."""
    home = package(module.name)
    if home == "bbtvp" != module.name:
        yield 1, "stands on no floor: add its package to FLOORS"
    for line, target in module.imports(module.nodes):
        there = package(target)
        if target.startswith("."):
            yield line, "relative import: write the name in full"
        elif not within(target, "bbtvp") or there == home:
            continue
        elif there == "bbtvp.adapters" and home not in MAY_NAME_ADAPTERS:
            yield line, f"{target}: an adapter is found by its entry point, never by name"
        elif FLOORS[there] > FLOORS[home]:
            yield line, f"upward import of {target}"
        elif FLOORS[there] == FLOORS[home] and not any(
            home == a and within(target, b) for a, b in SIDEWAYS
        ):
            yield line, f"sideways import of {target}: list it with its reason, or move a wall"


def no_broad_except(module: Module) -> Iterator[Fault]:
    for node in module.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            last = node.body[-1]
            broad = any(kind is None or module.dotted(kind) in BROAD for kind in caught)
            raises_again = module.name in RAISES_AGAIN and isinstance(last, ast.Raise)
            if broad and not raises_again and module.name not in GOES_ON:
                yield node.lineno, "broad except: name what can be raised"
        if isinstance(node, ast.Call) and module.dotted(node.func) == "contextlib.suppress":
            yield from (
                (k.lineno, "broad suppress: name what")
                for k in node.args
                if module.dotted(k) in BROAD
            )


RAISES_AGAIN = {
    "bbtvp.core.files": "a half-written file is removed, whatever stopped the writing",
    "bbtvp.models.calls": "a function of somebody's own can raise anything; it is said in one line",
    "bbtvp.adapters.hf.pretrained": "a damaged folder makes transformers raise anything",
    "bbtvp.tasks.metrics": "a metric of somebody's own can raise anything; it is said in one line",
    "bbtvp.core.plugins": "the module of a plug-in can raise anything when it is imported",
}
"""Modules with a broad handler that ends in a raise, each with its reason."""
GOES_ON = {
    "bbtvp.deploy.incoming": "an application's request passes unchanged, whatever fails here",
}
"""Modules with a broad handler that goes on, each with its reason."""
BROAD = ("Exception", "BaseException", "builtins.Exception", "builtins.BaseException")


def no_packed_assignment(module: Module) -> Iterator[Fault]:
    """`a, b = 1, 2` is two lines; a swap is one."""
    for node in module.nodes:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple) and not _is_swap(target, node.value):
                yield node.lineno, "packed assignment: one line for each name"


def _is_swap(target: ast.Tuple, value: ast.Tuple) -> bool:
    return sorted(map(ast.unparse, target.elts)) == sorted(map(ast.unparse, value.elts))


def no_assert(module: Module) -> Iterator[Fault]:
    for node in module.nodes:
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert is gone under -O: raise"


def only_the_command_line_prints(module: Module) -> Iterator[Fault]:
    """Also the command lines of the zoo and of the converters, `python -m …`."""
    scripts = ("bbtvp.zoo", "bbtvp.adapters.hf.convert")
    if within(module.name, "bbtvp.cli") or (
        module.is_script and any(within(module.name, parent) for parent in scripts)
    ):
        return
    banned = (
        "print",
        "exit",
        "quit",
        "SystemExit",
        "sys.exit",
        "os._exit",
        "sys.stdout",
        "sys.stderr",
        "click.echo",
    )
    for node in module.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and module.dotted(node) in banned:
            yield node.lineno, f"{module.dotted(node)} outside the command line"


def no_global_randomness(module: Module) -> Iterator[Fault]:
    """Private generators are fine, and torch's global one inside `with torch.random.fork_rng()`,
    which puts it back.
    """
    allowed = {
        "random.Random",
        *(f"numpy.random.{name}" for name in ("Generator", "PCG64", "RandomState")),
    }
    allowed |= LENT.get(module.name, set())
    forks = [
        node
        for node in module.nodes
        if isinstance(node, ast.With) and "fork_rng(" in ast.unparse(node.items[0])
    ]
    forked = {inner for fork in forks for inner in ast.walk(fork)}
    seeds = ("torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.random.seed")
    for node in module.nodes:
        name = module.dotted(node)
        drawn = name.rpartition(".")[0] in ("random", "numpy.random") or (
            name in seeds and node not in forked
        )
        if isinstance(node, ast.Name | ast.Attribute) and drawn and name not in allowed:
            yield node.lineno, f"{name}: draw from bbtvp.core.rng.stream"


LENT = {
    "bbtvp.optim.global_random": {
        "numpy.random.get_state",
        "numpy.random.set_state",
        "random.getstate",
    }
}
"""Where global state is saved, lent and put back: that is the module's job."""


BY_NAME = {"bbtvp", "bbtvp.adapters.hf.processors", "bbtvp.cli.metric"}
"""What imports modules by name: the package its own, the processors some of transformers', the
command line the one that its user names."""


def nothing_runs_from_a_file(module: Module) -> Iterator[Fault]:
    """No pickle in any coat, no code from strings; and no import by string, which would slip
    through these rules.

    `torch.load(…, weights_only=True)` makes tensors, numbers and texts only, and raises pickle's
    error for the rest.
    """
    modules = ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
    calls = {"eval", "exec", "compile", "__import__", "torch.load", "runpy.run_path", "yaml.load"}
    if module.name not in BY_NAME:
        calls.add("importlib.import_module")
    for line, name in module.imports(module.nodes):
        if name.split(".")[0] in modules and name != "pickle.UnpicklingError":
            yield line, f"{name} can run code"
    data_only = {
        node.func
        for node in module.nodes
        if isinstance(node, ast.Call)
        and any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
    }
    for node in module.nodes:
        if (
            isinstance(node, ast.Name | ast.Attribute)
            and node not in data_only
            and module.dotted(node).removeprefix("builtins.") in calls
        ):
            yield node.lineno, f"{module.dotted(node)} can run code"
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            yield node.value.lineno, "allow_pickle can run code"


RULES: tuple[Callable[[Module], Iterator[Fault]], ...] = (
    imports_go_down,
    no_broad_except,
    no_packed_assignment,
    no_assert,
    only_the_command_line_prints,
    no_global_randomness,
    nothing_runs_from_a_file,
)


def cycle(modules: Iterable[Module]) -> list[str]:
    """A circle of imports; empty if there is none. Lazy imports count, and those for type checkers.

    `import a.b` also runs `a/__init__.py`, unless the importer lies in `a`, which is then loaded
    already.
    """
    known = {module.name: module for module in modules}
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, module in known.items():
        for _, target in module.imports(module.nodes):
            parts = target.split(".")
            loaded = [
                p for p in (".".join(parts[:n]) for n in range(1, len(parts) + 1)) if p in known
            ]
            graph[name] |= {p for p in loaded if p == loaded[-1] or not within(name, p)}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def repeated_classes(modules: Iterable[Module]) -> dict[str, list[str]]:
    """Class name → the modules that define it, for names with more than one meaning."""
    found: dict[str, list[str]] = {}
    for module in modules:
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(module.name)
    return {name: places for name, places in found.items() if len(places) > 1}


# -- the package -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def modules() -> list[Module]:
    if not (ROOT / "adapters").is_dir():
        pytest.skip("needs the checkout")
    return checkout()


def test_every_package_of_a_floor_is_read(modules: list[Module]) -> None:
    assert {package(module.name) for module in modules} == set(FLOORS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Callable[[Module], Iterator[Fault]], modules: list[Module]) -> None:
    faults = [
        f"{module.name}:{line}: {reason}" for module in modules for line, reason in rule(module)
    ]
    assert not faults, "\n".join(faults)


def test_no_import_cycle(modules: list[Module]) -> None:
    assert cycle(modules) == []


def test_a_class_name_has_one_meaning(modules: list[Module]) -> None:
    assert repeated_classes(modules) == {}


def stopwatches(folder: Path) -> list[str]:
    """Where files of tests take the time of something; the benchmarks are for that."""
    return [
        f"{path.relative_to(folder)}:{node.lineno}: {node.attr}"
        for path in sorted(folder.rglob("*.py"))
        if folder / "benchmarks" not in path.parents
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in ("perf_counter", "process_time", "thread_time")
    ]


def test_no_test_holds_a_stopwatch(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    for path in ("test_a.py", "benchmarks/b.py"):
        (tmp_path / path).write_text("import time\nbegan = time.perf_counter()\n")
    assert stopwatches(tmp_path) == ["test_a.py:2: perf_counter"]
    assert stopwatches(ROOT / "tests") == []


def test_the_readme_shows_the_rooms_as_they_are() -> None:
    assert room_rows((ROOT / "README.md").read_text("utf-8")) == room_rows(PLAN.read_text("utf-8"))


def test_every_sideways_import_is_in_use(modules: list[Module]) -> None:
    drawn = {
        (package(module.name), target)
        for module in modules
        for _, target in module.imports(module.nodes)
    }
    assert [
        pair for pair in SIDEWAYS if not any(a == pair[0] and within(b, pair[1]) for a, b in drawn)
    ] == []


# -- negative controls -----------------------------------------------------------------------------
BAD = [
    (imports_go_down, "bbtvp.core.x", "from bbtvp.prompt import Prompt"),
    (imports_go_down, "bbtvp.core.x", "import bbtvp.stats"),
    (imports_go_down, "bbtvp.models.x", "def f():\n    from bbtvp.runs.journal import Journal"),
    (imports_go_down, "bbtvp.search.x", "from bbtvp import optimize"),
    (imports_go_down, "bbtvp.prompt.x", "from bbtvp.optim import optimiser"),
    (imports_go_down, "bbtvp.tasks.x", "from bbtvp.prompt import Prompt"),
    (imports_go_down, "bbtvp.search.x", "from bbtvp.adapters import hf"),
    (imports_go_down, "bbtvp.cli", "import bbtvp.adapters.hf"),
    (imports_go_down, "bbtvp.prompt.x", "from . import frame"),
    (imports_go_down, "bbtvp.newcomer", "import json"),
    (no_broad_except, "bbtvp.x", "try:\n    pass\nexcept:\n    pass"),
    (
        no_broad_except,
        "bbtvp.x",
        "try:\n    pass\nexcept Exception as error:\n    raise ValueError from error",
    ),
    (no_broad_except, "bbtvp.x", "try:\n    pass\nexcept (OSError, BaseException):\n    raise"),
    (no_broad_except, "bbtvp.core.files", "try:\n    pass\nexcept BaseException:\n    pass"),
    (
        no_broad_except,
        "bbtvp.x",
        "from contextlib import suppress\nwith suppress(Exception):\n    pass",
    ),
    (no_packed_assignment, "bbtvp.x", "a, b = 1, 2"),
    (no_packed_assignment, "bbtvp.x", "def f(self):\n    self.a, self.b = self.b, 0"),
    (no_assert, "bbtvp.x", "def f(x):\n    assert x"),
    (
        only_the_command_line_prints,
        "bbtvp.search.x",
        "print(1)\nif __name__ == '__main__':\n    pass",
    ),
    (only_the_command_line_prints, "bbtvp.zoo.x", "print(1)"),
    (only_the_command_line_prints, "bbtvp.x", "from sys import exit as leave\nleave(1)"),
    (only_the_command_line_prints, "bbtvp.x", "import sys\nsys.stdout.write('x')"),
    (no_global_randomness, "bbtvp.x", "import numpy as np\nnp.random.seed(0)"),
    (no_global_randomness, "bbtvp.x", "import numpy\nf = numpy.random.standard_normal"),
    (no_global_randomness, "bbtvp.x", "from numpy import random\nrandom.rand()"),
    (no_global_randomness, "bbtvp.x", "import random\nrandom.shuffle([])"),
    (no_global_randomness, "bbtvp.x", "from random import choice\nchoice([])"),
    (no_global_randomness, "bbtvp.x", "import torch\ntorch.manual_seed(0)"),
    (no_global_randomness, "bbtvp.optim.global_random", "import numpy as np\nnp.random.seed(0)"),
    (nothing_runs_from_a_file, "bbtvp.x", "def f():\n    import pickle"),
    (nothing_runs_from_a_file, "bbtvp.x", "eval('1')"),
    (nothing_runs_from_a_file, "bbtvp.x", "import builtins\nbuiltins.exec('1')"),
    (nothing_runs_from_a_file, "bbtvp.x", "from torch import load\nload('x')"),
    (nothing_runs_from_a_file, "bbtvp.x", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    (
        nothing_runs_from_a_file,
        "bbtvp.search.x",
        "import importlib\nimportlib.import_module('bbtvp.cli')",
    ),
]


@pytest.mark.parametrize(("rule", "name", "source"), BAD)
def test_a_rule_refuses(rule: Callable[[Module], Iterator[Fault]], name: str, source: str) -> None:
    assert list(rule(Module(name, source)))


GOOD = """
from __future__ import annotations
import json, numpy as np, torch
from pathlib import Path
from bbtvp.core import plugins
from bbtvp.prompt.image import open_image
from bbtvp.tasks.splits import split
with torch.random.fork_rng():
    torch.manual_seed(0)
left = right = 0
left, right = right, left
left, right = divmod(7, 2)
def f(rng: np.random.Generator, model):
    try:
        return model.eval(), np.load("x", allow_pickle=False), rng.random(), model.load("x")
    except (OSError, ValueError) as error:
        raise plugins.UsageError("x") from error
"""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_accepts_plain_code(rule: Callable[[Module], Iterator[Fault]]) -> None:
    assert list(rule(Module("bbtvp.tasks.x", GOOD))) == []


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ("import bbtvp.q.b", "from bbtvp.p.a import x", True),
        ("from bbtvp.q import b", "import bbtvp.p.a", True),
        ("class A:\n    import bbtvp.q.b", "import bbtvp.p.a", True),
        ("import bbtvp.q.b", "def f():\n    import bbtvp.p.a", True),
        (
            "import bbtvp.q.b",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bbtvp.p.a",
            True,
        ),
        ("import bbtvp.q.b", "import json", False),
    ],
)
def test_a_cycle_is_found(a: str, b: str, found: bool) -> None:
    assert bool(cycle([Module("bbtvp.p.a", a), Module("bbtvp.q.b", b)])) is found


def test_a_cycle_through_a_package_is_found() -> None:
    sources = {"bbtvp.p": "import bbtvp.q.b", "bbtvp.p.a": "", "bbtvp.q.b": "import bbtvp.p.a"}
    assert cycle([Module(name, source) for name, source in sources.items()])


def test_a_circle_within_a_room_is_found() -> None:
    pair = [Module("bbtvp.p.a", "import bbtvp.p.b"), Module("bbtvp.p.b", "import bbtvp.p.a")]
    assert cycle(pair)


def test_a_class_name_with_two_meanings_is_found() -> None:
    nested = Module("bbtvp.q.b", "def f():\n    class _A: ...")
    assert repeated_classes([Module("bbtvp.p.a", "class _A: ..."), nested]) == {
        "_A": ["bbtvp.p.a", "bbtvp.q.b"]
    }


# -- what an import loads --------------------------------------------------------------------------
HEAVY = ("torch", "transformers", "nevergrad", "pandas", "scipy", "matplotlib", "pydantic")
RENDER = """
import numpy as np
from bbtvp.prompt import Prompt, preset
space = preset("default", 64)
pixels = Prompt(space, np.zeros(space.dim)).render(np.zeros((48, 64, 3), np.uint8))
assert pixels.shape == (64, 64, 3)
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loads(code: str, names: Iterable[str]) -> set[str]:
    """Which of `names` are loaded after `code` ran in a fresh process."""
    shown = f"print(*[name for name in {tuple(names)!r} if name in sys.modules])"
    return set(run(f"{code}\nimport sys\n{shown}").split())


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import bbtvp", HEAVY),
        ("import bbtvp.cli", HEAVY),
        (RENDER, HEAVY),
        ("import bbtvp.tasks, bbtvp.stats", HEAVY),
        ("import bbtvp.optim", (*HEAVY, "cma")),
        (
            "import bbtvp.models, bbtvp.search, bbtvp.search, bbtvp.verify",
            ("torch", "transformers", "nevergrad"),
        ),
    ],
    ids=["bbtvp", "cli", "render", "task", "optim", "study"],
)
def test_an_import_stays_light(code: str, absent: tuple[str, ...]) -> None:
    assert loads(code, absent) == set()


def test_a_heavy_import_is_seen() -> None:
    assert loads("import scipy", HEAVY) == {"scipy"}


def test_help_needs_no_heavy_library() -> None:
    hidden = (
        f"sys.modules |= dict.fromkeys({(*HEAVY, 'cma')!r})"  # None there: an import of it raises
    )
    call = "sys.argv = ['bbtvp', '--help']\nfrom bbtvp.cli import main\nmain()"
    assert "bbtvp demo" in run(f"import sys\n{hidden}\n{call}")


def test_verify_is_the_function_whatever_was_imported_first() -> None:
    code = (
        "import bbtvp.verify.events, bbtvp\nprint(bbtvp.verify.__module__, bbtvp.verify.__name__)"
    )
    assert run(code).split() == ["bbtvp.verify.proof", "verify"]
