"""The page of a run: whole, self-contained, safe whatever the folder says, and true to the
figures.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bbtvp.checks.effects import effects
from bbtvp.checks.robustness import robustness
from bbtvp.checks.saliency import saliency
from bbtvp.cli.report import SCHEMA
from bbtvp.core.errors import BundleError, JournalError
from bbtvp.models import load_model
from bbtvp.prompt import Prompt
from bbtvp.report.html import charts
from bbtvp.report.html.curve import curve_of
from bbtvp.report.html.gallery import gallery_of
from bbtvp.report.html.pictures import colour_card, image_uri
from bbtvp.report.html.report import report
from bbtvp.rivals import compare_rivals
from bbtvp.runs.folder import RunFolder
from bbtvp.tasks.registry import load_task
from bbtvp.verify import verify
from tests.jobs.made import edit, images, made, proved
from tests.support import Eye, Flaky, bbtvp, folder_of_patterns, install_plugin

VOID = {"meta", "img", "link", "br"}


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_plugin(tmp_path / "site"))


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open = []  # type: ignore[var-annotated]
        self.feed(text)
        self.close()
        assert self._open == [], "unclosed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self._open else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def check_page(text: str, language: str = "en") -> Page:
    """Self-contained and accessible."""
    page = Page(text)
    assert page.all("html") == [{"lang": language}]
    assert not [
        tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "form")
    ]
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href"):
            assert str(attrs.get(name, "#")).startswith(("data:image/", "#")), attrs
    assert "url(" not in text.split("</style>")[0]
    assert all(attrs.get("alt") for attrs in page.all("img"))
    ids = Counter(attrs["id"] for _, attrs in page.tags if attrs.get("id"))
    assert set(ids.values()) <= {1}
    assert all(str(attrs["href"])[1:] in ids for attrs in page.all("a"))
    assert len(page.all("h1")) == 1
    assert len(text) < 5_000_000
    return page


def checked(folder: str) -> None:
    """All the checks on a run."""
    prompt = Prompt.load(Path(folder) / "prompt.vprompt")
    model = load_model("eye/near")
    proved(folder, "eye/near", "eye/far")
    robustness(
        prompt,
        str(images()),
        [model],
        families=("noise", "channel"),
        severities=(1, 5),
        limit=6,
        out=folder,
    )
    effects(prompt, str(images()), model, limit=6, out=folder)
    saliency(prompt, str(images()), model, limit=1, out=folder)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_run_with_all_its_checks(language: str) -> None:
    made("run")
    checked("run")
    page = check_page(report(Path("run"), language), language)
    (proof,) = Path("run").glob("verify/*/proof.json")
    document = json.loads(proof.read_text())
    source = document["models"][0]
    for shown in (
        f"{100 * source['zero_shot']:.1f} %",
        f"{100 * source['gain']:+.1f}",
        f"{source['mcnemar_p']:.4f}",
    ):
        assert shown in page.text
    for section in (
        "proof",
        "gallery",
        "replies",
        "prompt",
        "search",
        "robustness",
        "effects",
        "saliency",
        "costs",
        "reproduce",
    ):
        assert {"id": section, "aria-labelledby": f"{section}-head"} in page.all("section")
    assert RunFolder(Path("run")).prompt.digest in page.text  # type: ignore[union-attr]
    words = {"en": "bbtvp reproduce run --replay", "ja": "判定"}
    assert words[language] in page.text


def test_it_is_the_same_whenever_it_is_made_and_leaves_the_folder_as_it_is() -> None:
    made("run")
    proved("run")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert report(Path("run")) == report(Path("run"))
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_without_a_proof_it_says_how_to_get_one() -> None:
    made("run")
    page = check_page(report(Path("run")))
    assert "Not proven yet" in page.text
    assert (
        f"bbtvp verify run/prompt.vprompt --task {images()} --model eye/near --out run" in page.text
    )


def test_an_unfinished_search_shows_what_it_found_so_far() -> None:
    made("run")
    Path("run/prompt.vprompt").unlink()
    lines = Path("run/journal.jsonl").read_bytes().splitlines(keepends=True)
    Path("run/journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]) + b'{"record": "st')
    page = check_page(report(Path("run")))
    assert "The search is not finished" in page.text
    for empty in (1, 2):  # only the first line, then the first call
        Path("run/journal.jsonl").write_bytes(b"".join(lines[:empty]))
        check_page(report(Path("run")))


def test_the_gallery_is_true() -> None:
    made("run")
    proved("run", "eye/near", "eye/far")
    run = RunFolder(Path("run"))
    task = load_task(str(images()))
    prompt = Prompt.load("run/prompt.vprompt")
    for spec in ("eye/near", "eye/far"):
        found = gallery_of(run.proofs[0], task, prompt, spec, spec)
        row = run.proofs[0].rows[spec]
        assert (len(found.broken), len(found.mended)) == (
            min(6, row["lost"]),
            min(6, row["gained"]),
        )
        assert [pair.id for pair in found.first] == [sample.id for sample in task.test[:6]]
        for pair in (*found.first, *found.broken, *found.mended):
            (sample,) = [one for one in task.test if one.id == pair.id]
            assert pair.truth == sample.answer
            for said in (pair.said_before, pair.said_after):
                assert said is not None
                assert said.right == (said.answer == sample.answer)
            assert pair.after == image_uri(prompt.render(sample.pixels()))


def test_failed_queries_have_no_answer_in_the_gallery() -> None:
    made("run")
    prompt = Prompt.load("run/prompt.vprompt")
    verify(prompt, str(images()), [Flaky(share=0.4)], source="flaky", out="run")
    page = check_page(report(Path("run")))
    assert "no answer" in page.text


def test_a_proof_on_another_task_alone_has_its_images() -> None:
    made("run")
    other = folder_of_patterns(Path("other"), per_class=10)
    verify(
        Prompt.load("run/prompt.vprompt"), str(other), ["eye/near"], source="eye/near", out="run"
    )
    page = check_page(report(Path("run")))
    assert "The images are not shown" not in page.text
    assert load_task(str(other)).test[0].id in page.text


def test_images_that_are_not_there_any_more() -> None:
    made("run")
    proved("run")
    shutil.rmtree("images")
    page = check_page(report(Path("run")))
    assert "The images are not shown" in page.text


def test_no_image_is_shown_on_request() -> None:
    made("run")
    checked("run")
    text = report(Path("run"), images=False)
    assert "images were left out on request" in check_page(text).text
    shown = [str(attrs["src"]) for attrs in Page(text).all("img")]
    pictures = [uri for uri in shown if uri.startswith("data:image/png")]
    prompt = Prompt.load("run/prompt.vprompt")
    card = colour_card(prompt.space.canvas)
    assert pictures == [image_uri(card), image_uri(prompt.render(card))]


def test_what_a_folder_says_is_never_markup() -> None:
    made("run")
    checked("run")
    nasty = "<script>alert(1)</script><img src=x onerror=alert(1)> $x_1^2$ \u202e"
    record = json.loads(Path("run/run.json").read_text())
    edit(
        "run/run.json",
        task={**record["task"], "name": nasty},
        arguments={**record["arguments"], nasty: nasty},
    )
    for path in Path("run").glob("*/*/*.json"):
        path.write_text(json.dumps(_renamed(json.loads(path.read_text()), "eye/near", nasty)))
    page = check_page(report(Path("run")))
    assert "<script>alert(1)</script>" in page.text, "as text"


def _renamed(document: Any, old: str, new: str) -> Any:
    if isinstance(document, dict):
        return {key: _renamed(value, old, new) for key, value in document.items()}
    if isinstance(document, list):
        return [_renamed(value, old, new) for value in document]
    return new if document == old else document


def test_damage_is_said() -> None:
    with pytest.raises(JournalError, match="is no run folder"):
        report(Path())
    made("run")
    proved("run")
    (proof,) = Path("run").glob("verify/*/proof.json")
    whole = proof.read_text()
    proof.write_text(whole[:-9])
    with pytest.raises(JournalError, match=r"proof\.json is damaged"):
        report(Path("run"))
    proof.write_text(whole)
    Path("run/prompt.vprompt").write_bytes(b"PK")
    with pytest.raises(BundleError):
        report(Path("run"))


def test_the_curve_counts_what_the_journal_counted() -> None:
    run = made("run", [Flaky(share=0.2)])
    folder = RunFolder(Path("run"))
    found = curve_of(folder.recording)
    places = [row.queries for row in found.generations]
    assert places == sorted(places)
    assert (
        found.validated[-1].queries == sum(run.queries.values()) == folder.costs["search"].queries
    )
    assert found.unprompted == pytest.approx(run.arms[0].accuracy)
    assert found.validated[-1].paired.before == pytest.approx(found.unprompted, abs=0.1)


def test_small_images_keep_their_pixels_and_large_ones_are_made_smaller() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 64, 3), np.uint8)
    head, data = image_uri(pixels).split(",")
    assert head == "data:image/png;base64"
    Path("small.png").write_bytes(base64.b64decode(data))
    with Image.open("small.png") as small:
        assert np.array_equal(np.asarray(small), pixels)
    head, data = image_uri(np.zeros((900, 600, 3), np.uint8)).split(",")
    Path("large.jpg").write_bytes(base64.b64decode(data))
    assert head == "data:image/jpeg;base64"
    with Image.open("large.jpg") as large:
        assert large.size == (213, 320)


def test_the_command_writes_one_file() -> None:
    made("run")
    proved("run")
    done = bbtvp("report", "run", "--json")
    told = json.loads(done.out)
    assert told == {
        "schema": SCHEMA,
        "file": "run/report.html",
        "bytes": Path("run/report.html").stat().st_size,
        "language": "en",
    }
    assert (
        bbtvp("report", "run", "--lang", "ja", "-o", "pages/ja.html").out.strip() == "pages/ja.html"
    )
    check_page(Path("pages/ja.html").read_text("utf-8"), "ja")
    assert bbtvp("report", "nowhere").code == 1


JOBS = """
[[grid]]
name = "eyes"
task = "images"
model = ["eye/near", "eye/far"]
queries = 60
images = 2
prompt = "tone"
verify = ["eye/near", "eye/far"]
train = [8, 20]
"""


@pytest.mark.parametrize("verified", [True, False])
def test_a_folder_of_jobs(verified: bool) -> None:
    images()
    text = (
        JOBS
        if verified
        else "\n".join(line for line in JOBS.splitlines() if not line.startswith("verify"))
    )
    Path("jobs.toml").write_text(text)
    assert bbtvp("run", "jobs.toml", "--out", "jobs").code == 0
    page = check_page(report(Path("jobs")))
    assert "4 jobs, 4 of them done" in page.text
    assert ("Gain against training images" in page.text) is verified
    assert ("No job was verified yet" in page.text) is not verified
    check_page(report(Path("jobs"), "ja"), "ja")


def test_models_made_in_python_are_no_hindrance() -> None:
    made("run", [Eye("eye/here")])
    verify(
        Prompt.load("run/prompt.vprompt"),
        str(images()),
        [Eye("eye/here")],
        source="eye/here",
        out="run",
    )
    assert "eye/here" in check_page(report(Path("run"))).text


def luminance(color: str) -> float:
    """Relative luminance of "#rrggbb" or "#rgb" (WCAG 2.2)."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_of_text_stands_out_from_every_ground() -> None:
    style = (files("bbtvp.report.html") / "templates/style.css").read_text("utf-8")
    named = dict(re.findall(r"--(\w+): (#\w+);", style))
    grounds = [luminance(named.pop(name)) for name in ("paper", "shade")]
    del named["line"]
    for color in (*named.values(), charts.BEFORE, charts.AFTER, charts.LOSS):
        assert all((ground + 0.05) / (luminance(color) + 0.05) >= 4.5 for ground in grounds), color


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_first_screen_names_the_constant_answer_and_replies_without_an_answer(
    language: str,
) -> None:
    made("run", keep_best=True)
    proved("run")
    (kept,) = Path("run").glob("verify/*/proof.json")
    row = json.loads(kept.read_text())["models"][0]
    row["replies"]["zero_shot"] |= {"unparsed": 7, "cut": 3}
    row["replies"]["prompted"]["unparsed"] = 2
    edit(kept, models=[row])
    page = report(Path("run"), language)
    first = page.split("<nav")[0]
    assert "10 → 2" in first and "7 → 2" in first and "3 → 0" in first
    assert "25.0 %" in first and {"en": "Best constant", "ja": "最良の定数回答"}[language] in first
    assert {"en": "cut short", "ja": "途中で打ち切り"}[language] in page


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_rivals_beside_a_proof(language: str) -> None:
    made("run")
    proved("run", "eye/near", "eye/far")
    assert {"id": "rivals", "aria-labelledby": "rivals-head"} not in check_page(
        report(Path("run"), language), language
    ).all("section")
    table = compare_rivals(
        str(images()),
        ["eye/near", "eye/far"],
        prompt=Path("run"),
        rivals=["vote"],
        out="run",
    )
    page = check_page(report(Path("run"), language), language)
    assert {"id": "rivals", "aria-labelledby": "rivals-head"} in page.all("section")
    for row in table.rows:
        assert row.name in page.text and f"{100 * row.paired.after:.1f} %" in page.text
