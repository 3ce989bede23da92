"""The page of a registry: every state, every proof, and nothing that a stranger wrote is run."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from bbtvp.prompt import Placement, PromptSpace
from bbtvp.registry import PromptRegistry
from bbtvp.registry.records import CHECKS, EVIDENCE, CheckRecord, EvidenceRecord, EvidenceRow
from bbtvp.report.html.registry import registry_page
from tests.support import bbtvp

SPACE = PromptSpace((Placement(),), 32)
PROMPT = SPACE.prompt(SPACE.neutral() + 0.5)
DAY = date(2026, 11, 30)


def registry() -> PromptRegistry:
    PROMPT.save("one.vprompt", {"task": "<script>alert(1)</script>"})
    made = PromptRegistry.create("prompts")
    made.add(Path("one.vprompt"))
    for model, verdict, gain in (
        ("openai/gpt-4o", "go", 0.12),
        ("openai/o1", "go", 0.1),
        ("gemini/gemini-x", "go", 0.08),
        ("anthropic/claude-x", "no-go", -0.04),
    ):
        found = EvidenceRow(
            prompt=PROMPT.digest,
            model=model,
            version=f"{model}-v1",
            date=date(2026, 11, 1),
            images=200,
            zero_shot=0.6,
            prompted=0.6 + gain,
            gain=gain,
            ci=(gain - 0.02, gain + 0.02),
            verdict=verdict,
        )
        made.keep(EVIDENCE, EvidenceRecord(rows=(found,)))
    made.keep(
        CHECKS,
        CheckRecord(
            prompt=PROMPT.digest,
            model="gemini/gemini-x",
            versions=("gemini-x-v2",),
            date=date(2026, 11, 29),
            baseline="0" * 64,
            found="stale",
            reason="the prompted score fell",
            images=120,
            queries=160,
            then=0.68,
            now=0.5,
            ci=(-0.3, -0.06),
            p=0.001,
            drop=0.1,
        ),
    )
    return made


def test_every_state_stands_in_the_matrix() -> None:
    page = registry_page(registry(), day=DAY)
    for said in (
        '<span class="chip ends">ends on 2027-01-14</span><br>+12.0 [+10.0, +14.0]',
        '<span class="chip ended">model ended</span>',
        '<span class="chip stale">stale</span><br>+8.0',
        '<span class="chip failed">failed</span><br>-4.0',
        "gemini-x-v2",
        "1 prompts, 4 proofs, 1 checks; as of 2026-11-30",
    ):
        assert said in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_command_writes_it_in_both_languages_and_says_what_is_damaged() -> None:
    made = registry()
    (bundle,) = Path("prompts/bundles").iterdir()
    bundle.write_bytes(b"half")
    made.rebuild()
    assert bbtvp("registry", "page", "prompts", "-o", "page.html").out == "page.html\n"
    assert bundle.name in Path("page.html").read_text("utf-8")
    ran = bbtvp("registry", "page", "prompts", "-o", "ja.html", "--lang", "ja", "--json")
    assert '"language": "ja"' in ran.out
    assert "視覚プロンプト台帳" in Path("ja.html").read_text("utf-8")
