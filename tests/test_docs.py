"""What the documents name is there: files, links, and the names that a user imports."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import click
import pytest

import bbtvp
from bbtvp.cli import cli

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "adapters").is_dir(), reason="needs the checkout")

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")],
    key=lambda page: page.as_posix(),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:bbtvp|adapters|tests|docs|examples)/[\w./-]*)`")
"""Paths in code marks; one with a word in capitals stands for many, and is not checked."""


def anchors(text: str) -> set[str]:
    """What a `#…` link can name, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def python_blocks() -> list[tuple[str, str]]:
    """(page, source) of every fenced block of Python."""
    found = []
    for page in PAGES:
        blocks = FENCE.findall(page.read_text("utf-8"))
        found += [(page.name, source) for language, source in blocks if language == "python"]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = [name for name in FILE.findall(page.read_text("utf-8")) if "NAME" not in name]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text("utf-8")), link


def shown_commands(text: str) -> list[tuple[str, list[str]]]:
    """(command, its flags) of every line of a fenced block that calls bbtvp.

    The command is "optimize", or in a group "bundle sign".
    """
    found = []
    for _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.match(r"\$? ?(?:\.venv/bin/)?bbtvp +([a-z]+)\b(.*)", line)
            if not match:
                continue
            name = match[1]
            arguments = match[2].split("#")[0]
            if isinstance(cli.commands.get(name), click.Group):
                part, _, arguments = arguments.strip().partition(" ")
                name = f"{name} {part}"
            found.append((name, re.findall(r"(?<!\S)(--?[a-zA-Z][\w-]*)", arguments)))
    return found


def command_of(name: str) -> click.Command:
    """The command of this name; KeyError if there is none."""
    command: click.Command = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


def options_of(command: click.Command) -> set[str]:
    context = click.Context(command, help_option_names=["-h", "--help"])
    parameters = command.get_params(context)
    return {name for option in parameters for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_flag_of_a_command_that_is_shown_is_there(page: Path) -> None:
    for name, flags in shown_commands(page.read_text("utf-8")):
        assert set(flags) <= options_of(command_of(name)), name


def test_a_flag_that_is_not_there_is_seen() -> None:
    text = "```\nbbtvp optimize --task x --nonsense 3  # --comment\n```\n"
    assert shown_commands(text) == [("optimize", ["--task", "--nonsense"])]
    assert "--nonsense" not in options_of(command_of("optimize"))
    grouped = "```\nbbtvp bundle sign x.vprompt --key k\n```\n"
    assert shown_commands(grouped) == [("bundle sign", ["--key"])]
    assert "--key" in options_of(command_of("bundle sign"))


def test_every_public_name_loads() -> None:
    for name in bbtvp.__all__:
        assert getattr(bbtvp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Modle'"):
        bbtvp.Modle  # noqa: B018


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse(Path(bbtvp.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert seen == bbtvp._HOME


@pytest.mark.parametrize(("page", "source"), python_blocks())
def test_the_names_of_an_example_can_be_imported(page: str, source: str) -> None:
    """Of bbtvp alone: an example may use a library that is not installed here."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bbtvp":
            module = import_module(node.module or "")
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "bbtvp" or hasattr(bbtvp, node.attr), node.attr
