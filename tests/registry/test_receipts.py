"""Receipts of others in a registry: added, signed, altered, of a prompt that is not there."""

from __future__ import annotations

import html
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbtvp.bundles.signing import sign_bundle
from bbtvp.core.errors import BundleError, DataError, UsageError
from bbtvp.core.signing import generate_key, public_key, sign
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.prompt.bundle import read, write
from bbtvp.registry import PromptRegistry
from bbtvp.registry.records import EVIDENCE, EvidenceRecord
from bbtvp.verify import verify
from bbtvp.verify.receipt import Receipt
from tests.support import ROOT, SIDE, Eye, bbtvp, patterns

SPACE = PromptSpace((Placement(search=("zoom",)), Tone(("contrast",)), Frame("color")), SIDE)
PROMPT = SPACE.prompt(np.array([0.0, 2.5, *[1.0] * (SPACE.dim - 2)]))
TASK = patterns()


def receipt(*allow: str) -> Receipt:
    """Of a customer's proof, on data that stay with him."""
    proof = verify(PROMPT, TASK, [Eye(gain=25)], source="eye/near")
    return Receipt.of(proof, TASK, salt=b"s" * 32, allow=allow)


@pytest.fixture
def registry() -> PromptRegistry:
    PROMPT.save("prompt.vprompt", {"task": "patterns"})
    made = PromptRegistry.create("prompts")
    made.add(Path("prompt.vprompt"))
    return made


def test_a_receipt_is_evidence_and_tells_no_more_than_it_may(registry: PromptRegistry) -> None:
    receipt().write(Path("receipt.json"))
    (entry,) = registry.add_receipt(Path("receipt.json"))
    (row,) = entry.evidence
    assert (row.zero_shot, row.prompted, row.images) == (0.25, 1.0, 80)
    assert row.task.startswith("private task ")
    assert row.signed_by is None
    assert "patterns" not in Path(f"prompts/receipts/{row.receipt}.json").read_text()
    again = PromptRegistry.open("prompts")
    again.rebuild()
    assert again.entry(entry.digest).evidence == (row,)
    registry.add_receipt(Path("receipt.json"))
    assert len(registry.entry(entry.digest).evidence) == 1


def test_a_signed_receipt_names_its_signer(registry: PromptRegistry) -> None:
    key = generate_key(Path("key.pem"))
    receipt("name", "models").signed(Path("key.pem")).write(Path("receipt.json"))
    (entry,) = registry.add_receipt(Path("receipt.json"))
    (row,) = entry.evidence
    assert (row.signed_by, row.task, row.model) == (key, "patterns", "eye/near")


def test_another_receipts_signature_is_refused_and_found(registry: PromptRegistry) -> None:
    generate_key(Path("key.pem"))
    signed = receipt("name").signed(Path("key.pem"))
    forged = receipt().model_copy(update={"signature": signed.signature})
    forged.write(Path("forged.json"))
    with pytest.raises(BundleError, match="does not belong to this receipt"):
        registry.add_receipt(Path("forged.json"))
    place = Path(f"prompts/receipts/{forged.digest}.json")
    forged.write(place)  # as a stranger with access to the folder could
    found = PromptRegistry.open("prompts")
    assert found.entries()[0].evidence == ()
    assert list(found.index.damaged) == [f"receipts/{place.name}"]


def test_a_bundle_that_is_signed_later_replaces_the_unsigned_one(
    registry: PromptRegistry,
) -> None:
    key = generate_key(Path("key.pem"))
    unsigned = read(Path("prompt.vprompt"))
    signature = sign(unsigned.digest, Path("key.pem"), kind="bundle")
    write(Path("signed.vprompt"), replace(unsigned, signature=signature))
    registry.add(Path("signed.vprompt"))
    registry.add(Path("prompt.vprompt"))
    (entry,) = PromptRegistry.open("prompts").entries()
    assert entry.facts.signed
    with registry.bundle_file(entry) as file:
        found = read(file).signature
    assert found is not None
    assert found.public_key == key


