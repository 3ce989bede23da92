"""Tables as text and as Markdown."""

from __future__ import annotations

from bbtvp.core.table import markdown_table, text_table

ROWS = [("name", "n", "said"), ("a", "100", "yes"), ("longer", "7", "")]


def test_words_are_flush_left_and_numbers_flush_right() -> None:
    assert text_table(ROWS).splitlines() == [
        "name      n  said",
        "------  ---  ----",
        "a       100   yes",
        "longer    7",
    ]
    assert text_table(ROWS, left=3).splitlines()[2:] == ["a       100  yes", "longer  7"]


def test_columns_of_words_by_their_places_and_no_rule() -> None:
    assert text_table(ROWS, left={0, 2}, rule=False).splitlines() == [
        "name      n  said",
        "a       100  yes",
        "longer    7",
    ]


def test_markdown_says_how_columns_are_set() -> None:
    assert markdown_table(ROWS).splitlines() == [
        "| name   |   n | said |",
        "| ------ | --: | ---: |",
        "| a      | 100 |  yes |",
        "| longer |   7 |      |",
    ]
    assert markdown_table([("a", "b")], left=2) == "| a   | b   |\n| --- | --- |"
