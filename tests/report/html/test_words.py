"""The catalogue of a report's words: whole in every language, nothing in it that is not said."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.resources import files
from pathlib import Path
from string import Formatter

import pytest

import bbtvp.report.html as page
from bbtvp.cli.report import report as command
from bbtvp.core.errors import UsageError
from bbtvp.report.html.words import (
    LANGUAGES,
    Words,
    catalogue,
    interval,
    p_value,
    percent,
    plain,
    points,
)
from bbtvp.verify.messages import MESSAGES, message

WORDS = catalogue()["words"]
SAID = catalogue()["messages"]
TEMPLATES = {
    file.name: file.read_text("utf-8")
    for file in (files("bbtvp.report.html") / "templates").iterdir()
}
MODULES = [
    path.read_text("utf-8") for path in sorted(Path(inspect.getfile(page)).parent.glob("*.py"))
]


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("key", WORDS)
def test_every_sentence_is_there_in_every_language_with_the_same_values(key: str) -> None:
    assert list(WORDS[key]) == list(LANGUAGES)
    assert all(sentence.strip() for sentence in WORDS[key].values())
    assert len({frozenset(fields(sentence)) for sentence in WORDS[key].values()}) == 1


def test_every_remark_is_translated_with_values_that_it_has() -> None:
    assert SAID.keys() == MESSAGES.keys()
    for code, row in SAID.items():
        assert row.keys() == set(LANGUAGES) - {"en"}
        assert all(fields(sentence) <= fields(MESSAGES[code]) for sentence in row.values()), code


def keys_named() -> set[str]:
    """Keys in templates and modules; those put together, such as word_go, by their beginnings."""
    named: set[str] = set()
    for text in TEMPLATES.values():
        named |= set(re.findall(r"""\bt\(["'](\w+)["']\s*[,)]""", text))
        named |= set(re.findall(r"""call section\("(\w+)"\)""", text))
    for source in MODULES:
        named |= {
            node.value
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    return named


def test_no_sentence_is_left_unsaid() -> None:
    prefixes = (
        "word_",
        "say_",
        "role_",
        "robustness_",
        "term_",
        "is_",
        "cost_",
        "state_",
        "figure_",
        "status_",
    )
    said = keys_named()
    said |= {f"{key}_graded" for key in said}
    assert {key for key in WORDS if key not in said and not key.startswith(prefixes)} == set()


def test_every_key_that_a_template_names_is_in_the_catalogue() -> None:
    for name, text in TEMPLATES.items():
        assert set(re.findall(r"""\bt\(["'](\w+)["']\s*[,)]""", text)) <= WORDS.keys(), name


def test_a_remark_is_said_in_japanese_and_a_new_one_stays_english() -> None:
    words = Words("ja")
    told = message("gains", model="zoo/llava", gain=0.123, images=500).as_json()
    assert words.message(told) == "zoo/llava の利得は +12.3 ポイント (画像 500 枚)"
    assert Words("en").message(told) == told["text"]
    assert (
        words.message({"code": "of-tomorrow", "text": "all is well", "values": {}}) == "all is well"
    )


def test_languages() -> None:
    (option,) = [one for one in command.params if one.name == "lang"]
    assert list(option.type.choices) == list(LANGUAGES)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="unknown language 'jp'; did you mean ja"):
        Words("jp")


def test_numbers() -> None:
    assert (percent(0.1234), percent(None)) == ("12.3 %", "–")
    assert (points(-0.05), points(None)) == ("-5.0", "–")
    assert interval((-0.01, 0.2)) == "[-1.0, +20.0]"
    assert (p_value(1e-9), p_value(0.04321), p_value(None)) == ("< 0.0001", "0.0432", "–")
    assert (plain(0.1 + 0.2), plain([1, "a"]), plain(None)) == ("0.3", "1, a", "–")