def test_an_altered_receipt_and_one_of_another_prompt(registry: PromptRegistry) -> None:
    receipt().write(Path("receipt.json"))
    content = json.loads(Path("receipt.json").read_text())
    content["models"][0]["gain"] = 0.9
    Path("altered.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="altered"):
        registry.add_receipt(Path("altered.json"))
    other = PromptRegistry.create("others")
    with pytest.raises(UsageError, match="add its bundle first: bbtvp registry add others"):
        other.add_receipt(Path("receipt.json"))


# -- whose files are taken, and whose are believed -------------------------------------------------
def signed_bundle(name: str, key: str) -> Path:
    """The prompt in a bundle that a key signed; the key pair is made where it is not there."""
    if not Path(key).exists():
        generate_key(Path(key))
    PROMPT.save(f"{name}.vprompt", {"task": "patterns"})
    sign_bundle(Path(f"{name}.vprompt"), Path(key))
    return Path(f"{name}.vprompt")


@pytest.fixture
def strict() -> PromptRegistry:
    """A registry that demands the key `lab.pem`, with a bundle that it signed."""
    signed_bundle("lab", "lab.pem")
    made = PromptRegistry.create("strict", signed_by=["lab.pem.pub"])
    made.add(Path("lab.vprompt"))
    return made


def test_a_registry_with_keys_takes_nothing_else(strict: PromptRegistry) -> None:
    before = tree("strict")
    PROMPT.save("unsigned.vprompt", {"task": "patterns"})
    signed_bundle("other", "other.pem")
    receipt().write(Path("unsigned.json"))
    receipt().signed(Path("other.pem")).write(Path("other.json"))
    again = PromptRegistry.open("strict")
    for name, said in (
        ("unsigned.vprompt", "the bundle is not signed"),
        ("other.vprompt", "the bundle is signed by another key"),
    ):
        with pytest.raises(BundleError, match=said):
            again.add(Path(name))
    for name, said in (
        ("unsigned.json", "the receipt is not signed"),
        ("other.json", "the receipt is signed by another key"),
    ):
        with pytest.raises(BundleError, match=said):
            again.add_receipt(Path(name))
    with pytest.raises(UsageError, match="takes signed receipts only; add --sign KEY"):
        again.need_key(None)
    with pytest.raises(UsageError, match="does not trust"):
        again.need_key(Path("other.pem"))
    assert tree("strict") == before
    again.need_key(Path("lab.pem"))
    receipt().signed(Path("lab.pem")).write(Path("own.json"))
    (entry,) = again.add_receipt(Path("own.json"))
    assert entry.facts.signed_by == entry.evidence[0].signed_by == public_key("lab.pem.pub")


def test_proofs_of_a_run_folder_are_not_signed(strict: PromptRegistry) -> None:
    shutil.copytree(ROOT / "tests/runs/old", "run")
    sign_bundle(Path("run/prompt.vprompt"), Path("lab.pem"))
    with pytest.raises(UsageError, match="the proofs of run are not signed; add run/prompt"):
        PromptRegistry.open("strict").add(Path("run"))


def test_a_reader_with_keys_believes_files_and_not_the_index(registry: PromptRegistry) -> None:
    generate_key(Path("lab.pem"))
    key = public_key("lab.pem.pub")
    receipt("name").signed(Path("lab.pem")).write(Path("receipt.json"))
    registry.add_receipt(Path("receipt.json"))
    index = Path("prompts/index.json")
    said = json.loads(index.read_text())
    for path, facts in said["files"].items():
        if path.startswith("bundles/"):
            facts |= {"signed": True, "signed_by": key}
    index.write_text(json.dumps(said))
    assert PromptRegistry.open("prompts").entries()[0].facts.signed_by == key
    assert PromptRegistry.open("prompts", signed_by=[key]).entries() == []
    registry.add(signed_bundle("lab", "lab.pem"))
    believing = PromptRegistry.open("prompts", signed_by=[key])
    (entry,) = believing.entries()
    assert [row.signed_by for row in entry.evidence] == [key]
    registry.keep(EVIDENCE, EvidenceRecord(rows=(entry.evidence[0],)))  # anybody can write this
    assert len(PromptRegistry.open("prompts").entries()[0].evidence) == 2
    assert len(believing.entries()[0].evidence) == 1
    generate_key(Path("other.pem"))
    with pytest.raises(UsageError, match="no entry"):
        PromptRegistry.open("prompts", signed_by=["other.pem.pub"]).entry(entry.short)


def test_a_bundle_that_was_exchanged_for_an_unsigned_one_is_not_handed_out(
    strict: PromptRegistry,
) -> None:
    key = public_key("lab.pem.pub")
    reading = PromptRegistry.open("strict", signed_by=[key])
    (entry,) = reading.entries()
    PROMPT.save(f"strict/bundles/{entry.digest}.vprompt", {"task": "patterns"})
    with pytest.raises(BundleError, match="not signed"), reading.bundle_file(entry):
        pass


def test_the_commands_say_who_signed_and_pull_what_a_key_vouches_for(
    strict: PromptRegistry,
) -> None:
    key = public_key("lab.pem.pub")
    (entry,) = strict.entries()
    assert f"{key[:12]}…" in bbtvp("registry", "list", "strict").out
    assert f"signed by: {key}" in bbtvp("registry", "show", "strict", entry.short).out
    assert bbtvp("registry", "page", "strict", "-o", "page.html").code == 0
    assert f"signed by {html.escape(key[:12])}…" in Path("page.html").read_text("utf-8")
    pull = ("registry", "pull", "strict", entry.short, "-o", "got.vprompt", "--signed-by")
    ran = bbtvp(*pull, "lab.pem.pub")
    assert (ran.code, Path("got.vprompt").read_bytes()) == (0, Path("lab.vprompt").read_bytes())
    generate_key(Path("other.pem"))
    assert bbtvp(*pull, "other.pem.pub").code == 2


def test_the_keys_of_a_registry_can_be_replaced(strict: PromptRegistry) -> None:
    added = signed_bundle("new", "new.pem")
    replaced = PromptRegistry.create("strict", signed_by=["new.pem.pub"])
    assert replaced.add(added).facts.signed_by == public_key("new.pem.pub")
    assert PromptRegistry.create("strict").demanded == replaced.demanded


def tree(folder: str) -> dict[str, bytes]:
    """Name to content of every file."""
    return {str(one): one.read_bytes() for one in Path(folder).rglob("*") if one.is_file()}


def test_without_the_extra_keys_are_one_line_and_nobody_is_let_in(
    strict: PromptRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    for command in (
        ("list", "strict", "--signed-by", "lab.pem.pub"),
        ("add", "strict", "lab.vprompt"),
        ("init", "other", "--signed-by", "lab.pem.pub"),
    ):
        ran = bbtvp("registry", *command)
        assert ran.code == 2
        assert ran.err == "error: signatures need cryptography: pip install 'bbtvp[sign]'\n"
    assert not Path("other").exists()
    assert "unchecked" not in bbtvp("registry", "list", "strict").out  # its index says who signed
