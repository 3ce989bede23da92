"""The Japanese README says what README.md says: the same commands, the same figures, links that
lead somewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH = ROOT / "README.md"
JAPANESE = ROOT / "README.ja.md"
FENCE = re.compile(r"^```\w*\n.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
LARGE = re.compile(r"\d+(?:[.,]\d+)+|\d{2,}(?!\d| ?\u4e07)")
"""Numbers that prose writes as digits in both languages; not those before the Japanese sign for ten
thousand.
"""

pytestmark = pytest.mark.skipif(
    not (ENGLISH.is_file() and JAPANESE.is_file()), reason="needs the checkout"
)


@pytest.fixture(scope="module")
def english() -> str:
    return ENGLISH.read_text("utf-8")


@pytest.fixture(scope="module")
def japanese() -> str:
    return JAPANESE.read_text("utf-8")


def prose(text: str) -> str:
    return FENCE.sub("", text)


def tables(text: str) -> list[list[list[str]]]:
    """The sorted numbers of each row of each table: another language may order them otherwise."""
    found = re.findall(r"(?:^\|.*\n?)+", prose(text), re.MULTILINE)
    return [[sorted(NUMBER.findall(row)) for row in table.splitlines()] for table in found]


def anchors(text: str) -> set[str]:
    """What a `#…` link can name, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_names_the_other_at_its_head(english: str, japanese: str) -> None:
    assert "[README.md](README.md)" in japanese.splitlines()[0]
    assert "[README.ja.md](README.ja.md)" in english.splitlines()[1]


def test_every_fenced_block_is_one_of_the_english(english: str, japanese: str) -> None:
    blocks = FENCE.findall(japanese)
    assert blocks
    assert japanese.count("```") == 2 * len(blocks)
    assert [block for block in blocks if block not in FENCE.findall(english)] == []


def test_every_link_leads_somewhere(japanese: str) -> None:
    links = [link for link in LINK.findall(prose(japanese)) if "://" not in link]
    assert links
    for link in links:
        path, _, anchor = link.partition("#")
        target = ROOT / path if path else JAPANESE
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_every_web_address_is_one_of_the_english(english: str, japanese: str) -> None:
    assert {link for link in LINK.findall(japanese) if "://" in link} <= set(LINK.findall(english))


def test_every_table_has_the_figures_of_an_english_one(english: str, japanese: str) -> None:
    found = tables(japanese)
    assert found
    assert [table for table in found if table not in tables(english)] == []


def test_the_commands_are_listed_as_in_english(english: str, japanese: str) -> None:
    def first_cells(text: str) -> list[str]:
        return re.findall(r"^\| (`bbtvp [a-z]+`.*?) \|", prose(text), re.MULTILINE)

    assert first_cells(japanese) == first_cells(english)


def test_every_large_number_of_the_prose_is_in_the_english(english: str, japanese: str) -> None:
    assert set(LARGE.findall(prose(japanese))) <= set(LARGE.findall(english))


def test_no_marks_for_scripts(japanese: str) -> None:
    """Scripts find the commands of the demo and of the tests by comments, in README.md alone."""
    assert "<!--" not in japanese
