"""Receipts of others in a registry: added, signed, altered, of a prompt that is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbtvp.core.errors import BundleError, DataError, UsageError
from bbtvp.core.signing import generate_key, sign
from bbtvp.prompt import Frame, Placement, PromptSpace, Tone
from bbtvp.prompt.bundle import read, write
from bbtvp.registry import PromptRegistry
from bbtvp.verify import verify
from bbtvp.verify.receipt import Receipt
from tests.support import SIDE, Eye, patterns

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
